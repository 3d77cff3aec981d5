"""Pixels of DICOM slices as Hounsfield units.

Uncompressed pixels are read straight from their place in the file, compressed ones are decoded by pydicom. Values stay
16 bit from the file to the result.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import DamagedSlicesError, DecodeError, NotCTError
from monai_lung.io.header import Header
from monai_lung.io.paths import shown
from monai_lung.io.streams import has_end, stream_size

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

MIN_HU, MAX_HU = -1024, 32767
"""Everything below air is padding or ringing; above stays what 16 bits hold (metal in extended CT scale)."""
_IMPLAUSIBLE_HU = 20000
"""No metal reaches it on a scale of 16 bits: a padding value that lies above is a negative one that lost its sign."""
_JPEG = (
    "1.2.840.10008.1.2.4.5",
    "1.2.840.10008.1.2.4.7",
    "1.2.840.10008.1.2.4.8",
    "1.2.840.10008.1.2.4.9",
    "1.2.840.10008.1.2.4.20",
)
HU_TYPES = ("", "HU", "US", "HU_MOD")
"""Rescale types of HU: "US" is unspecified, and scanners write "HU_MOD" for modified HU."""
_MAX_SIDE, _MAX_FRAMES = 65535, 4096
_LONGEST_HEADER = 64 * 1024**2
_PLUGINS = ("pyjpegls", "pylibjpeg", "pydicom", "pillow", "gdcm")
"""Decoders in the order of preference. gdcm comes last, it ends the whole process at some damaged streams."""
_THREADS = min(8, 2 * (os.cpu_count() or 1))


def in_parallel(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """`function` of each item, in their order, on a few threads: files are waited for together."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, items))


def read_pixels(headers: Sequence[Header], reduction: int = 1) -> NDArray[np.int16]:
    """HU of slices of one size: int16 (n, rows, columns), clipped at -1024.

    Each slice has its own rescale; where none has one, their values are taken as they are. With a `reduction` each
    pixel is the mean of so many rows and columns.

    Raises:
        DecodeError: a file is truncated, vanished, contradicts itself, or needs a decoder that is missing; where that
            isn't so of all slices, a DamagedSlicesError.
        NotCTError: a slice has more than one value per pixel or an impossible rescale, or only some have a rescale.
    """
    errors: dict[int, DecodeError] = {}

    def attempt(work: Callable[[], None], slices: list[int]) -> None:
        try:
            work()
        except DecodeError as error:
            errors.update(dict.fromkeys(slices, error))

    for k, header in enumerate(headers):
        attempt(partial(_check, header), [k])
    sound = [k for k in range(len(headers)) if k not in errors]
    if sound:
        _check_rescales([headers[k] for k in sound])
        first = headers[sound[0]]
        hu = np.empty((len(headers), first.rows // reduction, first.columns // reduction), np.int16)
        in_parallel(lambda part: attempt(partial(_read_part, headers, part, hu), part), _parts(headers, sound))
    if errors:
        raise _damaged(headers, errors)
    return hu


def _parts(headers: Sequence[Header], slices: Sequence[int]) -> list[list[int]]:
    """Slices that are read together: one by one, and those of a compressed file at once."""
    packed: dict[Path, list[int]] = defaultdict(list)
    for k in slices:
        if headers[k].pixel_offset < 0:
            packed[headers[k].path].append(k)
    return [[k] for k in slices if headers[k].pixel_offset >= 0] + list(packed.values())


def _read_part(headers: Sequence[Header], part: list[int], hu: NDArray[np.int16]) -> None:
    """HU of the slices of one file into their places in `hu`."""
    first = headers[part[0]]
    frames = _decode(first.path, first) if first.pixel_offset < 0 else None
    for k in part:
        header = headers[k]
        if frames is None:
            values = _read_stored(header)
        else:
            values = frames if header.frame is None else frames[header.frame]
            if values.shape != (header.rows, header.columns):
                raise DecodeError(f"the pixels of {shown(header.path)} have another size than its header says")
        if values.shape == hu.shape[1:]:
            _to_hu(values, header, hu[k])
        else:
            whole = np.empty(values.shape, np.int16)
            _to_hu(values, header, whole)
            hu[k] = _reduced(whole, *hu.shape[1:])


def _reduced(image: NDArray[np.int16], rows: int, columns: int) -> NDArray[np.float32]:
    """Means over blocks of an image, as many as there shall be rows and columns; a rest at its end is left out."""
    step = image.shape[0] // rows
    blocks = image[: rows * step, : columns * step].reshape(rows, step, columns, step)
    return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32))


def _damaged(headers: Sequence[Header], errors: dict[int, DecodeError]) -> DecodeError:
    """The error of slices of which some, or all, can't be read."""
    slices = tuple(sorted(errors))
    first = errors[slices[0]]
    if len(slices) == len(headers):
        return first
    where = ", ".join(f"{(headers[k].position or (0, 0, 0))[2]:.1f}" for k in slices[:5])
    more = ", ..." if len(slices) > 5 else ""
    what = f"{len(slices)} of {len(headers)} slices can't be read (z = {where}{more} mm)"
    return DamagedSlicesError(f"{first}; {what}: --allow-gaps leaves them out", slices)


