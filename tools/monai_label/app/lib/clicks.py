"""From the points that a panel sends to a label map: a nodule, added to and cut. Needs no MONAI Label.

MONAI Label's panels send the points of DeepEdit and DeepGrow as voxel indices: under the label's name or `foreground`
what belongs to it, under `background` what doesn't, all of them again after each click, each list in the order of the
clicks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_lung.corrected import correct_outlines
from monai_lung.inference.networks import Corrector, Networks
from monai_lung.model import CT, Point
from monai_lung.pointed import outline_at

Indices = list[tuple[float, float, float]]


@dataclass(frozen=True)
class Points:
    """Voxel indices (i, j, k) of what is nodule and of what isn't, in the order of the clicks."""

    inside: Indices
    outside: Indices


def corrected(
    ct: CT, points: Points, networks: Networks, corrector: Corrector | None
) -> tuple[NDArray[np.uint8], list[str]]:
    """The nodule at the first point, with what further ones add and without what those of the background cut.

    Args:
        ct: that was clicked on.
        points: of the request.
        networks: that delineate.
        corrector: that corrects, see `load_corrector`.

    Returns:
        (X, Y, Z), 1 where the nodule is, and a sentence on a point without a nodule and on the correction.
    """
    inside, cut = ([_world(ct, index) for index in of] for of in (points.inside, points.outside))
    seeds, add = inside[:1], inside[1:]
    labels = np.zeros(ct.hu.shape, np.uint8)
    if not seeds:  # panels send the first background point before there is another
        return labels, []
    outlines, warnings = outline_at(ct, seeds, networks)
    if outlines and (add or cut):
        outlines, notes = correct_outlines(ct, outlines, add, cut, corrector)
        warnings = [*warnings, *notes]
    for outline in outlines:
        labels[outline.box][outline.mask] = 1
    return labels, warnings


def _world(ct: CT, index: tuple[float, float, float]) -> Point:
    x, y, z = (float(v) for v in ct.to_world(np.array(index)))
    return x, y, z
