"""From a path or a case to a CT in memory."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import DamagedSlicesError, DecodeError, InputError, UsageError
from monai_lung.io.cases import Case, find_cases
from monai_lung.io.charset import guessed, undeclared
from monai_lung.io.content import content_sha256
from monai_lung.io.geometry import Layout, lay_out
from monai_lung.io.header import Header
from monai_lung.io.paths import shown
from monai_lung.io.pixels import check_hu, read_pixels
from monai_lung.io.plane import source_slices
from monai_lung.io.series import headers_of
from monai_lung.model import CT, Series, SourceSlice

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SALT = "monai-lung"


def read_ct(path: Case | Path | str, *, series_uid: str | None = None, allow_gaps: bool = False) -> CT:
    """Read one chest CT: a DICOM folder, zip or file, NIfTI, NRRD or MHA, or a case of `find_cases`.

    The array of the result is a view with its first axis contiguous in memory, as images are stored.

    Args:
        path: the path, which must hold one case, or a case.
        series_uid: the DICOM series to read; without it the best axial CT is chosen (`io.series.choose`).
        allow_gaps: interpolate missing slices and unequal distances rather than refuse them.

    Returns:
        The CT; `patient_key` is a hash of issuer and patient ID, salted with the environment variable
        MONAI_LUNG_SALT (a site's secret makes it impossible to find an ID by trying) or a fixed word.

    Raises:
        UsageError: the path isn't there, or holds several cases.
        NoSeriesError: nothing there can be read.
        NotCTError: not a CT in HU.
        GeometryError: the slices form no regular volume.
        DecodeError: a file is damaged, truncated, vanished, or needs a decoder that is missing.

    >>> import tempfile
    >>> from monai_lung.phantom import PhantomSpec, make_phantom, write_phantom
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_phantom(make_phantom(PhantomSpec(size=64, pixel_mm=6, slices=20, spacing_mm=15)), Path(folder))
    ...     ct = read_ct(Path(folder, "dicom"))
    >>> ct.hu.shape, ct.spacing_mm
    ((64, 64, 20), (6.0, 6.0, 15.0))
    """
    case = path if isinstance(path, Case) else one_case(path, series_uid)
    return _read_volume(case) if case.series is None else _read_series(case, case.series, allow_gaps)


def one_case(path: Path | str, series_uid: str | None = None) -> Case:
    """The only case of a path; errors as `read_ct`."""
    cases = find_cases(path, series_uid)
    if len(cases) > 1:
        raise UsageError(f"{shown(path)} holds {len(cases)} cases: name one file, one study, or a series UID")
    return cases[0]


def lay_out_case(case: Case, allow_gaps: bool = False) -> Layout:
    """The grid of a DICOM case by its headers, before any pixel is decoded: whatever refuses a series does so here.

    Raises:
        UsageError: the case is a volume file.
        GeometryError: the slices form no regular volume.
        DecodeError: a file vanished, or can't be read any more.
    """
    if case.series is None:
        raise UsageError(f"{shown(case.path)} is not a DICOM series")
    try:
        return lay_out(case.headers or headers_of(case.series), allow_gaps)
    except OSError as error:
        raise DecodeError(f"a file of series {case.series.uid} can't be read any more: {error.strerror}") from error


def refusal(case: Case, allow_gaps: bool = False) -> str:
    """Why `read_ct` would refuse a DICOM case, by its headers; "" where it would continue to the pixels."""
    try:
        lay_out_case(case, allow_gaps)
    except InputError as error:
        return str(error)
    return ""


def _read_volume(case: Case) -> CT:
    from monai_lung.io.volumes import read_volume

    hu, affine, warnings, resampled = read_volume(case.path)
    check_hu(hu, shown(case.path))
    digest = content_sha256(case)
    warnings = case.warnings + warnings
    return CT(hu, affine, case.name, case.source, warnings=warnings, resampled=resampled, sha256=digest)


def _read_series(case: Case, series: Series, allow_gaps: bool) -> CT:
    layout, grid, left_out = _stack(case, allow_gaps)
    if not layout.even:
        from monai_lung.io.resample import resample

        grid = resample(grid, layout)
    check_hu(grid, f"series {series.uid}")
    first, slices = layout.headers[0], source_slices(layout.headers)
    frames = {h.frame_of_reference_uid for h in layout.headers}
    patient_key, patient = _patient(first)
    return CT(
        hu=grid.transpose(2, 1, 0),
        affine_lps=layout.affine_lps,
        name=case.name,
        path=case.source,
        series=replace(series, files=tuple(dict.fromkeys(h.path for h in layout.headers))),
        frame_of_reference_uid=frames.pop() if len(frames) == 1 else "",
        slices=slices,
        resampled=layout.resampled,
        warnings=case.warnings + left_out + _value_warnings(layout.headers) + _name_warnings(slices) + layout.warnings,
        study_date=series.study_date,
        patient_key=patient_key,
        patient=patient,
        sha256=content_sha256(case),
    )


def _stack(case: Case, allow_gaps: bool) -> tuple[Layout, NDArray[np.int16], tuple[str, ...]]:
    """The layout of slices, their pixels (n, rows, columns) as they are, and a warning of those that were left out."""
    layout = lay_out_case(case, allow_gaps)
    try:
        return layout, read_pixels(layout.headers, layout.reduction), ()
    except DamagedSlicesError as error:
        if not allow_gaps:
            raise
        bad = set(error.slices)
    sound = tuple(h for k, h in enumerate(layout.headers) if k not in bad)
    warning = f"{len(bad)} of {len(layout.headers)} slices can't be read and were left out."
    layout = lay_out(sound, allow_gaps)
    return layout, read_pixels(layout.headers, layout.reduction), (warning,)


def _value_warnings(headers: tuple[Header, ...]) -> tuple[str, ...]:
    found = []
    slope, intercept = headers[0].slope, headers[0].intercept  # all have one, or none has
    if slope is None and intercept is None:
        found.append("Slices without a rescale: their stored values were taken as HU.")
    elif slope is None or intercept is None:
        what = "slope: 1" if slope is None else "intercept: 0"
        found.append(f"Slices without a rescale {what} was taken.")
    parts, files = headers[0].parts, len({h.path for h in headers})
    if parts > files:
        found.append(f"Only {files} of the {parts} files of this image are present: part of the chest may be missing.")
    if any(h.lossy for h in headers):
        found.append("The images were compressed lossily: small and faint nodules may be altered.")
    return tuple(found)


def _name_warnings(slices: tuple[SourceSlice, ...]) -> tuple[str, ...]:
    nameless = sum(not one.sop_instance_uid for one in slices)
    if not nameless:
        return ()
    what = f"{nameless} of {len(slices)} slices have no SOPInstanceUID, or share it with others"
    return (f"{what}: DICOM SEG and SR name them by UIDs made from their positions, which no archive knows.",)


def _patient(header: Header) -> tuple[str, tuple[str, ...]]:
    """Salted key of the patient ("" without an ID), and name and ID."""
    from pydicom import dcmread

    try:
        tags = ["PatientName", "PatientID", "IssuerOfPatientID"]
        data = dcmread(header.path, stop_before_pixels=True, force=True, specific_tags=tags)
        name, number, issuer = (_element(data, tag) for tag in tags)
    except Exception:  # unknown characters, a file that is gone by now: the image is read all the same
        return "", ()
    if not number:
        return "", (name,) if name else ()
    salt = os.environ.get("MONAI_LUNG_SALT") or _SALT
    return hashlib.sha256("\0".join((salt, issuer, number)).encode()).hexdigest()[:32], (name, number)


def _element(data: Dataset, keyword: str) -> str:
    """An element as text, "" where it's missing; one that can't be read says so, and is told apart by its bytes."""
    raw = undeclared(data, keyword)
    if raw is None:
        return str(data.get(keyword) or "").strip()
    return guessed(raw) or f"({keyword} can't be read: its character set isn't declared; bytes {raw.hex()})"
