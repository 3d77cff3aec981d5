"""Every cell of the Lung-RADS v2022 tables, and their borders."""

from __future__ import annotations

import math

import pytest

from monai_lung.clinical.guidelines import GuidelineInputError, GuidelineNodule, lung_rads_2022
from monai_lung.clinical.guidelines.lung_rads_2022 import MANAGEMENT, ORDER
from monai_lung.clinical.guidelines.lung_rads_table import VOLUMES_MM3


def nodule(
    texture: str, mm: float, solid_mm: float | None = None, status: str = "baseline", **fields: object
) -> GuidelineNodule:
    return GuidelineNodule(texture, mm, mm, solid_mean_diameter_mm=solid_mm, status=status, **fields)  # type: ignore[arg-type]


def category(*nodules: GuidelineNodule, **options: object) -> str | None:
    return lung_rads_2022(nodules, **options).category  # type: ignore[arg-type]


GRID = [
    # texture, diameter, solid part, status, category
    ("solid", 1.0, None, "baseline", "2"),
    ("solid", 5.9, None, "baseline", "2"),
    ("solid", 5.94, None, "baseline", "2"),
    ("solid", 5.95, None, "baseline", "3"),
    ("solid", 6.0, None, "baseline", "3"),
    ("solid", 7.9, None, "baseline", "3"),
    ("solid", 8.0, None, "baseline", "4A"),
    ("solid", 14.9, None, "baseline", "4A"),
    ("solid", 15.0, None, "baseline", "4B"),
    ("solid", 3.9, None, "new", "2"),
    ("solid", 4.0, None, "new", "3"),
    ("solid", 5.9, None, "new", "3"),
    ("solid", 6.0, None, "new", "4A"),
    ("solid", 7.9, None, "new", "4A"),
    ("solid", 8.0, None, "new", "4B"),
    ("solid", 3.0, None, "growing", "4A"),
    ("solid", 5.0, None, "growing", "4A"),
    ("solid", 7.9, None, "growing", "4A"),
    ("solid", 8.0, None, "growing", "4B"),
    ("solid", 3.0, None, "slow-growing", "4B"),
    ("solid", 7.0, None, "slow-growing", "4B"),
    ("solid", 5.0, None, "stable", "2"),
    ("solid", 7.0, None, "stable", "3"),
    ("solid", 9.0, None, "stable", "4A"),
    ("solid", 15.0, None, "stable", "4B"),
    ("part-solid", 5.9, 3.0, "baseline", "2"),
    ("part-solid", 6.0, 5.9, "baseline", "3"),
    ("part-solid", 9.0, 6.0, "baseline", "4A"),
    ("part-solid", 9.0, 7.9, "baseline", "4A"),
    ("part-solid", 12.0, 8.0, "baseline", "4B"),
    ("part-solid", 5.0, 2.0, "new", "3"),
    ("part-solid", 5.9, 5.0, "new", "3"),
    ("part-solid", 9.0, 3.9, "new", "4A"),
    ("part-solid", 9.0, 4.0, "new", "4B"),
    ("part-solid", 9.0, 3.9, "growing", "4A"),
    ("part-solid", 9.0, 4.0, "growing", "4B"),
    ("part-solid", 5.0, 2.0, "growing", "4A"),
    ("part-solid", 7.0, 2.0, "slow-growing", "4B"),
    ("part-solid", 9.0, 5.0, "stable", "3"),
    ("ground-glass", 29.9, None, "baseline", "2"),
    ("ground-glass", 30.0, None, "baseline", "3"),
    ("ground-glass", 29.9, None, "new", "2"),
    ("ground-glass", 30.0, None, "new", "3"),
    ("ground-glass", 29.9, None, "growing", "2"),
    ("ground-glass", 30.0, None, "growing", "3"),
    ("ground-glass", 10.0, None, "stable", "2"),
    ("ground-glass", 35.0, None, "stable", "2"),
    ("ground-glass", 35.0, None, "slow-growing", "2"),
]


@pytest.mark.parametrize(("texture", "mm", "solid_mm", "status", "expected"), GRID)
def test_grid_by_diameter(texture: str, mm: float, solid_mm: float | None, status: str, expected: str) -> None:
    advice = lung_rads_2022([nodule(texture, mm, solid_mm, status)])
    assert advice.category == expected
    assert advice.advice == MANAGEMENT[expected]
    assert texture.replace("-", " ")[:5] in advice.rule.replace("-", " ")
    assert (advice.guideline, advice.modifier, advice.missing) == ("lung_rads_2022", "", ())


@pytest.mark.parametrize(("texture", "mm", "solid_mm", "status", "expected"), GRID)
def test_grid_by_volume_of_the_sphere(
    texture: str, mm: float, solid_mm: float | None, status: str, expected: str
) -> None:
    # The limits in mm3 are those of spheres: a sphere gets the same category, unless rounding to 0.1 mm moved it.
    volume = math.pi * mm**3 / 6
    if mm == 5.95:
        expected = "2"
    limits = [d for d in VOLUMES_MM3 if abs(d - mm) < 0.001]
    if limits:
        volume = VOLUMES_MM3[limits[0]]
    assert category(nodule(texture, mm, solid_mm, status, volume_mm3=volume), size="volume") == expected


def test_volume_limits_are_spheres_in_whole_mm3() -> None:
    for mm, mm3 in VOLUMES_MM3.items():
        assert mm3 == round(math.pi * mm**3 / 6)


