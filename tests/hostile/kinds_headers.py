"""DICOM headers: missing, contradictory, absurd, of the wrong type, too deep, too long."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from corpus import Chest, kind
from dicom_series import SeriesBuilder
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

_PLACELESS = "without position, orientation or pixel spacing"


def changed(chest: Chest, folder: Path, change: Callable[[Dataset], object]) -> Path:
    """The series with `change` done to each slice."""
    builder = chest.series()
    for data in builder.datasets:
        change(data)
    return builder.write(folder)


def without(chest: Chest, folder: Path, *names: str) -> Path:
    def remove(data: Dataset) -> None:
        for name in names:
            delattr(data, name)

    return changed(chest, folder, remove)


def raw(tag: int, vr: str, value: bytes) -> RawDataElement:
    """An element of any VR with any bytes, explicit little endian."""
    return RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def put(tag: int, vr: str, value: bytes) -> Callable[[Dataset], None]:
    """A change that sets one element to raw bytes."""

    def change(data: Dataset) -> None:
        data._dict[Tag(tag)] = raw(tag, vr, value)

    return change


def spliced(chest: Chest, folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """The series with the bytes of each file changed."""
    chest.series().write(folder)
    for file in folder.iterdir():
        file.write_bytes(change(file.read_bytes()))
    return folder


def before_group(content: bytes, group: int, more: bytes) -> bytes:
    """`more` put in front of the first element of a group."""
    at = content.index(struct.pack("<H", group), 132 + 12)
    while struct.unpack_from("<H", content, at)[0] != group or not content[at + 4 : at + 6].isalpha():
        at = content.index(struct.pack("<H", group), at + 1)
    return content[:at] + more + content[at:]


@kind("header", refused="rows|size|pixels")
def rows_zero(chest: Chest, folder: Path) -> Path:
    """Rows is 0."""
    return changed(chest, folder, lambda d: setattr(d, "Rows", 0))


@kind("header", refused="rows|size|pixels")
def rows_missing(chest: Chest, folder: Path) -> Path:
    """Rows is missing."""
    return without(chest, folder, "Rows")


@kind("header", refused="rows|size|pixels")
def rows_negative(chest: Chest, folder: Path) -> Path:
    """Rows and columns are negative numbers, as text."""

    def change(data: Dataset) -> None:
        put(0x00280010, "IS", b"-72 ")(data)
        put(0x00280011, "IS", b"-72 ")(data)

    return changed(chest, folder, change)


@kind("header", refused="voxels")
def rows_65535(chest: Chest, folder: Path) -> Path:
    """65535 rows and columns are claimed."""
    return changed(chest, folder, lambda d: (setattr(d, "Rows", 65535), setattr(d, "Columns", 65535)))


@kind("header", refused="rows|voxels|size")
def rows_astronomical(chest: Chest, folder: Path) -> Path:
    """Rows is 1e300, as text."""
    return changed(chest, folder, put(0x00280010, "DS", b"1e300 "))


@kind("header", refused="more pixels than its rows and columns")
def columns_too_few(chest: Chest, folder: Path) -> Path:
    """Columns says one less than there are: read so, every row would be shifted."""
    return changed(chest, folder, lambda d: setattr(d, "Columns", 71))


@kind("header", refused="fewer pixels than its rows and columns")
def columns_too_many(chest: Chest, folder: Path) -> Path:
    """Columns says one more than there are."""
    return changed(chest, folder, lambda d: setattr(d, "Columns", 73))


@kind("header", refused=_PLACELESS)
def spacing_missing(chest: Chest, folder: Path) -> Path:
    """No pixel spacing."""
    return without(chest, folder, "PixelSpacing")


@kind("header", refused=_PLACELESS)
def spacing_zero(chest: Chest, folder: Path) -> Path:
    """Pixel spacing 0."""
    return changed(chest, folder, lambda d: setattr(d, "PixelSpacing", [0, 0]))


@kind("header", refused=_PLACELESS)
def spacing_negative(chest: Chest, folder: Path) -> Path:
    """Pixel spacing below 0."""
    return changed(chest, folder, lambda d: setattr(d, "PixelSpacing", [-5.2, -5.2]))


@kind("header", refused=_PLACELESS)
def spacing_no_number(chest: Chest, folder: Path) -> Path:
    """Pixel spacing nan."""
    return changed(chest, folder, put(0x00280030, "DS", b"nan\\nan "))


@kind("header", refused="which no chest CT has")
def spacing_astronomical(chest: Chest, folder: Path) -> Path:
    """Pixel spacing 1e300."""
    return changed(chest, folder, put(0x00280030, "DS", b"1e300\\1e300 "))


@kind("header", refused=_PLACELESS)
def spacing_of_one_value(chest: Chest, folder: Path) -> Path:
    """Pixel spacing has one value where two belong."""
    return changed(chest, folder, put(0x00280030, "DS", b"5.2 "))


@kind("header", refused=_PLACELESS)
def orientation_missing(chest: Chest, folder: Path) -> Path:
    """No orientation."""
    return without(chest, folder, "ImageOrientationPatient")


@kind("header", refused=_PLACELESS)
def orientation_zero(chest: Chest, folder: Path) -> Path:
    """Directions of length 0."""
    return changed(chest, folder, lambda d: setattr(d, "ImageOrientationPatient", [0] * 6))


@kind("header", refused=_PLACELESS)
def orientation_oblique_angled(chest: Chest, folder: Path) -> Path:
    """Rows and columns that aren't perpendicular."""
    return changed(chest, folder, lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0.6, 0.8, 0]))


