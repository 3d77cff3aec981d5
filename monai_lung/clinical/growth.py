"""Nodules against an earlier examination of the same patient: new, gone, and by how much the others grew."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from monai_lung.clinical.axes import axial_axis
from monai_lung.clinical.growth_rates import doubling_days, error_percent, growth_status, percent_volume_change
from monai_lung.clinical.guidelines.change import change_of, solid_change
from monai_lung.clinical.registration import Alignment, register, register_masks
from monai_lung.errors import PriorError
from monai_lung.model import CT, Growth, Lungs, Measurements, Outline, Point, Prior, Texture

logger = logging.getLogger(__name__)

GATE_MM = {"ct": 10.0, "result": 15.0}
"""Farther apart than this, beyond the nodule's own radius, two nodules aren't the same one. About three times the mean
error of either registration on a real pair of scans."""

COVERED_MM = 15.0
"""An earlier nodule is covered by the scan of today where some lung of today comes to lie this near."""

SAMPLES = 2000
"""Points of the lungs that are carried over to find out."""


@dataclass(frozen=True)
class PriorNodule:
    """A nodule of the earlier examination.

    Attributes:
        center_mm: in that examination's LPS mm.
        volume_mm3, mean_diameter_mm: its size.
        long_axis_mm, short_axis_mm, texture, solid_mean_diameter_mm: None where not known.
        category: its Lung-RADS category then, where it was said.
        outline: in the earlier CT.
    """

    center_mm: Point
    volume_mm3: float
    mean_diameter_mm: float
    long_axis_mm: float | None = None
    short_axis_mm: float | None = None
    texture: Texture | None = None
    solid_mean_diameter_mm: float | None = None
    category: str | None = None
    outline: Outline | None = None

    @classmethod
    def of(cls, measured: Measurements, outline: Outline | None = None) -> PriorNodule:
        """Its measurements."""
        return cls(
            measured.center_mm,
            measured.volume_mm3,
            measured.mean_diameter_mm,
            measured.long_axis_mm,
            measured.short_axis_mm,
            measured.texture,
            measured.solid_mean_diameter_mm,
            outline=outline,
        )


Look = Callable[[Sequence[Point], Sequence[float]], Sequence[PriorNodule | None]]
"""Measures what the earlier CT shows at places (its LPS mm) where nodules of so many mm are now; None: nothing."""


@dataclass(frozen=True)
class PriorExamination:
    """The earlier examination, as far as it is available.

    Attributes:
        lungs: its lung mask.
        affine_lps: (4, 4) of the mask's grid.
        nodules: what was reported in it.
        study_date: None where not known: then no doubling time.
        patient_key: "" where not known.
        ct: the CT itself; without it the masks alone are registered, which is coarser.
        candidates: what was found in it below the operating point: it can be matched, but isn't gone.
        series_uid, sha256: what it was made from, "" where not known.
    """

    lungs: Lungs
    affine_lps: NDArray[np.float64]
    nodules: Sequence[PriorNodule | Measurements] = ()
    study_date: datetime.date | None = None
    patient_key: str = ""
    ct: CT | None = None
    candidates: Sequence[PriorNodule | Measurements] = ()
    series_uid: str = ""
    sha256: str = ""

    @property
    def thickness_mm(self) -> float:
        """Of its slices."""
        return slice_mm(self.ct) if self.ct else float(np.linalg.norm(self.affine_lps[:3, axial_axis(self.affine_lps)]))


def slice_mm(ct: CT) -> float:
    """Thickness of a CT's slices, or their distance where that is more."""
    stored = (ct.series.thickness_mm if ct.series else None) or 0.0
    return max(ct.spacing_mm[axial_axis(ct.affine_lps)], stored)


