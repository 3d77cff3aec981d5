"""Headers of DICOM images: what each slice says of itself, read before any pixel.

Only the elements that are needed are read, and they are read raw: a malformed element elsewhere in the file, which real
files have, is never touched, and a header costs half of what pydicom's conversion of every element would.
"""

from __future__ import annotations

import datetime
import io
import math
import re
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from monai_lung.errors import DecodeError
from monai_lung.io.paths import shown

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DICOM_ROOT = "1.2.840.10008."
_DEFLATED = "1.2.840.10008.1.2.1.99"
_DIRECTORY = "1.2.840.10008.1.3.10"
_HEAD_BYTES = 32 * 1024
_MAX_INFLATED_BYTES, _LEAST_BOMB_BYTES = 256 * 1024**2, 16 * 1024**2
_MAX_READS, _MAX_EMPTY = 1_000_000, 1000
"""Pieces of a header, twice what the largest multi-frame ones have, and empty ones in a row, as a hole is read."""
_MAX_INFLATION = 200
"""No CT is deflated that well; what only grows is a bomb."""
_inflating = threading.Lock()
"""pydicom holds an inflated file several times over: one at a time."""
_PER_FRAME, _SHARED, _FRAMES, _LOOKUP_TABLE = 0x52009230, 0x52009229, 0x00280008, 0x00283000
_PARTS = 0x00209163
"""In-concatenation Total Number."""
_ACQUISITION = (0x00200012, 0x00200100, 0x00209241, 0x00181060, 0x00080032)
"""Acquisition number, temporal position, cardiac phase, trigger time, acquisition time."""
_NUMBERS = (0x00200011, 0x00200013)
"""Series and instance number."""
_TAGS = (
    *(0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080020, 0x00080021, 0x00080022, 0x00080060, 0x0008103E),
    *(0x00100020, 0x00180050, 0x00181210, 0x0020000D, 0x0020000E, *_NUMBERS),
    *(0x00200032, 0x00200037, 0x00200052, *_ACQUISITION),
    *(0x00280002, 0x00280004, _FRAMES, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102),
    *(0x00280103, 0x00280120, 0x00281052, 0x00281053, 0x00281054, 0x00282110, 0x00280121, _LOOKUP_TABLE, _SHARED),
    *(_PARTS, _PER_FRAME, 0x00180015),
)


@dataclass(frozen=True, slots=True)
class Header:
    """One slice: a single-frame instance, or one frame of a multi-frame instance (then `frame` counts from 0).

    `position` is the centre of the first voxel and `orientation` the direction of a row and of a column, both LPS;
    `spacing_mm` the distance of rows, then of columns (as DICOM has it). None is missing, or not to be understood.
    `pixel_offset` is where uncompressed pixels of this slice start in the file, -1 where pydicom has to decode them;
    `pixel_bytes` is 0 where the file has no pixel data. `padding` is the stored value outside the field of view,
    `padding_limit` the other end of a range of such values. `parts` is how many files the multi-frame image was split
    into. `patient_id` only tells patients apart.
    """

    path: Path
    sop_uid: str
    sop_class: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    description: str
    image_type: tuple[str, ...]
    kernel: str
    study_date: datetime.date | None
    acquisition: tuple[str, ...]
    thickness_mm: float | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    little_endian: bool
    slope: float | None
    intercept: float | None
    rescale_type: str
    lossy: bool
    pixel_offset: int
    pixel_bytes: int
    frame: int | None = None
    padding: int | None = None
    padding_limit: int | None = None
    parts: int = 1
    patient_id: str = field(default="", repr=False)
    series_number: int | None = None
    image_number: int | None = None
    body_part: str = ""


def read_headers(path: Path) -> list[Header]:
    """The slices of one file: one, or one a frame of a multi-frame image with functional groups.

    Returns:
        Headers; [] where the file is DICOM but belongs to no series (a DICOMDIR).

    Raises:
        DecodeError: the file is not DICOM, or its header is damaged.
        OSError: it can't be opened.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        if not _looks_like_dicom(head):
            raise DecodeError(f"{shown(path)} is not a DICOM file: give a folder of DICOM slices, NIfTI, NRRD or MHA")
        if _DEFLATED.encode() in head[:1024]:
            with _inflating:
                _refuse_bomb(path)
                return _read_whole(path, file)
        whole = len(head) < _HEAD_BYTES
        try:
            return _parse(path, io.BytesIO(head), whole)
        except _Incomplete:
            pass
        except (DecodeError, MemoryError):
            raise
        except Exception as error:
            if whole:
                raise _damaged(path) from error
        return _read_whole(path, file)


def _read_whole(path: Path, file: BinaryIO) -> list[Header]:
    """The slices of a file whose header is longer than its first bytes, or packed."""
    file.seek(0)
    try:
        return _parse(path, _Reads(file), True)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:
        raise _damaged(path) from error


class _Reads:
    """A file whose pieces are counted, so that a header without an end is given up."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell
        self._left, self._empty = _MAX_READS, 0

    def read(self, count: int = -1) -> bytes:
        """Bytes of the file.

        Raises:
            ValueError: too many pieces were read.
        """
        content = self._file.read(count)
        self._left -= 1
        self._empty = 0 if any(content[:8]) else self._empty + 1
        if self._left < 0 or self._empty > _MAX_EMPTY:
            raise ValueError("the header has no end")
        return content


