from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from monai_lung.data.backgrounds import Background, read_backgrounds, save_background
from monai_lung.training.mining import mine


class Dense(nn.Module):
    """Calls a nodule what is as dense as a vessel."""

    def forward(self, image: Tensor) -> Tensor:
        return (image - 0.6) * 1000


@pytest.fixture
def with_marked_nodule(background: Background) -> Background:
    hu = background.hu.copy()
    hu[72:78, 72:78, 24:36] = 30  # inside the marked box
    return dataclasses.replace(background, hu=hu)


@pytest.mark.parametrize("window", [(32, 32, 16), (128, 128, 64)])
def test_mines_the_vessel_at_both_looks_and_not_the_marked_nodule(
    with_marked_nodule: Background, window: tuple[int, int, int]
) -> None:
    mined = mine(with_marked_nodule, Dense(), (1, 1, 2), window)
    for places in (mined.hard_mm, mined.hard_coarse_mm):
        in_plane = np.abs(places[:, :2] - 50).max(1) < 40  # the network calls the chest wall dense as well
        np.testing.assert_allclose(places[in_plane][:, :2], [[41.5, 41.5]], atol=1)
        assert abs(places[in_plane][0, 2] - 59) < 4


def test_hard_places_are_kept_in_the_file(background: Background, tmp_path: Path) -> None:
    hard, coarse = np.array([[1.0, 2, 3]]), np.array([[4.0, 5, 6], [7, 8, 9]])
    save_background(dataclasses.replace(background, hard_mm=hard, hard_coarse_mm=coarse), tmp_path)
    (read,) = read_backgrounds(tmp_path)
    np.testing.assert_array_equal(read.hard_mm, hard)
    np.testing.assert_array_equal(read.hard_coarse_mm, coarse)
    np.testing.assert_array_equal(read.affine_lps, background.affine_lps)
