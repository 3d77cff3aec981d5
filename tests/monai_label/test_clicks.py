"""The points that a panel sends as label maps: as DeepEdit's panels send them, all of them again after each click."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lib import clicks
from lib.clicks import Points, corrected
from torch import Tensor, nn

from monai_lung.inference.networks import Corrector
from monai_lung.model import CT, Outline, Seed
from monai_lung.stages import CorrectSettings

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
CENTERS = ((20, 20, 15), (45, 40, 15))


class AsItStands(nn.Module):
    """Draws the outline that it is given: clicks count for their own balls alone."""

    def forward(self, image: Tensor) -> Tensor:
        return 20 * image[:, 1:2] - 10


CORRECTOR = Corrector(
    AsItStands(), CorrectSettings((0.625, 0.625, 1.25), (48, 48, 24), 0.5, 1.25, 12.0), torch.device("cpu"), {}
)


def ball(center: tuple[int, int, int], radius_mm: float = 6.0) -> np.ndarray:
    index = np.moveaxis(np.indices((64, 64, 30)), 0, -1)
    return np.linalg.norm((index - center) * np.diag(AFFINE)[:3], axis=-1) <= radius_mm


@pytest.fixture
def ct() -> CT:
    return CT(np.where(ball(CENTERS[0]) | ball(CENTERS[1]), 40, -850).astype(np.int16), AFFINE, "balls")


@pytest.fixture(autouse=True)
def nodules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The balls are what is outlined at points in them."""

    def outline_at(ct: CT, points: list[Any], networks: Any) -> tuple[list[Outline], list[str]]:
        found, notes = [], []
        for n, point in enumerate(points, start=1):
            at = tuple(np.rint(ct.to_index(point)).astype(int))
            mask = next((ball(center) for center in CENTERS if ball(center)[at]), None)
            if mask is None:
                notes.append(f"Point {n}: no nodule.")
            else:
                found.append(Outline(mask, mask.astype(np.float32), (0, 0, 0), Seed(point, 1.0, 12.0)))
        return found, notes

    monkeypatch.setattr(clicks, "outline_at", outline_at)


def test_of_one_nodule_further_points_add(ct: CT) -> None:
    inside = [(20.0, 20.0, 15.0), (28.0, 20.0, 15.0)]
    labels, notes = corrected(ct, Points(inside, [(14.0, 20.0, 15.0)]), None, CORRECTOR)
    assert labels[28, 20, 15] == 1
    assert labels[14, 20, 15] == 0
    assert not labels[35:].any(), "the other ball isn't pointed at"
    assert any("clicks to add: 1, to cut: 1" in note for note in notes)


def test_a_first_point_that_is_not_nodule_gives_an_empty_map(ct: CT) -> None:
    labels, notes = corrected(ct, Points([], [(20.0, 20.0, 15.0)]), None, CORRECTOR)
    assert not labels.any()
    assert notes == []


def test_a_click_far_from_every_nodule_is_said_in_one_line(ct: CT) -> None:
    _, notes = corrected(ct, Points([(20.0, 20.0, 15.0)], [(60.0, 2.0, 2.0)]), None, CORRECTOR)
    assert len(notes) == 1
    assert "from the nearest outline and was left out" in notes[0]


def test_a_turned_ct_gives_the_same_voxels(ct: CT) -> None:
    turned = replace(ct, hu=ct.hu, affine_lps=np.diag([-1.0, -1.0, 2.0, 1.0]))
    points = Points([(20.0, 20.0, 15.0), (28.0, 20.0, 15.0)], [(14.0, 20.0, 15.0)])
    one, _ = corrected(ct, points, None, CORRECTOR)
    other, _ = corrected(turned, points, None, CORRECTOR)
    np.testing.assert_array_equal(one, other)
