"""Nodules against an earlier examination of the same patient: new, gone, and by how much the others grew."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from monai_lung.clinical.growth_rates import doubling_days, percent_volume_change, volume_status
from monai_lung.clinical.registration import Alignment, register, register_masks
from monai_lung.errors import PriorError
from monai_lung.model import CT, Growth, Lungs, Measurements, Point, Prior

logger = logging.getLogger(__name__)

GATE_MM = {"ct": 10.0, "result": 15.0}
"""Farther apart than this, beyond the nodule's own radius, two nodules aren't the same one. About three times the mean
error of either registration on a real pair of scans."""


@dataclass(frozen=True)
class PriorNodule:
    """A nodule of the earlier examination: centre in its LPS mm, volume, mean diameter."""

    center_mm: Point
    volume_mm3: float
    mean_diameter_mm: float


@dataclass(frozen=True)
class PriorExamination:
    """What is left of an earlier examination.

    Attributes:
        lungs: its lung mask.
        affine_lps: (4, 4) of the mask's grid.
        nodules: what was found in it.
        study_date: None where not known: then no doubling time.
        patient_key: "" where not known.
        ct: the CT itself; without it the masks alone are registered, which is coarser.
    """

    lungs: Lungs
    affine_lps: NDArray[np.float64]
    nodules: Sequence[PriorNodule | Measurements] = ()
    study_date: datetime.date | None = None
    patient_key: str = ""
    ct: CT | None = None


def compare(
    nodules: Sequence[Measurements], ct: CT, lungs: Lungs, prior: PriorExamination, *, force: bool = False
) -> tuple[list[Growth], Prior]:
    """Match the nodules of two examinations one to one, and say how each has changed.

    A change of volume below 25 % is stable and gets no doubling time; beyond that it's growing, slow-growing (doubles
    in more than 600 days) or shrinking.

    Args:
        nodules: of the current examination.
        ct: the current CT.
        lungs: its lungs.
        prior: the earlier examination.
        force: compare although the patients differ or the earlier examination is the later one.

    Returns:
        growth, in the order of `nodules`; and the earlier examination with the nodules that are gone.

    Raises:
        PriorError: another patient or a later date (without `force`), or lungs that can't be aligned.
    """
    check_prior(ct, prior, force=force)
    if prior.ct is None:
        alignment = register_masks(lungs, ct.affine_lps, prior.lungs, prior.affine_lps)
    else:
        alignment = register(ct, lungs, prior.ct, prior.lungs)
    source = "result" if prior.ct is None else "ct"
    pairs = match(nodules, prior.nodules, alignment, GATE_MM[source])
    days = _interval_days(ct.study_date, prior.study_date)
    growth = [
        _growth(nodule, prior.nodules[pairs[i]], prior.study_date, days)
        if i in pairs
        else Growth("new", prior_date=prior.study_date, interval_days=days)
        for i, nodule in enumerate(nodules)
    ]
    matched = set(pairs.values())
    gone = tuple((n.center_mm, n.volume_mm3) for j, n in enumerate(prior.nodules) if j not in matched)
    logger.info("prior: %d nodules matched, %d new, %d gone", len(pairs), len(nodules) - len(pairs), len(gone))
    return growth, Prior(prior.study_date, "result" if prior.ct is None else "ct", gone, alignment.residual_mm)


def check_prior(ct: CT, prior: PriorExamination, *, force: bool = False) -> None:
    """Refuse an earlier examination of another patient, or one that is later.

    Worth calling before the earlier CT is analysed.

    Raises:
        PriorError: unless `force`.
    """
    if force:
        return
    if ct.patient_key and prior.patient_key and ct.patient_key != prior.patient_key:
        raise PriorError(f"{ct.name}: the earlier examination is of another patient; --force compares all the same")
    if ct.study_date and prior.study_date and prior.study_date > ct.study_date:
        raise PriorError(
            f"{ct.name}: the earlier examination is of {prior.study_date}, later than this one of {ct.study_date}: "
            "swap them, or --force"
        )


def match(
    nodules: Sequence[Measurements],
    earlier: Sequence[PriorNodule | Measurements],
    alignment: Alignment,
    gate_mm: float,
) -> dict[int, int]:
    """Pairs (index now, index earlier), one to one, that are nearest in sum; none farther apart than the gate.

    The gate widens by the radius of the larger nodule: the centres of two outlines of a mass may lie that far apart.
    """
    if not nodules or not earlier:
        return {}
    here = alignment.to_moving(np.array([n.center_mm for n in nodules]))
    there = np.array([n.center_mm for n in earlier])
    distance = np.linalg.norm(here[:, None] - there[None], axis=2)
    radius = np.maximum.outer([n.mean_diameter_mm / 2 for n in nodules], [n.mean_diameter_mm / 2 for n in earlier])
    # Beyond the gate every pair is as bad as none, or one such pair could tear two good ones apart.
    within = distance / (gate_mm + radius)
    rows, columns = linear_sum_assignment(np.minimum(within, 1.0))
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if within[i, j] < 1}


def _growth(
    nodule: Measurements, earlier: PriorNodule | Measurements, date: datetime.date | None, days: int | None
) -> Growth:
    status = volume_status(earlier.volume_mm3, nodule.volume_mm3, days)
    grows = status in ("growing", "slow-growing") and days is not None and days > 0
    return Growth(
        status=status,
        prior_center_mm=earlier.center_mm,
        prior_volume_mm3=earlier.volume_mm3,
        prior_mean_diameter_mm=earlier.mean_diameter_mm,
        volume_change_percent=percent_volume_change(earlier.volume_mm3, nodule.volume_mm3),
        doubling_days=doubling_days(earlier.volume_mm3, nodule.volume_mm3, days) if grows and days else None,
        prior_date=date,
        interval_days=days,
    )


def _interval_days(current: datetime.date | None, earlier: datetime.date | None) -> int | None:
    """Days from the earlier examination to this one; None where a date is missing or the order is wrong."""
    if current is None or earlier is None or earlier > current:
        return None
    return (current - earlier).days
