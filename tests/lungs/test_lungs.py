"""The lung mask on a torso whose lungs are known."""

from __future__ import annotations

import numpy as np
import pytest
from torso import LEFT, RIGHT, Scan, Torso, dice, grid, scan

from monai_lung.errors import InputError, LungsNotFoundError
from monai_lung.lungs import segment_lungs
from monai_lung.model import Lungs

COARSE = (3.0, 3.0, 3.0)


def segment(torso: Torso, **geometry) -> tuple[Scan, Lungs]:
    sample = scan(torso, *grid(**{"spacing_mm": COARSE, **geometry}))
    return sample, segment_lungs(sample.hu, sample.affine_lps)


def assert_sides(sample: Scan, lungs: Lungs, least: float = 0.99) -> None:
    for side in (RIGHT, LEFT):
        if (sample.truth == side).any():
            assert dice(lungs.labels == side, sample.truth == side) >= least


@pytest.fixture(scope="module")
def plain() -> tuple[Scan, Lungs]:
    return segment(Torso())


def test_lungs_of_a_plain_torso(plain):
    sample, lungs = plain
    assert_sides(sample, lungs)
    assert lungs.labels.dtype == np.uint8
    assert lungs.labels.shape == sample.hu.shape
    assert set(np.unique(lungs.labels)) == {0, 1, 2}
    assert lungs.right_ml == pytest.approx(np.count_nonzero(lungs.labels == 1) * 27 / 1000)
    assert lungs.left_ml == pytest.approx(np.count_nonzero(lungs.labels == 2) * 27 / 1000)
    assert lungs.warnings == ()


def test_trachea_is_left_out(plain):
    sample, lungs = plain
    above_carina = sample.trachea & np.broadcast_to(sample.world[2] > 5, sample.hu.shape)
    assert above_carina.any()
    assert not lungs.labels[above_carina].any()


def test_deterministic_and_independent_of_memory_layout(plain):
    sample, lungs = plain
    again = segment_lungs(np.asfortranarray(sample.hu), sample.affine_lps)
    assert np.array_equal(again.labels, lungs.labels)
    assert again.right_ml == lungs.right_ml


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (-1, 1, 1)), ((0, 1, 2), (1, -1, -1)), ((1, 2, 0), (1, -1, -1)), ((2, 0, 1), (-1, 1, -1))],
)
def test_sides_are_the_patients_whatever_the_order_of_the_array(axes, flips):
    sample, lungs = segment(Torso(), axes=axes, flips=flips)
    assert_sides(sample, lungs)
    x = np.broadcast_to(sample.world[0], sample.hu.shape)
    assert x[lungs.labels == 1].mean() < -50
    assert x[lungs.labels == 2].mean() > 50


def test_oblique_affine_changes_nothing_but_position(plain):
    sample, lungs = plain
    turn = np.deg2rad(12)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    rotation[:3, 3] = (30, -500, 1200)
    turned = segment_lungs(sample.hu, rotation @ sample.affine_lps)
    assert np.array_equal(turned.labels, lungs.labels)


@pytest.mark.parametrize(
    "torso",
    [
        pytest.param(Torso(junction=True), id="touching lungs"),
        pytest.param(Torso(blood_hu=350), id="contrast"),
        pytest.param(Torso(lung_hu=-940), id="emphysema"),
        pytest.param(Torso(lung_hu=-700, lung_noise_hu=80), id="expiration, noise"),
        pytest.param(Torso(table=False), id="no table"),
    ],
)
def test_kinds_of_lung(torso):
    sample, lungs = segment(torso)
    assert_sides(sample, lungs, 0.985)
    assert lungs.warnings == ()


def test_thick_slices():
    sample, lungs = segment(Torso(), spacing_mm=(1.6, 1.6, 5.0))
    assert_sides(sample, lungs)


def test_air_between_arms_and_trunk_is_no_lung():
    sample, lungs = segment(Torso(arms=True), low=(-245.0, -150.0, -190.0), high=(245.0, 190.0, 160.0))
    assert_sides(sample, lungs)


