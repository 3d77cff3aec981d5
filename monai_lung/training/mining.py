"""Hard negatives: where a trained network finds what nobody marked, it's trained again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cc3d
import numpy as np
import torch
from torch import nn

from monai_lung.data.backgrounds import Background
from monai_lung.inference.windows import LungWindowInferer
from monai_lung.transforms.window import windowed


def mine(
    background: Background, network: nn.Module, window: Sequence[int], *, threshold: float = 0.3, overlap: float = 0.125
) -> Background:
    """`background` with `hard` set to the centres of what `network` finds in it beside the known nodules.

    Args:
        background: a scan on the network's grid.
        network: (N, 1, X, Y, Z) windowed -> logits.
        window: voxels of the sliding window.
        threshold: probability that makes a false positive worth training on.
        overlap: of the windows.
    """
    inside = torch.from_numpy(background.depth_mm > 0)
    image = windowed(torch.from_numpy(background.hu.astype(np.float32)))[None, None]
    inferer = LungWindowInferer(inside, window, overlap)
    with torch.inference_mode():
        logits = inferer(image, network.eval())
    found = (torch.sigmoid(logits[0, 0]) >= threshold).numpy() & (background.depth_mm > 0) & ~background.known
    labels = cc3d.connected_components(found, connectivity=26)
    centers = cc3d.statistics(labels)["centroids"][1:]
    return replace(background, hard=np.rint(centers).astype(np.int64).reshape(-1, 3))
