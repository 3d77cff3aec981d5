"""The figures of clicks: points lie in the nodule, Dice is Dice, patients that a network knows don't judge it."""

from __future__ import annotations

import numpy as np
import pytest

from monai_lung.data.crops import CropRow
from research.benchmarks.clicks import HELD_OUT, _drawn, dice, table


def test_points_lie_in_the_truth_and_are_the_same_in_each_run() -> None:
    truth = np.zeros((9, 9, 9), bool)
    truth[2:7, 3:6, 4:6] = True
    row = CropRow("LIDC-IDRI-0001_s1_n0", "LIDC-IDRI-0001", 4, {}, 5.0)
    points = _drawn(truth, 4, row)
    assert len(points) == 4
    assert all(truth[tuple(p.astype(int))] for p in points)
    np.testing.assert_array_equal(points, _drawn(truth, 4, row))
    assert np.linalg.norm(points[0] - np.argwhere(truth).mean(0)) < 1


def test_dice() -> None:
    one, other = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    assert dice(one, other) == 1
    one[0], other[0, :2] = True, True
    assert dice(one, other) == pytest.approx(2 * 8 / 24)


def test_only_unseen_patients_are_held_against_the_readers() -> None:
    each = [
        {
            "diameter_mm": d,
            "fold": fold,
            "agreement": [1.0],
            "agreement_once": [0.9],
            "readers": [score],
            "cpu_s": [1.0],
        }
        for d, fold, score in ((5.0, HELD_OUT, 0.8), (5.5, 3, 0.1), (25.0, 3, 0.2))
    ]
    small, large, both = table(each)
    assert (small["nodules"], small["unseen_nodules"], small["readers"]["mean"]) == (2, 1, 0.8)
    assert (large["nodules"], large["unseen_nodules"], large["readers"]) == (1, 0, {})
    assert both["nodules"] == 3
    assert both["agreement"]["at_least_0.95"] == 1
    assert both["agreement_once"]["at_least_0.95"] == 0
