"""Lung-RADS v2022 of the American College of Radiology, paraphrased: lung cancer screening CT.

The grid follows the issuer's data element RDES267; where sources differ, the choice is a named constant or its rule
says so. Lung-RADS is a mark of the ACR.
"""

from __future__ import annotations

from collections.abc import Sequence

from monai_lung.clinical.guidelines.nodule import GuidelineInputError, GuidelineNodule, Size, round_half_up
from monai_lung.model import Advice

MANAGEMENT = {
    "0": "Incomplete: get the earlier CT for comparison or more images; LDCT in 1-3 months if infection or "
    "inflammation is suspected.",
    "1": "Negative: LDCT in 12 months.",
    "2": "Benign: LDCT in 12 months.",
    "3": "Probably benign: LDCT in 6 months.",
    "4A": "Suspicious: LDCT in 3 months; PET/CT may be considered if the solid nodule or solid part is 8 mm or more.",
    "4B": "Very suspicious: referral; diagnostic chest CT, PET/CT (solid nodule or part of 8 mm or more) or tissue "
    "sampling, by the patient's preference and the probability of cancer.",
    "4X": "Very suspicious, with features that raise suspicion: as 4B.",
}
ORDER = ("1", "2", "3", "4A", "4B", "4X")

VOLUMES_MM3 = {4: 34, 6: 113, 8: 268, 10: 524, 15: 1767, 30: 14137}
"""Each diameter limit in mm, and the sphere of that diameter in whole mm3."""

MANY_NEW_NODULES = 6
"""More new nodules than this suggest infection."""

STEP_DOWN = {"3": (6.0, "2"), "4A": (3.0, "3")}
"""Earlier category: months after which a nodule that is stable or smaller steps down, and to what."""

STEP_DOWN_TOLERANCE_MONTHS = 0.5
"""A follow-up counts as the 6- (3-) month CT if it is at most this early. Ours: the guideline names no tolerance."""

_SOLID_ROWS = {  # limits in mm of 3, 4A and 4B
    "baseline": (6, 8, 15),
    "stable": (6, 8, 15),  # earlier category not known: by size
    "new": (4, 6, 8),
    "growing": (0, 0, 8),
    "slow-growing": (0, 0, 0),
}
_CYSTS = {
    "thin-walled": ("1", "thin-walled cyst: not classified"),
    "fluid-containing": ("1", "fluid-containing cyst: not classified"),
    "multiple": ("1", "multiple cysts: not classified"),
    "thick-walled-growing-space": ("3", "thick-walled cyst whose cystic space grows"),
    "thick-walled": ("4A", "thick-walled cyst"),
    "multilocular": ("4A", "multilocular cyst"),
    "becoming-multilocular": ("4A", "cyst that becomes multilocular"),
    "thick-walled-growing-wall": ("4B", "thick-walled cyst with growing wall or nodularity"),
    "multilocular-growing": ("4B", "growing multilocular cyst"),
    "multilocular-more-opacity": ("4B", "multilocular cyst with more loculation or opacity"),
}


