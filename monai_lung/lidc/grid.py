"""Where the readers' contours lie in a CT that was read from a download."""

from __future__ import annotations

import numpy as np

from monai_lung.errors import InputError
from monai_lung.lidc.index import Scan
from monai_lung.lidc.nodules import MarkedNodule, marked_nodules
from monai_lung.lidc.votes import ReaderMasks, draw_masks
from monai_lung.model import CT


def check_scan(ct: CT, scan: Scan) -> None:
    """Make sure that a CT is the scan that the index speaks of, on the grid that the readers drew on.

    Raises:
        InputError: another series, no DICOM series at all, resampled, or slices of the scan are missing.
    """
    uid = ct.series.uid if ct.series else None
    if uid != scan.series_uid:
        raise InputError(f"{ct.name} is series {uid}, not {scan.series_uid}: give the DICOM folder of {scan.patient}")
    if ct.resampled:
        raise InputError(f"{ct.name}: tilted slices or gaps, to which the readers' contours don't fit: leave it out")
    z_mm = np.array([source.affine_lps[2, 3] for source in ct.slices])
    wanted = np.unique(scan.slice_z_mm)
    missing = int((np.abs(wanted[:, None] - z_mm).min(1) > _tolerance_mm(ct)).sum())
    if missing:
        where = f"{len(wanted)} slices of series {uid}"
        raise InputError(f"{missing} of {where} are missing: download {scan.patient} again")


def draw_nodules(ct: CT, scan: Scan) -> list[tuple[MarkedNodule, ReaderMasks]]:
    """The scan's nodules with their readers' masks on the CT's own grid.

    Raises:
        InputError: the CT isn't the scan (see `check_scan`), or an outline lies outside it.
    """
    check_scan(ct, scan)
    z_mm = np.array([source.affine_lps[2, 3] for source in ct.slices])

    def slice_of(position_mm: float) -> int:
        k = int(np.abs(z_mm - position_mm).argmin())
        if abs(z_mm[k] - position_mm) > _tolerance_mm(ct):
            raise InputError(f"{ct.name} has no slice at z = {position_mm} mm, where a reader drew: download it again")
        return k

    nodules = [(nodule, draw_masks(nodule.annotations, slice_of)) for nodule in marked_nodules(scan)]
    for nodule, masks in nodules:
        if min(masks.offset) < 0 or (np.add(masks.offset, masks.bits.shape) > ct.hu.shape).any():
            raise InputError(f"{nodule.id}: an outline lies outside the image {ct.hu.shape}: download the series again")
    return nodules


def _tolerance_mm(ct: CT) -> float:
    """Half the distance of two slices."""
    return ct.spacing_mm[2] / 2