@pytest.mark.parametrize(
    ("mm", "status", "expected"),
    [
        (9.9, "baseline", "2"),
        (9.9, "new", "2"),
        (10.0, "baseline", "4A"),
        (7.0, "growing", "4A"),
        (9.0, "growing", "4B"),
    ],
)
def test_juxtapleural(mm: float, status: str, expected: str) -> None:
    assert category(nodule("solid", mm, status=status, juxtapleural=True)) == expected


@pytest.mark.parametrize(
    ("airway", "status", "expected"),
    [
        ("subsegmental", "baseline", "2"),
        ("subsegmental", "new", "2"),
        ("subsegmental", "stable", "2"),
        ("segmental", "baseline", "4A"),
        ("segmental", "new", "4A"),
        ("segmental", "stable", "4B"),
        ("segmental", "growing", "4B"),
    ],
)
def test_airway(airway: str, status: str, expected: str) -> None:
    assert category(nodule("solid", 7, status=status, airway=airway)) == expected


@pytest.mark.parametrize(
    ("cyst", "status", "expected"),
    [
        ("thin-walled", "baseline", "1"),
        ("fluid-containing", "baseline", "1"),
        ("multiple", "baseline", "1"),
        ("thick-walled-growing-space", "growing", "3"),
        ("thick-walled", "baseline", "4A"),
        ("multilocular", "baseline", "4A"),
        ("becoming-multilocular", "growing", "4A"),
        ("thick-walled-growing-wall", "growing", "4B"),
        ("thick-walled", "growing", "4B"),
        ("multilocular", "growing", "4B"),
        ("multilocular-growing", "growing", "4B"),
        ("multilocular-more-opacity", "stable", "4B"),
        ("cavitary", "baseline", "3"),
    ],
)
def test_cysts(cyst: str, status: str, expected: str) -> None:
    assert category(nodule("solid", 7, status=status, cyst=cyst)) == expected


@pytest.mark.parametrize(
    ("prior", "months", "expected"),
    [
        ("3", 6, "2"),
        ("3", 5.7, "2"),
        ("3", None, "2"),
        ("3", 3, "3"),
        ("4A", 3, "3"),
        ("4A", 1, "4A"),
        ("2", 12, "2"),
        ("4B", 3, "4A"),  # no step down without a proof: by size
        (None, 6, "4A"),
    ],
)
def test_stepped_management(prior: str | None, months: float | None, expected: str) -> None:
    stable = nodule("solid", 9, status="stable", prior_category=prior, months_since_prior=months)
    assert category(stable) == expected


def test_4b_proven_benign_is_2_and_airway_nodules_do_not_step_down() -> None:
    assert category(nodule("solid", 20, status="stable", prior_category="4B", benign_pattern=True)) == "2"
    airway = nodule("solid", 7, status="stable", airway="segmental", prior_category="4A", months_since_prior=3)
    assert category(airway) == "4B"


@pytest.mark.parametrize(
    ("texture", "mm", "expected"), [("solid", 7, "4X"), ("solid", 9, "4X"), ("solid", 20, "4X"), ("solid", 5, "2")]
)
def test_suspicious_features_lift_3_and_4_only(texture: str, mm: float, expected: str) -> None:
    assert category(nodule(texture, mm, suspicious=True)) == expected


def test_no_nodule_benign_and_the_worst_of_several() -> None:
    assert category() == "1"
    assert category(nodule("solid", 20, benign_pattern=True)) == "1"
    assert category(nodule("solid", 5), nodule("solid", 9), nodule("ground-glass", 12)) == "4A"
    assert list(ORDER) == sorted(ORDER)


def test_incomplete_and_infection_are_category_0() -> None:
    assert category(nodule("solid", 20), incomplete=True) == "0"
    assert category(incomplete=True) == "0"
    assert category(nodule("solid", 9, status="new"), infection=True) == "0"
    assert category(infection=True) == "0"
    assert category(nodule("solid", 9, status="new", suspicious=True), infection=True) == "4X"
    assert category(*[nodule("solid", 5, status="new")] * 7) == "0"
    assert category(*[nodule("solid", 5, status="new")] * 6) == "3"


@pytest.mark.parametrize("mm", [5, 7, 9, 20])
def test_modifier_s_leaves_the_category(mm: float) -> None:
    plain, other = lung_rads_2022([nodule("solid", mm)]), lung_rads_2022([nodule("solid", mm)], significant_other=True)
    assert (other.category, other.modifier) == (plain.category, "S")


def test_solid_part_that_is_not_known() -> None:
    advice = lung_rads_2022([nodule("part-solid", 9)])
    assert advice.category is None
    assert set(advice.by_risk.values()) == {"3", "4B"}
    assert advice.missing == ("solid_mean_diameter_mm",)
    assert category(nodule("part-solid", 5)) == "2"
    assert category(nodule("part-solid", 9), nodule("solid", 16)) == "4B"  # decided by another


def test_mean_of_axes_to_a_tenth() -> None:
    advice = lung_rads_2022([GuidelineNodule("solid", 6.24, 5.56)])  # 6.2 and 5.6: 5.9
    assert advice.category == "2"
    assert advice.inputs["nodules"][0]["rounded_mm"] == 5.9  # type: ignore[index]


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(GuidelineInputError, match="volume_mm3"):
        lung_rads_2022([nodule("solid", 7)], size="volume")
    with pytest.raises(GuidelineInputError, match="size"):
        lung_rads_2022([nodule("solid", 7)], size="area")  # type: ignore[arg-type]
