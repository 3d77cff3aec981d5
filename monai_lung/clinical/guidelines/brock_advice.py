"""Brock's probability for a measured nodule, or its range where inputs are unknown."""

from __future__ import annotations

from itertools import product

from monai_lung.clinical.guidelines.brock import AGES, SIZES_MM, brock_probability
from monai_lung.model import Advice, Measurements, Person


def brock_advice(nodule: Measurements, person: Person, count: int) -> Advice:
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
    text = f"Probability of cancer {100 * low:.1f} % to {100 * high:.1f} %, depending on unknown inputs."
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


def brock_rank(advice: Advice) -> float:
    """The key by which the examination's Brock is chosen: the highest probability possible, else the size."""
    return advice.probability_range[1] if advice.probability_range else float(str(advice.inputs["size_mm"]))