def compare(
    nodules: Sequence[Measurements],
    ct: CT,
    lungs: Lungs,
    prior: PriorExamination,
    *,
    allow_other_patient: bool = False,
    look: Look | None = None,
) -> tuple[list[Growth], Prior]:
    """Match the nodules of two examinations one to one, and say how each has changed.

    Whether a nodule grew is one verdict for all guidelines (`growth_rates.growth_status`). What has no partner is
    looked for in the earlier CT, at the place where the registration puts it.

    Args:
        nodules: of the current examination.
        ct: the current CT.
        lungs: its lungs.
        prior: the earlier examination.
        allow_other_patient: compare although the patients differ or the earlier examination is the later one.
        look: measures what the earlier CT shows at a place; without it nobody looks.

    Returns:
        growth, in the order of `nodules`; and the earlier examination with the nodules that are gone.

    Raises:
        PriorError: another patient or a later date (without `allow_other_patient`), the same scan, or lungs that can't
            be aligned.
    """
    check_prior(ct, prior, allow_other_patient=allow_other_patient)
    if prior.ct is None:
        alignment = register_masks(lungs, ct.affine_lps, prior.lungs, prior.affine_lps)
    else:
        alignment = register(ct, lungs, prior.ct, prior.lungs)
    source = "result" if prior.ct is None else "ct"
    earlier = [n if isinstance(n, PriorNodule) else PriorNodule.of(n) for n in (*prior.nodules, *prior.candidates)]
    pairs = match(nodules, earlier, alignment, GATE_MM[source])
    partners: list[PriorNodule | None] = [earlier[pairs[i]] if i in pairs else None for i in range(len(nodules))]
    mapped = [_point(p) for p in alignment.to_moving(np.array([n.center_mm for n in nodules]))] if nodules else []
    seen = _looked(nodules, mapped, partners, prior, look)
    growth = [
        _growth(nodule, seen[i] or partners[i], ct, prior, mapped[i], pairs.get(i, len(earlier)) < len(prior.nodules))
        for i, nodule in enumerate(nodules)
    ]
    if look is not None and prior.ct is not None:
        growth = [replace(g, prior_visible=False) if g.status == "new" else g for g in growth]
    gone = _gone(earlier[: len(prior.nodules)], set(pairs.values()), ct, lungs, alignment)
    new = sum(g.status == "new" for g in growth)
    logger.info("prior: %d nodules matched, %d new, %d gone", len(pairs), new, len(gone))
    places = tuple((n.center_mm, n.volume_mm3) for n in gone)
    outlines = tuple(n.outline for n in gone if n.outline is not None)
    return growth, Prior(
        prior.study_date,
        "result" if prior.ct is None else "ct",
        places,
        alignment.residual_mm,
        prior.ct,
        gone_now_mm=tuple(_point(p) for p in alignment.to_fixed(np.array([n.center_mm for n in gone]))),
        gone_outlines=outlines if len(outlines) == len(gone) else (),
    )


def check_prior(ct: CT, prior: PriorExamination, *, allow_other_patient: bool = False) -> None:
    """Refuse the scan itself as its own prior, an earlier examination of another patient, or one that is later.

    Worth calling before the earlier CT is analysed.

    Raises:
        PriorError: the same scan; or, without `allow_other_patient`, another patient or a later date.
    """
    if _same_scan(ct, prior):
        raise PriorError(f"{ct.name}: the prior is this very scan: give an earlier examination")
    if allow_other_patient:
        return
    if ct.patient_key and prior.patient_key and ct.patient_key != prior.patient_key:
        raise PriorError(
            f"{ct.name}: the earlier examination is of another patient; --allow-other-patient compares all the same"
        )
    if ct.study_date and prior.study_date and prior.study_date > ct.study_date:
        raise PriorError(
            f"{ct.name}: the earlier examination is of {prior.study_date}, later than this one of {ct.study_date}: "
            "swap them, or give --allow-other-patient"
        )


def _same_scan(ct: CT, prior: PriorExamination) -> bool:
    """Whether both are one scan: by its series, the hash of its file, or voxel by voxel."""
    uid = ct.series.uid if ct.series else ""
    if (uid and uid == prior.series_uid) or (ct.sha256 and ct.sha256 == prior.sha256):
        return True
    other = prior.ct
    return other is not None and ct.hu.shape == other.hu.shape and bool(np.array_equal(ct.hu, other.hu))


