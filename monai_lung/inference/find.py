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

from monai_lung.errors import LungsNotFoundError
from monai_lung.grid import Grid, bounding_box, resample
from monai_lung.inference.memory import sparingly
from monai_lung.inference.networks import Finder, FindSettings
from monai_lung.inference.precision import fast_precision
from monai_lung.inference.windows import LungWindowInferer
from monai_lung.model import CT, Lungs, Point, Seed
from monai_lung.transforms.window import windowed

OUTSIDE_HU = -1024.0
"""Beyond the field of view."""
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
    coarse = coarse_look(settings)
    for mass in seeds_of(*probability_map(ct, lungs, networks, coarse), coarse):
        if mass.diameter_mm >= settings.mass_mm and not any(_same(mass, seed) for seed in seeds):
            seeds.append(mass)
    return sorted(seeds, key=lambda s: (-s.score, s.center_mm))


def coarse_look(settings: FindSettings) -> FindSettings:
    """`settings` of the look for masses: voxels twice as large."""
    x, y, z = settings.spacing_mm
    return replace(settings, spacing_mm=(2 * x, 2 * y, 2 * z))


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
) -> tuple[NDArray[np.float32], Grid]:
    """Probability of a nodule (X, Y, Z) on the grid of `settings` over the lungs, and that grid."""
    image, inside, grid = find_image(ct, lungs, settings)

    def slide(batch: int) -> Tensor:
        inferer = LungWindowInferer(inside, settings.window, settings.overlap, batch=batch, progress=progress)
        with torch.inference_mode(), fast_precision(networks.device):
            return torch.sigmoid(inferer(image.to(networks.device), networks.find)[0, 0]).cpu()

    return torch.where(inside, sparingly(slide, _BATCH, networks.device), 0).numpy(), grid


def find_image(ct: CT, lungs: Lungs, settings: FindSettings) -> tuple[Tensor, Tensor, Grid]:
    """What the network sees: float32 (1, 1, X, Y, Z), windowed; where it is asked, bool (X, Y, Z); and their grid."""
    grid = find_grid(ct.grid, lungs.labels, settings)
    image = windowed(torch.from_numpy(resample(ct.hu, ct.grid, grid, outside=OUTSIDE_HU)))
    inside = torch.from_numpy(resample(lungs.labels > 0, ct.grid, grid, outside=0) > 0.25)
    return image[None, None], wider(inside), grid


def find_grid(ct: Grid, lungs: NDArray[np.uint8], settings: FindSettings) -> Grid:
    """The finding network's grid: along the patient, over the lungs with `MARGIN_MM` around them, at least a window.

    Args:
        ct: grid of the CT.
        lungs: labels (X, Y, Z) on it, not empty.
        settings: of the network.

    Raises:
        LungsNotFoundError: the labels are empty.
    """
    if not lungs.any():
        raise LungsNotFoundError("no lungs to look for nodules in")
    margin = np.ceil(MARGIN_MM / ct.spacing_mm).astype(int)
    box = bounding_box(lungs > 0, margin.tolist())
    axes = ct.patient_axes
    grid = ct.part(box).covering(settings.spacing_mm, axes=axes)
    shape = np.maximum(grid.shape, settings.window)
    return Grid.around(grid.center_mm, settings.spacing_mm, shape.tolist(), axes)


def wider(mask: Tensor) -> Tensor:
    """`mask` (bool, (X, Y, Z)), a voxel wider on every side and corner: one axis after the other, as bits."""
    for axis, n in enumerate(mask.shape):
        wide = mask.clone()
        wide.narrow(axis, 1, n - 1).logical_or_(mask.narrow(axis, 0, n - 1))
        wide.narrow(axis, 0, n - 1).logical_or_(mask.narrow(axis, 1, n - 1))
        mask = wide
    return mask


def seeds_of(probability: NDArray[np.float32], grid: Grid, settings: FindSettings) -> list[Seed]:
    """Connected components above the threshold as seeds, best first; ties by position, so that order is fixed."""
    labels = cc3d.connected_components(probability >= settings.threshold, connectivity=26)
    seeds = []
    for n, box in enumerate(cc3d.statistics(labels)["bounding_boxes"][1:], start=1):
        here = labels[box] == n
        weight = np.where(here, probability[box], 0)
        score = float(weight.max())
        if score < settings.min_score:
            continue
        index = np.argwhere(here)
        center = (index * weight[here][:, None]).sum(0) / weight.sum() + [s.start for s in box]
        extent = (index.max(0) - index.min(0) + 1) * grid.spacing_mm
        seeds.append(Seed(_point(grid.to_world(center)), score, float(extent.max())))
    return sorted(seeds, key=lambda s: (-s.score, s.center_mm))


def _point(world: NDArray[np.float64]) -> Point:
    return float(world[0]), float(world[1]), float(world[2])
