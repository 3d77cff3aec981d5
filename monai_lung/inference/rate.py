"""Is it a nodule at all, and how likely malignant? A network on the region around each outline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_lung.inference.features import nodule_features
from monai_lung.inference.memory import sparingly
from monai_lung.inference.networks import Networks, RateSettings
from monai_lung.inference.orient import Orientation
from monai_lung.inference.precision import fast_precision
from monai_lung.inference.sampling import patch_affine, sample, unit_axes
from monai_lung.model import CT, Outline, Rating
from monai_lung.transforms.rating import SURE, TARGETS, region_channels

_BATCH = 8
_MIRRORS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3, 4))


def rate(ct: CT, outlines: Sequence[Outline], networks: Networks) -> list[Rating]:
    """The rating of each outline, in order."""
    logits = rate_logits(ct, outlines, networks)
    measured = [nodule_features(ct, outline) for outline in outlines]
    regression, settings = networks.malignancy, networks.rate_settings
    return [calibrate(row, features, regression, settings) for row, features in zip(logits, measured, strict=True)]


def rate_logits(ct: CT, outlines: Sequence[Outline], networks: Networks) -> NDArray[np.float64]:
    """Logits (n, T) of each outline in the order of `transforms.rating.TARGETS`, averaged over four mirrors."""

    def rows(size: int) -> list[NDArray[np.float64]]:
        found: list[NDArray[np.float64]] = []
        for batch in (outlines[n : n + size] for n in range(0, len(outlines), size)):
            image = torch.stack([region(ct, outline, networks.rate_settings) for outline in batch])
            image = image.to(networks.device, memory_format=torch.channels_last_3d)
            found.extend(mirrored_logits(image, networks.rate).double().cpu().numpy())
        return found

    return np.array(sparingly(rows, _BATCH, networks.device)).reshape(len(outlines), len(TARGETS))


def mirrored_logits(regions: Tensor, network: nn.Module) -> Tensor:
    """Logits (n, T), float32, of regions (n, 3, X, Y, Z), averaged over four mirrors."""
    with torch.inference_mode(), fast_precision(regions.device):
        return torch.stack([network(regions.flip(m) if m else regions).float() for m in _MIRRORS]).mean(0)


def region(ct: CT, outline: Outline, settings: RateSettings) -> Tensor:
    """What the network sees: float32 (3, *region), centred on the middle of the outline's box."""
    orientation = Orientation.of(ct.affine_lps, ct.hu.shape)
    affine = orientation.turn_affine(ct.affine_lps)
    index = np.argwhere(outline.mask)
    center = ct.to_world((index.min(0) + index.max(0)) / 2 + outline.offset)
    target = patch_affine(center, unit_axes(affine), settings.spacing_mm, settings.region)
    hu = sample(orientation.turn(ct.hu), affine, target, settings.region, border=True)
    own = ct.affine_lps.copy()
    own[:3, 3] = ct.to_world(np.asarray(outline.offset, float))
    # one empty voxel around the box: sampling fades to 0 there, not beyond
    mask = np.pad(outline.mask, 1)
    own[:3, 3] -= own[:3, :3].sum(1)
    return region_channels(hu, sample(mask, own, target, settings.region, border=True))


def calibrate(
    logits: NDArray[np.float64], features: NDArray[np.float64], malignancy: nn.Module, settings: RateSettings
) -> Rating:
    """Logits (T,) and measured features (F,) to calibrated probabilities with an interval (`RateSettings` says how)."""
    score = malignancy_score(logits, features, malignancy, settings.network_weight)
    probability = _sigmoid(settings.slope * score + settings.offset)
    rated = settings.reader_slope * score + settings.reader_offset
    low, high = _sigmoid(rated - settings.spread), _sigmoid(rated + settings.spread)
    low, high = min(low, probability), max(high, probability)
    nodule = _sigmoid(logits[TARGETS.index("nodule")])
    return Rating(nodule, probability, (0.0 if low < SURE else low, 1.0 if high > 1 - SURE else high))


def malignancy_score(
    logits: NDArray[np.float64], features: NDArray[np.float64], malignancy: nn.Module, network_weight: float
) -> float:
    """The regression's score of the features (F,), and `network_weight` times the network's own logit."""
    with torch.inference_mode():
        regression = malignancy(torch.as_tensor(features, dtype=torch.float32, device=_device(malignancy))[None])
    return float(regression[0]) + network_weight * float(logits[TARGETS.index("malignancy")])


def _device(network: nn.Module) -> torch.device:
    return next((t.device for t in network.buffers()), torch.device("cpu"))


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(x, -60, 60))))
