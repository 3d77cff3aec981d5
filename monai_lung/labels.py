"""Label maps and the outlines in them: k where nodule k is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.model import CT, Outline, Seed


def label_map(outlines: Sequence[Outline], shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """k where the kth largest outline is (X, Y, Z); the smaller number wins an overlap."""
    labels = np.zeros(shape, np.uint16)
    ranked = sorted(outlines, key=lambda o: (-int(o.mask.sum()), o.seed.center_mm))
    for number, outline in reversed(list(enumerate(ranked, start=1))):
        labels[outline.box][outline.mask] = number
    return labels


def outlines_of(labels: NDArray[np.integer[Any]], ct: CT) -> dict[int, Outline]:
    """The nodule of each label of a map (X, Y, Z) on the grid of `ct`."""
    from scipy import ndimage

    result = {}
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            mask = labels[box] == label
            offset = (int(box[0].start), int(box[1].start), int(box[2].start))
            x, y, z = ct.to_world(np.argwhere(mask).mean(0) + offset)
            seed = Seed((float(x), float(y), float(z)), 1.0, 0.0)
            result[label] = Outline(mask, mask.astype(np.float32), offset, seed)
    return result


def center_seed(ct: CT) -> Seed:
    """A seed in the middle of `ct`, of unknown size."""
    x, y, z = ct.to_world((np.array(ct.hu.shape) - 1) / 2)
    return Seed((float(x), float(y), float(z)), 1.0, 0.0)
