"""Where could nodules be? A network over the lungs, coarse and quick."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.grid import Grid, resample
from monai_lung.inference.memory import within_memory
from monai_lung.inference.networks import Finder, FindSettings
from monai_lung.inference.precision import fast_precision
from monai_lung.inference.windows import LungWindowInferer
from monai_lung.model import CT, Lungs, Point, Seed
from monai_lung.transforms.lung_grid import lung_grid, near_lungs
from monai_lung.transforms.window import windowed

OUTSIDE_HU = -1024.0
"""Beyond the field of view."""
BATCH = 4
"""Windows at a time."""


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
    return with_masses(seeds, seeds_of(*probability_map(ct, lungs, networks, coarse), coarse), settings)


def coarse_look(settings: FindSettings) -> FindSettings:
    """`settings` of the look for masses: voxels twice as large."""
    x, y, z = settings.spacing_mm
    return replace(settings, spacing_mm=(2 * x, 2 * y, 2 * z))


def with_masses(seeds: Sequence[Seed], masses: Sequence[Seed], settings: FindSettings) -> list[Seed]:
    """`seeds`, and those of the coarse look that are masses and not among them, best first."""
    kept = list(seeds)
    for mass in masses:
        if mass.diameter_mm >= settings.mass_mm and not any(_same(mass, seed) for seed in kept):
            kept.append(mass)
    return sorted(kept, key=lambda s: (-s.score, s.center_mm))


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
    logits = slide(
        image.to(networks.device),
        inside,
        networks.find,
        settings.window,
        settings.overlap,
        progress=progress,
    )
    return torch.where(inside, torch.sigmoid(logits.cpu()), 0).numpy(), grid


def find_image(ct: CT, lungs: Lungs, settings: FindSettings) -> tuple[Tensor, Tensor, Grid]:
    """The network's input: float32 (1, 1, X, Y, Z), windowed; where it is asked, bool (X, Y, Z); and their grid."""
    hu, source = ct.grid.turned(ct.hu)
    lung, _ = ct.grid.turned(lungs.labels > 0)
    grid = find_grid(source, lung, settings)
    image = windowed(torch.from_numpy(resample(hu, source, grid, outside=OUTSIDE_HU)))
    return image[None, None], near_lungs(torch.from_numpy(resample(lung, source, grid, outside=0))), grid


def find_grid(ct: Grid, lungs: NDArray[np.generic], settings: FindSettings) -> Grid:
    """The finding network's grid over the lungs (X, Y, Z) of a CT on the grid `ct`, at least a window large.

    Raises:
        LungsNotFoundError: there are none.
    """
    return lung_grid(ct, lungs, settings.spacing_mm, at_least=settings.window)


def slide(
    image: Tensor,
    inside: Tensor,
    network: Callable[..., Tensor],
    window: Sequence[int],
    overlap: float,
    batch: int = BATCH,
    *,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Logits float32 (X, Y, Z) of a network over the windows where the lungs are.

    Args:
        image: (1, C, X, Y, Z) on the network's device, at least a window large.
        inside: bool (X, Y, Z) on the CPU, where an answer is wanted.
        network: of windows.
        window: its voxels.
        overlap: share of a window's side that neighbours share at least.
        batch: windows at a time; fewer where memory runs out.
        progress: called with the share that is done, 0...1.
    """

    def run(size: int) -> Tensor:
        inferer = LungWindowInferer(inside, window, overlap, batch=size, progress=progress)
        with torch.inference_mode(), fast_precision(image.device):
            return inferer(image, network)[0, 0]

    return within_memory(run, batch, image.device)


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
