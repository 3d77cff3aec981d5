"""Series: shuffled, interleaved, doubled, mixed, cut."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from corpus import Chest, kind
from dicom_series import save
from kinds_headers import changed
from pydicom.uid import generate_uid


@kind("series")
def shuffled(chest: Chest, folder: Path) -> Path:
    """File names in no order, in nested folders, without suffixes."""
    order = np.random.default_rng(1).permutation(40)
    return chest.series().write(folder, [f"{n % 3}/{n % 5}/{'x' * (n % 4)}{n}" for n in order])


@kind("series", warned="the series holds 2 that overlap")
def two_phases(chest: Chest, folder: Path) -> Path:
    """Two phases under one UID, at the same places, told apart by their number."""
    for number in (1, 2):
        builder = chest.series(AcquisitionNumber=number)
        for data in builder.datasets:
            data.SOPInstanceUID = f"1.2.{number}.{data.InstanceNumber}"
            if number == 2:
                data.PixelData = data.PixelData[::-1]
        builder.write(folder / str(number))
    return folder


@kind("series", refused="different slices at one place")
def two_phases_not_told_apart(chest: Chest, folder: Path) -> Path:
    """Two phases under one UID that nothing tells apart."""
    for number in (1, 2):
        builder = chest.series()
        for data in builder.datasets:
            data.SOPInstanceUID = f"1.2.{number}.{data.InstanceNumber}"
            if number == 2:
                data.PixelData = data.PixelData[::-1]
        builder.write(folder / str(number))
    return folder


@kind("series", refused="unequal distances")
def two_phases_interleaved(chest: Chest, folder: Path) -> Path:
    """Two phases, the second 2 mm above the first, that nothing tells apart."""
    chest.series().write(folder / "1")
    builder = chest.series()
    for data in builder.datasets:
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient, data.SOPInstanceUID = [x, y, float(z) + 2], f"1.2.2.{data.InstanceNumber}"
    builder.write(folder / "2")
    return folder


@kind("series", warned="40 duplicate slices")
def the_whole_series_twice(chest: Chest, folder: Path) -> Path:
    """Every file twice."""
    chest.series().write(folder / "1")
    chest.series().write(folder / "2")
    return folder


@kind("series", warned="40 of 40 slices have no SOPInstanceUID, or share it")
def one_instance_uid_for_all(chest: Chest, folder: Path) -> Path:
    """All slices share one SOPInstanceUID."""
    return changed(chest, folder, lambda d: setattr(d, "SOPInstanceUID", "1.2.3.4"))


@kind("series", warned="2 of 40 slices have no SOPInstanceUID, or share it")
def one_instance_uid_for_two(chest: Chest, folder: Path) -> Path:
    """Two slices share a SOPInstanceUID."""
    builder = chest.series()
    builder.datasets[21].SOPInstanceUID = builder.datasets[20].SOPInstanceUID
    return builder.write(folder)


@kind("series", refused="mixes orientations")
def orientations_mixed(chest: Chest, folder: Path) -> Path:
    """Half of the slices are tilted by 5 degrees."""
    builder = chest.series()
    angle = math.radians(5)
    for data in builder.datasets[20:]:
        data.ImageOrientationPatient = [1, 0, 0, 0, math.cos(angle), math.sin(angle)]
    return builder.write(folder)


@kind("series", refused="mixes orientations")
def orientations_mirrored(chest: Chest, folder: Path) -> Path:
    """Half of the slices are mirrored."""
    builder = chest.series()
    for data in builder.datasets[20:]:
        data.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
    return builder.write(folder)


@kind("series", refused="mixes pixel spacings")
def spacings_mixed(chest: Chest, folder: Path) -> Path:
    """One slice has another pixel spacing."""
    builder = chest.series()
    builder.datasets[7].PixelSpacing = [5.2, 5.0]
    return builder.write(folder)


@kind("series", refused="mixes image sizes")
def sizes_mixed(chest: Chest, folder: Path) -> Path:
    """One slice has fewer rows."""
    builder = chest.series()
    builder.datasets[7].Rows = 70
    return builder.write(folder)


@kind("series", warned="40 frames of reference but lie on one line")
def frame_of_reference_for_each_slice(chest: Chest, folder: Path) -> Path:
    """Each slice has a frame of reference of its own, as de-identification leaves it."""
    return changed(chest, folder, lambda d: setattr(d, "FrameOfReferenceUID", f"1.2.3.{d.InstanceNumber}"))


@kind("series", refused="mixes frames of reference")
def frames_of_reference_apart(chest: Chest, folder: Path) -> Path:
    """Half of the slices have another frame of reference, and lie 30 mm beside the others."""
    builder = chest.series()
    for data in builder.datasets[20:]:
        data.FrameOfReferenceUID = "1.2.3.4"
        data.ImagePositionPatient[0] = float(data.ImagePositionPatient[0]) + 30
    return builder.write(folder)


@kind("series", warned="joins 2 passes")
def passes_that_overlap_a_little(chest: Chest, folder: Path) -> Path:
    """Two passes, by their number, of which the second starts 3 slices below the end of the first."""
    for number, part in enumerate((slice(0, 22), slice(19, 40)), start=1):
        builder = chest.series(AcquisitionNumber=number)
        builder.datasets = builder.datasets[part]
        for data in builder.datasets:
            data.SOPInstanceUID = f"1.2.{number}.{data.InstanceNumber}"
            data.PixelData = bytes(a ^ (number == 2) for a in data.PixelData[:1]) + data.PixelData[1:]
        builder.write(folder / str(number))
    return folder


@kind("series", warned="joins 2 passes")
def passes_on_top_of_each_other(chest: Chest, folder: Path) -> Path:
    """Two passes, by their number, the second where the first ends: a breath may lie between them."""
    return changed(chest, folder, lambda d: setattr(d, "AcquisitionNumber", 1 + (d.InstanceNumber > 20)))


@kind("series", warned="1 images that lie across the slices")
def scout_by_its_geometry(chest: Chest, folder: Path) -> Path:
    """A coronal image in the scan's own series that doesn't call itself a localizer."""
    builder = chest.series()
    scout = chest.series().datasets[20]
    scout.SOPInstanceUID, scout.ImageOrientationPatient = "1.2.3.4", [1, 0, 0, 0, 0, -1]
    builder.datasets.append(scout)
    return builder.write(folder)


@kind("series", warned="2 frames of reference but lie on one line")
def frames_of_reference_mixed(chest: Chest, folder: Path) -> Path:
    """Half of the slices have another frame of reference."""
    builder = chest.series()
    for data in builder.datasets[20:]:
        data.FrameOfReferenceUID = "1.2.3.4"
    return builder.write(folder)


@kind("series", refused="mixes patients")
def patients_mixed(chest: Chest, folder: Path) -> Path:
    """The upper half of the slices is another patient's, under the same UIDs."""
    builder = chest.series()
    for data in builder.datasets[20:]:
        data.PatientID = "P-2"
    return builder.write(folder)


