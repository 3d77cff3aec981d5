"""Readers of a DICOM series, from files to Hounsfield units in memory; and reading with resampling to 1 x 1 x 2 mm."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from research.benchmarks.child import Job, Run

SPACING_MM = (1.0, 1.0, 2.0)
"""The finding network's grid."""


def own(job: Job) -> Run:
    """`read_ct`: choice of series, geometry checks, decoding."""
    from monai_lung.io import read_ct

    def run() -> None:
        read_ct(job.path)

    return run


def own_resampled(job: Job) -> Run:
    """`read_ct`, then the whole volume on the finding network's grid, as the finding stage resamples its part of it."""
    from monai_lung.grid import resample
    from monai_lung.io import read_ct

    def run() -> None:
        ct = read_ct(job.path)
        resample(ct.hu, ct.grid, ct.grid.covering(SPACING_MM))

    return run


def bare_pydicom(job: Job) -> Run:
    """A page of code with pydicom: read, sort by z, rescale, stack."""
    import pydicom

    def run() -> None:
        slices = sorted((pydicom.dcmread(p) for p in job.files), key=lambda s: float(s.ImagePositionPatient[2]))
        volume = np.stack([s.pixel_array for s in slices])
        first = slices[0]
        (volume * np.float32(first.RescaleSlope) + np.float32(first.RescaleIntercept)).astype(np.int16)

    return run


def simple_itk(job: Job) -> Run:
    """SimpleITK's series reader (GDCM)."""
    import SimpleITK as sitk

    def run() -> None:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(job.path)))
        sitk.GetArrayViewFromImage(reader.Execute())

    return run


def monai(job: Job) -> Run:
    """MONAI's `LoadImage` with the reader of the row."""
    load = _load_image(job)

    def run() -> None:
        load(str(job.path))

    return run


def monai_resampled(job: Job) -> Run:
    """MONAI's usual chain: `LoadImage`, `EnsureChannelFirst`, `Orientation`, `Spacing`."""
    from monai.transforms import Compose, EnsureChannelFirst, Orientation, Spacing

    spacing = Spacing(pixdim=SPACING_MM, mode="bilinear")
    chain = Compose([_load_image(job), EnsureChannelFirst(), Orientation(axcodes="RAS"), spacing])

    def run() -> None:
        chain(str(job.path))

    return run


def _load_image(job: Job) -> Any:
    logging.disable(logging.WARNING)  # each reader that isn't installed has its own
    from monai.transforms import LoadImage

    return LoadImage(reader=job.options["reader"], image_only=True)
