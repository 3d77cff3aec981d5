"""Hard negatives: where a trained network finds what nobody marked, it's trained again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monai_lung.data.backgrounds import Background, read_backgrounds, save_background
from monai_lung.definitions import build_network, read_config, settings
from monai_lung.inference.find import coarse_look, probability_map, seeds_of
from monai_lung.inference.networks import Finder, FindSettings
from monai_lung.stages import STAGES
from monai_lung.weights import bundle_dir, resume


def mine(
    background: Background,
    network: nn.Module,
    spacing_mm: Sequence[float],
    window: Sequence[int],
    *,
    threshold: float = 0.3,
    overlap: float = 0.125,
) -> Background:
    """`background` with `hard_mm` and `hard_coarse_mm` set to the centres of what `network` finds beside known nodules.

    It looks as `inference.find` does: at its own grid, and at voxels twice as large for masses.

    Args:
        background: a scan.
        network: (N, 1, X, Y, Z) windowed -> logits.
        spacing_mm: of its grid.
        window: voxels of the sliding window.
        threshold: probability that makes a false positive worth training on.
        overlap: of the windows.
    """
    x, y, z = (float(s) for s in spacing_mm)
    a, b, c = (int(n) for n in window)
    looks = FindSettings((x, y, z), (a, b, c), overlap, threshold, threshold)
    finder = Finder(network.eval(), looks, torch.device("cpu"))
    fine, coarse = (_false_positives(background, finder, look) for look in (looks, coarse_look(looks)))
    return replace(background, hard_mm=fine, hard_coarse_mm=coarse)


def mine_folder(checkpoint: Path, folder: Path, out: Path) -> Iterator[str]:
    """Save the backgrounds of `folder` to `out` with the hard negatives of a checkpoint, and say of each how many.

    The network is built as the installed bundle's `inference.json` describes it.

    Raises:
        MonaiLungError: the checkpoint isn't of that network, or files can't be read or written.
    """
    stage = STAGES["find"]
    bundle = bundle_dir(stage.bundle)
    config = read_config(bundle)
    network = resume(build_network(config, stage.definition, bundle), checkpoint)
    found = settings(FindSettings, config[stage.settings_key], bundle)
    for background in read_backgrounds(folder):
        mined = mine(background, network, found.spacing_mm, found.window)
        counts = f"{len(mined.hard_mm)} hard negatives, {len(mined.hard_coarse_mm)} at the coarse look"
        yield f"{save_background(mined, out)}: {counts}"


def _false_positives(background: Background, finder: Finder, look: FindSettings) -> NDArray[np.float64]:
    """(n, 3) LPS mm."""
    seeds = seeds_of(*probability_map(background.ct, background.lungs, finder, look), look)
    places = np.array([seed.center_mm for seed in seeds]).reshape(-1, 3)
    index = np.clip(np.rint(background.grid.to_index(places)).astype(int), 0, np.array(background.hu.shape) - 1)
    return places[~background.known[tuple(index.T)]]