class _Incomplete(Exception):
    """The first bytes of the file end before the pixel data."""


def _damaged(path: Path) -> DecodeError:
    return DecodeError(f"the DICOM header of {shown(path)} is damaged or cut off: fetch the file again")


def _looks_like_dicom(head: bytes) -> bool:
    # Files without preamble start with an element of group 0002 or 0008, in either byte order.
    return head[128:132] == b"DICM" or head[:2] in (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")


def _refuse_bomb(path: Path) -> None:
    """Raise DecodeError where a deflated dataset grows past every plausible slice: pydicom would inflate all of it."""
    with open(path, "rb") as file:
        head = file.read(144)
        length = int.from_bytes(head[140:144], "little") if head[132:136] == b"\x02\0\0\0" else 0
        file.seek(144 + length)
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := inflate.unconsumed_tail or file.read(65536):
            try:
                total += len(inflate.decompress(chunk, 1 << 20))
            except zlib.error as error:
                raise _damaged(path) from error
            if total > min(_MAX_INFLATED_BYTES, max(_MAX_INFLATION * file.tell(), _LEAST_BOMB_BYTES)):
                raise DecodeError(f"{shown(path)} inflates to more than {total >> 20} MiB: refused")


def _parse(path: Path, file: BinaryIO | _Reads, whole: bool) -> list[Header]:
    from pydicom import dcmread

    data = dcmread(cast(BinaryIO, file), stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
    if _text(data.file_meta, 0x00020010) == _DEFLATED:
        offset, length, little = -1, 1, True
    else:
        offset, length, little = _pixel_element(file, data)
        if not length and not whole:
            raise _Incomplete
    if path.name.upper() == "DICOMDIR" or _text(data.file_meta, 0x00020002) == _DIRECTORY:
        return []
    header = _header(path, data, little, offset, length)
    if not header.series_uid:
        raise DecodeError(f"{shown(path)} names no series (SeriesInstanceUID is missing): fetch the file again")
    if _LOOKUP_TABLE in data and header.slope is None:
        raise DecodeError(f"{shown(path)} gives its values by a lookup table, not a rescale: export it in HU")
    frames = _integer(data, _FRAMES) or 1
    if _PER_FRAME not in data:  # one position can't be that of several frames
        return [header if frames == 1 else replace(header, position=None)]
    if len(data[_PER_FRAME].value) != frames:
        raise DecodeError(f"{shown(path)} contradicts itself in its number of frames: export it again")
    return list(_frames(header, data))


def _pixel_element(file: BinaryIO | _Reads, data: Dataset) -> tuple[int, int, bool]:
    """Offset of the pixels (-1: encapsulated), their length in bytes (0: none) and whether they're little-endian."""
    raw = next((data.get_item(tag) for tag in (0x0020000E, 0x00280010, 0x00080018) if tag in data), None)
    implicit, little = getattr(raw, "is_implicit_VR", False), getattr(raw, "is_little_endian", True)
    order: Literal["little", "big"] = "little" if little else "big"
    start = file.read(12)
    group, element = int.from_bytes(start[:2], order), int.from_bytes(start[2:4], order)
    if (group, element) != (0x7FE0, 0x0010) or len(start) < 12:
        return -1, 0, little
    length = int.from_bytes(start[4:8] if implicit else start[8:12], order)
    if length == 0xFFFFFFFF:
        return -1, length, little
    return file.tell() - (4 if implicit else 0), length, little


def _header(path: Path, data: Dataset, little: bool, offset: int, length: int) -> Header:
    bits = _integer(data, 0x00280100) or 0
    stored = _integer(data, 0x00280101) or bits
    high = _integer(data, 0x00280102)
    return Header(
        path=path,
        sop_uid=_text(data, 0x00080018),
        sop_class=_sop_class(data),
        series_uid=_text(data, 0x0020000E),
        study_uid=_text(data, 0x0020000D),
        frame_of_reference_uid=_text(data, 0x00200052),
        modality=_text(data, 0x00080060),
        description=_text(data, 0x0008103E),
        image_type=tuple(part.strip().upper() for part in _text(data, 0x00080008).split("\\")),
        kernel=_text(data, 0x00181210),
        study_date=_date(_text(data, 0x00080020) or _text(data, 0x00080022) or _text(data, 0x00080021)),
        acquisition=tuple(_text(data, tag) for tag in _ACQUISITION),
        thickness_mm=_number(data, 0x00180050),
        position=_numbers(data, 0x00200032, 3),
        orientation=_numbers(data, 0x00200037, 6),
        spacing_mm=_numbers(data, 0x00280030, 2),
        rows=_integer(data, 0x00280010) or 0,
        columns=_integer(data, 0x00280011) or 0,
        samples=_integer(data, 0x00280002) or 1,
        photometric=_text(data, 0x00280004),
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else high,
        signed=bool(_integer(data, 0x00280103)),
        little_endian=little,
        slope=_number(data, 0x00281053),
        intercept=_number(data, 0x00281052),
        rescale_type=_text(data, 0x00281054).upper(),
        lossy=_text(data, 0x00282110) == "01",
        pixel_offset=offset,
        pixel_bytes=length,
        padding=_integer(data, 0x00280120),
        padding_limit=_integer(data, 0x00280121),
        parts=_integer(data, _PARTS) or 1,
        patient_id=_text(data, 0x00100020),
        series_number=_whole(data, _NUMBERS[0]),
        image_number=_whole(data, _NUMBERS[1]),
        body_part=_text(data, 0x00180015),
    )


def _sop_class(data: Dataset) -> str:
    """SOPClassUID; that of the file's meta group where it is missing or was hashed as if it were the patient's."""
    own, stored = _text(data, 0x00080016), _text(data.file_meta, 0x00020002)
    return own if own.startswith(_DICOM_ROOT) or not stored.startswith(_DICOM_ROOT) else stored


def _frames(header: Header, data: Dataset) -> Iterator[Header]:
    """The frames of a multi-frame image: what a frame doesn't say itself, the shared groups say (PS3.3 C.7.6.16)."""
    shared_groups = list(data[_SHARED].value) if _SHARED in data else []
    shared = shared_groups[0] if shared_groups else None
    size = header.rows * header.columns * header.samples * header.bits_allocated // 8
    for number, groups in enumerate(data[_PER_FRAME].value):

        def item(sequence: int, groups: Dataset = groups) -> Dataset:
            for place in (groups, shared):
                if place is not None and sequence in place and len(place[sequence].value):
                    return place[sequence].value[0]
            return data

        measures, values = item(0x00289110), item(0x00289145)
        frame_type = _text(item(0x00189329), 0x00089007) or "\\".join(header.image_type)
        yield replace(
            header,
            frame=number,
            image_type=tuple(part.strip().upper() for part in frame_type.split("\\")),
            kernel=_text(item(0x00189314), 0x00181210) or header.kernel,
            acquisition=tuple(_text(item(0x00209111), tag) for tag in (0x00209156, 0x00209128, 0x00209241)),
            thickness_mm=_number(measures, 0x00180050),
            position=_numbers(item(0x00209113), 0x00200032, 3),
            orientation=_numbers(item(0x00209116), 0x00200037, 6),
            spacing_mm=_numbers(measures, 0x00280030, 2),
            slope=_number(values, 0x00281053),
            intercept=_number(values, 0x00281052),
            rescale_type=_text(values, 0x00281054).upper(),
            pixel_offset=header.pixel_offset + number * size if header.pixel_offset >= 0 else -1,
            pixel_bytes=size if header.pixel_offset >= 0 else header.pixel_bytes,
        )


def _text(data: Dataset, tag: int) -> str:
    """An element as text, "" where it's missing."""
    if tag not in data:
        return ""
    value = getattr(data.get_item(tag), "value", None)
    if isinstance(value, bytes):
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("latin-1")
    elif isinstance(value, str | int | float) or value is None:
        text = "" if value is None else str(value)
    else:
        text = "\\".join(str(part) for part in value)
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text.rstrip("\0")).strip()


def _integer(data: Dataset, tag: int) -> int | None:
    if tag not in data:
        return None
    element = data.get_item(tag)
    value = element.value
    if isinstance(value, bytes) and getattr(element, "VR", None) not in ("IS", "DS", "LO", "SH", "CS"):
        little = getattr(element, "is_little_endian", True)
        return int.from_bytes(value, "little" if little else "big") if len(value) in (2, 4) else None
    number = _number(data, tag)
    return None if number is None else int(number)


def _numbers(data: Dataset, tag: int, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers of an element, None where it hasn't them."""
    try:
        values = tuple(float(part) for part in _text(data, tag).split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _number(data: Dataset, tag: int) -> float | None:
    values = _numbers(data, tag, 1)
    return values[0] if values else None


def _whole(data: Dataset, tag: int) -> int | None:
    """A whole number written as text (VR IS), in whichever encoding."""
    number = _number(data, tag)
    return None if number is None else int(number)


def _date(text: str) -> datetime.date | None:
    digits = text.replace(".", "").replace("-", "")[:8]
    try:
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None
