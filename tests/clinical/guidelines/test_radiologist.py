"""Scenarios that a radiologist signs: what the rules say of growth, masses, several findings, context and doubt."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from test_advise import measured

from monai_lung.clinical.growth_rates import Change, error_percent, growth_status
from monai_lung.clinical.guidelines import advise, deciding_nodule
from monai_lung.clinical.guidelines.change import solid_change
from monai_lung.model import Advice, Growth, Measurements, Person

ANYONE = Person(age=60, sex="F")


def earlier(
    now: Measurements, mm: float, days: int | None, texture: str | None = None, solid_mm: float = 0.0, **fields: object
) -> Growth:
    """Growth of `now` from a sphere of `mm`, with the verdict that the comparison reaches."""
    then = measured(mm, texture or now.texture, solid_mm)
    growth = Growth(
        "stable",
        prior_volume_mm3=then.volume_mm3,
        prior_mean_diameter_mm=then.mean_diameter_mm,
        prior_texture=then.texture,
        prior_solid_mean_diameter_mm=then.solid_mean_diameter_mm,
        interval_days=days,
        prior_visible=True,
        prior_detected=True,
    )
    growth = replace(growth, **fields)  # type: ignore[arg-type]
    change = Change(
        then.volume_mm3,
        now.volume_mm3,
        days,
        mean_change_mm=now.mean_diameter_mm - mm,
        solid_change_mm=solid_change(now, growth),
    )
    return replace(growth, status="same-day" if days == 0 else growth_status(change))


def alone(now: Measurements, growth: Growth | None = None, person: Person = ANYONE) -> dict[str, Advice]:
    return advise([now], person, [growth])[1]


def test_a_grown_4b_nodule_beside_seven_new_ones_stays_4b() -> None:
    grown, small = measured(20), [measured(4.5)] * 7
    growths = [earlier(grown, 12, 180), *[Growth("new", interval_days=180, prior_visible=False)] * 7]
    each, examination = advise([grown, *small], ANYONE, growths)
    advice = examination["lung_rads_2022"]
    assert advice.category == "4B"
    assert any("category 0" in note for note in advice.notes)
    assert "category 0" in advice.advice
    assert deciding_nodule([grown, *small], each) == 0
    only_new = advise(small, ANYONE, growths[1:])[1]["lung_rads_2022"]
    assert only_new.category == "0"


def test_a_baseline_4a_nodule_keeps_its_category_beside_new_ones() -> None:
    growths = [Growth("not-covered", interval_days=180), *[Growth("new", interval_days=180)] * 7]
    assert advise([measured(9), *[measured(4.5)] * 7], ANYONE, growths)[1]["lung_rads_2022"].category == "4A"


def test_fast_growth_below_6_mm_reaches_both_guidelines() -> None:
    now = measured(5.0)
    growth = earlier(now, 3.5, 90)
    advice = alone(now, growth)
    assert growth.status == "growing"
    assert advice["fleischner_2017"].category == "growth"
    assert "No routine follow-up" not in advice["fleischner_2017"].advice
    assert "first time" in advice["fleischner_2017"].advice
    assert advice["lung_rads_2022"].category == "4A"
    assert "stable" not in advice["lung_rads_2022"].rule


def test_ground_glass_that_doubled_its_diameter_asks_for_work_up() -> None:
    now = measured(20, "ground-glass")
    advice = alone(now, earlier(now, 10, 365))["fleischner_2017"]
    assert advice.category == "growth"
    assert "resection" in advice.advice


@pytest.mark.parametrize(
    ("mm", "texture", "days", "expected"),
    [
        (7, "solid", 913, "F0"),
        (10, "solid", 913, "F0"),
        (10, "ground-glass", 2000, "F0"),
        (10, "ground-glass", 913, "F7"),
    ],
)
def test_stable_for_long_is_not_the_schedule_of_first_detection(
    mm: float, texture: str, days: int, expected: str
) -> None:
    now = measured(mm, texture)
    advice = alone(now, earlier(now, mm, days), Person(age=60, risk="low"))["fleischner_2017"]
    assert advice.category == expected
    assert f"Stable or smaller for {days / 30.4375:.0f} months" in advice.advice


def test_stable_for_three_months_says_that_the_schedule_goes_on() -> None:
    now = measured(7)
    advice = alone(now, earlier(now, 7, 91), Person(age=60, risk="high"))["fleischner_2017"]
    assert advice.category == "F3"
    assert "continues from the first CT" in advice.advice


@pytest.mark.parametrize("days", [30, 90, 365, 400, 800, 1500])
@pytest.mark.parametrize(
    ("before", "now_mm"), [(3.5, 5.0), (6, 7.5), (6, 7.6), (10, 11.2), (12, 20), (9, 9.1), (20, 12)]
)
@pytest.mark.parametrize("texture", ["solid", "ground-glass"])
def test_never_stable_beside_growing(texture: str, before: float, now_mm: float, days: int) -> None:
    now = measured(now_mm, texture)
    growth = earlier(now, before, days)
    advice = alone(now, growth)
    said = (advice["lung_rads_2022"].rule + advice["fleischner_2017"].advice).lower()
    if growth.status in ("growing", "slow-growing"):
        assert "stable" not in said
        assert "grown" in said
    else:
        assert "grown" not in said


def test_a_mass_gets_no_schedule_but_work_up() -> None:
    for nodules in ([measured(45)], [measured(45), measured(4)]):
        advice = advise(nodules, ANYONE)[1]["fleischner_2017"]
        assert advice.category == "not-applicable"
        assert "mass" in advice.advice
        assert "PET/CT" in advice.advice
    each, _ = advise([measured(45), measured(4)], Person(age=60, risk="low"))
    assert each[1]["fleischner_2017"].category == "F0"


@pytest.mark.parametrize("risk", ["low", "high", None])
def test_a_second_small_finding_does_not_make_a_large_one_less_urgent(risk: str | None) -> None:
    person = Person(age=60, risk=risk)  # type: ignore[arg-type]
    alone_advice = advise([measured(26)], person)[1]["fleischner_2017"]
    each, examination = advise([measured(26), measured(4)], person)
    for advice in (examination["fleischner_2017"], each[0]["fleischner_2017"]):
        assert advice.category == alone_advice.category == "F4"
        assert advice.options[0] == alone_advice.advice
        assert any("3-6 months" in option for option in advice.options[1:])


@pytest.mark.parametrize(
    ("now", "before_mm", "before_texture", "before_part"),
    [
        (measured(12, "part-solid", 4.5), 12, "ground-glass", 0.0),
        (measured(12, "part-solid", 7.0), 12, "part-solid", 3.0),
    ],
)
def test_a_solid_part_that_is_new_or_grows_is_4b(
    now: Measurements, before_mm: float, before_texture: str, before_part: float
) -> None:
    growth = earlier(now, before_mm, 180, before_texture, before_part)
    advice = alone(now, growth)
    assert growth.status == "growing"
    assert advice["lung_rads_2022"].category == "4B"
    assert advice["fleischner_2017"].category == "growth"


def test_a_solid_part_that_stays_is_judged_by_size_though_the_ground_glass_around_grows() -> None:
    now = measured(12, "part-solid", 4.0)
    assert alone(now, earlier(now, 9, 180, "part-solid", 3.8))["lung_rads_2022"].category == "3"


def test_a_new_solid_part_of_less_than_4_mm_is_4a() -> None:
    now = measured(12, "part-solid", 3.0)
    assert alone(now, earlier(now, 12, 180, "ground-glass"))["lung_rads_2022"].category == "4A"


def test_no_cliff_at_twelve_months() -> None:
    now = measured(7.6)
    categories = {days: alone(now, earlier(now, 6.0, days))["lung_rads_2022"].category for days in (300, 365, 370, 500)}
    assert set(categories.values()) == {"4A"}


def test_what_doubles_in_133_days_is_not_slow() -> None:
    now = measured(12)
    growth = earlier(now, 12 * 2 ** (-400 / 133 / 3), 400)
    assert growth.status == "growing"
    assert "slow" not in alone(now, growth)["lung_rads_2022"].rule


def test_measures_that_contradict_each_other_are_no_growth() -> None:
    now = replace(measured(9.0), volume_mm3=1.3 * measured(9.0).volume_mm3)
    growth = replace(earlier(now, 9.0, 180), prior_mean_diameter_mm=10.6)
    advice = alone(now, growth)["lung_rads_2022"]
    assert "stable" in advice.rule
    change = Change(growth.prior_volume_mm3 or 0, now.volume_mm3, 180, mean_change_mm=-1.6)
    assert growth_status(change) == "stable"
    assert any("contradict" in note for note in alone_nodule(now, growth)["lung_rads_2022"].notes)


def alone_nodule(now: Measurements, growth: Growth | None = None, person: Person = ANYONE) -> dict[str, Advice]:
    return advise([now], person, [growth])[0][0]


def test_lung_rads_own_vectors_hold() -> None:
    now = measured(7.5)
    assert alone(now, earlier(now, 6.0, 365))["lung_rads_2022"].category == "3"  # 1.5 mm is not more than 1.5 mm
    now = measured(7.6)
    assert alone(now, earlier(now, 6.0, 90))["lung_rads_2022"].category == "4A"
    assert alone(now, earlier(now, 6.0, 730))["lung_rads_2022"].category == "4B"  # slow growth


def test_a_prior_of_the_same_day_gives_no_growth() -> None:
    now = measured(9)
    growth = earlier(now, 6, 0)
    advice = alone_nodule(now, growth)
    assert growth.status == "same-day"
    assert advice["lung_rads_2022"].category == "4A"  # as at baseline
    assert "without an interval" in " ".join(advice["lung_rads_2022"].notes)
    assert advice["fleischner_2017"].category == "F4"


@pytest.mark.parametrize(
    ("growth", "words", "expected"),
    [
        (Growth("new", interval_days=180, prior_visible=False), "not visible before", "4B"),
        (Growth("new", interval_days=180), "not detected before", "4B"),
        (Growth("not-covered", interval_days=180), "doesn't cover", "4A"),
    ],
)
def test_new_says_whether_anybody_looked(growth: Growth, words: str, expected: str) -> None:
    advice = alone_nodule(measured(9), growth)["lung_rads_2022"]
    assert advice.category == expected
    assert words in " ".join(advice.notes)


def test_visible_before_is_compared_and_said() -> None:
    now = measured(9)
    advice = alone_nodule(now, earlier(now, 8.9, 180, prior_detected=False))["lung_rads_2022"]
    assert advice.category == "4A"
    assert "Visible before" in " ".join(advice.notes)


@pytest.mark.parametrize(
    ("said", "days", "mm", "expected"),
    [
        (None, 183, 7, "3"),
        ("3", 183, 7, "2"),
        ("3", 90, 7, "3"),
        ("4A", 91, 9, "3"),
        ("4B", 183, 9, "3"),  # by its size it was 4A, and the examination 4B by another
        ("4A", 183, 7, "2"),  # by its size it was 3
    ],
)
def test_earlier_categories_let_a_stable_nodule_step_down(
    said: str | None, days: int, mm: float, expected: str
) -> None:
    now = measured(mm)
    person = replace(ANYONE, earlier_category=said)
    assert alone(now, earlier(now, mm, days), person)["lung_rads_2022"].category == expected
    own = earlier(now, mm, days, prior_category="3")
    assert alone(measured(7), own)["lung_rads_2022"].category == ("2" if days > 160 else "3")


def test_brock_counts_what_is_reported_and_not_benign() -> None:
    person = Person(age=60, sex="F", emphysema=False, family_history=False)
    alone_range = advise([measured(12.2)], person)[1]["brock"].probability_range
    calcified = replace(measured(8), benign_pattern="diffuse")
    with_granulomas = advise([measured(12.2), calcified, calcified], person)[0][0]["brock"]
    assert with_granulomas.probability_range == alone_range
    assert with_granulomas.inputs["count"] == 1


@pytest.mark.parametrize("mm", [9, 26])
def test_one_subsolid_nodule_is_not_multiple_subsolid(mm: float) -> None:
    each, _ = advise([measured(10, "ground-glass"), measured(mm)], Person(age=60, risk="low"))
    assert each[0]["fleischner_2017"].category == "F7"
    each, _ = advise([measured(10, "ground-glass"), measured(5, "ground-glass")], Person(age=60, risk="low"))
    assert each[0]["fleischner_2017"].category == "F11"


def test_below_35_years_neither_system_applies() -> None:
    examination = advise([measured(9)], Person(age=34))[1]
    for name in ("fleischner_2017", "lung_rads_2022"):
        assert examination[name].category == "not-applicable"
        assert "35" in examination[name].advice
    assert advise([measured(9)], Person(age=35))[1]["lung_rads_2022"].category == "4A"


def test_context_reaches_the_rules() -> None:
    low, high = (alone(measured(7), person=replace(ANYONE, risk=risk))["fleischner_2017"] for risk in ("low", "high"))  # type: ignore[arg-type]
    assert (low.category, high.category) == ("F2", "F3")
    for field in ("known_cancer", "immunosuppressed", "screening"):
        advice = alone(measured(7), person=replace(ANYONE, **{field: True}))["fleischner_2017"]  # type: ignore[arg-type]
        assert advice.category == "not-applicable"
    asked = alone(measured(7), person=replace(ANYONE, known_cancer=False, immunosuppressed=False, screening=False))
    assert not {"known cancer", "immune status", "incidental or screening"} & set(asked["fleischner_2017"].missing)
    assert any("screening" in note for note in asked["lung_rads_2022"].notes)


@pytest.mark.parametrize("pattern", ["central", "diffuse", "popcorn", "laminated", "fat"])
def test_a_benign_pattern_is_lung_rads_1_and_asks_for_no_follow_up(pattern: str) -> None:
    benign = replace(measured(12), benign_pattern=pattern)
    advice = alone_nodule(benign)
    assert advice["lung_rads_2022"].category == "1"
    assert advice["fleischner_2017"].category == "F0"
    assert any("Benign by its pattern" in note for note in advice["fleischner_2017"].notes)
    grown = alone_nodule(benign, earlier(benign, 8, 180))
    assert grown["lung_rads_2022"].category == "4B"
    assert any("has grown" in note for note in grown["lung_rads_2022"].notes)


@pytest.mark.parametrize("place", ["hilum", "diaphragm"])
def test_what_touches_the_hilum_or_the_diaphragm_asks_for_a_check(place: str) -> None:
    advice = alone_nodule(replace(measured(12), attachment=(place,)))
    assert any(f"{place}: check" in note for note in advice["lung_rads_2022"].notes)


def test_codes_come_with_words() -> None:
    for mm, texture in ((4, "solid"), (7, "solid"), (12, "solid"), (12, "ground-glass"), (40, "solid")):
        advice = alone(measured(mm, texture))["fleischner_2017"]
        assert advice.label
        assert "F" not in advice.label


def test_the_error_grows_with_the_slices_and_falls_with_the_size() -> None:
    assert error_percent(1.0, 6) == error_percent(1.5, 6) == 25
    assert error_percent(5.0, 6) == pytest.approx(83.3, abs=0.1)
    assert error_percent(2.5, 25) == 25
    assert error_percent(5.0, 6) > error_percent(5.0, 20) > 25
    thick = Change(100, 150, 180, error_percent=error_percent(5.0, 6))
    assert growth_status(thick) == "stable"
    assert math.isclose(thick.sphere_change_mm, (6 * 150 / math.pi) ** (1 / 3) - (6 * 100 / math.pi) ** (1 / 3))