def test_bowel_gas_under_the_diaphragm_is_no_lung():
    torso = Torso(gas=(((75.0, -10.0, -125.0), 55.0), ((-40.0, -60.0, -150.0), 40.0)))
    sample, lungs = segment(torso)
    for center_mm, diameter_mm in torso.gas:
        assert lungs.labels[sample.ball(center_mm, diameter_mm)].mean() < 0.02
    assert_sides(sample, lungs, 0.98)


@pytest.mark.parametrize(("torso", "missing"), [(Torso(left=False), "left"), (Torso(right=False), "right")])
def test_one_lung_missing(torso, missing):
    sample, lungs = segment(torso)
    assert_sides(sample, lungs)
    assert getattr(lungs, f"{missing}_ml") == 0
    assert any(f"No {missing} lung" in warning for warning in lungs.warnings)


@pytest.mark.parametrize(
    "torso",
    [
        pytest.param(Torso(lung_hu=-1000, lung_noise_hu=15), id="air"),
        pytest.param(Torso(lung_hu=-1024, lung_noise_hu=1), id="the lowest value"),
    ],
)
def test_lungs_of_air_as_a_phantom_has_them(torso):
    sample, lungs = segment(torso)
    assert_sides(sample, lungs)
    assert any("as in a phantom" in warning for warning in lungs.warnings)


def test_gas_alone_makes_no_phantom():
    """Distended bowel and stomach on both sides of the spine, up to 90 mm wide, and no lung."""
    gas = (((75.0, -10.0, -60.0), 90.0), ((-70.0, -10.0, -60.0), 90.0), ((-60.0, 0.0, 60.0), 80.0))
    with pytest.raises(LungsNotFoundError):
        segment(Torso(right=False, left=False, gas=gas))


def changed(where, value: int) -> tuple[Scan, Lungs]:
    """The plain torso with the part of its right lung for which `where` (x, y, z in mm) holds filled with a value."""
    sample = scan(Torso(), *grid(spacing_mm=COARSE))
    part = (sample.truth == RIGHT) & np.broadcast_to(where(*sample.world), sample.hu.shape)
    hu = np.where(part, value, sample.hu).astype(np.int16)
    return sample, segment_lungs(hu, sample.affine_lps)


@pytest.mark.parametrize(
    ("where", "least_ml"),
    [
        pytest.param(lambda x, y, z: y < -40, 350, id="in front of a supine patient's lung"),
        pytest.param(lambda x, y, z: y < 35, 1800, id="over most of the lung"),
        pytest.param(lambda x, y, z: x < -30, 2200, id="with the lung collapsed to the hilum"),
    ],
)
def test_free_air_belongs_to_the_mask_and_is_mentioned(where, least_ml):
    sample, lungs = changed(where, -1000)
    assert_sides(sample, lungs)
    (warning,) = lungs.warnings
    assert warning.startswith("The right lung's mask holds ")
    assert "pneumothorax" in warning
    assert int(warning.split()[5]) >= least_ml


def test_a_collapsed_part_is_left_out_and_the_small_lung_mentioned():
    sample, lungs = changed(lambda x, y, z: z > 0, 40)
    solid = (sample.truth == RIGHT) & np.broadcast_to(sample.world[2] > 12, sample.hu.shape)
    assert lungs.labels[solid].mean() < 0.05
    (warning,) = lungs.warnings
    assert warning.startswith("The right lung is much smaller than the left one (")


@pytest.mark.parametrize("width", [(-100.0, 100.0), (-125.0, 0.0)])
def test_field_of_view_that_cuts_the_chest(width):
    sample, lungs = segment(Torso(), low=(width[0], -85.0, -190.0), high=(width[1], 95.0, 160.0))
    assert_sides(sample, lungs, 0.98)
    assert any("field of view" in warning for warning in lungs.warnings)


def test_round_field_of_view_that_cuts_the_lungs():
    sample = scan(Torso(), *grid(spacing_mm=COARSE))
    x, y, _ = sample.world
    inside = np.broadcast_to(x**2 + y**2 < 110**2, sample.hu.shape)
    hu = np.where(inside, sample.hu, -1024).astype(np.int16)
    lungs = segment_lungs(hu, sample.affine_lps)
    assert not lungs.labels[~inside].any()
    assert dice(lungs.labels > 0, (sample.truth > 0) & inside) >= 0.98
    assert any("field of view" in warning for warning in lungs.warnings)