def stored_bytes(header: Header) -> bytes:
    """The pixel data of a slice as it's stored; of a compressed multi-frame image that of all frames."""
    try:
        if header.pixel_offset < 0:
            from pydicom import dcmread

            _check_size(header)
            return bytes(dcmread(header.path, force=True).PixelData) + str(header.frame).encode()
        with open(header.path, "rb") as file:
            file.seek(header.pixel_offset)
            return file.read(min(header.pixel_bytes, _frame_bytes(header)))
    except (DecodeError, MemoryError):
        raise
    except Exception as error:
        raise _undecodable(header.path, error) from error


def check_hu(hu: NDArray[np.int16], where: str) -> None:
    """Refuse an image whose values can't be HU of a body or of air.

    Looks at every fourth voxel of each axis. HU images have air (below -200 HU), and of what is denser a fifth at
    least is soft tissue (-200 to 300 HU).

    Raises:
        NotCTError: one value only, no air, or no soft tissue among what is denser than air.
    """
    some = hu[::4, ::4, ::4]
    low, high = int(some.min()), int(some.max())
    if low == high and hu.min() == hu.max():
        raise NotCTError(f"{where} holds nothing but the value {low}: it is not a CT image")
    dense = some[some > -200]
    if dense.size > 0.999 * some.size:
        raise NotCTError(f"{where} has values from {low} to {high} and no air: these are not Hounsfield units")
    if dense.size > 0.01 * some.size and (dense < 300).mean() < 0.2:
        raise NotCTError(f"{where} has values from {low} to {high} and no soft tissue: these are not Hounsfield units")


def _check(header: Header) -> None:
    where = shown(header.path)
    if header.samples != 1 or header.photometric not in ("", "MONOCHROME1", "MONOCHROME2"):
        kind = header.photometric or "of unknown kind"
        raise NotCTError(f"{where} has {header.samples} values per pixel, {kind}: a colour picture is not a CT")
    if not (0 < header.rows <= _MAX_SIDE and 0 < header.columns <= _MAX_SIDE):
        raise DecodeError(f"{where} has no rows and columns to be read: export it again")
    if header.bits_allocated not in (8, 16, 32) or not 0 < header.bits_stored <= header.high_bit + 1:
        raise DecodeError(f"{where} contradicts itself in its bits per pixel: export it again")
    if header.high_bit >= header.bits_allocated:
        raise DecodeError(f"{where} contradicts itself in its bits per pixel: export it again")
    if header.slope == 0 or abs(header.slope or 1) > 1e6 or abs(header.intercept or 0) > 1e6:
        raise NotCTError(f"{where} has an impossible rescale ({header.slope}, {header.intercept})")
    if header.rescale_type not in HU_TYPES:
        raise NotCTError(f"{where} has values of the type {header.rescale_type}, not HU")
    if not header.pixel_bytes:
        raise DecodeError(f"{where} has no pixel data, it may be cut off: fetch the file again")


def _check_rescales(headers: Sequence[Header]) -> None:
    """Refuse slices of which only some have a rescale: the others would be off by its intercept, lung or a mass."""
    for name, values in {"slope": [h.slope for h in headers], "intercept": [h.intercept for h in headers]}.items():
        lacking = [h.path for h, value in zip(headers, values, strict=True) if value is None]
        if 0 < len(lacking) < len(headers):
            where = f"{len(lacking)} of {len(headers)} slices (first {shown(lacking[0])})"
            raise NotCTError(f"{where} lack the rescale {name} that the others have: send the series again")


