"""Worked examples and properties of the Brock models."""

from __future__ import annotations

import math

import pytest

from monai_lung.clinical.guidelines import GuidelineInputError, brock_probability
from monai_lung.clinical.guidelines.brock import MODEL_2A, MODEL_2B, SIZE_CENTER

# age, sex, mm, texture, upper lobe, count, spiculated, family, emphysema, 2b, 2a (without spiculation)
EXAMPLES = {
    "A": (62, "M", 4, "solid", False, 4, False, False, False, 0.001125, 0.001105),
    "B": (65, "F", 15, "solid", True, 2, True, False, True, 0.476768, 0.355737),
    "C": (55, "M", 5, "solid", False, 1, False, False, False, 0.002889, 0.002887),
    "D": (70, "F", 20, "part-solid", True, 1, True, True, True, 0.801407, 0.712560),
    "E": (62, "F", 8, "solid", False, 1, False, False, False, 0.030862, 0.033015),
    "F": (60, "F", 10, "part-solid", True, 1, False, False, False, 0.137818, 0.151723),
    "G": (70, "M", 12, "ground-glass", True, 3, False, False, True, 0.113799, 0.127406),
    "H": (55, "M", 7, "solid", False, 1, False, False, True, 0.012502, 0.013969),
    "I": (75, "F", 30, "solid", True, 1, True, True, True, 0.865344, 0.812217),
    "J": (68, "M", 6, "solid", False, 8, False, False, True, 0.006128, 0.007072),
}
PLAIN: dict[str, object] = {"age": 65, "sex": "M", "size_mm": 8, "texture": "solid", "count": 1, "upper_lobe": False}


def brock(**changed: object) -> float:
    return brock_probability(**{**PLAIN, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_examples(name: str) -> None:
    age, sex, mm, texture, upper, count, spiculated, family, emphysema, with_2b, with_2a = EXAMPLES[name]
    inputs = {
        "age": age,
        "sex": sex,
        "size_mm": mm,
        "texture": texture,
        "upper_lobe": upper,
        "count": count,
        "family_history": family,
        "emphysema": emphysema,
    }
    assert brock(**inputs, spiculation=spiculated) == pytest.approx(with_2b, abs=5e-7)
    assert brock(**inputs, spiculation=None) == pytest.approx(with_2a, abs=5e-7)


def test_known_odds_ratios_and_the_zero_of_the_size_term() -> None:
    ratios = {
        "female": 1.82,
        "upper_lobe": 1.93,
        "spiculation": 2.17,
        "part_solid": 1.46,
        "ground_glass": 0.88,
        "family_history": 1.34,
        "emphysema": 1.34,
        "age": 1.03,
        "count": 0.92,
    }
    for name, ratio in ratios.items():
        assert math.exp(getattr(MODEL_2B, name)) == pytest.approx(ratio, abs=0.006)
    assert math.exp(MODEL_2A.ground_glass) == pytest.approx(0.74, abs=0.005)
    assert pytest.approx(0.4**-0.5, abs=1e-8) == SIZE_CENTER


@pytest.mark.parametrize("spiculation", [None, False, True])
def test_rises_with_size_and_falls_with_count(spiculation: bool | None) -> None:
    by_size = [brock(size_mm=mm, spiculation=spiculation) for mm in (1, 2, 4, 8, 16, 30, 60)]
    assert by_size == sorted(by_size)
    assert len(set(by_size)) == len(by_size)
    by_count = [brock(count=n, spiculation=spiculation) for n in (1, 2, 4, 10)]
    assert by_count == sorted(by_count, reverse=True)
    solid, part, glass = (brock(texture=t, spiculation=spiculation) for t in ("solid", "part-solid", "ground-glass"))
    assert part > solid > glass
    assert all(0 < p < 1 for p in by_size)


def test_10_percent_is_reached_at_known_sizes() -> None:
    assert brock(size_mm=16.009, spiculation=False) == pytest.approx(0.1, abs=1e-4)
    woman = {"sex": "F", "upper_lobe": True, "emphysema": True, "spiculation": True}
    assert brock(size_mm=6.691, **woman) == pytest.approx(0.1, abs=1e-4)


def test_uncentred_form_gives_the_published_base() -> None:
    base = MODEL_2B.intercept - 62 * MODEL_2B.age - 4 * MODEL_2B.count - SIZE_CENTER * MODEL_2B.size
    assert base == pytest.approx(0.2761, abs=5e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"age": -1},
        {"age": float("nan")},
        {"sex": "X"},
        {"size_mm": 0},
        {"size_mm": -3},
        {"size_mm": float("nan")},
        {"size_mm": float("inf")},
        {"texture": "cystic"},
        {"count": 0},
    ],
)
def test_wrong_inputs_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(GuidelineInputError, match=next(iter(wrong))):
        brock(**wrong)
