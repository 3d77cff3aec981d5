"""Masks from contours: by hand, and voxel by voxel beside the real nodules' masks."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pytest

from monai_lung.errors import UsageError
from monai_lung.lidc.index import Annotation, Contour, Ratings
from monai_lung.lidc.nodules import agreed_diameter_mm, marked_nodules
from monai_lung.lidc.votes import count_votes, draw_masks

RATINGS = Ratings(5, 1, 6, 4, 4, 1, 1, 5, 3)


def square(low: int, high: int) -> list[tuple[int, int]]:
    """Outline of a square from (low, low) to (high, high), pixel by pixel."""
    side = range(low, high)
    return (
        [(i, low) for i in side]
        + [(high, i) for i in side]
        + [(high + low - i, high) for i in side]
        + [(low, high + low - i) for i in side]
    )


def mark(*contours: tuple[float, bool, list[tuple[int, int]]]) -> Annotation:
    drawn = tuple(Contour(z_mm, inclusion, np.array(points, np.int32)) for z_mm, inclusion, points in contours)
    return Annotation(1, 1, "n", RATINGS, drawn)


def test_the_outline_is_outside_and_a_hole_takes_its_outline():
    masks = draw_masks([mark((0.0, False, square(13, 16)), (0.0, True, square(10, 20)))], round)
    assert masks.offset == (10, 10, 0)
    expected = np.zeros((11, 11), bool)
    expected[1:10, 1:10] = True
    expected[3:7, 3:7] = False
    np.testing.assert_array_equal(masks.reader(0)[..., 0], expected)


def test_the_outline_runs_between_pixels_that_are_apart():
    closed = draw_masks([mark((0.0, True, square(10, 20)))], round)
    corners = draw_masks([mark((0.0, True, [(10, 10), (20, 10), (20, 20), (10, 20)]))], round)
    np.testing.assert_array_equal(corners.bits, closed.bits)


def test_columns_come_first_and_slices_last():
    masks = draw_masks([mark((3.0, True, [(5, 30), (9, 30), (9, 50), (5, 50)]))], lambda z: round(z) + 4)
    assert (masks.offset, masks.bits.shape) == ((5, 30, 7), (5, 21, 1))
    assert masks.bits.sum() == 3 * 19


def test_votes_and_consensus():
    readers = [mark((0.0, True, square(10, 10 + n))) for n in (4, 6, 8, 10)]
    masks = draw_masks(readers, round)
    np.testing.assert_array_equal(np.unique(masks.votes()), [0, 1, 2, 3, 4])
    assert masks.reader(0).sum() == 9
    assert masks.consensus(at_least=4).sum() == 9
    assert masks.consensus(at_least=3).sum() == 25
    assert masks.consensus(share=0.5).sum() == masks.consensus(at_least=2).sum() == 49
    assert masks.consensus(share=0.51).sum() == 25
    assert not masks.consensus(at_least=5).any()
    assert agreed_diameter_mm(masks, voxel_mm3=2.0) == pytest.approx((6 * 98 / np.pi) ** (1 / 3), abs=0.005)


def test_on_another_box():
    masks = draw_masks([mark((0.0, True, square(10, 20)), (1.0, True, square(10, 20)))], round)
    wide = masks.on((5, 5, -2), (30, 30, 6))
    assert wide.bits.sum() == masks.bits.sum() == 2 * 81
    np.testing.assert_array_equal(wide.bits[5:16, 5:16, 2:4], masks.bits)
    assert masks.on((15, 10, 1), (4, 100, 1)).bits.sum() == 4 * 9
    assert masks.on((100, 100, 0), (5, 5, 5)).bits.sum() == 0


def test_eight_readers_fit_and_nine_do_not():
    readers = [mark((0.0, True, square(10, 20)))] * 9
    masks = draw_masks(readers[:8], round)
    assert masks.votes().max() == 8
    assert masks.reader(7).sum() == 81
    for wrong in (readers, []):
        with pytest.raises(UsageError, match="can't be drawn"):
            draw_masks(wrong, round)


@pytest.mark.parametrize("rule", [{}, {"at_least": 3, "share": 0.5}, {"at_least": 0}, {"at_least": 9}, {"share": 1.5}])
def test_an_impossible_consensus_is_refused(rule):
    masks = draw_masks([mark((0.0, True, square(10, 20)))], round)
    with pytest.raises(UsageError, match="consensus"):
        masks.consensus(**rule)


def test_all_real_masks_agree_to_the_voxel(lidc_scans, data_dir):
    """840 nodules: bits, diameter and table row are those of the crops."""
    nodules = {}
    with (data_dir / "lidc_crops" / "nodules.csv").open() as file:
        rows = list(csv.DictReader(file))
    for scan_id in {int(row["scan_id"]) for row in rows}:
        nodules |= {nodule.id: nodule for nodule in marked_nodules(lidc_scans[scan_id])}
    marks = 0
    for row in rows:
        nodule = nodules[row["id"]]
        z0_mm, spacing_mm = float(row["z0_mm"]), [float(row[name]) for name in ("sx", "sy", "sz")]
        expected = np.asarray(nibabel.load(data_dir / "lidc_crops" / "readers" / f"{row['id']}.nii.gz").dataobj)
        start = (int(row["x0"]), int(row["y0"]), nodule.scan.slice_of(z0_mm))
        masks = nodule.masks()
        np.testing.assert_array_equal(masks.on(start, expected.shape).bits, expected, err_msg=row["id"])
        assert count_votes(masks.bits).sum() == count_votes(expected).sum()
        assert agreed_diameter_mm(masks, float(np.prod(spacing_mm))) == float(row["diameter_mm"])
        assert {name: str(value) for name, value in nodule.row().items()}.items() <= row.items()
        marks += len(nodule.annotations)
    assert (len(rows), marks) == (840, 3086)
