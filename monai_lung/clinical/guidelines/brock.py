"""Brock (PanCan) model of nodule malignancy: McWilliams et al., NEJM 2013;369:910-919, the full models 2a and 2b."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from monai_lung.clinical.guidelines.nodule import GuidelineInputError
from monai_lung.model import Texture


@dataclass(frozen=True)
class Coefficients:
    """Log odds of one model; `age` per year beyond 62, `count` per nodule beyond 4, `size` per unit of its term."""

    intercept: float
    age: float
    female: float
    family_history: float
    emphysema: float
    size: float
    part_solid: float
    ground_glass: float
    upper_lobe: float
    count: float
    spiculation: float


MODEL_2A = Coefficients(-6.8071, 0.0321, 0.5635, 0.3013, 0.3462, -5.6693, 0.3395, -0.3005, 0.7116, -0.0803, 0.0)
"""Without spiculation. Sources give -0.3005 or -0.3055 for ground glass; the odds ratio is 0.74 with both."""

MODEL_2B = Coefficients(-6.7892, 0.0287, 0.6011, 0.2961, 0.2953, -5.3854, 0.3770, -0.1276, 0.6581, -0.0824, 0.7729)
"""With spiculation."""

SIZE_CENTER = 1.58113883
"""(4 mm / 10) ** -0.5: the size term is zero at 4 mm."""

AGES, SIZES_MM = (40, 74), (4.0, 30.0)
"""Where the model has support; beyond, it extrapolates."""


def brock_probability(
    *,
    age: float,
    sex: Literal["F", "M"],
    size_mm: float,
    texture: Texture,
    count: int,
    upper_lobe: bool,
    spiculation: bool | None = None,
    family_history: bool = False,
    emphysema: bool = False,
) -> float:
    """Probability, 0...1, that a nodule is cancer.

    Args:
        age: in years.
        sex: "F" or "M".
        size_mm: longest axial diameter, the model's own definition (not the mean).
        texture: of the nodule.
        count: nodules on this CT, this one included.
        upper_lobe: the nodule lies in an upper lobe.
        spiculation: None where not known: model 2a then, else 2b.
        family_history: of lung cancer.
        emphysema: on this CT.

    Raises:
        GuidelineInputError: an age, size or count that can't be, or a name that doesn't exist.
    """
    _check(age, sex, size_mm, texture, count)
    model = MODEL_2A if spiculation is None else MODEL_2B
    log_odds = (
        model.intercept
        + model.age * (age - 62)
        + model.female * (sex == "F")
        + model.family_history * bool(family_history)
        + model.emphysema * bool(emphysema)
        + model.size * ((size_mm / 10) ** -0.5 - SIZE_CENTER)
        + {"solid": 0.0, "part-solid": model.part_solid, "ground-glass": model.ground_glass}[texture]
        + model.upper_lobe * bool(upper_lobe)
        + model.count * (count - 4)
        + model.spiculation * bool(spiculation)
    )
    return 1 / (1 + math.exp(-log_odds))


def _check(age: float, sex: str, size_mm: float, texture: str, count: int) -> None:
    if not 0 <= age <= 130:
        raise GuidelineInputError(f"age is {age}: give years, 0 to 130")
    if sex not in ("F", "M"):
        raise GuidelineInputError(f"sex {sex!r} is unknown: F or M")
    if not (math.isfinite(size_mm) and size_mm > 0):
        raise GuidelineInputError(f"size_mm is {size_mm}: give a number above 0")
    if texture not in get_args(Texture):
        raise GuidelineInputError(f"texture {texture!r} is unknown: choose among {', '.join(get_args(Texture))}")
    if count < 1:
        raise GuidelineInputError(f"count is {count}: this nodule counts, so at least 1")
