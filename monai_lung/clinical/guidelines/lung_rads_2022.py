"""Lung-RADS v2022 of the American College of Radiology, paraphrased: lung cancer screening CT.

The size grid is `lung_rads_table`, after the issuer's data element RDES267; where sources differ, the choice is a named
constant or its rule says so. Lung-RADS is a mark of the ACR.
"""

from __future__ import annotations

from collections.abc import Sequence

from monai_lung.clinical.guidelines.lung_rads_table import VOLUMES_MM3, Cell, cell_for
from monai_lung.clinical.guidelines.nodule import GuidelineInputError, GuidelineNodule, Size
from monai_lung.clinical.rounding import round_half_up
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
NOT_APPLICABLE = "not-applicable"

MIN_AGE = 35
"""Screening starts at 50 (USA: 50 to 80 years); below 35 neither system says anything. Ours: ACR names no age."""

MANY_NEW_NODULES = 6
"""More new nodules than this suggest infection."""

INFECTION_NOTE = (
    "{why}: consider category 0 for the new nodules as well (LDCT in 1-3 months); the category is that of the other "
    "nodules, which infection doesn't explain."
)

STEP_DOWN = {"3": (6.0, "2"), "4A": (3.0, "3")}
"""Earlier category: months after which a nodule that is stable or smaller steps down, and to what."""

STEP_DOWN_TOLERANCE_MONTHS = 0.5
"""A follow-up counts as the 6- (3-) month CT if it is at most this early. Ours: the guideline names no tolerance."""

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
    age: float | None = None,
) -> Advice:
    """Category of a screening examination: that of its most suspicious nodule.

    Args:
        nodules: all of the examination; none is category 1.
        infection: findings suggest infection or inflammation.
        incomplete: an earlier CT is being located, or part of the lungs can't be judged.
        significant_other: a significant finding that isn't lung cancer: modifier "S".
        size: what drives the size limits; "volume" needs `volume_mm3` of each nodule. A solid part always goes by its
            mean diameter.
        age: in years; younger than 35 is not applicable.

    Returns:
        `category` "0", "1", "2", "3", "4A", "4B", "4X" or "not-applicable", `modifier` "S" or "". The category is None
        where a solid part that isn't known decides: then `by_risk` has the lowest and the highest possible. Only new
        nodules can be explained by infection: where others have category 3 or 4, that category stays, and a note says
        that 0 is to be considered beside it.

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
    if age is not None and age < MIN_AGE:
        reason = f"younger than {MIN_AGE} years"
        text = f"Lung-RADS does not apply: {reason}."
        return Advice("lung_rads_2022", NOT_APPLICABLE, text, f"scope: {reason}", inputs, label="not applicable")
    low, high = (_examination(nodules, infection, incomplete, size, part) for part in (0.0, float("inf")))
    notes = (low[2],) if low[2] else ()
    if low[0] == high[0]:
        category, rule = low[:2] if low[1] == high[1] else (low[0], f"{low[1]} or {high[1]}")
        text = " ".join((MANAGEMENT[category], *notes))
        return Advice(
            "lung_rads_2022", category, text, rule, inputs, (), modifier, label=category + modifier, notes=notes
        )
    by_part = {"smallest solid part": low[0], "largest solid part": high[0]}
    text = " ".join(f"{name}: {MANAGEMENT[category]}" for name, category in by_part.items())
    rule = f"{low[1]} or {high[1]}"
    missing = ("solid_mean_diameter_mm",)
    label = " or ".join(by_part.values())
    return Advice(
        "lung_rads_2022", None, text, rule, inputs, missing, modifier, by_risk=by_part, label=label, notes=notes
    )


def _examination(
    nodules: Sequence[GuidelineNodule], infection: bool, incomplete: bool, size: Size, unknown_part_mm: float
) -> tuple[str, str, str]:
    """Category, rule and a note, with a solid part that isn't known taken for `unknown_part_mm`."""
    if incomplete:
        return "0", "earlier CT being located, or lungs not evaluable in part", ""
    if not nodules:
        return ("0", "infection suspected", "") if infection else ("1", "no nodule", "")
    found = [categorise(n, size, unknown_part_mm) for n in nodules]
    worst = max(found, key=lambda f: ORDER.index(f[0]))
    many = sum(n.status == "new" for n in nodules) > MANY_NEW_NODULES
    if not infection and not many:
        return *worst, ""
    why = f"more than {MANY_NEW_NODULES} new nodules" if many else "infection suspected"
    standing = [f for n, f in zip(nodules, found, strict=True) if not _explained(n, f[0]) and f[0] not in ("1", "2")]
    if not standing:
        return "0", why, ""
    category, rule = max(standing, key=lambda f: ORDER.index(f[0]))
    return category, rule, INFECTION_NOTE.format(why=why[0].upper() + why[1:])


def _explained(nodule: GuidelineNodule, category: str) -> bool:
    """Whether infection may explain a nodule: a new one, unless it looks like cancer."""
    return nodule.status == "new" and not _like_cancer(nodule, category)


def _like_cancer(nodule: GuidelineNodule, category: str) -> bool:
    """A new solid or part-solid nodule of 4B size that looks like cancer keeps its category."""
    return nodule.status == "new" and nodule.texture != "ground-glass" and nodule.suspicious and category == "4X"


def categorise(nodule: GuidelineNodule, size: Size, unknown_part_mm: float) -> tuple[str, str]:
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
    return _by_table(nodule, size, unknown_part_mm)


def _by_table(nodule: GuidelineNodule, size: Size, unknown_part_mm: float) -> tuple[str, str]:
    """The cell of the size grid; a cavitary nodule is a solid one of its whole diameter."""
    kind = "solid" if nodule.cyst else nodule.texture
    known = nodule.solid_mean_diameter_mm
    part_mm = None if known is None else round_half_up(known, 1)

    def cell(kind: str) -> Cell | None:
        return cell_for(kind, nodule.status, lambda limit: _below(nodule, int(limit), size), part_mm, unknown_part_mm)

    if kind == "solid" and nodule.juxtapleural and (found := cell("juxtapleural")):
        return found.category, found.rule("juxtapleural", nodule.status)
    found = cell(kind)
    if found is None:
        raise GuidelineInputError(f"no cell of Lung-RADS for a {kind} nodule that is {nodule.status}")
    return found.category, found.rule("cavitary" if nodule.cyst else kind, nodule.status)


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