@kind("header", refused=_PLACELESS)
def orientation_no_number(chest: Chest, folder: Path) -> Path:
    """Directions of nan."""
    return changed(chest, folder, put(0x00200037, "DS", b"nan\\0\\0\\0\\1\\0"))


@kind("header", refused=_PLACELESS)
def position_missing(chest: Chest, folder: Path) -> Path:
    """No slice says where it lies."""
    return without(chest, folder, "ImagePositionPatient")


@kind("header", refused=_PLACELESS)
def position_missing_once(chest: Chest, folder: Path) -> Path:
    """One slice doesn't say where it lies."""
    builder = chest.series()
    del builder.datasets[17].ImagePositionPatient
    return builder.write(folder)


@kind("header", refused="slices")
def position_the_same(chest: Chest, folder: Path) -> Path:
    """All slices claim one place."""
    return changed(chest, folder, lambda d: setattr(d, "ImagePositionPatient", [0, 0, 0]))


@kind("header", refused="unequal distances|slices")
def position_absurd_once(chest: Chest, folder: Path) -> Path:
    """One slice lies 1e30 mm away."""
    builder = chest.series()
    put(0x00200032, "DS", b"0\\0\\1e30")(builder.datasets[3])
    return builder.write(folder)


@kind("header", refused="slices|which no chest CT has")
def position_absurd(chest: Chest, folder: Path) -> Path:
    """All slices lie some 1e300 mm away."""
    builder = chest.series()
    for k, data in enumerate(builder.datasets):
        put(0x00200032, "DS", f"1e300\\0\\{k}e299".encode().ljust(16))(data)
    return builder.write(folder)


@kind("header", refused=_PLACELESS)
def position_of_another_type(chest: Chest, folder: Path) -> Path:
    """Positions are binary doubles (VR FD) rather than decimal text."""

    def change(data: Dataset) -> None:
        put(0x00200032, "FD", struct.pack("<3d", *map(float, data.ImagePositionPatient)))(data)

    return changed(chest, folder, change)


@kind("header")
def numbers_contradict_positions(chest: Chest, folder: Path) -> Path:
    """Instance numbers and slice locations run against the positions."""
    builder = chest.series()
    for k, data in enumerate(builder.datasets):
        data.InstanceNumber, data.SliceLocation = (k * 7) % 40, -10.0 * k
    return builder.write(folder)


@kind("header")
def patient_position_contradicts(chest: Chest, folder: Path) -> Path:
    """PatientPosition says feet first and prone, the orientation says otherwise: the orientation counts."""
    return changed(chest, folder, lambda d: setattr(d, "PatientPosition", "FFP"))


