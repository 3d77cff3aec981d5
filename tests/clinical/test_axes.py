"""Axes of an outline are those of the nodule in the patient, however its voxels are stored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
import pytest

from monai_lung.clinical.axes import Axes, axes

SPACING_MM = (1.0, 1.0, 2.5)
# Three chords of this outline are longest, all 5.83 mm; at right angles to them it's 5.83, 3.64 and 5.83 mm wide.
TIED = ("..###..", ".##....", "..##...", ".##.#..", ".#####.")
# Two slices of equal size, one of them longer.
FLAT = (".......", ".####..", ".####..", ".......", ".......")
LONG = (".......", ".......", "#######", "#......", ".......")


def nodule(*slices: tuple[str, ...]) -> np.ndarray:
    """Share of each voxel (x, y, z), foot to head, with a margin of zeros."""
    planes = [[[float(c == "#") for c in row] for row in rows] for rows in slices]
    return np.pad(np.array(planes).transpose(2, 1, 0), 2)


def stored(share: np.ndarray) -> Iterator[Axes]:
    """Its axes for each order and direction of the array's axes, with errors of rounding."""
    last = np.array(share.shape) - 1
    lps = np.diag([*SPACING_MM, 1.0])
    lps[:3, 3] = 12.0, -40.0, 7.0
    rng = np.random.default_rng(0)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turned = share.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
        affine = lps.copy()
        affine[:3, :3] = lps[:3, order] * signs
        affine[:3, 3] = lps[:3, 3] + lps[:3, order] @ np.where(np.array(signs) < 0, last[list(order)], 0)
        yield axes(turned + (turned > 0) * rng.normal(0, 1e-7, turned.shape), (0, 0, 0), affine)


@pytest.mark.parametrize("share", [nodule(TIED), nodule(FLAT, LONG)], ids=["equal chords", "equal slices"])
def test_any_storage_has_the_same_axes(share: np.ndarray) -> None:
    every = [[found.long_mm, found.short_mm, *np.ravel(found.points_mm)] for found in stored(share)]
    assert len(every) == 48
    np.testing.assert_allclose(every, np.broadcast_to(every[0], np.shape(every)), atol=1e-4)


def test_of_equal_chords_the_one_with_the_wider_outline_counts() -> None:
    found = next(stored(nodule(TIED)))
    assert found.short_mm == pytest.approx(found.long_mm, rel=1e-4)


@pytest.mark.parametrize(("slices", "k"), [((FLAT, LONG), 3), ((LONG, FLAT), 2)])
def test_of_equal_slices_the_one_with_the_longer_axis_counts(slices: tuple[tuple[str, ...], ...], k: int) -> None:
    assert {round(found.points_mm[0][2], 3) for found in stored(nodule(*slices))} == {7.0 + k * SPACING_MM[2]}
