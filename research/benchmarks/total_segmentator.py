"""The steps of TotalSegmentator before and after its networks, by its own code. Runs in the peers' environment.

The calls and their arguments are those of its `nnUNet_predict_image` for the task `total` at 1.5 mm.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from research.benchmarks.child import Job, Run

SPACING_MM, LABELS, SMALL_MM3 = 1.5, 117, 200


def read(job: Job) -> Run:
    """A DICOM folder to a NIfTI file."""
    from totalsegmentator.dicom_io import dcm_to_nifti

    def run() -> None:
        with TemporaryDirectory() as folder:
            dcm_to_nifti(job.path, Path(folder) / "ct.nii.gz")

    return run


def resample(job: Job) -> Run:
    """The CT to 1.5 mm, cubic."""
    from totalsegmentator.resampling import change_spacing

    image = _image(job)

    def run() -> None:
        change_spacing(image, SPACING_MM, order=3, dtype=np.int32, nr_cpus=1)

    return run


def resample_back(job: Job) -> Run:
    """A label map back to the CT's grid."""
    from totalsegmentator.resampling import change_spacing

    image = _image(job)
    labels = _labels(image)

    def run() -> None:
        grid = {"target_shape": image.shape, "force_affine": image.affine}
        change_spacing(labels, SPACING_MM, order=1, dtype=np.uint8, nr_cpus=1, crop_resample=True, **grid)

    return run


def postprocess(job: Job) -> Run:
    """Small pieces of every label removed; TotalSegmentator does this on request."""
    from totalsegmentator.map_to_binary import class_map
    from totalsegmentator.postprocessing import remove_small_blobs_multilabel

    array = np.asarray(_labels(_image(job)).dataobj)
    names = class_map["total"]
    interval = [SMALL_MM3 / SPACING_MM**3, 1e10]

    def run() -> None:
        remove_small_blobs_multilabel(array.copy(), names, list(names.values()), interval=interval, quiet=True)

    return run


def _image(job: Job) -> Any:
    """The CT as a canonical NIfTI image in memory."""
    import nibabel as nib
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(job.path)))
    image = reader.Execute()
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    affine = np.diag([*image.GetSpacing(), 1.0])
    return nib.Nifti1Image(array.astype(np.int16), affine)


def _labels(image: Any) -> Any:
    """As many labels as TotalSegmentator has, each a ball, on the 1.5 mm grid: real ones can't be had."""
    import nibabel as nib

    shape = np.rint(np.array(image.shape) * image.header.get_zooms() / SPACING_MM).astype(int)
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    for label in range(1, LABELS + 1):
        radius = int(rng.integers(4, 24))
        center = [int(rng.integers(radius, max(n - radius, radius + 1))) for n in shape]
        box = tuple(slice(max(0, c - radius), min(n, c + radius + 1)) for c, n in zip(center, shape, strict=True))
        x, y, z = (i - c for i, c in zip(np.ogrid[box], center, strict=True))
        labels[box][x**2 + y**2 + z**2 <= radius**2] = label
    return nib.Nifti1Image(labels, np.diag([SPACING_MM] * 3 + [1.0]))
