"""What the correcting network learns from: an outline that is wrong, and the clicks of a simulated person on it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from monai.transforms import Transform
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_lung.errors import UsageError
from monai_lung.inference.delineate import component_at
from monai_lung.inference.networks import Delineator
from monai_lung.inference.precision import fast_precision
from monai_lung.training.draws import plain, rng_of
from monai_lung.training.simulated_clicks import SimulatedClick, next_click
from monai_lung.transforms.clicks import click_map

LEVELS = (0.05, 0.9)
"""Thresholds between which a disturbed outline of the delineating network is drawn: too large to too small."""
LUMP_MM = (2.0, 6.0)
"""Radius of what is added to or taken from a disturbed outline at its border."""
ANSWERED_MM = (1.5, 5.0)
"""How far around a click the outline is taken to be mended before the next click is simulated."""


def with_clicks(network: nn.Module, delineator: nn.Module) -> nn.Module:
    """`network` with the weights of `delineator`, which has fewer input channels; those of the others are zero.

    So without clicks it starts as the network that delineates.

    Raises:
        UsageError: they differ in more than their input.
    """
    own, other = network.state_dict(), delineator.state_dict()
    for key, wide in own.items():
        value = other.get(key)
        if value is None and key.startswith("encoder.0.identity."):  # as many channels in as out: nothing is learned
            value = torch.eye(len(wide)).view(len(wide), -1, 1, 1, 1) if wide.ndim > 1 else torch.zeros_like(wide)
        if value is None or value.shape[:1] + value.shape[2:] != wide.shape[:1] + wide.shape[2:]:
            raise UsageError(f"{key}: not as in the network that delineates; give both the same width and levels")
        own_part = wide[:, : value.size(1)] if wide.ndim > 1 else wide
        wide.zero_()
        own_part.copy_(value)
    network.load_state_dict(own)
    return network


class WantedOutlined(Transform):
    """The label of `long` is what the simulated person wants: what half of the readers marked, or one of them.

    Readers differ by more than the network does from their majority: so it learns to follow the clicks, not the habit.

    Takes `crop` and `long` (`training.datasets.ContinueInZd`).

    Args:
        one_reader: how often it is one of them.
    """

    def __init__(self, one_reader: float = 0.0) -> None:
        self.one_reader = one_reader

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the second channel of `long` to 0 and 1."""
        rng, crop, share = rng_of(data), data["crop"], data["long"].channels[1]
        wanted = share >= 0.5 - 1e-3
        if rng.random() < self.one_reader:
            marked = (crop.readers >> int(rng.integers(crop.row.n_readers))) & 1
            if marked.any():
                beyond = (share.shape[2] - marked.shape[2]) // 2
                wanted = torch.nn.functional.pad(torch.from_numpy(marked > 0), (beyond, beyond))
        data["long"].channels[1] = wanted.float()
        return {**data, "hard": True}


class OutlineToCorrectd(Transform):
    """Adds `outline` (1, X, Y, Z), 0 and 1: the delineating network's, or in training often a disturbed one.

    A disturbed one comes of another threshold, so that all of it is too large or too small, or has a lump more or less
    at its border, as where a vessel leaks in or a part was missed; or both.

    Args:
        delineator: of the bundle, on the CPU.
        spacing_mm: of the patch.
        disturbed: how often it is disturbed.
    """

    def __init__(self, delineator: Delineator, spacing_mm: Sequence[float], disturbed: float = 0.0) -> None:
        self.delineator, self.spacing_mm, self.disturbed = delineator, np.asarray(spacing_mm, float), disturbed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the outline."""
        rng, image = rng_of(data), plain(data["image"])
        level, lumps = self.delineator.delineate_settings.threshold, 0
        if rng.random() < self.disturbed:
            kind = rng.integers(3)
            if kind != 1:
                level = float(rng.uniform(*LEVELS))
            if kind != 0:
                lumps = int(rng.integers(1, 3))
        with torch.inference_mode(), fast_precision(self.delineator.device):
            logits = self.delineator.delineate(image[None].contiguous(memory_format=torch.channels_last_3d)).float()
        mask = (logits[0, 0] >= math.log(level / (1 - level))).numpy()
        mask = component_at(mask, (np.array(mask.shape) - 1) / 2, self.spacing_mm)
        for _ in range(lumps):
            mask = _with_lump(mask, self.spacing_mm, rng)
        return {**data, "outline": torch.from_numpy(mask[None].astype(np.float32))}


def _with_lump(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """`mask` with a ball more or less, whose middle lies at its border."""
    index = np.argwhere(mask)
    if not len(index):
        return mask
    direction = rng.normal(size=3)
    far = ((index - index.mean(0)) * spacing_mm) @ (direction / np.linalg.norm(direction))
    ball = _within(index[far.argmax()], float(rng.uniform(*LUMP_MM)), mask.shape, spacing_mm)
    return mask | ball if rng.random() < 0.5 else mask & ~ball


def _within(
    index: Sequence[int] | NDArray[np.int64], radius_mm: float, shape: Sequence[int], spacing_mm: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The voxels within `radius_mm` of one."""
    x, y, z = (((np.arange(n) - i) * s) ** 2 for n, i, s in zip(shape, index, spacing_mm, strict=True))
    return np.asarray(x[:, None, None] + y[None, :, None] + z <= radius_mm**2)


