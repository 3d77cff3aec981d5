"""Studies of several series: which one is taken, where headers say much, little or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from corpus import ORIGIN_MM, SPACING_MM, Chest, kind
from dicom_series import SeriesBuilder
from numpy.typing import NDArray

STUDY = "1.2.826.0.1.3680043.8.498.1"


def beside(chest: Chest, folder: Path, other: SeriesBuilder, **elements: object) -> Path:
    """The chest and another series of one study."""
    chest.series(study_uid=STUDY, **elements).write(folder / "chest")
    other.write(folder / "other")
    return folder


def other(hu: NDArray[np.int16], spacing_z_mm: float = 7.5, **elements: object) -> SeriesBuilder:
    """A series of the same study, in a frame of reference of its own, with the smaller UID."""
    spacing = (*SPACING_MM[:2], spacing_z_mm)
    return SeriesBuilder(hu, origin=ORIGIN_MM, spacing=spacing, seed=7, study_uid=STUDY, **elements)  # type: ignore[arg-type]


def tissue(slices: int, radius_mm: float = 90.0) -> NDArray[np.int16]:
    """A cylinder of tissue in air: a head, a leg."""
    x, y = np.meshgrid(*[np.arange(72) * SPACING_MM[0] + ORIGIN_MM[0]] * 2, indexing="ij")
    plane = np.where(x**2 + y**2 < radius_mm**2, 40, -1000).astype(np.int16)
    return np.ascontiguousarray(np.repeat(plane[:, :, None], slices, axis=2))


@kind("choice")
def head_thinner_than_the_chest(chest: Chest, folder: Path) -> Path:
    """A head in thinner slices than the chest, both said by BodyPartExamined."""
    return beside(chest, folder, other(tissue(60), 2.0, BodyPartExamined="HEAD"), BodyPartExamined="CHEST")


@kind("choice")
def legs_longer_than_the_chest(chest: Chest, folder: Path) -> Path:
    """A run-off of the legs, twice as long as the chest and thinner, said by the descriptions."""
    legs = other(tissue(150), 5.0, SeriesDescription="Run-off legs 5.0")
    return beside(chest, folder, legs, SeriesDescription="Thorax 7.5")


@kind("choice", warned="ranks first by its header but holds no lungs")
def legs_that_nothing_names(chest: Chest, folder: Path) -> Path:
    """The same where no header says which part of the body it is."""
    return beside(chest, folder, other(tissue(150), 5.0))


@kind("choice", warned="ranks first by its header but holds no lungs")
def head_called_a_chest(chest: Chest, folder: Path) -> Path:
    """A head whose header calls it a chest, as scanners do where the protocol wasn't changed."""
    return beside(chest, folder, other(tissue(170), 2.0, BodyPartExamined="CHEST"))


@kind("choice", refused=r"ml of lung.*nor do the 1 other series")
def no_lungs_in_any_series(chest: Chest, folder: Path) -> Path:
    """A head and legs in one study, no chest."""
    other(tissue(60), 2.0).write(folder / "head")
    other(tissue(150), 5.0, SeriesInstanceUID="1.2.3.4").write(folder / "legs")
    return folder


@kind("choice")
def sharp_kernel_with_the_smaller_uid(chest: Chest, folder: Path) -> Path:
    """Two reconstructions, I30f and I70f, the sharp one with the smaller UID (and mirrored, to tell them apart)."""
    sharp = other(chest.hu[::-1], ConvolutionKernel=["I70f", "3"], SeriesInstanceUID="1.2")
    return beside(chest, folder, sharp, ConvolutionKernel=["I30f", "3"])


@kind("choice", warned="A thinner series of this study was not chosen.*it is derived")
def thinner_but_derived(chest: Chest, folder: Path) -> Path:
    """A thinner series that is derived: the original is taken, and the other named."""
    return beside(chest, folder, other(tissue(100), 3.0, ImageType=["DERIVED", "SECONDARY", "AXIAL"]))


@kind("choice")
def companions_of_macos(chest: Chest, folder: Path) -> Path:
    """A volume with macOS's "._" file of attributes beside it, as on foreign disks and in archives."""
    import nibabel

    nibabel.save(nibabel.Nifti1Image(chest.hu, chest.affine_ras), folder / "ct.nii.gz")
    (folder / "._ct.nii.gz").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(100))
    return folder


@kind("choice")
def name_in_gbk_without_a_character_set(chest: Chest, folder: Path) -> Path:
    """A patient's name in GBK where no character set is declared."""
    chest.series(PatientName="NNNN").write(folder)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"NNNN", "张三".encode("gbk")))
    return folder


@kind("choice", warned="air without any tissue, as in a phantom", volume_error=0.04)
def lungs_of_air(chest: Chest, folder: Path) -> Path:
    """A phantom whose lungs hold nothing but air, as those that volumetry is tested with."""
    # the voxels of the border become air, too, which makes the lungs 3 % larger
    dense = chest.hu > -300
    inside = np.ones_like(dense)
    for axis in (0, 1):  # what has body on all four sides
        inside &= np.maximum.accumulate(dense, axis)
        inside &= np.flip(np.maximum.accumulate(np.flip(dense, axis), axis), axis)
    return Chest(np.where(inside & (chest.hu < -300), np.int16(-1000), chest.hu)).series().write(folder)
