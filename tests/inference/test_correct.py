"""Clicks that correct an outline: they are followed, what is far stays, and the storage of the CT doesn't matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_lung.inference.correct import BALL_MM, HELD_MM, correct, correct_plainly
from monai_lung.inference.networks import Corrector
from monai_lung.model import CT, Outline, Point, Seed
from monai_lung.stages import CorrectSettings
from monai_lung.transforms.clicks import click_map

AFFINE = np.diag([0.7, 0.7, 1.25, 1.0])
SHAPE = (90, 90, 50)
CENTER = np.array([30.0, 30.0, 30.0])
SETTINGS = CorrectSettings((0.625, 0.625, 1.25), (48, 48, 24), 0.5, 1.25, 12.0)


def world(affine: NDArray[np.float64] = AFFINE) -> NDArray[np.float64]:
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def ball(center: NDArray[np.float64], radius_mm: float) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(world() - center, axis=-1) <= radius_mm)


@pytest.fixture
def ct() -> CT:
    return CT(np.where(ball(CENTER, 6), 40, -850).astype(np.int16), AFFINE, "ball")


def outline_of(mask: NDArray[np.bool_]) -> Outline:
    x, y, z = (float(v) for v in CENTER)
    return Outline(mask, mask.astype(np.float32), (0, 0, 0), Seed((x, y, z), 1.0, 12.0))


def whole(outline: Outline | None) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    if outline is not None:
        mask[outline.box] = outline.mask
    return mask


class Says(nn.Module):
    """A network whose logits are 20 times a weighted sum of what it sees, less 10."""

    def __init__(self, ct: float = 0, outline: float = 0, add: float = 0, cut: float = 0) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([ct, outline, add, cut]).view(1, 4, 1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return 20 * (image * self.weights).sum(1, keepdim=True) - 10


def corrector(network: nn.Module) -> Corrector:
    return Corrector(network.eval(), SETTINGS, torch.device("cpu"), {"correct": "0" * 64})


STUBBORN = corrector(Says(outline=1))
"""Draws the outline as it stands, whatever is clicked."""
OBEDIENT = corrector(Says(outline=1, add=1, cut=-1))
BY_DENSITY = corrector(Says(ct=1))


def at(*offset: float) -> Point:
    x, y, z = (float(v) for v in CENTER + offset)
    return x, y, z


def value(mask: NDArray[np.bool_], point: Point) -> bool:
    i, j, k = np.rint(np.linalg.solve(AFFINE[:3, :3], point)).astype(int)
    return bool(mask[i, j, k])


def test_without_clicks_nothing_changes(ct: CT) -> None:
    outline = outline_of(ball(CENTER, 6))
    assert correct(ct, outline, [], [], BY_DENSITY) is outline
    assert correct(ct, outline, [(900.0, 0.0, 0.0)], [], BY_DENSITY) is outline, "a click outside the CT"


@pytest.mark.parametrize("network", [STUBBORN, OBEDIENT, BY_DENSITY, None])
def test_the_voxel_at_a_click_does_as_it_says(ct: CT, network: Corrector | None) -> None:
    outline = outline_of(ball(CENTER, 6))
    add, cut = [at(8, 0, 0), at(0, 7.5, 0)], [at(-5, 0, 0), at(0, 0, 5)]
    mask = whole(correct(ct, outline, add, cut, network))
    assert all(value(mask, point) for point in add)
    assert not any(value(mask, point) for point in cut)


def test_a_network_that_does_not_follow_is_held_near_the_click(ct: CT) -> None:
    outline = outline_of(ball(CENTER, 6))
    mask = whole(correct(ct, outline, [], [at(-5, 0, 0)], STUBBORN))
    gone = whole(outline) & ~mask
    assert gone.sum() > 5, "not the voxel alone"
    assert np.linalg.norm(world()[gone] - at(-5, 0, 0), axis=-1).max() <= 2 * HELD_MM
    assert not (mask & ~whole(outline)).any()
    np.testing.assert_array_equal(mask, whole(correct(ct, outline, [], [at(-5, 0, 0)], None)))


def test_the_plain_way_is_a_ball(ct: CT) -> None:
    outline = outline_of(ball(CENTER, 6))
    mask = whole(correct_plainly(ct, outline, [at(7, 0, 0)], [at(-5, 0, 0)]))
    changed = world()[mask != whole(outline)]
    away = np.minimum(*(np.linalg.norm(changed - at(x, 0, 0), axis=-1) for x in (7, -5)))
    assert len(changed)
    assert away.max() <= BALL_MM + 0.4  # from the nearest voxel's middle


def test_a_mask_stays_a_mask_and_probabilities_stay_graded(ct: CT) -> None:
    crisp = correct(ct, outline_of(ball(CENTER, 6)), [at(7, 0, 0)], [], OBEDIENT)
    assert crisp is not None
    np.testing.assert_array_equal(crisp.probability, crisp.mask)
    away = np.linalg.norm(world() - CENTER, axis=-1)
    graded = (1 / (1 + np.exp(2 * (away - 6)))).astype(np.float32)
    outline = Outline(graded >= 0.5, graded, (0, 0, 0), outline_of(ball(CENTER, 6)).seed)
    corrected = correct(ct, outline, [at(7, 0, 0)], [], None)
    assert corrected is not None
    np.testing.assert_array_equal(corrected.probability >= 0.5, corrected.mask)
    assert ((corrected.probability > 0.1) & (corrected.probability < 0.9)).any()
    assert value(whole(corrected), at(7, 0, 0))


def test_what_no_click_reaches_stays(ct: CT) -> None:
    """A network that calls everything nodule changes nothing beyond the reach of the click."""
    mask = ball(CENTER, 6) | ball(CENTER + np.array([22, 0, 0]), 4)
    outline = outline_of(mask)
    grown = whole(correct(ct, outline, [at(-7, 0, 0)], [], corrector(Says(outline=0, add=0, ct=1e3))))
    away = np.linalg.norm(world() - at(-7, 0, 0), axis=-1)
    np.testing.assert_array_equal(grown[away > 12.7], mask[away > 12.7])
    assert (grown & ~mask).any()


def test_the_order_of_clicks_and_of_voxels_makes_no_difference(ct: CT) -> None:
    outline = outline_of(ball(CENTER, 6))
    add, cut = [at(8, 1, 0), at(0, 7.5, 2)], [at(-5, 0, 0), at(1, 0, 5)]
    one = whole(correct(ct, outline, add, cut, OBEDIENT))
    np.testing.assert_array_equal(one, whole(correct(ct, outline, add[::-1], cut[::-1], OBEDIENT)))
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, SHAPE[0] - 1
    mirrored = CT(ct.hu[::-1], AFFINE @ flip, "mirrored")
    other = whole(correct(mirrored, outline_of(ball(CENTER, 6)[::-1]), add, cut, OBEDIENT))
    np.testing.assert_array_equal(one, other[::-1])


def test_what_a_cut_severs_goes_and_other_parts_stay(ct: CT) -> None:
    vessel = ball(CENTER, 6) | (np.linalg.norm((world() - CENTER)[..., 1:], axis=-1) < 1.2) & (
        (world()[..., 0] > 36) & (world()[..., 0] < 46)
    )
    elsewhere = ball(CENTER + np.array([0, 22, 0]), 3)
    mask = whole(correct_plainly(ct, outline_of(vessel | elsewhere), [], [at(7, 0, 0)]))
    assert not mask[(world()[..., 0] > 39)].any()
    assert mask[ball(CENTER, 4)].all()
    np.testing.assert_array_equal(mask & elsewhere, elsewhere)


def test_nothing_left_is_none(ct: CT) -> None:
    assert correct_plainly(ct, outline_of(ball(CENTER, 1)), [], [at(0, 0, 0)], 3.0) is None


def test_the_network_sees_clicks_where_they_are(ct: CT) -> None:
    """An outline made of clicks alone lies around them; a large one is seen on a coarser grid, its clicks as well."""
    for radius in (6.0, 20.0):
        outline = outline_of(ball(CENTER, radius))
        mask = whole(correct(ct, outline, [at(radius + 2, 0, 0)], [], corrector(Says(outline=1, add=1))))
        new = world()[mask & ~ball(CENTER, radius + 1)]
        assert len(new)
        assert np.abs(new.mean(0) - at(radius + 2, 0, 0)).max() < 1.5


def test_click_maps_are_of_the_nearest_click() -> None:
    maps = click_map([[3, 3, 3], [10, 3, 3]], (14, 8, 8), (1, 1, 2), 1.5)
    assert maps.max() == 1
    assert maps[3, 3, 3] == maps[10, 3, 3] == 1
    assert maps[3, 3, 4] == pytest.approx(np.exp(-4 / (2 * 1.5**2)))
    assert not click_map([], (4, 4, 4), (1, 1, 1), 1.0).any()