class SimulatedClicksd(Transform):
    """Adds `clicks` (2, X, Y, Z), where a simulated person clicks to add and to cut (`transforms.clicks`).

    One click after the other goes to the middle of the largest error; around each the outline is then taken to be
    mended, but `outline` stays as it is: the network is shown it with all the clicks.

    Takes `outline` and `label`.

    Args:
        spacing_mm: of the patch.
        click_mm: of `click_map`.
        most: clicks at most.
        mean: clicks on average, of a geometric distribution from 1 on; None always has `most`.
    """

    def __init__(self, spacing_mm: Sequence[float], click_mm: float, most: int = 12, mean: float | None = 3.0) -> None:
        self.spacing_mm, self.click_mm = np.asarray(spacing_mm, float), click_mm
        self.most, self.mean = most, mean

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the clicks."""
        rng = rng_of(data)
        truth, known = (np.asarray(channel) for channel in data["label"][:2] >= 0.5)
        now = np.asarray(data["outline"][0]) >= 0.5
        count = self.most if self.mean is None else min(int(rng.geometric(1 / self.mean)), self.most)
        clicks: list[SimulatedClick] = []
        for _ in range(count):
            click = next_click(now, truth, self.spacing_mm, known, rng)
            if click is None:
                break
            clicks.append(click)
            mended = _within(click.index, float(rng.uniform(*ANSWERED_MM)), now.shape, self.spacing_mm)
            now = np.where(mended, truth, now)
        maps = [
            click_map([c.index for c in clicks if c.adds is adds], now.shape, self.spacing_mm, self.click_mm)
            for adds in (True, False)
        ]
        return {**data, "clicks": torch.from_numpy(np.stack(maps))}


class ClickOnErrors:
    """Before some steps the simulated person also clicks on the errors of the network as it is (Sofiiuk et al. 2022).

    MONAI's `iteration_update` of a trainer whose images are CT, outline, clicks that add, clicks that cut.

    Args:
        spacing_mm, click_mm: as of `SimulatedClicksd`.
        most: such clicks at most; 0 to `most` are as likely.
        seed: what is drawn depends on it and on the iteration alone, so a resumed training draws the same.
    """

    def __init__(self, spacing_mm: Sequence[float], click_mm: float, most: int = 2, seed: int = 0) -> None:
        self.spacing_mm, self.click_mm = np.asarray(spacing_mm, float), click_mm
        self.most, self.seed = most, seed

    def __call__(self, engine: SupervisedTrainer, batch: Mapping[str, Tensor]) -> Any:
        """Add the clicks to the batch, then take the step."""
        rng = np.random.default_rng((self.seed, engine.state.iteration))
        image, label = batch["image"].clone(), batch["label"]
        for _ in range(int(rng.integers(self.most + 1))):
            with torch.no_grad():
                masks = (engine.network(image.to(engine.state.device)) >= 0).cpu().numpy()
            for one, (mask,), (truth, known) in zip(image, masks, label >= 0.5, strict=True):
                click = next_click(mask, truth.numpy(), self.spacing_mm, known.numpy(), rng)
                if click is not None:
                    ball = click_map([click.index], mask.shape, self.spacing_mm, self.click_mm)
                    channel = one[2 if click.adds else 3]
                    torch.maximum(channel, torch.from_numpy(ball), out=channel)
        return engine._iteration(engine, {**batch, "image": image})