@kind("series", refused="at least 8")
def one_slice(chest: Chest, folder: Path) -> Path:
    """One slice."""
    builder = chest.series()
    builder.datasets = builder.datasets[20:21]
    return builder.write(folder)


@kind("series", refused="at least 8")
def seven_slices(chest: Chest, folder: Path) -> Path:
    """Seven slices."""
    builder = chest.series()
    builder.datasets = builder.datasets[20:27]
    return builder.write(folder)


@kind("series", refused="holds 2 cases", code=2)
def two_studies(chest: Chest, folder: Path) -> Path:
    """Two studies where one is wanted."""
    chest.series().write(folder / "1")
    builder = chest.series(StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid())
    builder.write(folder / "2")
    return folder


@kind("series", refused="misses 1 slices")
def a_slice_is_missing(chest: Chest, folder: Path) -> Path:
    """One slice is missing."""
    builder = chest.series()
    del builder.datasets[13]
    return builder.write(folder)


@kind("series", refused="beside each other")
def slices_beside_each_other(chest: Chest, folder: Path) -> Path:
    """Slices that lie beside each other."""
    builder = chest.series()
    for k, data in enumerate(builder.datasets):
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [float(x) + 400 * k, y, z]
    return builder.write(folder)


@kind("series", refused="not axial")
def sagittal(chest: Chest, folder: Path) -> Path:
    """Sagittal slices."""
    builder = chest.series(orientation=(0, 1, 0, 0, 0, -1))
    return builder.write(folder)


@kind("series", refused="localizer")
def localizer_alone(chest: Chest, folder: Path) -> Path:
    """Nothing but localizers."""
    return changed(chest, folder, lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))


@kind("series")
def localizer_within(chest: Chest, folder: Path) -> Path:
    """A coronal localizer in the scan's own series."""
    builder = chest.series()
    builder.write(folder)
    scout = builder.datasets[0]
    scout.ImageType, scout.SOPInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], "1.2.3"
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    save(scout, folder / "scout.dcm")
    return folder


@kind("series", refused="mip|reformat|projection")
def projections(chest: Chest, folder: Path) -> Path:
    """A stack of maximum intensity projections."""
    return changed(chest, folder, lambda d: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "MIP"]))


@kind("series", warned="could not be read as DICOM")
def broken_files_between(chest: Chest, folder: Path) -> Path:
    """Hundreds of damaged files beside a sound series."""
    chest.series().write(folder)
    for n in range(300):
        (folder / f"bad{n}.dcm").write_bytes(b"\0" * 128 + b"DICM" + bytes([n % 256]) * (n % 50))
    return folder


@kind("series", warned="1 files could not be read as DICOM")
def other_files_between(chest: Chest, folder: Path) -> Path:
    """Text, pictures, other objects and empty files beside a sound series."""
    chest.series().write(folder)
    (folder / "readme.txt").write_text("hello")
    (folder / "empty").touch()
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (folder / "notes.dat").write_bytes(b"\x08\0" + os_urandom(4000))
    return folder


def os_urandom(count: int) -> bytes:
    return np.random.default_rng(3).bytes(count)
