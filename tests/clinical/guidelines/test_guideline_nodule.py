"""What a nodule may be, and rounding half up."""

from __future__ import annotations

import pytest

from monai_lung.clinical.guidelines import GuidelineInputError, GuidelineNodule
from monai_lung.clinical.rounding import round_half_up
from monai_lung.errors import UsageError

GOOD: dict[str, object] = {"texture": "solid", "long_axis_mm": 8.0, "short_axis_mm": 6.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"long_axis_mm": -1},
        {"long_axis_mm": 0},
        {"long_axis_mm": float("nan")},
        {"long_axis_mm": float("inf")},
        {"long_axis_mm": None},
        {"short_axis_mm": 9},
        {"volume_mm3": 0},
        {"solid_max_diameter_mm": -0.1},
        {"solid_mean_diameter_mm": float("nan")},
        {"months_since_prior": -1},
        {"texture": "cystic"},
        {"texture": None},
        {"status": "shrinking fast"},
        {"airway": "lobar"},
        {"cyst": "big"},
        {"prior_category": "5"},
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(GuidelineInputError, match=next(iter(wrong))) as caught:
        GuidelineNodule(**{**GOOD, **wrong})  # type: ignore[arg-type]
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_mean_and_given() -> None:
    nodule = GuidelineNodule(**GOOD)  # type: ignore[arg-type]
    assert nodule.mean_mm == 7
    assert nodule.given() == {**GOOD, "status": "baseline"}


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [(8.5, 0, 9), (7.5, 0, 8), (8.45, 0, 8), (5.95, 1, 6.0), (5.949, 1, 5.9), (0.1 + 0.2, 1, 0.3), (2.675, 2, 2.68)],
)
def test_round_half_up(value: float, digits: int, expected: float) -> None:
    assert round_half_up(value, digits) == expected
