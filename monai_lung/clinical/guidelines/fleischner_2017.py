"""Fleischner Society 2017: incidental nodules in adults (MacMahon et al., Radiology 2017;284:228-243), paraphrased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from monai_lung.clinical.guidelines.nodule import GuidelineInputError, GuidelineNodule, Size, round_half_up
from monai_lung.model import Advice

Risk = Literal["low", "high"]

OUTCOMES = {
    "F0": "No routine follow-up.",
    "F1": "CT at 12 months is optional.",
    "F2": "CT at 6-12 months, then consider CT at 18-24 months.",
    "F3": "CT at 6-12 months, then CT at 18-24 months.",
    "F4": "Choose among CT at 3 months, PET/CT and tissue sampling.",
    "F5": "CT at 3-6 months, then consider CT at 18-24 months.",
    "F6": "CT at 3-6 months, then CT at 18-24 months.",
    "F7": "CT at 6-12 months to confirm persistence, then every 2 years until 5 years.",
    "F8": "CT at 3-6 months to confirm persistence; if unchanged and the solid part stays below 6 mm, yearly CT for "
    "5 years.",
    "F9": "CT at 3-6 months to confirm persistence; a persistent solid part of 6 mm or more is highly suspicious. "
    "PET/CT, biopsy or resection if the shape is suspicious, the solid part grows or exceeds 8 mm.",
    "F10": "CT at 3-6 months; if stable consider CT at about 2 and 4 years. Think of infection.",
    "F11": "CT at 3-6 months; further steps follow the most suspicious nodule, not necessarily the largest.",
}
NOT_APPLICABLE = "not-applicable"

MIN_AGE = 35
SOLID_PART_MM = 6
VOLUME_LIMITS_MM3 = (100.0, 250.0)
"""Below the first is "< 6 mm", above the second "> 8 mm"."""

URGENCY = ("F0", "F1", "F2", "F3", "F7", "F10", "F5", "F6", "F8", "F11", "F9", "F4")
"""By how soon and how much is asked for; decides among nodules of different texture. Ours: the guideline says to follow
the most suspicious nodule."""

_SOLID = {  # (multiple, risk): outcome by size band
    (False, "low"): ("F0", "F2", "F4"),
    (False, "high"): ("F1", "F3", "F4"),
    (True, "low"): ("F0", "F5", "F5"),
    (True, "high"): ("F1", "F6", "F6"),
}
_BANDS = ("< 6 mm", "6-8 mm", "> 8 mm")


def fleischner_2017(
    nodules: Sequence[GuidelineNodule],
    *,
    age: float | None = None,
    risk: Risk | None = None,
    screening: bool = False,
    known_cancer: bool = False,
    immunosuppressed: bool = False,
    size: Size = "diameter",
) -> Advice:
    """Advice for incidental nodules.

    Nodules with a benign pattern, and juxtapleural ones of typical shape that aren't otherwise suspicious, ask for no
    follow-up and don't count. Of several nodules the one that asks for most decides.

    Args:
        nodules: all of the examination.
        age: in years; younger than 35 is not applicable.
        risk: the clinician's judgement; matters for solid nodules only.
        screening: found in a screening examination.
        known_cancer: a known primary cancer.
        immunosuppressed: immune suppression.
        size: what drives the size bands; "volume" needs `volume_mm3` of each nodule.

    Returns:
        `category` "F0" ... "F11" or "not-applicable"; None where it depends on the risk or on the size of a solid part
        that isn't known: then `by_risk` holds the answer for each (keys "low" and "high", or "solid part < 6 mm" and
        "solid part >= 6 mm").

    Raises:
        GuidelineInputError: an age that is none, a name that doesn't exist, or no volume where one is needed.
    """
    _check(nodules, age, risk, size)
    reason = _out_of_scope(age, screening, known_cancer, immunosuppressed, bool(nodules))
    inputs: dict[str, object] = {"age": age, "risk": risk, "size": size, "nodules": [_shown(n, size) for n in nodules]}
    if reason:
        text = f"Fleischner 2017 does not apply: {reason}."
        return Advice("fleischner_2017", NOT_APPLICABLE, text, f"scope: {reason}", inputs)
    missing = () if age is not None else ("age",)
    counted = [n for n in nodules if not _harmless(n)]
    if not counted:
        rule = "benign pattern or typical intrapulmonary lymph node"
        return Advice("fleischner_2017", "F0", OUTCOMES["F0"], rule, inputs, missing)
    risks: tuple[Risk, ...] = (risk,) if risk else ("low", "high")
    answers = {r: _most_urgent(counted, r, size) for r in risks}
    return _answer(answers, inputs, missing)


def _answer(
    answers: dict[Risk, dict[str, tuple[str, str]]], inputs: dict[str, object], missing: tuple[str, ...]
) -> Advice:
    """Fold the answers by risk and by solid part into one, as far as they agree."""
    flat = {(r, part): found for r, parts in answers.items() for part, found in parts.items()}
    codes = {code for code, _ in flat.values()}
    rules = " or ".join(dict.fromkeys(rule for _, rule in flat.values()))
    if len(codes) == 1:
        code = codes.pop()
        return Advice("fleischner_2017", code, OUTCOMES[code], rules, inputs, missing)
    by_risk_differs = any(len({flat[r, part][0] for r in answers}) > 1 for _, part in flat)
    by_part_differs = any(len({code for code, _ in parts.values()}) > 1 for parts in answers.values())
    names: dict[str, str] = {}
    said: dict[str, str] = {}
    for (r, part), (code, _) in flat.items():
        when = [f"at {r} risk"] * by_risk_differs + [part] * by_part_differs
        said[", ".join(when).capitalize()] = OUTCOMES[code]
        names[", ".join([str(r)] * by_risk_differs + [part] * by_part_differs)] = code
    missing += ("risk",) * by_risk_differs + ("solid_max_diameter_mm",) * by_part_differs
    text = " ".join(f"{when}: {outcome}" for when, outcome in said.items())
    return Advice("fleischner_2017", None, text, rules, inputs, missing, by_risk=names)


def _most_urgent(nodules: Sequence[GuidelineNodule], risk: Risk, size: Size) -> dict[str, tuple[str, str]]:
    """Outcome and rule for one risk; for either size of a solid part where one isn't known (keys), else key ""."""
    unknown = any(_needs_solid_part(n, size) and n.solid_max_diameter_mm is None for n in nodules)
    result = {}
    for name, assumed in ((f"solid part < {SOLID_PART_MM} mm", 0.0), (f"solid part >= {SOLID_PART_MM} mm", 6.0)):
        found = [_outcome(n, len(nodules) > 1, risk, size, assumed) for n in nodules]
        result[name if unknown else ""] = max(found, key=lambda f: URGENCY.index(f[0]))
    return result


