"""Volume change, doubling time and what they are called (NELSON, BTS 2015, Lung-RADS v2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from monai_lung.errors import UsageError

VolumeStatus = Literal["stable", "growing", "slow-growing", "shrinking"]

SIGNIFICANT_PERCENT = 25.0
"""A smaller change of volume is within the error of two measurements in slices of up to `THIN_MM`: stable (NELSON, BTS
2015; scans repeated on one day differ by up to 25-27 %, Marchiano et al., Radiology 2009;251:919)."""

THIN_MM = 1.5
"""In thicker slices the error grows with the thickness (Nietert et al., Chest 2009;135:1580)."""

SLICED_MM = 10.0
"""Nodules up to this size lie in so few thick slices that their error is that of the thickness; beyond, it shrinks."""

SLOW_BEYOND_DAYS = 600.0
"""Volume doubling times: up to 400 days fast, to 600 intermediate, beyond slow."""

MAX_LOSS_PERCENT = 50.0
"""A volume that halves has shrunk, however thick the slices."""

LUNG_RADS_GROWTH_MM = 1.5
LUNG_RADS_WINDOW_DAYS = 366
"""Growth for Lung-RADS: the mean diameter up by more than this within 12 months."""

DOUBLED = 2.0
"""Below 6 mm a volume doubles before the diameter has grown by 1.5 mm: a doubling within 12 months is growth too. Ours:
Lung-RADS names no volume that could be used."""


def percent_volume_change(prior_mm3: float, current_mm3: float) -> float:
    """100 (V2 - V1) / V1.

    Raises:
        UsageError: a volume that isn't above 0.
    """
    _check_positive(prior_mm3, current_mm3)
    return 100 * (current_mm3 - prior_mm3) / prior_mm3


def doubling_days(prior_mm3: float, current_mm3: float, days: float) -> float:
    """Volume doubling time, ln 2 dt / ln(V2/V1), in days: infinite without change, negative for what shrinks.

    Raises:
        UsageError: a volume or an interval that isn't above 0.
    """
    _check_positive(prior_mm3, current_mm3, days)
    ratio = math.log(current_mm3 / prior_mm3)
    return math.log(2) * days / ratio if ratio else math.inf


def error_percent(thickness_mm: float, diameter_mm: float) -> float:
    """The error of a change of volume, per cent: a smaller one is stable.

    25 % in slices of up to 1.5 mm; in thicker ones it grows in proportion to the thickness, and falls with the size of
    nodules of more than 10 mm, which lie in many slices. The proportion is ours.

    Args:
        thickness_mm: of the thicker slices of both examinations.
        diameter_mm: of the nodule.

    >>> error_percent(1.0, 8), error_percent(3.0, 8), error_percent(3.0, 20), error_percent(5.0, 40)
    (25.0, 50.0, 25.0, 25.0)
    """
    _check_positive(thickness_mm, diameter_mm)
    return SIGNIFICANT_PERCENT * max(1.0, thickness_mm / THIN_MM * min(1.0, SLICED_MM / diameter_mm))


@dataclass(frozen=True)
class Change:
    """Two measurements of one nodule: what the verdict on its growth needs.

    Attributes:
        prior_mm3, current_mm3: volumes.
        days: between them; None where not known.
        error_percent: of a change of volume.
        mean_change_mm: of the mean of both axes; None where not known.
        solid_change_mm: of the mean diameter of a subsolid nodule's solid part; None where not known, or solid.
    """

    prior_mm3: float
    current_mm3: float
    days: float | None
    error_percent: float = SIGNIFICANT_PERCENT
    mean_change_mm: float | None = None
    solid_change_mm: float | None = None

    @property
    def sphere_change_mm(self) -> float:
        """Change of the diameter of the sphere of the same volume."""
        return math.cbrt(6 * self.current_mm3 / math.pi) - math.cbrt(6 * self.prior_mm3 / math.pi)

    @property
    def solid_part_grew(self) -> bool:
        """A solid part that is new, or larger by more than 1.5 mm."""
        return self.solid_change_mm is not None and round(self.solid_change_mm, 6) > LUNG_RADS_GROWTH_MM

    @property
    def counts_for_lung_rads(self) -> bool:
        """Growth that Lung-RADS counts: 1.5 mm, or a doubling within 12 months; see `growth_status` for its pace."""
        if round(self.sphere_change_mm, 6) > LUNG_RADS_GROWTH_MM:
            return True
        recent = self.days is None or self.days <= LUNG_RADS_WINDOW_DAYS
        return recent and round(self.current_mm3 / self.prior_mm3, 6) >= DOUBLED


def growth_status(change: Change) -> VolumeStatus:
    """The one verdict on a nodule's growth, which every guideline takes.

    Growing: the solid part is new or larger by more than 1.5 mm; or the volume rose beyond its error, or its sphere's
    diameter by more than 1.5 mm, and the mean of the axes doesn't say the opposite. Slow-growing: that, but it doubles
    in more than 600 days and didn't grow by 1.5 mm within 12 months. Shrinking: the volume fell beyond its error.
    """
    _check_positive(change.prior_mm3, change.current_mm3)
    if change.solid_part_grew:
        return "growing"
    sphere_mm = round(change.sphere_change_mm, 6)
    by_volume = volume_status(change.prior_mm3, change.current_mm3, change.days, change.error_percent)
    if by_volume == "stable" and sphere_mm > LUNG_RADS_GROWTH_MM:
        by_volume = volume_status(change.prior_mm3, change.current_mm3, change.days, 0.0)
    opposite = (change.mean_change_mm or 0.0) * sphere_mm < 0
    if by_volume == "stable" or opposite:
        return "stable"
    within = change.days is None or change.days <= LUNG_RADS_WINDOW_DAYS
    return "growing" if by_volume == "slow-growing" and within and sphere_mm > LUNG_RADS_GROWTH_MM else by_volume


def volume_status(
    prior_mm3: float, current_mm3: float, days: float | None, error_percent: float = SIGNIFICANT_PERCENT
) -> VolumeStatus:
    """The name of a change of volume: beyond its error growing or shrinking, slow if it doubles in over 600 days.

    The error is that of growth, 25 % unless said otherwise; a volume shrinks by as many per cent. Without an interval,
    or with one that isn't above 0, growth is never called slow.
    """
    change = percent_volume_change(prior_mm3, current_mm3)
    if round(change, 9) <= -min(error_percent, MAX_LOSS_PERCENT):
        return "shrinking"
    if round(change, 9) < error_percent:
        return "stable"
    slow = days is not None and days > 0 and doubling_days(prior_mm3, current_mm3, days) > SLOW_BEYOND_DAYS
    return "slow-growing" if slow else "growing"


def lung_rads_growth(prior_mm: float, current_mm: float, days: float | None) -> bool | None:
    """Whether a mean diameter grew by Lung-RADS: more than 1.5 mm within 12 months.

    Returns:
        None where it grew by more than that but the interval is longer or not known: no verdict by scaling; think of
        slow growth.
    """
    _check_positive(prior_mm, current_mm)
    if round(current_mm - prior_mm, 6) <= LUNG_RADS_GROWTH_MM:
        return False
    return True if days is not None and days <= LUNG_RADS_WINDOW_DAYS else None


def _check_positive(*values: float) -> None:
    for value in values:
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{value} is not a size or interval: give a number above 0")
