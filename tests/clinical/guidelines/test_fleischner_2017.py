"""Every cell of the Fleischner 2017 tables, and their borders."""

from __future__ import annotations

import pytest

from monai_lung.clinical.guidelines import GuidelineNodule, fleischner_2017
from monai_lung.clinical.guidelines.fleischner_2017 import URGENCY
from monai_lung.clinical.guidelines.fleischner_texts import OUTCOMES
from monai_lung.errors import MonaiLungError


def nodule(texture: str, long_mm: float, short_mm: float | None = None, **fields: object) -> GuidelineNodule:
    return GuidelineNodule(texture, long_mm, long_mm if short_mm is None else short_mm, **fields)  # type: ignore[arg-type]


def code(*nodules: GuidelineNodule, **options: object) -> str | None:
    return fleischner_2017(nodules, **{"age": 60, **options}).category  # type: ignore[arg-type]


SOLID = [  # count, risk, outcome below 6, 6 to 8, above 8 mm
    (1, "low", "F0", "F2", "F4"),
    (1, "high", "F1", "F3", "F4"),
    (2, "low", "F0", "F5", "F5"),
    (2, "high", "F1", "F6", "F6"),
]


@pytest.mark.parametrize(("count", "risk", "small", "medium", "large"), SOLID)
def test_solid_by_diameter(count: int, risk: str, small: str, medium: str, large: str) -> None:
    for mm, expected in ((1, small), (5, small), (5.49, small), (5.5, medium), (8, medium), (8.49, medium)):
        assert code(*[nodule("solid", mm)] * count, risk=risk) == expected
    for mm in (8.5, 9, 30):
        assert code(*[nodule("solid", mm)] * count, risk=risk) == large


@pytest.mark.parametrize(("count", "risk", "small", "medium", "large"), SOLID)
def test_solid_by_volume(count: int, risk: str, small: str, medium: str, large: str) -> None:
    for mm3, expected in ((99.9, small), (100, medium), (250, medium), (250.1, large)):
        nodules = [nodule("solid", 30, volume_mm3=mm3)] * count
        assert code(*nodules, risk=risk, size="volume") == expected


@pytest.mark.parametrize(
    ("long_mm", "short_mm", "risk", "expected"),
    [
        (5.4, 5.4, "low", "F0"),
        (5.5, 5.5, "low", "F2"),
        (6, 5, "low", "F2"),
        (6, 4.9, "high", "F1"),
        (8, 8, "high", "F3"),
        (8.9, 8.0, "low", "F2"),
        (9, 8, "high", "F4"),
    ],
)
def test_rounding_is_half_up_of_the_mean(long_mm: float, short_mm: float, risk: str, expected: str) -> None:
    assert code(nodule("solid", long_mm, short_mm), risk=risk) == expected


@pytest.mark.parametrize(
    ("nodules", "expected"),
    [
        ([nodule("ground-glass", 5)], "F0"),
        ([nodule("ground-glass", 6)], "F7"),
        ([nodule("ground-glass", 20, 18)], "F7"),
        ([nodule("part-solid", 5, solid_max_diameter_mm=3)], "F0"),
        ([nodule("part-solid", 10, solid_max_diameter_mm=5)], "F8"),
        ([nodule("part-solid", 10, solid_max_diameter_mm=5.49)], "F8"),
        ([nodule("part-solid", 10, solid_max_diameter_mm=5.5)], "F9"),
        ([nodule("part-solid", 12, solid_max_diameter_mm=9)], "F9"),
        ([nodule("ground-glass", 5)] * 2, "F10"),
        ([nodule("part-solid", 5, solid_max_diameter_mm=2)] * 3, "F10"),
        ([nodule("part-solid", 7, solid_max_diameter_mm=4)] * 2, "F11"),
        ([nodule("ground-glass", 5), nodule("ground-glass", 6)], "F11"),
    ],
)
def test_subsolid_whatever_the_risk(nodules: list[GuidelineNodule], expected: str) -> None:
    assert {code(*nodules, risk=risk) for risk in ("low", "high", None)} == {expected}


def test_subsolid_by_volume() -> None:
    assert code(nodule("ground-glass", 30, volume_mm3=99), size="volume") == "F0"
    assert code(nodule("ground-glass", 3, volume_mm3=100), size="volume") == "F7"