@kind("header")
def tilt_contradicts(chest: Chest, folder: Path) -> Path:
    """GantryDetectorTilt says 20 degrees, the positions say none: the positions count."""
    return changed(chest, folder, lambda d: setattr(d, "GantryDetectorTilt", 20))


@kind("header")
def thickness_contradicts(chest: Chest, folder: Path) -> Path:
    """Slice thickness and SpacingBetweenSlices contradict the positions: the positions count."""
    return changed(chest, folder, lambda d: (setattr(d, "SliceThickness", -1), setattr(d, "SpacingBetweenSlices", 0.1)))


@kind("header", refused="SeriesInstanceUID is missing")
def series_uid_missing(chest: Chest, folder: Path) -> Path:
    """No slice says which series it belongs to."""
    return without(chest, folder, "SeriesInstanceUID")


@kind("header", warned="40 of 40 slices have no SOPInstanceUID")
def instance_uid_missing(chest: Chest, folder: Path) -> Path:
    """No SOPInstanceUID."""

    def change(data: Dataset) -> None:
        del data.SOPInstanceUID

    builder = chest.series()
    folder.mkdir(exist_ok=True)
    for k, data in enumerate(builder.datasets):
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = f"1.2.{k}"
        change(data)
        data.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder


@kind("header")
def series_uid_of_10000_characters(chest: Chest, folder: Path) -> Path:
    """A SeriesInstanceUID of 10,000 characters."""
    return changed(chest, folder, put(0x0020000E, "UI", b"1." * 5000))


@kind("header")
def series_uid_is_a_path(chest: Chest, folder: Path) -> Path:
    """A SeriesInstanceUID that would lead out of the output folder."""
    return changed(chest, folder, put(0x0020000E, "UI", b"../../../../../../tmp/escaped "))


@kind("header", refused=r"u001b\[2J|x1b\[2J| \[2J")
def series_uid_commands_a_terminal(chest: Chest, folder: Path) -> Path:
    """A SeriesInstanceUID with control characters for a terminal, in an error that names it."""

    def change(data: Dataset) -> None:
        put(0x0020000E, "UI", b"1.2\x1b[2J\r\n\xc2\x9b31m\0")(data)
        data.ImagePositionPatient = [0, 0, 0]

    return changed(chest, folder, change)


@kind("header", refused="no axial CT series")
def modality_missing(chest: Chest, folder: Path) -> Path:
    """No modality."""
    return without(chest, folder, "Modality")


@kind("header", refused="MR")
def modality_mr(chest: Chest, folder: Path) -> Path:
    """The series calls itself MR."""
    return changed(chest, folder, lambda d: setattr(d, "Modality", "MR"))


