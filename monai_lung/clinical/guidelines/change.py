"""A nodule's growth as the guidelines take it: one verdict (`clinical.growth_rates`), one row of each table."""

from __future__ import annotations

from monai_lung.clinical.growth_rates import SIGNIFICANT_PERCENT, Change, growth_status
from monai_lung.clinical.guidelines.lung_rads_2022 import ORDER, lung_rads_2022
from monai_lung.clinical.guidelines.nodule import GuidelineNodule, Status
from monai_lung.model import Growth, Measurements

DAYS_PER_MONTH = 365.25 / 12


def change_of(nodule: Measurements, growth: Growth) -> Change | None:
    """The change since the earlier examination; None where nothing was measured there."""
    if growth.prior_volume_mm3 is None:
        return None
    earlier_mm = growth.prior_mean_diameter_mm
    return Change(
        growth.prior_volume_mm3,
        nodule.volume_mm3,
        growth.interval_days,
        SIGNIFICANT_PERCENT if growth.error_percent is None else growth.error_percent,
        None if earlier_mm is None else nodule.mean_diameter_mm - earlier_mm,
        solid_change(nodule, growth),
    )


def solid_change(nodule: Measurements, growth: Growth) -> float | None:
    """Change of the solid part's mean diameter in mm; None where the earlier one isn't known, or both are solid."""
    earlier_mm = growth.prior_solid_mean_diameter_mm
    solid = (nodule.texture == "solid") + (growth.prior_texture == "solid")
    if earlier_mm is None or solid == 2 or growth.prior_texture == "solid":
        return None
    return nodule.solid_mean_diameter_mm - earlier_mm


def rule_status(nodule: Measurements, growth: Growth | None) -> Status:
    """The row of the guidelines' tables that a nodule's growth leads to."""
    if growth is None or growth.status in ("same-day", "not-covered") or growth.interval_days == 0:
        return "baseline"
    if growth.status == "new":
        return "new"
    change = change_of(nodule, growth)
    if change is None:
        return "stable" if growth.status == "shrinking" else growth.status  # type: ignore[return-value]
    verdict = growth_status(change)
    if verdict in ("stable", "shrinking"):
        return "stable"
    if change.solid_part_grew:
        return "growing"
    if not change.counts_for_lung_rads or (verdict == "growing" and _solid_part_stayed(nodule, change)):
        return "larger"
    return "slow-growing" if verdict == "slow-growing" else "growing"


def _solid_part_stayed(nodule: Measurements, change: Change) -> bool:
    """Lung-RADS's growing part-solid nodule is one whose solid part grows."""
    return nodule.texture == "part-solid" and change.solid_change_mm is not None


def months_since(growth: Growth | None) -> float | None:
    """Months since the earlier examination; None where a date is missing."""
    days = growth.interval_days if growth else None
    return days / DAYS_PER_MONTH if days is not None and days > 0 else None


def prior_category(growth: Growth | None, said: str | None) -> str | None:
    """The nodule's own category at the earlier examination.

    Args:
        growth: holds it where the earlier result said it.
        said: the earlier examination's category by the user. No nodule of it had a higher one; one that its size then
            put into a lower category had that.
    """
    if growth is None or growth.prior_category is not None or said not in ORDER or growth.prior_volume_mm3 is None:
        return growth.prior_category if growth else None
    by_size = _category_then(growth)
    return said if by_size is None else min(said, by_size, key=ORDER.index)


def _category_then(growth: Growth) -> str | None:
    """Category by size at the earlier examination, as at baseline."""
    mean_mm = growth.prior_mean_diameter_mm
    if mean_mm is None or growth.prior_texture is None:
        return None
    nodule = GuidelineNodule(
        growth.prior_texture, mean_mm, mean_mm, solid_mean_diameter_mm=growth.prior_solid_mean_diameter_mm
    )
    return lung_rads_2022([nodule]).category