def match(
    nodules: Sequence[Measurements],
    earlier: Sequence[PriorNodule],
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


def _looked(
    nodules: Sequence[Measurements],
    mapped: Sequence[Point],
    partners: Sequence[PriorNodule | None],
    prior: PriorExamination,
    look: Look | None,
) -> list[PriorNodule | None]:
    """Nodules without a partner as the earlier CT shows them, without those that are another nodule's partner."""
    seen: list[PriorNodule | None] = [None] * len(nodules)
    alone = [i for i, partner in enumerate(partners) if partner is None and _covered(mapped[i], prior)]
    if look is None or prior.ct is None or not alone:
        return seen
    taken = [p for p in partners if p is not None]
    found = look([mapped[i] for i in alone], [nodules[i].equivalent_diameter_mm for i in alone])
    for i, sighting in zip(alone, found, strict=True):
        if sighting is not None and not any(_same_place(sighting, other) for other in taken):
            seen[i] = sighting
            taken.append(sighting)
    return seen


def _same_place(a: PriorNodule, b: PriorNodule) -> bool:
    distance = float(np.linalg.norm(np.subtract(a.center_mm, b.center_mm)))
    return distance < max(a.mean_diameter_mm, b.mean_diameter_mm) / 2


def _covered(point: Point, prior: PriorExamination) -> bool:
    """Whether a place lies in the earlier examination's grid."""
    index = np.linalg.solve(prior.affine_lps, [*point, 1.0])[:3]
    return bool(np.all((index >= -0.5) & (index <= np.array(prior.lungs.labels.shape) - 0.5)))


def _growth(
    nodule: Measurements, earlier: PriorNodule | None, ct: CT, prior: PriorExamination, mapped: Point, detected: bool
) -> Growth:
    """Growth of one nodule; `detected`: the earlier examination reported it."""
    days = _interval_days(ct.study_date, prior.study_date)
    basis = Growth("new", prior_date=prior.study_date, interval_days=days, mapped_mm=mapped)
    if earlier is None:
        return basis if _covered(mapped, prior) else replace(basis, status="not-covered")
    thickness_mm = max(slice_mm(ct), prior.thickness_mm)
    measured = replace(
        basis,
        status="stable",
        prior_center_mm=earlier.center_mm,
        prior_volume_mm3=earlier.volume_mm3,
        prior_mean_diameter_mm=earlier.mean_diameter_mm,
        prior_visible=True if prior.ct is not None else None,
        prior_detected=detected,
        prior_long_axis_mm=earlier.long_axis_mm,
        prior_short_axis_mm=earlier.short_axis_mm,
        prior_texture=earlier.texture,
        prior_solid_mean_diameter_mm=earlier.solid_mean_diameter_mm,
        mean_diameter_change_mm=nodule.mean_diameter_mm - earlier.mean_diameter_mm,
        volume_change_percent=percent_volume_change(earlier.volume_mm3, nodule.volume_mm3),
        error_percent=error_percent(thickness_mm, max(nodule.mean_diameter_mm, earlier.mean_diameter_mm)),
        prior_category=earlier.category,
        prior_outline=earlier.outline,
    )
    measured = replace(measured, solid_change_mm=solid_change(nodule, measured))
    change = change_of(nodule, measured)
    if days == 0 or change is None:
        return replace(measured, status="same-day")
    status = growth_status(change)
    rises = status in ("growing", "slow-growing") and nodule.volume_mm3 > earlier.volume_mm3
    doubling = doubling_days(earlier.volume_mm3, nodule.volume_mm3, days) if rises and days else None
    return replace(measured, status=status, doubling_days=doubling)


def _gone(
    earlier: Sequence[PriorNodule], matched: set[int], ct: CT, lungs: Lungs, alignment: Alignment
) -> list[PriorNodule]:
    """Earlier nodules without a partner whose place the current scan covers."""
    left = [n for j, n in enumerate(earlier) if j not in matched]
    if not left:
        return []
    index = np.argwhere(lungs.labels[::2, ::2, ::2]) * 2
    points = ct.to_world(index[:: max(1, len(index) // SAMPLES)].astype(np.float64))
    there = alignment.to_moving(points)
    return [n for n in left if np.linalg.norm(there - n.center_mm, axis=1).min() <= COVERED_MM]


def _point(values: NDArray[np.float64]) -> Point:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _interval_days(current: datetime.date | None, earlier: datetime.date | None) -> int | None:
    """Days from the earlier examination to this one; None where a date is missing or the order is wrong."""
    if current is None or earlier is None or earlier > current:
        return None
    return (current - earlier).days
