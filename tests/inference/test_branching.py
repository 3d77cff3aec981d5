from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from monai_lung.inference.branching import LEAST_SOLIDITY, solidity, without_branches
from monai_lung.model import CT, Outline, Seed


def _outline(mask: np.ndarray) -> Outline:
    return Outline(mask, mask.astype(np.float32), (2, 3, 4), Seed((0.0, 0.0, 0.0), 1.0, 20.0))


def _shape(kind: str, size_mm: float, spacing_mm: np.ndarray) -> np.ndarray:
    """A ball, an ellipsoid with spikes, or a trunk with branches, within a box of `size_mm`."""
    n = np.ceil(size_mm / spacing_mm).astype(int) + 1
    points = [(np.arange(k) - (k - 1) / 2) * s for k, s in zip(n, spacing_mm, strict=True)]
    x, y, z = np.meshgrid(*points, indexing="ij")
    radius = size_mm / 2
    if kind == "ball":
        return x**2 + y**2 + z**2 <= radius**2
    if kind == "spiculated":
        spikes = ((x**2 + y**2 < 4) | (y**2 + z**2 < 4) | (x**2 + z**2 < 4)) & (x**2 + y**2 + z**2 <= radius**2)
        return (x**2 + y**2 + (1.2 * z) ** 2 <= (0.8 * radius) ** 2) | spikes
    arms = [(1, 0, 1), (-1, 0, 1), (0, 1, 1), (0, -1, 1), (0, 0, -1)]
    inside = np.zeros(x.shape, bool)
    for arm in np.array(arms, float):
        arm /= np.linalg.norm(arm)
        along = x * arm[0] + y * arm[1] + z * arm[2]
        inside |= (along >= 0) & (x**2 + y**2 + z**2 - along**2 <= (size_mm / 9) ** 2)
    return inside & (x**2 + y**2 + z**2 <= radius**2)


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 0.7), (0.7, 0.7, 2.5), (1.0, 0.6, 5.0)])
def test_large_branches_go_and_masses_stay(spacing) -> None:
    mm = np.array(spacing)
    ct = CT(np.zeros((8, 8, 8), np.int16), np.diag([*spacing, 1.0]), "ct", Path("ct"))
    ball, spiculated, tree = (_outline(_shape(kind, 40, mm)) for kind in ("ball", "spiculated", "tree"))
    assert without_branches([tree, ball, spiculated], ct) == [ball, spiculated]
    assert solidity(tree, ct) < LEAST_SOLIDITY < solidity(spiculated, ct) < solidity(ball, ct) <= 1
    small = _outline(_shape("tree", 14, mm))
    assert without_branches([small], ct) == [small], "small ones are the network's to tell"


def test_the_way_a_ct_is_stored_does_not_matter() -> None:
    spacing = np.array([0.7, 0.7, 2.0])
    tree = _shape("tree", 40, spacing)
    ct = CT(np.zeros((8, 8, 8), np.int16), np.diag([*spacing, 1.0]), "ct", Path("ct"))
    turned = CT(np.zeros((8, 8, 8), np.int16), ct.affine_lps[:, [2, 0, 1, 3]] * [-1, 1, 1, 1], "ct", Path("ct"))
    other = _outline(np.ascontiguousarray(tree.transpose(2, 0, 1)[::-1]))
    assert solidity(other, turned) == pytest.approx(solidity(_outline(tree), ct), abs=0.01)


def test_a_large_mass_takes_little_memory() -> None:
    mm = np.array([2.0, 2.0, 2.0])
    ct = CT(np.zeros((8, 8, 8), np.int16), np.diag([*mm, 1.0]), "ct", Path("ct"))
    ball = _outline(_shape("ball", 150, mm))
    tracemalloc.start()
    assert solidity(ball, ct) == pytest.approx(1, abs=0.03)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6


def test_a_flat_outline_has_no_hull() -> None:
    ct = CT(np.zeros((8, 8, 8), np.int16), np.diag([1.0, 1.0, 1.0, 1.0]), "ct", Path("ct"))
    assert solidity(_outline(np.ones((60, 60, 1), bool)), ct) == 1.0
