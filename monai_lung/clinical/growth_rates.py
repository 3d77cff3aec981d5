"""Volume change, doubling time and what they are called (NELSON, BTS 2015, Lung-RADS v2022)."""

from __future__ import annotations

import math
from typing import Literal

from monai_lung.errors import UsageError

SIGNIFICANT_PERCENT = 25.0
"""A smaller change of volume is within the error of two measurements: stable."""

SLOW_BEYOND_DAYS = 600.0
"""Volume doubling times: up to 400 days fast, to 600 intermediate, beyond slow."""

LUNG_RADS_GROWTH_MM = 1.5
LUNG_RADS_WINDOW_DAYS = 366
"""Growth for Lung-RADS: the mean diameter up by more than this within 12 months."""


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


def volume_status(
    prior_mm3: float, current_mm3: float, days: float | None
) -> Literal["stable", "growing", "slow-growing", "shrinking"]:
    """What a change of volume is called: beyond 25 % growing or shrinking, slow if it doubles in more than 600 days.

    Without an interval, or with one that isn't above 0, growth is never called slow.
    """
    change = percent_volume_change(prior_mm3, current_mm3)
    if round(change, 9) <= -SIGNIFICANT_PERCENT:
        return "shrinking"
    if round(change, 9) < SIGNIFICANT_PERCENT:
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
            raise UsageError(f"{value} is no size or interval: give a number above 0")