def _outcome(
    nodule: GuidelineNodule, multiple: bool, risk: str, size: Size, assumed_solid_mm: float
) -> tuple[str, str]:
    """Code and rule of one nodule, by the table for its texture."""
    band = _band(nodule, size)
    count = "multiple" if multiple else "single"
    if nodule.texture == "solid":
        return _SOLID[multiple, risk][band], f"{count} solid, {risk} risk, {_BANDS[band]}"
    large = "< 6 mm" if band == 0 else ">= 6 mm"
    if multiple:
        return ("F11" if band else "F10"), f"multiple subsolid, {large}"
    if band == 0 or nodule.texture == "ground-glass":
        return ("F7" if band else "F0"), f"single {nodule.texture}, {large}"
    known = nodule.solid_max_diameter_mm
    solid_mm = round_half_up(assumed_solid_mm if known is None else known)
    part = f"solid part {'<' if solid_mm < SOLID_PART_MM else '>='} {SOLID_PART_MM} mm"
    return ("F8" if solid_mm < SOLID_PART_MM else "F9"), f"single part-solid, {large}, {part}"


def _band(nodule: GuidelineNodule, size: Size) -> int:
    """0: < 6 mm, 1: 6-8 mm, 2: > 8 mm, by the mean diameter in whole mm or by the volume."""
    if size == "volume":
        volume = nodule.volume_mm3 or 0.0
        return 0 if volume < VOLUME_LIMITS_MM3[0] else 1 if volume <= VOLUME_LIMITS_MM3[1] else 2
    rounded = round_half_up(nodule.mean_mm)
    return 0 if rounded < 6 else 1 if rounded <= 8 else 2


def _needs_solid_part(nodule: GuidelineNodule, size: Size) -> bool:
    return nodule.texture == "part-solid" and _band(nodule, size) > 0


def _harmless(nodule: GuidelineNodule) -> bool:
    return nodule.benign_pattern or (nodule.juxtapleural and nodule.texture == "solid" and not nodule.suspicious)


def _shown(nodule: GuidelineNodule, size: Size) -> dict[str, object]:
    return {**nodule.given(), "mean_mm": nodule.mean_mm, "rounded_mm": round_half_up(nodule.mean_mm)}


def _out_of_scope(
    age: float | None, screening: bool, known_cancer: bool, immunosuppressed: bool, any_nodule: bool
) -> str:
    reasons = {
        f"younger than {MIN_AGE} years": age is not None and age < MIN_AGE,
        "screening examination (Lung-RADS)": screening,
        "known cancer": known_cancer,
        "immunosuppressed": immunosuppressed,
        "no nodule": not any_nodule,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _check(nodules: Sequence[GuidelineNodule], age: float | None, risk: str | None, size: str) -> None:
    if age is not None and not 0 <= age <= 130:
        raise GuidelineInputError(f"age is {age}: give years, 0 to 130")
    if risk not in (None, "low", "high"):
        raise GuidelineInputError(f"risk {risk!r} is unknown: low, high, or None where not known")
    if size not in ("diameter", "volume"):
        raise GuidelineInputError(f"size {size!r} is unknown: diameter or volume")
    if size == "volume" and any(n.volume_mm3 is None for n in nodules):
        raise GuidelineInputError('size="volume" needs volume_mm3 of every nodule: measure it or use diameters')