@kind("header", refused="secondary capture, or some other object")
def class_of_a_screenshot(chest: Chest, folder: Path) -> Path:
    """Secondary capture images that call themselves CT."""
    return changed(chest, folder, lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"))


@kind("header")
def class_missing(chest: Chest, folder: Path) -> Path:
    """No SOPClassUID in the dataset; the file's meta group has it."""
    return other_class(chest, folder, b"")


@kind("header")
def class_hashed(chest: Chest, folder: Path) -> Path:
    """A SOPClassUID that was de-identified as if it were the patient's; the file's meta group has the true one."""
    return other_class(chest, folder, b"1.3.6.1.4.1.14519.5.2.1.9")


@kind("header", refused="SOPClassUID is missing or none of DICOM's")
def class_hashed_everywhere(chest: Chest, folder: Path) -> Path:
    """A SOPClassUID that was de-identified in the dataset and in the file's meta group."""
    return changed(chest, folder, lambda d: setattr(d, "SOPClassUID", "1.3.6.1.4.1.14519.5.2.1.9"))


def other_class(chest: Chest, folder: Path, uid: bytes) -> Path:
    """The SOPClassUID of the datasets alone exchanged, as bytes: the writer would change the other, too."""
    chest.series().write(folder)
    for path in folder.iterdir():
        start, _, end = path.read_bytes().rpartition(b"1.2.840.10008.5.1.4.1.1.2\0")
        path.write_bytes(start + uid.ljust(26, b"\0") + end)
    return folder


@kind("header", refused="not Hounsfield units|no air")
def rescale_missing(chest: Chest, folder: Path) -> Path:
    """No rescale, and stored values that are not HU."""
    return without(chest, folder, "RescaleSlope", "RescaleIntercept")


@kind("header", refused="not Hounsfield units|no air")
def rescale_text(chest: Chest, folder: Path) -> Path:
    """The rescale is a word."""
    return changed(chest, folder, put(0x00281052, "DS", b"minus a thousand"))


@kind("header", warned="Slices without a rescale")
def rescale_missing_of_hu(chest: Chest, folder: Path) -> Path:
    """No rescale, but stored values that are HU."""
    builder = chest.series(intercept=0)
    for data in builder.datasets:
        del data.RescaleSlope, data.RescaleIntercept
    return builder.write(folder)


@kind("header", refused="5 of 40 slices .*lack the rescale slope that the others have")
def rescale_missing_of_some(chest: Chest, folder: Path) -> Path:
    """Five slices have no rescale: a mass there would be taken for fat or lung."""
    builder = chest.series()
    for data in builder.datasets[18:23]:
        del data.RescaleSlope, data.RescaleIntercept
    return builder.write(folder)


@kind("header", refused="5 of 40 slices .*lack the rescale intercept that the others have")
def rescale_intercept_missing_of_some(chest: Chest, folder: Path) -> Path:
    """Five slices have a rescale slope, and no intercept."""
    builder = chest.series()
    for data in builder.datasets[18:23]:
        del data.RescaleIntercept
    return builder.write(folder)


@kind("header", warned="Slices without a rescale slope: 1 was taken")
def rescale_slope_missing(chest: Chest, folder: Path) -> Path:
    """All slices have a rescale intercept, and no slope."""
    return changed(chest, folder, lambda d: delattr(d, "RescaleSlope"))


@kind("header", refused="values of the type OD, not HU")
def values_of_another_unit_in_some(chest: Chest, folder: Path) -> Path:
    """RescaleType of two slices says optical density."""
    builder = chest.series(RescaleType="HU")
    for data in builder.datasets[20:22]:
        data.RescaleType = "OD"
    return builder.write(folder)


@kind("header", refused="impossible rescale")
def rescale_slope_zero(chest: Chest, folder: Path) -> Path:
    """A rescale slope of 0."""
    return changed(chest, folder, lambda d: setattr(d, "RescaleSlope", 0))


@kind("header", refused="impossible rescale")
def rescale_slope_1e30(chest: Chest, folder: Path) -> Path:
    """A rescale slope of 1e30."""
    return changed(chest, folder, lambda d: setattr(d, "RescaleSlope", "1e30"))


@kind("header", refused="nothing but the value")
def rescale_slope_negative(chest: Chest, folder: Path) -> Path:
    """A rescale slope of -1: air becomes dense."""
    return changed(chest, folder, lambda d: setattr(d, "RescaleSlope", -1))


@kind("header", refused="nothing but the value")
def rescale_intercept_huge(chest: Chest, folder: Path) -> Path:
    """A rescale intercept of 100,000."""
    return changed(chest, folder, lambda d: setattr(d, "RescaleIntercept", 100000))


@kind("header")
def rescale_of_each_slice(chest: Chest, folder: Path) -> Path:
    """Each slice has another rescale, and all mean the same HU."""
    import numpy as np

    builder = chest.series()
    for k, data in enumerate(builder.datasets):
        data.RescaleIntercept = -1024 - 10 * k
        data.PixelData = (np.frombuffer(data.PixelData, np.int16) + 10 * k).astype(np.int16).tobytes()
    return builder.write(folder)


@kind("header", refused="not HU")
def values_of_another_unit(chest: Chest, folder: Path) -> Path:
    """RescaleType says optical density."""
    return changed(chest, folder, lambda d: setattr(d, "RescaleType", "OD"))


@kind("header", refused="lookup table")
def values_through_a_table(chest: Chest, folder: Path) -> Path:
    """A modality lookup table in the place of a rescale."""

    def change(data: Dataset) -> None:
        del data.RescaleSlope, data.RescaleIntercept
        table = Dataset()
        table.add_new(0x00283002, "US", [4, 0, 16])
        table.add_new(0x00283004, "LO", "HU")
        table.add_new(0x00283006, "US", [0, 1, 2, 3])
        data.add_new(0x00283000, "SQ", Sequence([table]))

    builder = chest.series(intercept=0)
    for data in builder.datasets:
        change(data)
    return builder.write(folder)


@kind("header")
def private_element_malformed(chest: Chest, folder: Path) -> Path:
    """Private elements that can't be converted."""

    def change(data: Dataset) -> None:
        put(0x00090010, "LO", b"ACME")(data)
        put(0x00091001, "DS", b"\xff\xfe what \x00")(data)
        put(0x00091002, "DA", b"no date at all")(data)

    return changed(chest, folder, change)


def nested(depth: int) -> bytes:
    """A private sequence in a sequence in a sequence ..., all of undefined length."""
    open_ = struct.pack("<HH2sHI", 0x0019, 0x1010, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    close = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return open_ * depth + close * depth


@kind("header")
def sequence_30_deep(chest: Chest, folder: Path) -> Path:
    """Sequences nested 30 deep."""
    return spliced(chest, folder, lambda c: before_group(c, 0x0020, nested(30)))


@kind("header", refused="damaged")
def sequence_20000_deep(chest: Chest, folder: Path) -> Path:
    """Sequences nested 20,000 deep."""
    return spliced(chest, folder, lambda c: before_group(c, 0x0020, nested(20000)))


@kind("header", refused="cut off|damaged|SeriesInstanceUID is missing|no pixel data")
def element_of_4_gigabytes(chest: Chest, folder: Path) -> Path:
    """An element in front of the geometry claims 4 GB."""
    claim = struct.pack("<HH2sHI", 0x0019, 0x1010, b"OB", 0, 0xFFFFFFF0)
    return spliced(chest, folder, lambda c: before_group(c, 0x0020, claim))


@kind("header", refused="SeriesInstanceUID is missing|damaged|no series")
def sequence_without_end(chest: Chest, folder: Path) -> Path:
    """A sequence that never ends."""
    claim = struct.pack("<HH2sHI", 0x0019, 0x1010, b"SQ", 0, 0xFFFFFFFF)
    return spliced(chest, folder, lambda c: before_group(c, 0x0020, claim))


@kind("header", refused="damaged|header")
def elements_without_end(chest: Chest, folder: Path) -> Path:
    """A file of 64 GB (mostly a hole) that reads as billions of tiny elements."""
    file = folder / "endless.dcm"
    file.write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + b"\x09\0\0\0UL\0\0" * 8000)
    os.truncate(file, 64 * 2**30)
    return folder


@kind("header")
def elements_twice(chest: Chest, folder: Path) -> Path:
    """The text that says whose lungs these are comes twice, in another order."""
    again = b"\x10\0\x10\0PN\x06\0TWICE " * 2
    return spliced(chest, folder, lambda c: before_group(c, 0x0020, again))


@kind("header")
def character_set_unknown(chest: Chest, folder: Path) -> Path:
    """A character set that doesn't exist, and names in other bytes."""

    def change(data: Dataset) -> None:
        put(0x00080005, "CS", b"ISO_IR 9999 ")(data)
        put(0x00100010, "PN", b"\xff\xfe\xe4\x80^\x1b$B")(data)
        put(0x0008103E, "LO", b"\xb3\x00\xff\xff")(data)

    return changed(chest, folder, change)


@kind("header")
def texts_of_a_megabyte(chest: Chest, folder: Path) -> Path:
    """A description of 60,000 characters, a kernel of 60,000, an image type of 10,000 words."""

    def change(data: Dataset) -> None:
        put(0x0008103E, "LO", b"x" * 60000)(data)
        put(0x00181210, "SH", b"y" * 60000)(data)
        put(0x00080008, "CS", b"\\".join([b"AXIAL"] * 10000) + b" ")(data)

    builder = chest.series()
    for data in builder.datasets:
        change(data)
    return builder.write(folder)


@kind("header")
def dates_absurd(chest: Chest, folder: Path) -> Path:
    """Dates that never were."""

    def change(data: Dataset) -> None:
        put(0x00080020, "DA", b"99999999")(data)
        put(0x00080022, "DA", b"00000000")(data)
        put(0x00080032, "TM", b"noon")(data)

    return changed(chest, folder, change)


@kind("header", refused="damaged|no DICOM series|SeriesInstanceUID|cut off|fewer pixels|pixel")
def syntax_lies(chest: Chest, folder: Path) -> Path:
    """The file says big endian and is little endian."""
    return spliced(chest, folder, lambda c: c.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", 1))


@kind("header", refused="can't be decoded|decoder|syntax")
def syntax_unknown(chest: Chest, folder: Path) -> Path:
    """A compressed transfer syntax that nobody knows."""

    def change(content: bytes) -> bytes:
        content = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0", 1)
        at = content.index(b"\xe0\x7f\x10\0OW\0\0")
        return content[: at + 8] + b"\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"

    return spliced(chest, folder, change)


@kind("header", refused="SeriesInstanceUID is missing|damaged|cut off")
def cut_in_the_header(chest: Chest, folder: Path) -> Path:
    """Files that end in the header."""
    return spliced(chest, folder, lambda c: c[:600])


@kind("header")
def meta_group_length_lies(chest: Chest, folder: Path) -> Path:
    """The length of the file's meta group is wrong."""

    def change(content: bytes) -> bytes:
        at = content.index(b"\x02\0\0\0UL\x04\0")
        return content[: at + 8] + struct.pack("<I", 30) + content[at + 12 :]

    return spliced(chest, folder, change)


@kind("header", refused=_PLACELESS)
def frames_without_places(chest: Chest, folder: Path) -> Path:
    """Each file claims five frames and says nothing of where they lie."""

    def change(data: Dataset) -> None:
        data.NumberOfFrames, data.PixelData = 5, data.PixelData * 5

    return changed(chest, folder, change)


@kind("header")
def patient_name_commands_a_terminal(chest: Chest, folder: Path) -> Path:
    """Control characters in the patient's name and the description."""

    def change(data: Dataset) -> None:
        put(0x00100010, "PN", b"\x1b]0;pwned\x07^\r\n")(data)
        put(0x0008103E, "LO", b"\x1b[31mred\n\n")(data)

    return changed(chest, folder, change)


@kind("header", refused=_PLACELESS)
def multiple_values_everywhere(chest: Chest, folder: Path) -> Path:
    """Single values come in hundreds."""

    def change(data: Dataset) -> None:
        for tag in (0x00280030, 0x00200032, 0x00200037, 0x00180050):
            put(tag, "DS", b"\\".join([b"1"] * 300) + b" ")(data)
        data[0x00280010] = DataElement(0x00280010, "US", [72] * 50)

    return changed(chest, folder, change)


def enhanced_of(builder: SeriesBuilder) -> Dataset:
    from test_multiframe import enhanced

    return enhanced(builder, range(len(builder.datasets)))


@kind("header", refused="contradicts itself|frames")
def enhanced_with_other_counts(chest: Chest, folder: Path) -> Path:
    """An Enhanced CT with 40 frames' places and 44 frames."""
    from dicom_series import save

    data = enhanced_of(chest.series())
    data.NumberOfFrames = 44
    data.PixelData = data.PixelData + data.PixelData[: 4 * 72 * 72 * 2]
    save(data, folder / "enhanced.dcm")
    return folder


@kind("header", refused=_PLACELESS)
def enhanced_with_empty_groups(chest: Chest, folder: Path) -> Path:
    """An Enhanced CT whose functional groups are empty."""
    from dicom_series import save

    data = enhanced_of(chest.series())
    data.PerFrameFunctionalGroupsSequence = Sequence([Dataset() for _ in range(40)])
    data.SharedFunctionalGroupsSequence = Sequence([])
    save(data, folder / "enhanced.dcm")
    return folder


@kind("header")
def enhanced_sound(chest: Chest, folder: Path) -> Path:
    """An Enhanced CT as it should be, its frames in one file without a suffix."""
    from dicom_series import save

    save(enhanced_of(chest.series()), folder / "IMG")
    return folder
