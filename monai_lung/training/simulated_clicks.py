"""A simulated person who corrects an outline: clicks the middle of the largest error, until nothing is wrong.

As interactive segmentation simulates it (Sofiiuk, Petrov, Konushin: Reviving Iterative Training with Mask Guidance for
Interactive Segmentation, ICIP 2022; Diaz-Pinto et al.: DeepEdit, arXiv:2305.10655): the errors are parted into
connected components of voxels that are missed or too many, and the click is deepest in the largest of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class SimulatedClick:
    """Index (i, j, k) of a click, and whether it adds."""

    index: tuple[int, int, int]
    adds: bool


def next_click(
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: NDArray[np.float64],
    known: NDArray[np.bool_] | None = None,
    rng: np.random.Generator | None = None,
) -> SimulatedClick | None:
    """Where the next click goes; None where nothing is wrong.

    Args:
        mask: (X, Y, Z), the outline as it stands.
        truth: (X, Y, Z), what is wanted.
        spacing_mm: (3,).
        known: (X, Y, Z), where the truth is known; everywhere if not given.
        rng: where given, a voxel drawn from those at least half as deep as the deepest: a person doesn't measure.

    >>> truth = np.zeros((9, 9, 9), bool)
    >>> truth[2:7, 2:7, 2:7] = True
    >>> next_click(np.zeros_like(truth), truth, np.ones(3))
    SimulatedClick(index=(4, 4, 4), adds=True)
    """
    wrong = mask != truth if known is None else (mask != truth) & known
    if not wrong.any():
        return None
    labels = cc3d.connected_components(np.where(wrong, 1 + truth, 0).astype(np.uint8), connectivity=6)
    largest = int(np.bincount(labels[wrong]).argmax())
    part = ndimage.find_objects(labels, largest)[largest - 1]
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(labels[part] == largest, 1), sampling=spacing_mm))
    depth = depth[1:-1, 1:-1, 1:-1]
    deepest = np.argwhere(depth >= depth.max() / (1 if rng is None else 2))
    if rng is None:  # of several as deep, the one nearest to the error's middle
        middle = np.argwhere(labels[part] == largest).mean(0)
        chosen = deepest[np.linalg.norm((deepest - middle) * spacing_mm, axis=1).argmin()]
    else:
        chosen = deepest[rng.integers(len(deepest))]
    i, j, k = (int(v + s.start) for v, s in zip(chosen, part, strict=True))
    return SimulatedClick((i, j, k), bool(truth[i, j, k]))
