from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from monai_lung.data.backgrounds import Background, halved, read_backgrounds, save_background
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


def test_mines_the_vessel_at_both_looks_and_not_the_marked_nodule(with_marked_nodule: Background) -> None:
    mined = mine(with_marked_nodule, Dense(), (32, 32, 16))
    np.testing.assert_allclose(mined.hard, [[42, 42, 30]], atol=1)
    np.testing.assert_allclose(mined.hard_coarse, [[20, 20, 15]], atol=1)


def test_a_scan_smaller_than_the_window_is_mined(with_marked_nodule: Background) -> None:
    mined = mine(with_marked_nodule, Dense(), (128, 128, 64))
    np.testing.assert_allclose(mined.hard, [[42, 42, 30]], atol=1)


def test_hard_places_are_kept_in_the_file_and_on_the_coarse_grid(background: Background, tmp_path: Path) -> None:
    hard, coarse = np.array([[1, 2, 3]]), np.array([[4, 5, 6], [7, 8, 9]])
    save_background(dataclasses.replace(background, hard=hard, hard_coarse=coarse), tmp_path)
    (read,) = read_backgrounds(tmp_path)
    np.testing.assert_array_equal(read.hard, hard)
    np.testing.assert_array_equal(read.hard_coarse, coarse)
    np.testing.assert_array_equal(halved(read).hard, coarse)


def test_half_the_size_keeps_marks_depth_and_mean(background: Background) -> None:
    small = halved(background)
    assert small.hu.shape == (50, 50, 30)
    np.testing.assert_array_equal(small.spacing_mm, 2 * background.spacing_mm)
    np.testing.assert_array_equal(np.argwhere(small.known).min(0), [35, 35, 10])
    np.testing.assert_array_equal(np.argwhere(small.known).max(0), [39, 39, 19])
    assert small.depth_mm.max() == background.depth_mm.max()
    assert abs(small.hu.mean() - background.hu.mean()) < 0.1
