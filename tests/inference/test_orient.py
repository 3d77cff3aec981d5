from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from monai_lung.inference.orient import Orientation

ALL = [(p, s) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]


@pytest.mark.parametrize(("axes", "signs"), ALL)
def test_every_storage_of_one_volume_is_turned_to_the_same(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    canonical = rng.integers(0, 1000, (5, 6, 7))
    affine = np.diag([0.7, 0.8, 2.0, 1.0])
    affine[:3, 3] = [-10, 20, 30]
    stored = canonical.transpose(axes)
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for own, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[axis, own] = sign
        if sign < 0:
            stored = np.flip(stored, own)
            matrix[axis, 3] = canonical.shape[axis] - 1
    own_affine = affine @ matrix
    orientation = Orientation.of(own_affine, stored.shape)
    np.testing.assert_array_equal(orientation.turn(stored), canonical)
    np.testing.assert_allclose(orientation.turn_affine(own_affine), affine, atol=1e-12)
    box, offset = orientation.turn_back(canonical[1:3, 2:6, 0:4], (1, 2, 0))
    np.testing.assert_array_equal(stored[tuple(slice(o, o + n) for o, n in zip(offset, box.shape, strict=True))], box)
