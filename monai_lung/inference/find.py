"""Where could nodules be? A network over the lungs, coarse and quick."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from monai_lung.inference.memory import sparingly
from monai_lung.inference.networks import Finder, FindSettings
from monai_lung.inference.orient import Orientation
from monai_lung.inference.precision import fast_precision
from monai_lung.inference.windows import LungWindowInferer
from monai_lung.model import CT, Lungs, Point, Seed
from monai_lung.transforms.window import windowed

MARGIN_MM = 12.0
"""Around the lungs, so that the network sees what the pleura lies on."""
_BATCH = 4


def find(ct: CT, lungs: Lungs, networks: Finder, *, progress: Callable[[float], None] | None = None) -> list[Seed]:
    """Seeds in and at the lungs, best first.

    Args:
        ct: the CT.
        lungs: its lungs.
        networks: with `find` and its settings.
        progress: called with the share that is done, 0...1.
    """
    settings = networks.find_settings
    seeds = seeds_of(*probability_map(ct, lungs, networks, settings, progress=progress), settings)
    x, y, z = settings.spacing_mm
    coarse = replace(settings, spacing_mm=(2 * x, 2 * y, 2 * z))
    for mass in seeds_of(*probability_map(ct, lungs, networks, coarse), coarse):
        if mass.diameter_mm >= settings.mass_mm and not any(_same(mass, seed) for seed in seeds):
            seeds.append(mass)
    return sorted(seeds, key=lambda s: (-s.score, s.center_mm))


def _same(mass: Seed, seed: Seed) -> bool:
    """Whether `seed` shows nearly all of what the coarse look calls a mass."""
    apart = math.dist(mass.center_mm, seed.center_mm)
    return apart < mass.diameter_mm / 2 and seed.diameter_mm >= 0.7 * mass.diameter_mm


def probability_map(
    ct: CT,
    lungs: Lungs,
    networks: Finder,
    settings: FindSettings,
    *,
    progress: Callable[[float], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Probability of a nodule (X, Y, Z) on the grid of `settings` over the lungs, and that grid's LPS affine."""
    image, inside, affine = find_grid(ct, lungs, settings)

    def slide(batch: int) -> Tensor:
        inferer = LungWindowInferer(inside, settings.window, settings.overlap, batch=batch, progress=progress)
        with torch.inference_mode(), fast_precision(networks.device):
            return torch.sigmoid(inferer(image.to(networks.device), networks.find)[0, 0]).cpu()

    return torch.where(inside, sparingly(slide, _BATCH, networks.device), 0).numpy(), affine


def find_grid(ct: CT, lungs: Lungs, settings: FindSettings) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
    """The lungs on the finding network's grid.

    Returns:
        image: float32 (1, 1, X, Y, Z), windowed to 0...1, at least a window large.
        inside: bool (X, Y, Z), the lungs, a voxel wider.
        affine: (4, 4), index of these to LPS mm.
    """
    orientation = Orientation.of(ct.affine_lps, ct.hu.shape)
    hu, labels = orientation.turn(ct.hu), orientation.turn(lungs.labels)
    affine = orientation.turn_affine(ct.affine_lps)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    margin = np.ceil(MARGIN_MM / spacing).astype(int)
    low, high = _bounds(labels > 0)
    low = np.maximum(low - margin, 0)
    high = np.minimum(high + margin, hu.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    size = np.maximum(np.rint((high - low) * spacing / settings.spacing_mm), 1).astype(int)
    image = resize(hu[box], size)
    inside = wider(resize(labels[box] > 0, size) > 0.25)
    image = windowed(image)
    short = [max(0, w - n) for w, n in zip(settings.window, image.shape, strict=True)]
    pad = [0, short[2], 0, short[1], 0, short[0]]
    step = (high - low) / size
    grid = np.eye(4)
    grid[:3, :3] = affine[:3, :3] * step
    grid[:3, 3] = affine[:3, :3] @ (low + step / 2 - 0.5) + affine[:3, 3]
    image = functional.pad(image[None, None], pad, mode="constant", value=0)
    return image, functional.pad(inside, pad), grid


def wider(mask: Tensor) -> Tensor:
    """`mask` (bool, (X, Y, Z)), a voxel wider on every side and corner: one axis after the other, as bits."""
    for axis, n in enumerate(mask.shape):
        wide = mask.clone()
        wide.narrow(axis, 1, n - 1).logical_or_(mask.narrow(axis, 0, n - 1))
        wide.narrow(axis, 0, n - 1).logical_or_(mask.narrow(axis, 1, n - 1))
        mask = wide
    return mask


def resize(array: NDArray[np.generic], size: NDArray[np.int64]) -> Tensor:
    """`array` (X, Y, Z) to `size`: averaged along an axis that gets much coarser, linear elsewhere. float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
    now = [int(n) for n in tensor.shape[2:]]
    target = [int(n) for n in size]
    pooled = [t if n >= 1.5 * t else n for n, t in zip(now, target, strict=True)]
    if pooled != now:
        tensor = functional.adaptive_avg_pool3d(tensor, (pooled[0], pooled[1], pooled[2]))
    if pooled != target:
        tensor = functional.interpolate(tensor, target, mode="trilinear", align_corners=False)
    return tensor[0, 0]


def seeds_of(probability: NDArray[np.float32], affine: NDArray[np.float64], settings: FindSettings) -> list[Seed]:
    """Connected components above the threshold as seeds, best first; ties by position, so that order is fixed."""
    labels = cc3d.connected_components(probability >= settings.threshold, connectivity=26)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    seeds = []
    for n, box in enumerate(cc3d.statistics(labels)["bounding_boxes"][1:], start=1):
        here = labels[box] == n
        weight = np.where(here, probability[box], 0)
        score = float(weight.max())
        if score < settings.min_score:
            continue
        index = np.argwhere(here)
        center = (index * weight[here][:, None]).sum(0) / weight.sum() + [s.start for s in box]
        extent = (index.max(0) - index.min(0) + 1) * spacing
        world = affine[:3, :3] @ center + affine[:3, 3]
        seeds.append(Seed(_point(world), score, float(extent.max())))
    return sorted(seeds, key=lambda s: (-s.score, s.center_mm))


def _bounds(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest index and one past the highest where `mask` is, (3,) each."""
    others = ((1, 2), (0, 2), (0, 1))
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in others]
    return np.array([s[0] for s in spans]), np.array([s[-1] + 1 for s in spans])


def _point(world: NDArray[np.float64]) -> Point:
    return float(world[0]), float(world[1]), float(world[2])
