"""The figures of clicks: points lie in the nodule, Dice is Dice, patients that a network knows don't judge it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from monai_lung.data.crops import CropRow
from research.benchmarks.clicks import HELD_OUT, _drawn, table


def test_points_lie_in_the_truth_and_are_the_same_in_each_run() -> None:
    truth = np.zeros((9, 9, 9), bool)
    truth[2:7, 3:6, 4:6] = True
    row = CropRow("LIDC-IDRI-0001_s1_n0", "LIDC-IDRI-0001", 4, {}, 5.0)
    points = _drawn(truth, 4, row)
    assert len(points) == 4
    assert all(truth[tuple(p.astype(int))] for p in points)
    np.testing.assert_array_equal(points, _drawn(truth, 4, row))
    assert np.linalg.norm(points[0] - np.argwhere(truth).mean(0)) < 1


def a_nodule(
    diameter_mm: float, fold: int, readers: float, agreement: float = 1.0, room: bool = True
) -> dict[str, Any]:
    return {
        "patient": f"{fold}-{diameter_mm}",
        "diameter_mm": diameter_mm,
        "fold": fold,
        "room": room,
        "agreement": [agreement, agreement],
        "readers": [readers, readers - 0.1, 0.0],
        "cpu_s": [1.0, 2.0, 3.0],
    }


def test_patients_unseen_and_nodules_with_room_have_rows_of_their_own() -> None:
    each = [a_nodule(5.0, HELD_OUT, 0.8), a_nodule(5.5, HELD_OUT, 0.6, room=False), a_nodule(25.0, 3, 0.2, 0.9)]
    rows = {(row["patients"], row["from_mm"], row["to_mm"]): row for row in table(each)}
    assert set(rows) == {
        *(("all", 0, 6), ("all", 20, 1000), ("all", 0, 1000)),
        *(("unseen", 0, 6), ("unseen", 0, 1000), ("unseen, room", 0, 6), ("unseen, room", 0, 1000)),
    }
    assert rows["all", 0, 1000]["agreement"]["n"] == 3
    assert rows["all", 0, 1000]["agreement_at_least_0.95"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert rows["unseen", 0, 6]["readers_first_point"]["value"] == pytest.approx(0.7)
    assert rows["unseen, room", 0, 6]["readers"]["value"] == pytest.approx((0.8 + 0.7) / 3, abs=1e-4)
    assert rows["all", 20, 1000]["points_without_outline"] == pytest.approx(1 / 3, abs=1e-4)
    assert rows["all", 0, 1000]["cpu_s_median"] == 2
