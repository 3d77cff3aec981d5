"""From measurements to advice: every guideline for every nodule and for the examination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from monai_lung.clinical.guidelines.brock_advice import brock_advice, brock_rank
from monai_lung.clinical.guidelines.change import months_since, prior_category, rule_status
from monai_lung.clinical.guidelines.fleischner_2017 import URGENCY, fleischner_2017
from monai_lung.clinical.guidelines.lung_rads_2022 import ORDER, lung_rads_2022
from monai_lung.clinical.guidelines.nodule import GuidelineNodule
from monai_lung.clinical.guidelines.notes import nodule_notes, person_notes
from monai_lung.model import Advice, Growth, Measurements, Person

GROUND_GLASS_DOUBLING_DAYS = 365.0
"""Ground glass that doubles faster than this is suspicious by itself (Lung-RADS 4X)."""

NOT_ASKED = ("shape at pleura and fissures", "infection", "other significant findings")
"""Inputs of Lung-RADS that no measurement gives and nobody was asked for: the advice assumes that none of it holds."""

_CONTEXT = {
    "known_cancer": "known cancer",
    "immunosuppressed": "immune status",
    "screening": "incidental or screening",
}
"""Fields of the person that decide whether Fleischner applies, and what they are called where they are missing."""


def advise(
    nodules: Sequence[Measurements], person: Person, growth: Sequence[Growth | None] | None = None
) -> tuple[list[dict[str, Advice]], dict[str, Advice]]:
    """Advice by Fleischner 2017, Lung-RADS v2022 and Brock.

    A network's probability is not an input. Spiculation, if said, is of the only nodule; with several it isn't known
    which one is meant.

    Args:
        nodules: all of the examination that are reported; candidates and bone don't belong here.
        person: known facts about the patient.
        growth: for each nodule, None without an earlier examination.

    Returns:
        a dict for each nodule, as if it decided alone but with all nodules counted; and one for the examination. Keys
        fleischner_2017, lung_rads_2022 and brock; the examination's Brock is that of the nodule with the highest.
    """
    changes = list(growth) if growth is not None else [None] * len(nodules)
    guideline_nodules = [
        _guideline_nodule(n, g, person, only=len(nodules) == 1) for n, g in zip(nodules, changes, strict=True)
    ]
    counted = sum(not n.benign_pattern for n in guideline_nodules)
    per_nodule = []
    for i, (nodule, measured, change) in enumerate(zip(guideline_nodules, nodules, changes, strict=True)):
        said = nodule_notes(measured, change, nodule.status)
        per_nodule.append(
            {
                "fleischner_2017": _noted(_fleischner(guideline_nodules, person, of=i), said),
                "lung_rads_2022": _noted(_lung_rads([nodule], [change], person), said),
                "brock": brock_advice(measured, person, max(counted, 1)),
            }
        )
    about = person_notes(person, [n.status for n in guideline_nodules])
    examination = {
        "fleischner_2017": _noted(_fleischner(guideline_nodules, person), about.get("fleischner_2017", ())),
        "lung_rads_2022": _noted(_lung_rads(guideline_nodules, changes, person), about.get("lung_rads_2022", ())),
    }
    if per_nodule:
        examination["brock"] = max((advice["brock"] for advice in per_nodule), key=brock_rank)
    return per_nodule, examination


def deciding_nodule(nodules: Sequence[Measurements], per_nodule: Sequence[dict[str, Advice]]) -> int | None:
    """Index of the nodule that decides: the highest Lung-RADS category, then Fleischner's urgency, then size."""

    def rank(i: int) -> tuple[int, int, float]:
        lung_rads, fleischner = per_nodule[i]["lung_rads_2022"], per_nodule[i]["fleischner_2017"]
        categories = [lung_rads.category, *lung_rads.by_risk.values()]
        codes = [fleischner.category, *fleischner.by_risk.values()]
        return (
            max((ORDER.index(c) for c in categories if c in ORDER), default=-1),
            max((URGENCY.index(c) for c in codes if c in URGENCY), default=-1),
            nodules[i].mean_diameter_mm,
        )

    return max(range(len(nodules)), key=rank, default=None)


def _guideline_nodule(nodule: Measurements, growth: Growth | None, person: Person, *, only: bool) -> GuidelineNodule:
    status = rule_status(nodule, growth)
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
        benign_pattern=nodule.benign_pattern is not None and status not in ("growing", "larger"),
        suspicious=doubles or (only and person.spiculation is True),
        prior_category=prior_category(growth, person.earlier_category),
        months_since_prior=months_since(growth),
    )


def _fleischner(nodules: Sequence[GuidelineNodule], person: Person, of: int | None = None) -> Advice:
    """For the examination, or for one of its nodules: as if the others were like it, so that the count is right."""
    seen = list(nodules) if of is None else [nodules[of]] * len(nodules)
    advice = fleischner_2017(
        seen,
        age=person.age,
        risk=person.risk,
        screening=person.screening is True,
        known_cancer=person.known_cancer is True,
        immunosuppressed=person.immunosuppressed is True,
        own_row=True,
        subsolid=sum(n.texture != "solid" and not n.benign_pattern for n in nodules),
    )
    advice = _with_missing(advice, tuple(word for name, word in _CONTEXT.items() if getattr(person, name) is None))
    if of is None:
        return advice
    shown = fleischner_2017([nodules[of]]).inputs["nodules"]
    return replace(advice, inputs={**advice.inputs, "nodules": shown, "count": len(nodules)})


def _lung_rads(nodules: Sequence[GuidelineNodule], growth: Sequence[Growth | None], person: Person) -> Advice:
    missing: tuple[str, ...] = NOT_ASKED
    known = [change for change in growth if change is not None]
    if not known:
        missing += ("whether an earlier CT is being located",)
    if any(n.status == "stable" and n.prior_category is None for n in nodules):
        missing += ("earlier category",)
    if any(change.interval_days is None for change in known):
        missing += ("dates of both examinations",)
    if any(nodule.status == "slow-growing" for nodule in nodules):
        missing += ("an examination within 12 months",)
    advice = lung_rads_2022(nodules, age=person.age)
    assumed = dict.fromkeys(("infection", "significant_other", "incomplete"))  # not "no": nobody was asked
    return _with_missing(replace(advice, inputs={**advice.inputs, **assumed}), missing)


def _with_missing(advice: Advice, missing: tuple[str, ...]) -> Advice:
    return replace(advice, missing=(*advice.missing, *missing))


def _noted(advice: Advice, notes: tuple[str, ...]) -> Advice:
    return replace(advice, notes=(*advice.notes, *notes)) if notes else advice
