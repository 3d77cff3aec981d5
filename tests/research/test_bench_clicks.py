"""The figures of clicks: points lie in the nodule, Dice is Dice, patients that a network knows don't judge it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from monai_lung.data.crops import Crop, CropRow
from monai_lung.model import CT, Outline, Point, Seed
from research.benchmarks.clicks import HELD_OUT, _drawn, table
from research.benchmarks.corrections import Made, clicks_to, correction_table, corrections, joined, wanted_of


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


def a_crop() -> Crop:
    """A block that two of three readers marked, and the third with one column more."""
    readers = np.zeros((16, 16, 8), np.uint8)
    readers[4:12, 4:12, 2:6] = 0b111
    readers[12, 4:12, 2:6] = 0b100
    hu = np.where(readers > 0, 40, -850).astype(np.int16)
    return Crop(CropRow("a", "patient", 3, {}, 10.0), hu, readers, np.diag([-1.0, -1.0, 1.0, 1.0]))


def test_what_is_wanted_is_the_majority_or_one_reader() -> None:
    crop = a_crop()
    assert wanted_of(crop, "half").sum() == 8 * 8 * 4
    one = sum(b"a") % 3  # 97 % 3 == 1
    np.testing.assert_array_equal(wanted_of(crop, "reader"), (crop.readers >> one) & 1 == 1)


def test_corrections_go_on_from_the_first_outline_until_it_is_right() -> None:
    """A way that does what is asked voxel by voxel reaches 1; it gets all clicks each time, and the first outline."""
    crop = a_crop()
    truth = wanted_of(crop, "half")
    start = truth.copy()
    start[4:6, 4, 2] = False
    start[12, 4, 3] = True
    first = Outline(start, start.astype(np.float32), (0, 0, 0), Seed((0.0, 0.0, 0.0), 1.0, 8.0))
    seen: list[tuple[int, int]] = []

    def way(ct: CT, outline: Outline, add: list[Point], cut: list[Point]) -> Outline:
        assert outline is first
        seen.append((len(add), len(cut)))
        mask = outline.mask.copy()
        for points, value in ((add, True), (cut, False)):
            for point in points:
                mask[tuple(np.rint(ct.to_index(point)).astype(int))] = value
        return Outline(mask, mask.astype(np.float32), (0, 0, 0), outline.seed)

    scores, seconds = corrections(crop, truth, first, way)
    assert seen == [(1, 0), (1, 1), (2, 1)] or seen == [(1, 0), (2, 0), (2, 1)]
    assert scores[0] == pytest.approx(2 * 254 / (256 + 255))
    assert scores[3:] == [1.0] * 3
    assert len(seconds) == 3
    assert corrections(crop, truth, None, way) == ([0.0], [])


def test_clicks_are_counted_with_the_first() -> None:
    assert clicks_to([0.86, 0.9], 0.85) == (1, True)
    assert clicks_to([0.8, 0.84, 0.86], 0.85) == (3, True)
    assert clicks_to([0.8] * 20, 0.85) == (20, False)
    assert clicks_to([0.0], 0.85) == (20, False), "no outline to correct"


def test_the_table_holds_dice_by_click_and_clicks_to_the_goals() -> None:
    each = [
        {
            "patient": str(n),
            "network": {"dice": [0.8, 0.9, 0.95], "cpu_s": [0.1, 0.2]},
            "shift": {"dice": [0.8, 0.85, 0.86], "cpu_s": [0.01]},
            "plain": {"dice": [0.8, 0.82, 0.84], "cpu_s": [0.01]},
        }
        for n in range(6)
    ]
    found = correction_table(each)
    assert found["network"]["dice"]["0"]["value"] == found["plain"]["dice"]["0"]["value"] == 0.8
    assert found["network"]["dice"]["5"]["value"] == 0.95, "a nodule that is right stays so"
    assert found["network"]["noc"]["dice_0.85"]["clicks"]["value"] == 2
    assert found["plain"]["noc"]["dice_0.85"]["clicks"]["value"] == 20
    assert found["plain"]["noc"]["dice_0.85"]["not_reached"]["value"] == 1
    assert found["network_less_shift_after"]["1"]["value"] == pytest.approx(0.05)
    assert found["network"]["noc"]["iou_0.90"]["clicks"]["value"] == 3, "IoU 0.90 is Dice 0.947"


def test_rows_of_other_settings_are_not_mixed() -> None:
    row = {"way": "plain", "wanted": "half", "radius_mm": 1.0, "id": "a", "dice": [0.8], "cpu_s": []}
    assert Made("plain", "half", 1.0, None).made(row)
    assert not Made("plain", "half", 2.0, None).made(row)
    assert not Made("plain", "reader", 1.0, None).made(row)
    assert joined([row], "half", 1.0, None) == [], "the network's is missing"
