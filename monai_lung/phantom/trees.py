"""Branching tubes: how the phantom's arteries, veins and airways fill a lung.

A tree grows by joining points spread over the lung, nearest to the root first, to the closest branch that can be
reached inside the lung. Radii follow Murray's law (Proc Natl Acad Sci 12:207, 1926): the cube of a parent's radius is
the sum of the cubes of its children's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Tube:
    """A straight tube with round ends: `start_mm` and `end_mm` (3,) in LPS mm."""

    start_mm: Points
    end_mm: Points
    radius_mm: float


def grow_tree(
    root_mm: Points,
    targets_mm: Points,
    inside: Callable[[Points], NDArray[np.bool_]],
    *,
    leaf_radius_mm: float,
    largest_mm: float,
    rng: np.random.Generator,
) -> list[Tube]:
    """Grow a tree of tubes from a root to every target.

    Args:
        root_mm: (3,) LPS mm.
        targets_mm: (n, 3) LPS mm, the ends of the twigs.
        inside: says of points (m, 3) whether a branch may run there.
        leaf_radius_mm: radius of a twig.
        largest_mm: no tube is wider than this radius.
        rng: bends the branches a little.

    Returns:
        Tubes, parents before children.
    """
    order = np.argsort(np.linalg.norm(targets_mm - root_mm, axis=1))
    nodes = np.empty((1 + 2 * len(order), 3))
    parents = np.zeros(len(nodes), int)
    nodes[0] = root_mm
    count = 1
    for target in targets_mm[order]:
        parent = _attach(nodes[:count], target, inside)
        bend = rng.normal(0, 0.06, 3) * np.linalg.norm(target - nodes[parent])
        nodes[count], parents[count] = (nodes[parent] + target) / 2 + bend, parent
        nodes[count + 1], parents[count + 1] = target, count
        count += 2
    return _tubes(nodes[:count], parents[:count], leaf_radius_mm, largest_mm)


def _attach(nodes: Points, target: Points, inside: Callable[[Points], NDArray[np.bool_]]) -> int:
    """Index of the nearest node from which the straight way to the target stays inside, else of the nearest."""
    distance = np.linalg.norm(nodes - target, axis=1)
    nearest = np.argsort(distance)[:8]
    steps = np.linspace(0.25, 0.75, 3)[:, None, None]
    free = inside((nodes[nearest] * (1 - steps) + target * steps).reshape(-1, 3)).reshape(3, -1).all(0)
    return int(nearest[np.argmax(free)]) if free.any() else int(nearest[0])


def _tubes(nodes: Points, parents: NDArray[np.int_], leaf_mm: float, largest_mm: float) -> list[Tube]:
    """Tubes from every node to its parent, as wide as the twigs behind it ask."""
    has_child = np.bincount(parents[1:], minlength=len(nodes)) > 0
    cubes = np.where(has_child, 0.0, leaf_mm**3)
    for i in range(len(nodes) - 1, 0, -1):  # a parent's index is always the smaller one
        cubes[parents[i]] += cubes[i]
    radii = np.minimum(np.cbrt(cubes), largest_mm)
    return [Tube(nodes[parents[i]], nodes[i], float(radii[i])) for i in range(1, len(nodes))]