def lung_rads_2022(
    nodules: Sequence[GuidelineNodule],
    *,
    infection: bool = False,
    incomplete: bool = False,
    significant_other: bool = False,
    size: Size = "diameter",
) -> Advice:
    """Category of a screening examination: that of its most suspicious nodule.

    Args:
        nodules: all of the examination; none is category 1.
        infection: findings suggest infection or inflammation.
        incomplete: an earlier CT is being located, or part of the lungs can't be judged.
        significant_other: a significant finding that isn't lung cancer: modifier "S".
        size: what drives the size limits; "volume" needs `volume_mm3` of each nodule. A solid part always goes by its
            mean diameter.

    Returns:
        `category` "0", "1", "2", "3", "4A", "4B" or "4X", `modifier` "S" or "". The category is None where a solid part
        that isn't known decides: then `by_risk` has the lowest and the highest possible.

    Raises:
        GuidelineInputError: a name that doesn't exist, or no volume where one is needed.
    """
    if size not in ("diameter", "volume"):
        raise GuidelineInputError(f"size {size!r} is unknown: diameter or volume")
    if size == "volume" and any(n.volume_mm3 is None for n in nodules):
        raise GuidelineInputError('size="volume" needs volume_mm3 of every nodule: measure it or use diameters')
    modifier = "S" if significant_other else ""
    inputs: dict[str, object] = {
        "infection": infection,
        "incomplete": incomplete,
        "significant_other": significant_other,
        "size": size,
        "nodules": [{**n.given(), "mean_mm": n.mean_mm, "rounded_mm": _mean(n)} for n in nodules],
    }
    low, high = (_examination(nodules, infection, incomplete, size, part) for part in (0.0, float("inf")))
    if low[0] == high[0]:
        category, rule = low if low[1] == high[1] else (low[0], f"{low[1]} or {high[1]}")
        return Advice("lung_rads_2022", category, MANAGEMENT[category], rule, inputs, (), modifier)
    by_part = {"smallest solid part": low[0], "largest solid part": high[0]}
    text = " ".join(f"{name}: {MANAGEMENT[category]}" for name, category in by_part.items())
    rule = f"{low[1]} or {high[1]}"
    missing = ("solid_mean_diameter_mm",)
    return Advice("lung_rads_2022", None, text, rule, inputs, missing, modifier, by_risk=by_part)


def _examination(
    nodules: Sequence[GuidelineNodule], infection: bool, incomplete: bool, size: Size, unknown_part_mm: float
) -> tuple[str, str]:
    """Category and rule, with a solid part that isn't known taken for `unknown_part_mm`."""
    if incomplete:
        return "0", "earlier CT being located, or lungs not evaluable in part"
    if not nodules:
        return ("0", "infection suspected") if infection else ("1", "no nodule")
    found = [_categorise(n, size, unknown_part_mm) for n in nodules]
    worst = max(found, key=lambda f: ORDER.index(f[0]))
    many = sum(n.status == "new" for n in nodules) > MANY_NEW_NODULES
    if infection or many:
        # A new solid or part-solid nodule of 4B size that looks like cancer keeps its category.
        if any(_like_cancer(n, f[0]) for n, f in zip(nodules, found, strict=True)):
            return worst
        return "0", f"more than {MANY_NEW_NODULES} new nodules" if many else "infection suspected"
    return worst


def _like_cancer(nodule: GuidelineNodule, category: str) -> bool:
    return nodule.status == "new" and nodule.texture != "ground-glass" and nodule.suspicious and category == "4X"


def _categorise(nodule: GuidelineNodule, size: Size, unknown_part_mm: float) -> tuple[str, str]:
    """Category and rule of one nodule, with 4X where its features raise suspicion."""
    category, rule = _plain(nodule, size, unknown_part_mm)
    if nodule.suspicious and category in ("3", "4A", "4B"):
        return "4X", f"{rule} ({category}), features that raise suspicion"
    return category, rule


def _plain(nodule: GuidelineNodule, size: Size, unknown_part_mm: float) -> tuple[str, str]:
    if nodule.benign_pattern:
        proven = nodule.prior_category in ("4B", "4X")
        return ("2", "earlier category 4B, proven benign") if proven else ("1", "benign calcification or fat")
    if nodule.cyst is not None and nodule.cyst != "cavitary":
        return _cyst(nodule)
    if nodule.airway is not None:
        return _airway(nodule)
    stepped = _stepped(nodule)
    if stepped:
        return stepped
    if nodule.texture == "ground-glass":
        return _ground_glass(nodule, size)
    if nodule.status == "slow-growing":
        return "4B", f"{nodule.texture}, slow growing over several examinations"
    if nodule.texture == "part-solid" and nodule.cyst is None:
        return _part_solid(nodule, size, unknown_part_mm)
    return _solid(nodule, size)


def _solid(nodule: GuidelineNodule, size: Size) -> tuple[str, str]:
    """Solid nodules; juxtapleural ones up to 10 mm apart; also cavitary ones, by their whole diameter."""
    if nodule.juxtapleural and nodule.status != "growing" and _below(nodule, 10, size):
        return "2", f"juxtapleural, {nodule.status}, < 10 mm"
    limits = _SOLID_ROWS[nodule.status]
    category = next(
        (c for c, limit in zip(("2", "3", "4A"), limits, strict=True) if limit and _below(nodule, limit, size)), "4B"
    )
    kind = "cavitary" if nodule.cyst else "solid"
    return category, f"{kind}, {nodule.status}, {_range(category, limits)}"