@pytest.mark.parametrize(("low", "high", "where"), [(20.0, 160.0, "below"), (-190.0, -20.0, "above")])
def test_part_of_the_lungs_scanned(low, high, where):
    sample, lungs = segment(Torso(), low=(-200.0, -150.0, low), high=(200.0, 190.0, high))
    assert_sides(sample, lungs)
    assert any(where in warning for warning in lungs.warnings)


@pytest.mark.parametrize(
    ("center_mm", "diameter_mm", "least"),
    [
        pytest.param((-70.0, 10.0, 30.0), 30.0, 0.999, id="inside"),
        pytest.param((-130.0, 0.0, 10.0), 8.0, 0.99, id="small, on the pleura"),
        pytest.param((125.0, 0.0, 40.0), 20.0, 0.95, id="on the pleura"),
        pytest.param((-72.0, 75.0, -20.0), 30.0, 0.90, id="large, on the pleura"),
        pytest.param((-118.0, 0.0, 10.0), 45.0, 0.95, id="mass"),
        pytest.param((85.0, 65.0, 30.0), 55.0, 0.90, id="mass at the back"),
    ],
)
def test_nodules_and_masses_stay_inside(center_mm, diameter_mm, least):
    sample, lungs = segment(Torso(nodules=((center_mm, diameter_mm),)))
    nodule = sample.ball(center_mm, diameter_mm) & (sample.truth > 0)
    assert (lungs.labels[nodule] > 0).mean() >= least
    assert_sides(sample, lungs)


def test_chest_wall_and_heart_are_not_swallowed(plain):
    sample, lungs = plain
    heart = np.zeros(sample.hu.shape, bool)
    for axis_ball in (sample.ball((20.0, -10.0, -40.0), 70.0), sample.ball((0.0, 70.0, 0.0), 34.0)):
        heart |= axis_ball
    assert lungs.labels[heart].mean() < 0.01


@pytest.mark.parametrize("value", [-1024, -1000, 0, 40, 3071])
def test_constant_volume_has_no_lungs(value):
    with pytest.raises(LungsNotFoundError, match="at least 200 ml are needed"):
        segment_lungs(np.full((40, 40, 20), value, np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))


def test_less_than_200_ml_is_refused():
    sample = scan(Torso(), *grid(spacing_mm=COARSE, low=(-200.0, -150.0, -190.0), high=(200.0, 190.0, -105.0)))
    assert 0 < np.count_nonzero(sample.truth) * 0.027 < 200
    with pytest.raises(LungsNotFoundError, match="ml of lung in the image"):
        segment_lungs(sample.hu, sample.affine_lps)


@pytest.mark.parametrize("slices", [1, 3])
def test_a_few_slices_are_segmented_or_refused(slices):
    sample = scan(Torso(), *grid(spacing_mm=(2.0, 2.0, 5.0), low=(-200.0, -150.0, 40.0), high=(200.0, 190.0, 60.0)))
    few = np.ascontiguousarray(sample.hu[:, :, :slices])
    try:
        lungs = segment_lungs(few, sample.affine_lps)
    except LungsNotFoundError:
        assert np.count_nonzero(sample.truth[:, :, :slices]) * 0.02 < 210
    else:
        assert dice(lungs.labels > 0, sample.truth[:, :, :slices] > 0) > 0.95


def test_noise_is_no_lung():
    noise = np.random.default_rng(0).integers(-1024, 1000, (48, 48, 48)).astype(np.int16)
    with pytest.raises(LungsNotFoundError):
        segment_lungs(noise, np.diag([3.0, 3.0, 3.0, 1.0]))


def test_array_of_another_dimension_is_refused():
    with pytest.raises(InputError, match=r"\(X, Y, Z\)"):
        segment_lungs(np.zeros((10, 10), np.int16), np.eye(4))
