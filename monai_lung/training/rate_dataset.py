"""Regions around outlined nodules, and around what isn't one, for the network that rates."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from monai_lung.data.backgrounds import Background, read_backgrounds
from monai_lung.data.crops import Crop, CropRow
from monai_lung.training.datasets import load_crops, vary_hu
from monai_lung.training.synthesis import continue_in_z, random_frame, sample
from monai_lung.transforms.rating import TARGETS, region_channels

_LOWEST, _HIGHEST = 0.03, 0.97
"""A reader's 1 and 5 as soft targets: readers err, and a network need not be surer than they."""


class RateDataset(Dataset[dict[str, Tensor]]):
    """Nodules with their readers' ratings, and vessels, scars and borders that are none.

    An item is `image` float32 (3, *size) (`transforms.rating.region_channels`) and `label` (2, T): soft targets in the
    order of `transforms.rating.TARGETS`, and their weights (0 where a target isn't known: what is no nodule has no
    malignancy). The mask is one reader's, or that of half of the readers: a user's mask isn't the consensus either.

    Args:
        crops: nodules.
        backgrounds: scans to take other structures from; () for none.
        spacing_mm: of the network's grid.
        size: voxels of the region.
        others: items of an epoch that are no nodule.
        seed: items depend on it, on the index and on the epoch.
        augment: False gives the plain region with the mask of half of the readers.
    """

    def __init__(
        self,
        crops: Sequence[Crop],
        backgrounds: Sequence[Background],
        spacing_mm: Sequence[float],
        size: Sequence[int],
        *,
        others: int = 0,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        self.crops, self.backgrounds = list(crops), list(backgrounds)
        self.spacing_mm = np.asarray(spacing_mm, float)
        self.size = (int(size[0]), int(size[1]), int(size[2]))
        self.others = others if backgrounds else 0
        self.seed, self.augment = seed, augment
        self._dense = [np.flatnonzero((b.depth_mm >= 1) & (b.hu > -500) & ~b.known) for b in self.backgrounds]
        self._epoch = 0

    def __len__(self) -> int:
        """Nodules and others."""
        return len(self.crops) + self.others

    def set_epoch(self, epoch: int) -> None:
        """Draw as in the epoch of this number, from 0."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The item, drawn afresh."""
        rng = np.random.default_rng((self.seed, index, self._epoch))
        if index >= len(self.crops):
            hu, mask = self._other(rng)
            target, weight = torch.zeros(len(TARGETS)), torch.zeros(len(TARGETS))
            weight[0] = 1
        else:
            hu, mask = self._nodule(self.crops[index], rng)
            target, weight = rating_targets(self.crops[index].row)
        if self.augment:
            hu = vary_hu(hu, rng)
        return {"image": region_channels(hu, mask), "label": torch.stack([target, weight])}

    def _frame(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not self.augment:
            return np.diag(self.spacing_mm), np.zeros(3)
        frame = random_frame(rng, scale=(0.92, 1.08), tilt_deg=12)
        return frame @ np.diag(self.spacing_mm), rng.uniform(-1.5, 1.5, 3)

    def _nodule(self, crop: Crop, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        long = continue_in_z(crop, self.spacing_mm[2] * self.size[2] / 2, rng)
        step, shift = self._frame(rng)
        start = shift - step @ ((np.array(self.size) - 1) / 2) - long.origin_mm
        to_index = np.c_[step, start] / long.spacing_mm[:, None]
        extra = (long.channels.shape[3] - crop.hu.shape[2]) // 2
        share = long.channels[1]
        if self.augment and rng.random() < 0.6:
            bit = int(rng.integers(crop.row.n_readers))
            one = torch.from_numpy(((crop.readers >> bit) & 1).astype(np.float32))
            share = torch.nn.functional.pad(one, (extra, extra)) if one.any() else share
        hu = sample(long.channels[:1], to_index, self.size, padding="reflection")[0]
        return hu, sample(share[None], to_index, self.size)[0]

    def _other(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A structure that nobody marked: what is dense around a dense voxel, within 3-9 mm of it."""
        which = rng.integers(len(self.backgrounds))
        b = self.backgrounds[which]
        center = np.array(np.unravel_index(rng.choice(self._dense[which]), b.hu.shape))
        radius = rng.uniform(3, 9)
        reach = np.ceil(np.array(self.size) * self.spacing_mm * 0.9 / b.spacing_mm).astype(int)
        low = np.clip(center - reach, 0, None)
        high = np.minimum(center + reach + 1, b.hu.shape)
        box = tuple(slice(i, j) for i, j in zip(low, high, strict=True))
        hu = b.hu[box].astype(np.float32)
        local = center - low
        grid = np.ogrid[tuple(slice(0, n) for n in hu.shape)]
        far = sum(((g - c) * s) ** 2 for g, c, s in zip(grid, local, b.spacing_mm, strict=True))
        dense = (hu > rng.uniform(-600, -300)) & (far <= radius**2) & (b.depth_mm[box] > 0)
        labels = cc3d.connected_components(dense, connectivity=6)
        mask = (labels == labels[tuple(local)]) & dense
        if mask.any():
            local = np.argwhere(mask).mean(0)
        step, shift = self._frame(rng)
        start = shift - step @ ((np.array(self.size) - 1) / 2)
        to_index = np.c_[step, start] / b.spacing_mm[:, None]
        to_index[:, 3] += local
        channels = torch.from_numpy(np.stack([hu, mask.astype(np.float32)]))
        return (
            sample(channels[:1], to_index, self.size, padding="border")[0],
            sample(channels[1:], to_index, self.size)[0],
        )


def rating_targets(row: CropRow) -> tuple[Tensor, Tensor]:
    """Soft targets and weights, each (T,), in the order of `TARGETS`: nodule, then the ratings on 0...1.

    Calcification (6 is absent) becomes its presence; internal structure isn't learned (nearly always soft tissue).
    """
    target, weight = torch.zeros(len(TARGETS)), torch.zeros(len(TARGETS))
    target[0], weight[0] = 1.0, 1.0
    for k, name in enumerate(TARGETS[1:], start=1):
        values = np.array(row.ratings.get(name, ()), float)
        if not len(values):
            continue
        soft = (values < 6).mean() if name == "calcification" else ((values - 1) / 4).mean()
        target[k] = float(np.clip(soft, _LOWEST, _HIGHEST))
        weight[k] = 1.0 if name == "malignancy" else 0.25
    return target, weight


def rate_dataset(
    folder: str,
    patients: Sequence[str],
    *,
    spacing_mm: Sequence[float],
    size: Sequence[int],
    backgrounds: str = "",
    others: int = 0,
    exclude: Sequence[str] = (),
    seed: int = 0,
    augment: bool = True,
) -> RateDataset:
    """A `RateDataset` from a crop folder and, where given, a folder of backgrounds, for a bundle's config."""
    scans = read_backgrounds(backgrounds) if backgrounds and others else []
    crops = load_crops(folder, patients, exclude)
    return RateDataset(crops, scans, spacing_mm, size, others=others, seed=seed, augment=augment)