@pytest.mark.parametrize(
    "options", [{"age": 34}, {"screening": True}, {"known_cancer": True}, {"immunosuppressed": True}]
)
def test_out_of_scope_is_an_answer(options: dict[str, object]) -> None:
    advice = fleischner_2017([nodule("solid", 12)], **{"age": 60, "risk": "low", **options})  # type: ignore[arg-type]
    assert advice.category == "not-applicable"
    assert "does not apply" in advice.advice
    assert advice.rule.startswith("scope")


def test_35_years_are_in_scope_and_no_nodule_is_not() -> None:
    assert code(nodule("solid", 12), age=35, risk="low") == "F4"
    assert code() == "not-applicable"


def test_risk_that_is_not_known_gives_both_answers() -> None:
    advice = fleischner_2017([nodule("solid", 7)], age=60)
    assert advice.category is None
    assert advice.by_risk == {"low": "F2", "high": "F3"}
    assert advice.advice.startswith("At low risk: CT at 6-12 months")
    assert " At high risk: CT at 6-12 months" in advice.advice
    assert "risk" in advice.missing
    assert fleischner_2017([nodule("solid", 5)], age=60).by_risk == {"low": "F0", "high": "F1"}
    large = fleischner_2017([nodule("solid", 12)], age=60)
    assert (large.category, large.missing, dict(large.by_risk)) == ("F4", (), {})


def test_solid_part_that_is_not_known_gives_both_answers() -> None:
    advice = fleischner_2017([nodule("part-solid", 10)], age=60)
    assert advice.category is None
    assert advice.by_risk == {"solid part < 6 mm": "F8", "solid part >= 6 mm": "F9"}
    assert advice.missing == ("solid_max_diameter_mm",)
    assert code(nodule("part-solid", 5)) == "F0"  # too small to matter


def test_benign_and_typical_lymph_nodes_ask_for_nothing_and_do_not_count() -> None:
    benign = nodule("solid", 12, benign_pattern=True)
    node = nodule("solid", 9, juxtapleural=True)
    assert code(benign, risk="high") == "F0"
    assert code(node, risk="high") == "F0"
    assert code(nodule("solid", 7), benign, node, risk="low") == "F2"
    assert code(nodule("solid", 9, juxtapleural=True, suspicious=True), risk="low") == "F4"


def test_mixed_textures_follow_the_one_that_asks_for_most() -> None:
    small, part = nodule("solid", 4), nodule("part-solid", 12, solid_max_diameter_mm=8)
    assert code(small, part, risk="low") == "F9"  # one subsolid nodule is a single one
    assert code(nodule("solid", 10), nodule("ground-glass", 4), risk="high") == "F6"


def test_age_that_is_not_known_is_named() -> None:
    advice = fleischner_2017([nodule("solid", 7)], risk="low")
    assert (advice.category, advice.missing) == ("F2", ("age",))


def test_advice_says_what_went_in() -> None:
    advice = fleischner_2017([nodule("solid", 6, 4.9)], age=70, risk="high")
    assert advice.guideline == "fleischner_2017"
    assert advice.rule == "single solid, high risk, < 6 mm"
    assert advice.advice == OUTCOMES["F1"]
    assert advice.inputs["age"] == 70
    assert advice.inputs["nodules"][0]["rounded_mm"] == 5  # type: ignore[index]
    assert set(URGENCY) == set(OUTCOMES)


@pytest.mark.parametrize(
    ("nodules", "options"),
    [
        ([nodule("solid", 7)], {"age": -1}),
        ([nodule("solid", 7)], {"age": float("nan")}),
        ([nodule("solid", 7)], {"risk": "medium"}),
        ([nodule("solid", 7)], {"size": "area"}),
        ([nodule("solid", 7)], {"size": "volume"}),
    ],
)
def test_wrong_inputs_are_refused(nodules: list[GuidelineNodule], options: dict[str, object]) -> None:
    with pytest.raises(MonaiLungError):
        fleischner_2017(nodules, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"age|risk|size"):
        fleischner_2017(nodules, **options)  # type: ignore[arg-type]
