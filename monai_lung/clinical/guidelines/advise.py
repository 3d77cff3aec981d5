"""From measurements to advice: every guideline for every nodule and for the examination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from monai_lung.clinical.growth_rates import lung_rads_growth
from monai_lung.clinical.guidelines.brock import AGES, SIZES_MM, brock_probability
from monai_lung.clinical.guidelines.fleischner_2017 import fleischner_2017
from monai_lung.clinical.guidelines.lung_rads_2022 import lung_rads_2022
from monai_lung.clinical.guidelines.nodule import GuidelineNodule, Status
from monai_lung.model import Advice, Growth, Measurements, Person

DAYS_PER_MONTH = 365.25 / 12
GROUND_GLASS_DOUBLING_DAYS = 365.0
"""Ground glass that doubles faster than this is suspicious by itself (Lung-RADS 4X)."""

NOT_ASKED = {
    "fleischner_2017": ("known cancer", "immune status", "incidental or screening"),
    "lung_rads_2022": (
        "benign calcification or fat",
        "shape at pleura and fissures",
        "infection",
        "other significant findings",
        "whether an earlier CT is being located",
    ),
}
"""What no measurement says and nobody was asked for: the advice assumes that none of it holds."""


def advise(
    nodules: Sequence[Measurements], person: Person, growth: Sequence[Growth | None] | None = None
) -> tuple[list[dict[str, Advice]], dict[str, Advice]]:
    """Advice by Fleischner 2017, Lung-RADS v2022 and Brock.

    A network's probability is no input. Spiculation, if said, is of the only nodule; with several it isn't known which
    one is meant.

    Args:
        nodules: all of the examination.
        person: what is known of the patient.
        growth: for each nodule, None without an earlier examination.

    Returns:
        a dict for each nodule, as if it decided alone but with all nodules counted; and one for the examination. Keys
        fleischner_2017, lung_rads_2022 and brock; the examination's Brock is that of the nodule with the highest.
    """
    changes = list(growth) if growth is not None else [None] * len(nodules)
    guideline_nodules = [
        _guideline_nodule(n, g, person, only=len(nodules) == 1) for n, g in zip(nodules, changes, strict=True)
    ]
    per_nodule = [
        {
            "fleischner_2017": _fleischner(guideline_nodules, person, of=i),
            "lung_rads_2022": _lung_rads([nodule], [change]),
            "brock": _brock(measured, person, len(nodules)),
        }
        for i, (nodule, measured, change) in enumerate(zip(guideline_nodules, nodules, changes, strict=True))
    ]
    examination = {
        "fleischner_2017": _fleischner(guideline_nodules, person),
        "lung_rads_2022": _lung_rads(guideline_nodules, changes),
    }
    if per_nodule:
        examination["brock"] = max((advice["brock"] for advice in per_nodule), key=_brock_rank)
    return per_nodule, examination


def _guideline_nodule(nodule: Measurements, growth: Growth | None, person: Person, *, only: bool) -> GuidelineNodule:
    status = _status(nodule, growth)
    days = growth.interval_days if growth else None
    doubling = growth.doubling_days if growth else None
    doubles = nodule.texture == "ground-glass" and doubling is not None and doubling <= GROUND_GLASS_DOUBLING_DAYS
    part_solid = nodule.texture == "part-solid"
    return GuidelineNodule(
        texture=nodule.texture,
        long_axis_mm=nodule.long_axis_mm,
        short_axis_mm=nodule.short_axis_mm,
        volume_mm3=nodule.volume_mm3,
        solid_max_diameter_mm=nodule.solid_diameter_mm if part_solid else None,
        solid_mean_diameter_mm=nodule.solid_mean_diameter_mm if part_solid else None,
        status=status,
        suspicious=doubles or (only and person.spiculation is True),
        months_since_prior=days / DAYS_PER_MONTH if days is not None and days >= 0 else None,
    )


def _status(nodule: Measurements, growth: Growth | None) -> Status:
    """Growth as Lung-RADS has it: by the diameters of the spheres of both volumes."""
    if growth is None:
        return "baseline"
    if growth.status == "new":
        return "new"
    if growth.prior_volume_mm3 is None:
        return "stable"
    prior_mm = (growth.prior_volume_mm3 / nodule.volume_mm3) ** (1 / 3) * nodule.equivalent_diameter_mm
    grew = lung_rads_growth(prior_mm, nodule.equivalent_diameter_mm, growth.interval_days)
    if grew is None:  # by more than the limit, but over more than a year, or over who knows how long
        return "slow-growing" if growth.interval_days is not None else "growing"
    return "growing" if grew else "stable"


def _fleischner(nodules: Sequence[GuidelineNodule], person: Person, of: int | None = None) -> Advice:
    """For the examination, or for one of its nodules: as if the others were like it, so that the count is right."""
    seen = list(nodules) if of is None else [nodules[of]] * len(nodules)
    advice = _with_missing(fleischner_2017(seen, age=person.age), NOT_ASKED["fleischner_2017"])
    if of is None:
        return advice
    shown = fleischner_2017([nodules[of]]).inputs["nodules"]
    return replace(advice, inputs={**advice.inputs, "nodules": shown, "count": len(nodules)})


def _lung_rads(nodules: Sequence[GuidelineNodule], growth: Sequence[Growth | None]) -> Advice:
    missing: tuple[str, ...] = NOT_ASKED["lung_rads_2022"]
    known = [change for change in growth if change is not None]
    if known:
        missing += ("earlier category",)
    if any(change.interval_days is None for change in known):
        missing += ("dates of both examinations",)
    if any(nodule.status == "slow-growing" for nodule in nodules):
        missing += ("an examination within 12 months",)
    advice = lung_rads_2022(nodules)
    assumed = dict.fromkeys(("infection", "significant_other", "incomplete"))  # not "no": nobody was asked
    return _with_missing(replace(advice, inputs={**advice.inputs, **assumed}), missing)


def _with_missing(advice: Advice, missing: tuple[str, ...]) -> Advice:
    return replace(advice, missing=(*advice.missing, *missing))


def _brock(nodule: Measurements, person: Person, count: int) -> Advice:
    """Probability, or its range over everything that isn't known: the lobe never is."""
    spiculation = person.spiculation if count == 1 or person.spiculation is False else None
    inputs: dict[str, object] = {
        "age": person.age,
        "sex": person.sex,
        "size_mm": nodule.long_axis_mm,
        "texture": nodule.texture,
        "count": count,
        "spiculation": spiculation,
        "family_history": person.family_history,
        "emphysema": person.emphysema,
    }
    missing = ("upper_lobe", *(name for name, value in inputs.items() if value is None))
    rule = f"full model {'2a, spiculation not known' if spiculation is None else '2b'}, longest axial diameter"
    if person.age is None:
        text = "The age is needed for a probability."
        return Advice("brock", None, text, rule, inputs, missing)
    low, high = _range(nodule, person, count, spiculation)
    beyond = not AGES[0] <= person.age <= AGES[1] or not SIZES_MM[0] <= nodule.long_axis_mm <= SIZES_MM[1]
    text = f"Probability of cancer {100 * low:.1f} % to {100 * high:.1f} %, by what is not known."
    if beyond:
        text += " Beyond the ages or sizes that the model was made for."
    return Advice("brock", None, text, rule, inputs, missing, probability_range=(low, high))


def _range(nodule: Measurements, person: Person, count: int, spiculation: bool | None) -> tuple[float, float]:
    def options(value: bool | None) -> tuple[bool, ...]:
        return (False, True) if value is None else (value,)

    values = [
        brock_probability(
            age=person.age or 0,
            sex=sex,
            size_mm=nodule.long_axis_mm,
            texture=nodule.texture,
            count=count,
            upper_lobe=upper_lobe,
            spiculation=spiculation,
            family_history=family_history,
            emphysema=emphysema,
        )
        for sex, upper_lobe, family_history, emphysema in product(
            ("F", "M") if person.sex is None else (person.sex,),
            (False, True),
            options(person.family_history),
            options(person.emphysema),
        )
    ]
    return min(values), max(values)


def _brock_rank(advice: Advice) -> float:
    return advice.probability_range[1] if advice.probability_range else float(str(advice.inputs["size_mm"]))
