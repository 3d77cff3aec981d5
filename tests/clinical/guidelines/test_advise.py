"""From measurements to advice."""

from __future__ import annotations

import dataclasses

import pytest

from monai_lung.clinical.guidelines import advise, brock_probability
from monai_lung.clinical.measurements import equivalent_diameter
from monai_lung.model import Growth, Measurements, Person

WHOLE = Person(age=65, sex="F", emphysema=True, family_history=False, spiculation=False)


def measured(mm: float, texture: str = "solid", solid_mm: float = 0.0) -> Measurements:
    """A sphere of that diameter."""
    volume = 3.141592653589793 * mm**3 / 6
    point = (0.0, 0.0, 0.0)
    return Measurements(
        center_mm=point,
        center_index=(0, 0, 0),
        bbox_index=((0, 0, 0), (1, 1, 1)),
        volume_mm3=volume,
        long_axis_mm=mm,
        short_axis_mm=mm,
        mean_diameter_mm=mm,
        max_diameter_3d_mm=mm,
        equivalent_diameter_mm=equivalent_diameter(volume),
        mean_hu=0.0,
        hu_percentiles=(0.0, 0.0, 0.0, 0.0, 0.0),
        texture=texture,  # type: ignore[arg-type]
        solid_volume_mm3=volume if texture == "solid" else 0.0,
        solid_diameter_mm=mm if texture == "solid" else solid_mm,
        solid_mean_diameter_mm=mm if texture == "solid" else solid_mm,
        side="right",
        third="upper",
        pleura_distance_mm=10.0,
        axes_mm=(point, point, point, point),
    )


def grown(prior_mm: float, days: int | None, status: str = "stable", doubling: float | None = None) -> Growth:
    volume = 3.141592653589793 * prior_mm**3 / 6
    return Growth(status, prior_volume_mm3=volume, interval_days=days, doubling_days=doubling)  # type: ignore[arg-type]


def test_every_guideline_for_every_nodule_and_the_examination() -> None:
    per_nodule, examination = advise([measured(9), measured(5, "ground-glass")], WHOLE)
    keys = {"fleischner_2017", "lung_rads_2022", "brock"}
    assert [set(advice) for advice in per_nodule] == [keys, keys]
    assert set(examination) == keys
    assert [a["lung_rads_2022"].category for a in per_nodule] == ["4A", "2"]
    assert examination["lung_rads_2022"].category == "4A"
    assert per_nodule[0]["fleischner_2017"].category == "F4"  # its own row asks for more than that of several
    assert any("3-6 months" in option for option in per_nodule[0]["fleischner_2017"].options)
    assert per_nodule[1]["fleischner_2017"].category == "F0"  # one subsolid nodule isn't "multiple subsolid"
    assert per_nodule[0]["fleischner_2017"].inputs["count"] == 2
    assert len(per_nodule[0]["fleischner_2017"].inputs["nodules"]) == 1  # type: ignore[arg-type]
    assert examination["brock"] == per_nodule[0]["brock"]


def test_what_nobody_was_asked_is_not_said_to_be_absent() -> None:
    advice = advise([measured(9)], WHOLE)[1]["lung_rads_2022"]
    assert {"infection", "other significant findings"} < set(advice.missing)
    assert [advice.inputs[name] for name in ("infection", "significant_other", "incomplete")] == [None] * 3


def test_no_nodule() -> None:
    per_nodule, examination = advise([], Person())
    assert per_nodule == []
    assert examination["lung_rads_2022"].category == "1"
    assert examination["fleischner_2017"].category == "not-applicable"
    assert "brock" not in examination


def test_brock_gives_both_values_where_the_lobe_is_not_known() -> None:
    advice = advise([measured(12)], WHOLE)[0][0]["brock"]
    expected = [
        brock_probability(
            age=65,
            sex="F",
            size_mm=12,
            texture="solid",
            count=1,
            upper_lobe=upper,
            spiculation=False,
            emphysema=True,
        )
        for upper in (False, True)
    ]
    assert advice.probability_range == pytest.approx(expected)
    assert advice.probability is None
    assert advice.missing == ("upper_lobe",)
    assert "2b" in advice.rule


def test_what_is_not_known_widens_the_range_and_is_named() -> None:
    whole = advise([measured(12)], WHOLE)[0][0]["brock"]
    less = advise([measured(12)], Person(age=65))[0][0]["brock"]
    assert less.probability_range is not None
    assert whole.probability_range is not None
    assert (
        less.probability_range[1] - less.probability_range[0] > whole.probability_range[1] - whole.probability_range[0]
    )
    assert set(less.missing) == {"upper_lobe", "sex", "emphysema", "family_history", "spiculation"}
    assert "2a" in less.rule
    nothing = advise([measured(12)], Person())
    assert nothing[0][0]["brock"].probability_range is None
    assert "age" in nothing[0][0]["brock"].missing
    assert nothing[0][0]["lung_rads_2022"].category == "4A"
    assert nothing[0][0]["fleischner_2017"].category == "F4"
    assert "age" in nothing[0][0]["fleischner_2017"].missing


def test_too_young_is_an_answer_and_the_model_says_where_it_ends() -> None:
    _, examination = advise([measured(12)], Person(age=20))
    assert examination["fleischner_2017"].category == "not-applicable"
    assert "Beyond" in examination["brock"].advice


def test_spiculation_counts_where_it_is_clear_whose_it_is() -> None:
    spiculated = dataclasses.replace(WHOLE, spiculation=True)
    assert advise([measured(7)], spiculated)[1]["lung_rads_2022"].category == "4X"
    several = advise([measured(7), measured(6)], spiculated)
    assert several[1]["lung_rads_2022"].category == "3"
    assert "spiculation" in several[0][0]["brock"].missing


def test_solid_part_of_a_part_solid_nodule_is_used() -> None:
    small, large = (advise([measured(12, "part-solid", mm)], WHOLE)[1] for mm in (4.0, 9.0))
    assert (small["fleischner_2017"].category, large["fleischner_2017"].category) == ("F8", "F9")
    assert (small["lung_rads_2022"].category, large["lung_rads_2022"].category) == ("3", "4B")


@pytest.mark.parametrize(
    ("current_mm", "texture", "growth", "expected"),
    [
        (5, "solid", Growth("new"), "3"),
        (9, "solid", Growth("new"), "4B"),
        (7.0, "solid", grown(6.8, 365), "3"),
        (7.6, "solid", grown(6.0, 300), "4A"),
        (7.6, "solid", grown(6.0, 700), "4B"),  # over more than a year: slow growth
        (7.6, "solid", grown(6.0, None), "4A"),
        (7.6, "solid", grown(9.0, 300, "shrinking"), "3"),
        (31, "ground-glass", grown(24, 300, "growing", 270.0), "4X"),  # doubles within a year
        (31, "ground-glass", grown(30, 300), "2"),
        (20, "ground-glass", grown(15, 300, "growing", 240.0), "2"),
    ],
)
def test_growth_moves_lung_rads(current_mm: float, texture: str, growth: Growth, expected: str) -> None:
    advice = advise([measured(current_mm, texture)], WHOLE, [growth])[1]["lung_rads_2022"]
    assert advice.category == expected
    assert ("dates of both examinations" in advice.missing) == (growth.interval_days is None)


def test_each_nodule_needs_its_growth() -> None:
    with pytest.raises(ValueError, match="shorter"):
        advise([measured(7), measured(8)], WHOLE, [None])