def _range(category: str, limits: tuple[int, int, int]) -> str:
    low = {"3": limits[0], "4A": limits[1], "4B": limits[2]}.get(category, 0)
    high = {"2": limits[0], "3": limits[1], "4A": limits[2]}.get(category, 0)
    return " and ".join(text for text, limit in ((f">= {low} mm", low), (f"< {high} mm", high)) if limit)


def _part_solid(nodule: GuidelineNodule, size: Size, unknown_part_mm: float) -> tuple[str, str]:
    known = nodule.solid_mean_diameter_mm
    part_mm = unknown_part_mm if known is None else round_half_up(known, 1)
    small = _below(nodule, 6, size)
    if nodule.status == "growing" or (nodule.status == "new" and not small):
        # A new nodule's solid part is new as well: sources differ from 6 mm on, this is the issuer's row.
        category = "4A" if part_mm < 4 else "4B"
        return category, f"part-solid, {nodule.status}, solid part {'<' if part_mm < 4 else '>='} 4 mm"
    if small:
        return ("3" if nodule.status == "new" else "2"), f"part-solid, {nodule.status}, < 6 mm"
    category = "3" if part_mm < 6 else "4A" if part_mm < 8 else "4B"
    part = {"3": "< 6 mm", "4A": ">= 6 mm and < 8 mm", "4B": ">= 8 mm"}[category]
    return category, f"part-solid, {nodule.status}, >= 6 mm, solid part {part}"


def _ground_glass(nodule: GuidelineNodule, size: Size) -> tuple[str, str]:
    if nodule.status in ("stable", "slow-growing"):
        return "2", f"ground glass, {nodule.status}"
    # Growing and 30 mm or more is not in the grid: the size limit decides.
    small = _below(nodule, 30, size)
    return ("2" if small else "3"), f"ground glass, {nodule.status}, {'<' if small else '>='} 30 mm"


def _airway(nodule: GuidelineNodule) -> tuple[str, str]:
    if nodule.airway == "subsegmental":
        return "2", "airway nodule, subsegmental"
    if nodule.status in ("baseline", "new"):
        return "4A", f"airway nodule, segmental or more proximal, {nodule.status}"
    return "4B", f"airway nodule, segmental or more proximal, {nodule.status}"


def _cyst(nodule: GuidelineNodule) -> tuple[str, str]:
    kind = str(nodule.cyst)
    if nodule.status in ("growing", "slow-growing") and kind in ("thick-walled", "multilocular"):
        # Growth without saying of what: the more serious of both readings.
        return "4B", f"{kind} cyst, growing"
    return _CYSTS[kind]


def _stepped(nodule: GuidelineNodule) -> tuple[str, str] | None:
    """Down-grade of a nodule that is stable or smaller at its follow-up; None where no step applies."""
    if nodule.status != "stable" or nodule.prior_category is None:
        return None
    if nodule.prior_category == "2":
        return "2", "stable, earlier category 2"
    if nodule.prior_category not in STEP_DOWN:
        return None
    months, lower = STEP_DOWN[nodule.prior_category]
    since = nodule.months_since_prior
    if since is not None and since < months - STEP_DOWN_TOLERANCE_MONTHS:
        return nodule.prior_category, f"stable, earlier category {nodule.prior_category}, before {months:g} months"
    return lower, f"stable or smaller at {months:g} months, earlier category {nodule.prior_category}"


def _mean(nodule: GuidelineNodule) -> float:
    """Mean diameter to 0.1 mm, of axes to 0.1 mm."""
    return round_half_up((round_half_up(nodule.long_axis_mm, 1) + round_half_up(nodule.short_axis_mm, 1)) / 2, 1)


def _below(nodule: GuidelineNodule, limit_mm: int, size: Size) -> bool:
    if size == "volume":
        return round_half_up(nodule.volume_mm3 or 0.0) < VOLUMES_MM3[limit_mm]
    return _mean(nodule) < limit_mm
