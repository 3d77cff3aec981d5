"""Fleischner Society 2017: incidental nodules in adults (MacMahon et al., Radiology 2017;284:228-243), paraphrased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monai_lung.clinical.guidelines.fleischner_texts import (
    FIRST_DETECTION,
    GROWTH,
    MASS,
    OUTCOMES,
    STABLE_MONTHS,
    describe,
)
from monai_lung.clinical.guidelines.nodule import GuidelineInputError, GuidelineNodule, Size
from monai_lung.clinical.rounding import round_half_up
from monai_lung.model import Advice, Risk

NOT_APPLICABLE = "not-applicable"

MIN_AGE = 35
MASS_MM = 30
"""A longer lesion is a mass; the tables end there."""
SOLID_PART_MM = 6
VOLUME_LIMITS_MM3 = (100.0, 250.0)
"""Below the first is "< 6 mm", above the second "> 8 mm"."""

URGENCY = ("F0", "F1", "F2", "F3", "F7", "F10", "F5", "F6", "F8", "F11", "F9", "F4", "growth")
"""By how soon and how much is asked for; decides among nodules of different texture. Ours: the guideline says to follow
the most suspicious nodule."""

_SOLID = {  # (multiple, risk): outcome by size band
    (False, "low"): ("F0", "F2", "F4"),
    (False, "high"): ("F1", "F3", "F4"),
    (True, "low"): ("F0", "F5", "F5"),
    (True, "high"): ("F1", "F6", "F6"),
}
_BANDS = ("< 6 mm", "6-8 mm", "> 8 mm")


@dataclass(frozen=True)
class Outcome:
    """The advice for one nodule: code, the cell that fired, and the words."""

    code: str
    rule: str
    text: str

    @classmethod
    def of(cls, code: str, rule: str) -> Outcome:
        """An outcome of the tables."""
        return cls(code, rule, OUTCOMES[code])


Answers = dict[Risk, dict[str, tuple[Outcome, ...]]]
"""For each risk, and either size of a solid part that isn't known (key "" where it is): the options, the deciding one
first."""


def fleischner_2017(
    nodules: Sequence[GuidelineNodule],
    *,
    age: float | None = None,
    risk: Risk | None = None,
    screening: bool = False,
    known_cancer: bool = False,
    immunosuppressed: bool = False,
    size: Size = "diameter",
    own_row: bool = False,
    subsolid: int | None = None,
) -> Advice:
    """Advice for incidental nodules.

    Nodules with a benign pattern, and juxtapleural ones of typical shape that aren't otherwise suspicious, ask for no
    follow-up and don't count. Of several nodules the one that asks for most decides; "multiple subsolid" takes two
    subsolid ones. The tables are for first detection: of a nodule that has grown the work-up is said (category
    "growth"), of a stable one how much of the schedule is left ("F0" at its end). A lesion of more than 30 mm is a
    mass, for which no table exists.

    Args:
        nodules: all of the examination.
        age: in years; younger than 35 is not applicable.
        risk: the clinician's judgement; matters for solid nodules only.
        screening: found in a screening examination.
        known_cancer: a known primary cancer.
        immunosuppressed: immune suppression.
        size: what drives the size bands; "volume" needs `volume_mm3` of each nodule.
        own_row: let the most suspicious of several nodules keep the row for a single one where that asks for more; both
            are then in `options`. Else the rows for several nodules are taken as they stand.
        subsolid: how many subsolid nodules there are, where `nodules` doesn't show them all.

    Returns:
        `category` "F0" ... "F11", "growth" or "not-applicable"; None where it depends on the risk or on the size of a
        solid part that isn't known: then `by_risk` holds the answer for each (keys "low" and "high", or "solid part
        < 6 mm" and "solid part >= 6 mm"). `label` says it in a few words.

    Raises:
        GuidelineInputError: an age that is none, a name that doesn't exist, or no volume where one is needed.
    """
    _check(nodules, age, risk, size)
    reason = _out_of_scope(age, screening, known_cancer, immunosuppressed, bool(nodules))
    inputs: dict[str, object] = {"age": age, "risk": risk, "size": size, "nodules": [_shown(n, size) for n in nodules]}
    if reason:
        text = f"Fleischner 2017 does not apply: {reason}."
        return _not_applicable(text, f"scope: {reason}", inputs)
    missing = () if age is not None else ("age",)
    counted = [n for n in nodules if not _harmless(n)]
    if not counted:
        rule = "benign pattern or typical intrapulmonary lymph node"
        return Advice("fleischner_2017", "F0", OUTCOMES["F0"], rule, inputs, missing, label=describe("F0"))
    largest = max(n.long_axis_mm for n in counted)
    if largest > MASS_MM and size == "diameter":
        text = f"A mass of {largest:.0f} mm: Fleischner 2017 does not apply above {MASS_MM} mm. {MASS}"
        return _not_applicable(text, f"scope: mass, > {MASS_MM} mm", inputs)
    risks: tuple[Risk, ...] = (risk,) if risk else ("low", "high")
    several = sum(n.texture != "solid" for n in counted) if subsolid is None else subsolid
    return _answer({r: _most_urgent(counted, r, size, several > 1, own_row) for r in risks}, inputs, missing)


def _not_applicable(text: str, rule: str, inputs: dict[str, object]) -> Advice:
    return Advice("fleischner_2017", NOT_APPLICABLE, text, rule, inputs, label=describe(NOT_APPLICABLE))


def _answer(answers: Answers, inputs: dict[str, object], missing: tuple[str, ...]) -> Advice:
    """Fold the answers by risk and by solid part into one, as far as they agree."""
    flat = {(r, part): found for r, parts in answers.items() for part, found in parts.items()}
    rules = " or ".join(dict.fromkeys(found[0].rule for found in flat.values()))
    texts = tuple(dict.fromkeys(option.text for found in flat.values() for option in found))
    options = texts if len(texts) > 1 else ()
    if len({found[0].code for found in flat.values()}) == 1:
        first = next(iter(flat.values()))[0]
        label = describe(first.code)
        return Advice("fleischner_2017", first.code, first.text, rules, inputs, missing, label=label, options=options)
    by_risk_differs = any(len({flat[r, part][0].code for r in answers}) > 1 for _, part in flat)
    by_part_differs = any(len({found[0].code for found in parts.values()}) > 1 for parts in answers.values())
    names: dict[str, str] = {}
    said: dict[str, str] = {}
    for (r, part), found in flat.items():
        when = [f"at {r} risk"] * by_risk_differs + [part] * by_part_differs
        said[", ".join(when).capitalize()] = found[0].text
        names[", ".join([str(r)] * by_risk_differs + [part] * by_part_differs)] = found[0].code
    missing += ("risk",) * by_risk_differs + ("solid_max_diameter_mm",) * by_part_differs
    text = " ".join(f"{when}: {outcome}" for when, outcome in said.items())
    label = "; ".join(f"{when}: {describe(code)}" for when, code in names.items())
    return Advice("fleischner_2017", None, text, rules, inputs, missing, by_risk=names, label=label, options=options)


def _most_urgent(
    nodules: Sequence[GuidelineNodule], risk: Risk, size: Size, several_subsolid: bool, own_row: bool
) -> dict[str, tuple[Outcome, ...]]:
    """Options for one risk, the deciding first; for either size of a solid part where one isn't known, else key ""."""
    unknown = any(_needs_solid_part(n, size) and n.solid_max_diameter_mm is None for n in nodules)
    result: dict[str, tuple[Outcome, ...]] = {}
    for name, assumed in ((f"solid part < {SOLID_PART_MM} mm", 0.0), (f"solid part >= {SOLID_PART_MM} mm", 6.0)):
        found = [_outcome(n, _multiple(n, len(nodules), several_subsolid), risk, size, assumed) for n in nodules]
        if own_row:
            found += [_outcome(n, False, risk, size, assumed) for n in nodules]
        worst = max(found, key=lambda f: URGENCY.index(f.code))
        multiple = max(found[: len(nodules)], key=lambda f: URGENCY.index(f.code))
        result[name if unknown else ""] = (worst,) if worst.code == multiple.code else (worst, multiple)
    return result