def _read_stored(header: Header) -> NDArray[Any]:
    """Stored values (rows, columns) of an uncompressed slice."""
    kind = ("i" if header.signed else "u") + str(header.bits_allocated // 8)
    dtype = np.dtype(("<" if header.little_endian else ">") + kind)
    count = header.rows * header.columns
    if header.pixel_bytes >= (count + header.columns) * dtype.itemsize:  # rows of another length would be sheared
        raise DecodeError(f"{shown(header.path)} has more pixels than its rows and columns: export it again")
    if header.pixel_bytes < count * dtype.itemsize:
        raise DecodeError(f"{shown(header.path)} has fewer pixels than its rows and columns: fetch the file again")
    try:
        values = np.fromfile(header.path, dtype, count, offset=header.pixel_offset)
    except (OSError, ValueError) as error:
        raise DecodeError(f"{shown(header.path)} can't be read any more: {_line(error)}") from error
    if len(values) < count:
        raise DecodeError(f"{shown(header.path)} is cut off in its pixel data: fetch the file again")
    if not dtype.isnative:
        values = values.byteswap().view(dtype.newbyteorder("="))
    return values.reshape(header.rows, header.columns)


def _decode(path: Path, header: Header) -> NDArray[Any]:
    """Stored values (rows, columns), or (frames, rows, columns), of a compressed file."""
    from pydicom import dcmread

    try:
        _check_size(header)
        data = dcmread(path, force=True)
        if data.file_meta.TransferSyntaxUID.startswith(_JPEG):
            _check_streams(data, header)
        if hasattr(data, "pixel_array_options"):  # pydicom 3
            data.pixel_array_options(decoding_plugin=_plugin(data.file_meta.TransferSyntaxUID))
        return np.asarray(data.pixel_array)
    except (DecodeError, MemoryError):
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":  # a decoder in Rust panics
            raise _undecodable(path, error) from error
        raise


def _check_size(header: Header) -> None:
    """Refuse a compressed file that is far larger than its pixels: it would be read whole."""
    frames = 1 if header.frame is None else _MAX_FRAMES
    if header.path.stat().st_size > _LONGEST_HEADER + 4 * frames * _frame_bytes(header):
        raise DecodeError(f"{shown(header.path)} is far larger than its pixels: fetch the file again")


def _frame_bytes(header: Header) -> int:
    """The size of the pixels of an uncompressed slice."""
    return header.rows * header.columns * header.samples * header.bits_allocated // 8


def _plugin(syntax: UID) -> str:
    """One decoder, "" to let pydicom say what is missing.

    The strictest that is there, and no other after it: left to itself pydicom hands a damaged stream on until one
    decoder makes something of it.
    """
    from pydicom.pixels import get_decoder

    try:
        available = get_decoder(syntax).available_plugins
    except NotImplementedError:
        return ""
    return next((name for name in _PLUGINS if name in available), "")


def _check_streams(data: Dataset, header: Header) -> None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 stream of another size, or without its end marker.

    Decoders take the memory that a stream asks for, and fill what is missing with anything.
    """
    from pydicom import encaps

    count = int(data.get("NumberOfFrames") or 1)
    if hasattr(encaps, "generate_frames"):
        frames = encaps.generate_frames(data.PixelData, number_of_frames=count)
    else:  # pydicom 2
        frames = encaps.generate_pixel_data_frame(data.PixelData, count)
    number = 0
    for number, frame in enumerate(frames, start=1):  # noqa: B007
        if stream_size(frame) not in (None, (header.rows, header.columns)):
            raise DecodeError(f"the pixels of {shown(header.path)} have another size than its header says")
        if not has_end(frame):
            raise ValueError("a compressed frame has no end")
    if not number:
        raise ValueError("there is no frame")


def _undecodable(path: Path, error: BaseException) -> DecodeError:
    text = _line(error)
    if "missing dependencies" in text or "missing required dependencies" in text or "handlers" in text:
        return DecodeError(f'{shown(path)} is compressed, its decoder is missing: pip install "monai-lung[dicom]"')
    return DecodeError(f"the pixel data of {shown(path)} can't be decoded, it may be cut off ({text[:120]})")


def _line(error: BaseException) -> str:
    return shown(" ".join(str(error).split()))


def _to_hu(stored: NDArray[Any], header: Header, out: NDArray[np.int16]) -> None:
    """Stored values to HU into `out`, all in 16 bits where the rescale allows."""
    unused = header.bits_allocated - 1 - header.high_bit
    if header.bits_stored < header.bits_allocated and stored.dtype.itemsize * 8 == header.bits_allocated:
        # Bits outside those stored may hold anything (overlays, no sign): shifted out, and the sign drawn in.
        stored = (stored << unused) >> (header.bits_allocated - header.bits_stored)
    slope = 1.0 if header.slope is None else header.slope
    intercept = 0.0 if header.intercept is None else header.intercept
    if slope == 1.0 and intercept.is_integer() and abs(intercept) < 2**14:
        # Clipped before the intercept is added, so that the sum fits 16 bits (it may wrap on the way).
        limits = np.iinfo(stored.dtype)
        low, high = (int(np.clip(hu - intercept, limits.min, limits.max)) for hu in (MIN_HU, MAX_HU))
        clipped = np.clip(stored, low, high)
        np.add(clipped.astype(np.int16, copy=False), np.int16(intercept), out=out)
    else:
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        np.rint(np.clip(values, MIN_HU, MAX_HU, out=values), out=values)
        out[...] = values
    if header.padding is not None:
        limit = header.padding if header.padding_limit is None else header.padding_limit
        low, high = sorted((_as_stored(header.padding, header), _as_stored(limit, header)))
        if min(low * slope, high * slope) + intercept > _IMPLAUSIBLE_HU:  # below air it's clipped already
            out[(stored >= low) & (stored <= high)] = MIN_HU


def _as_stored(value: int, header: Header) -> int:
    """A value as pixels of this slice hold it: a header may give it with the other sign."""
    value %= 2**header.bits_allocated
    return value - 2**header.bits_allocated if header.signed and value >> (header.bits_allocated - 1) else value
