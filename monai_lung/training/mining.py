"""Hard negatives: where a trained network finds what nobody marked, it's trained again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from monai_lung.data.backgrounds import Background, halved
from monai_lung.inference.windows import LungWindowInferer
from monai_lung.transforms.window import windowed


def mine(
    background: Background, network: nn.Module, window: Sequence[int], *, threshold: float = 0.3, overlap: float = 0.125
) -> Background:
    """`background` with `hard` and `hard_coarse` set to the centres of what `network` finds beside the known nodules.

    The coarse look sees voxels twice as large, as `inference.find` looks for masses.

    Args:
        background: a scan on the network's grid.
        network: (N, 1, X, Y, Z) windowed -> logits.
        window: voxels of the sliding window.
        threshold: probability that makes a false positive worth training on.
        overlap: of the windows.
    """
    fine, coarse = (
        _false_positives(b, network.eval(), window, threshold, overlap) for b in (background, halved(background))
    )
    return replace(background, hard=fine, hard_coarse=coarse)


def _false_positives(
    background: Background, network: nn.Module, window: Sequence[int], threshold: float, overlap: float
) -> NDArray[np.int64]:
    """(n, 3) voxels of `background`."""
    short = [max(0, w - n) for w, n in zip(window, background.hu.shape, strict=True)]
    pad = [0, short[2], 0, short[1], 0, short[0]]
    inside = torch.from_numpy(background.depth_mm > 0)
    image = windowed(torch.from_numpy(background.hu.astype(np.float32)))
    inferer = LungWindowInferer(functional.pad(inside, pad), window, overlap)
    with torch.inference_mode():
        logits = inferer(functional.pad(image, pad)[None, None], network)[0, 0]
    x, y, z = background.hu.shape
    found = (torch.sigmoid(logits[:x, :y, :z]) >= threshold).numpy() & (background.depth_mm > 0) & ~background.known
    labels = cc3d.connected_components(found, connectivity=26)
    centers = cc3d.statistics(labels)["centroids"][1:]
    return np.rint(centers).astype(np.int64).reshape(-1, 3)