def _multiple(nodule: GuidelineNodule, count: int, several_subsolid: bool) -> bool:
    """Whether the rows for several nodules hold: of subsolid ones there must be two."""
    return count > 1 if nodule.texture == "solid" else several_subsolid


def _outcome(nodule: GuidelineNodule, multiple: bool, risk: str, size: Size, assumed_solid_mm: float) -> Outcome:
    """The advice for one nodule: against an earlier examination, or by the table for its texture."""
    first = _first_detection(nodule, multiple, risk, size, assumed_solid_mm)
    band = _band(nodule, size)
    kind = (nodule.texture, band if nodule.texture == "solid" else min(band, 1))
    if nodule.status in ("growing", "slow-growing", "larger"):
        pace = "slowly" if nodule.status == "slow-growing" else ""
        text = f"This nodule has {f'{pace} ' if pace else ''}grown. {FIRST_DETECTION} {GROWTH[kind]}"
        return Outcome("growth", f"{nodule.texture}, {nodule.status}, {_BANDS[band]}", text)
    if nodule.status != "stable" or nodule.months_since_prior is None or first.code == "F0":
        return first
    months, end = nodule.months_since_prior, STABLE_MONTHS.get(kind)
    stable = f"Stable or smaller for {months:.0f} months."
    rule = f"{nodule.texture}, stable for {months:.0f} months, {_BANDS[band]}"
    if end is not None and months >= end:
        return Outcome("F0", rule, f"{stable} The schedule of first detection is complete: no further routine CT.")
    left = "" if end is None else f" It ends {end:.0f} months after the first."
    text = f"{stable} {FIRST_DETECTION} Their schedule continues from the first CT: {first.text}{left}"
    return Outcome(first.code, rule, text)


def _first_detection(
    nodule: GuidelineNodule, multiple: bool, risk: str, size: Size, assumed_solid_mm: float
) -> Outcome:
    """The cell of the table for a nodule's texture."""
    band = _band(nodule, size)
    count = "multiple" if multiple else "single"
    if nodule.texture == "solid":
        return Outcome.of(_SOLID[multiple, risk][band], f"{count} solid, {risk} risk, {_BANDS[band]}")
    large = "< 6 mm" if band == 0 else ">= 6 mm"
    if multiple:
        return Outcome.of("F11" if band else "F10", f"multiple subsolid, {large}")
    if band == 0 or nodule.texture == "ground-glass":
        return Outcome.of("F7" if band else "F0", f"single {nodule.texture}, {large}")
    known = nodule.solid_max_diameter_mm
    solid_mm = round_half_up(assumed_solid_mm if known is None else known)
    part = f"solid part {'<' if solid_mm < SOLID_PART_MM else '>='} {SOLID_PART_MM} mm"
    return Outcome.of("F8" if solid_mm < SOLID_PART_MM else "F9", f"single part-solid, {large}, {part}")


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
