"""Slices of nodules with their readers' ratings, for the network that says how likely a nodule is malignant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from monai_lung.data.crops import Crop, CropRow
from monai_lung.data.slices import NoduleSlice, read_slices
from monai_lung.errors import UsageError
from monai_lung.grid import Grid, resample
from monai_lung.inference.networks import RateSettings, settings
from monai_lung.inference.slices import nodule_slices, wide_slices
from monai_lung.model import CT, LPS_RAS, Outline, Seed
from monai_lung.training.datasets import load_crops
from monai_lung.training.rate_dataset import rating_targets
from monai_lung.transforms.rating import SLICE_TARGETS, slice_channels

_FULL_READERS = 4
"""What is rated by fewer weighs less: their mean says less of what others would have said."""
_SHARPNESS = 3.0
"""Slope of the malignancy's target over the readers' mean: 2 or 4 is nearly certain, 3 is even."""
_DOUBTFUL = 0.3
"""Weight of the malignancy of a nodule that the readers' mean calls neither benign nor malignant."""
_OTHERS = 0.15
"""Weight of each other rating."""


@dataclass(frozen=True)
class FlatNodule:
    """A nodule on some of its slices.

    Attributes:
        hu: int16 (X, Y, slices).
        readers: uint8 (X, Y, slices), bit k set where reader k marked the pixel; each slice holds a mark.
        spacing_mm: pixel size (2,).
    """

    row: CropRow
    hu: NDArray[np.int16]
    readers: NDArray[np.uint8]
    spacing_mm: NDArray[np.float64]


def flat_crop(crop: Crop) -> FlatNodule:
    """The slices of a crop on which half of its readers marked at least half of the area of the largest."""
    marked = crop.share >= 0.5 if (crop.share >= 0.5).any() else crop.votes > 0
    wide = wide_slices(marked)
    return FlatNodule(crop.row, crop.hu[..., wide], crop.readers[..., wide], crop.spacing_mm[:2])


def flat_slice(nodule: NoduleSlice) -> FlatNodule:
    """A nodule of which there is one slice."""
    spacing_mm = np.full(2, nodule.spacing_mm)
    return FlatNodule(nodule.row, nodule.hu[..., None], nodule.readers[..., None], spacing_mm)


class SliceDataset(Dataset[dict[str, Any]]):
    """One slice of a nodule at a time, turned, scaled and noisy, with the mask of one reader or of several.

    An item is `image` float32 (3, pixels, pixels, 1) (`transforms.rating.slice_channels`), `label` (2, T): soft targets
    in the order of `transforms.rating.SLICE_TARGETS`, and their weights; and the nodule's `id`.

    Args:
        nodules: in memory.
        slice_mm, pixels: of the network's grid.
        seed: items depend on it, on the index and on the epoch.
    """

    def __init__(self, nodules: Sequence[FlatNodule], slice_mm: float, pixels: int, *, seed: int = 0) -> None:
        self.nodules = [n for n in nodules if n.readers.any() and n.row.ratings.get("malignancy")]
        self.slice_mm, self.pixels, self.seed = slice_mm, pixels, seed
        self._epoch = 0

    def __len__(self) -> int:
        """Nodules."""
        return len(self.nodules)

    def set_epoch(self, epoch: int) -> None:
        """Draw as in the epoch of this number, from 0."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The item, drawn afresh."""
        rng = np.random.default_rng((self.seed, index, self._epoch))
        nodule = self.nodules[index]
        k = int(rng.integers(nodule.hu.shape[2]))
        mask = a_flat_mask(nodule.readers[..., k], rng)
        hu, drawn = self._turned(nodule, nodule.hu[..., k], mask, rng)
        if rng.random() < 0.5:
            hu = hu + rng.uniform(0, 40) * torch.from_numpy(rng.standard_normal(hu.shape, np.float32))
        hu = hu * rng.uniform(0.95, 1.05) + rng.uniform(-25, 25)
        return {
            "image": slice_channels(hu[..., None], drawn[..., None], self.slice_mm),
            "label": slice_targets(nodule.row),
            "id": nodule.row.id,
        }

    def _turned(
        self, nodule: FlatNodule, hu: NDArray[np.int16], mask: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """HU and mask (pixels, pixels) about the mask, turned, mirrored, and scaled by up to a seventh an axis."""
        a = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        long = np.exp(rng.uniform(-0.06, 0.06))
        scale = np.exp(rng.uniform(-0.08, 0.08)) * np.array([long, rng.choice((-1, 1)) / long])
        marked = np.argwhere(mask)
        middle = (marked.min(0) + marked.max(0)) / 2 + rng.uniform(-1.5, 1.5, 2) / nodule.spacing_mm
        own = Grid.of(hu[..., None], np.diag([*nodule.spacing_mm, 1.0, 1.0]))
        axes = np.eye(3)
        axes[:2, :2] = turn * scale
        seen = Grid.around(
            own.to_world([*middle, 0]), (self.slice_mm, self.slice_mm, 1.0), (self.pixels, self.pixels, 1), axes
        )
        image, drawn = resample(hu[..., None], own, seen), resample(mask[..., None], own, seen, outside=0)
        return torch.from_numpy(image[..., 0]), torch.from_numpy(drawn[..., 0])


def slice_targets(row: CropRow) -> Tensor:
    """Soft targets and weights (2, T) in the order of `transforms.rating.SLICE_TARGETS`.

    As `rating_targets`, but for the malignancy: a logistic of the readers' mean, since who is asked whether a nodule is
    malignant is asked on which side of 3 it lies; the nearer to 3, the less it weighs.
    """
    target, weight = rating_targets(row)
    label = torch.stack([target, (weight > 0) * _OTHERS])[:, 1:]
    beyond = float(np.mean(row.ratings["malignancy"])) - 3
    clear = _DOUBTFUL + (1 - _DOUBTFUL) * min(1.0, abs(beyond))
    label[:, SLICE_TARGETS.index("malignancy")] = torch.tensor([1 / (1 + np.exp(-_SHARPNESS * beyond)), clear])
    label[1] *= min(1.0, row.n_readers / _FULL_READERS)
    return label


def a_flat_mask(readers: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask (X, Y) of what was marked there: by half of its readers (twice as likely), by one of them, or by any."""
    bits = [(readers >> bit) & 1 > 0 for bit in range(8) if (readers >> bit & 1).any()]
    votes = np.sum(bits, 0)
    half = 2 * votes >= len(bits)
    masks = [half, half, votes > 0, *bits]
    return masks[rng.integers(len(masks))] if half.any() else votes > 0


class WholeNodules(Dataset[dict[str, Any]]):
    """Crops as the network sees them in use, with the mask of half of the readers, for validation.

    An item is `image` float32 (3, pixels, pixels, slices), `label` (2, T) and `id`, as in `SliceDataset`.
    """

    def __init__(self, crops: Sequence[Crop], rate_settings: RateSettings) -> None:
        self.crops, self.settings = [c for c in crops if (c.share >= 0.5).any()], rate_settings

    def __len__(self) -> int:
        """Crops that half of the readers marked a voxel of."""
        return len(self.crops)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The item, always the same."""
        crop = self.crops[index]
        ct = CT(np.maximum(crop.hu, -1024), LPS_RAS @ crop.affine_ras, name=crop.row.id, path=Path(crop.row.id))
        mask = crop.share >= 0.5
        outline = Outline(mask, mask.astype(np.float32), (0, 0, 0), Seed((0.0, 0.0, 0.0), 1.0, 0.0))
        label = torch.stack(rating_targets(crop.row))[:, 1:]
        return {"image": nodule_slices(ct, outline, self.settings), "label": label, "id": crop.row.id}


def slice_dataset(
    folder: str,
    patients: Sequence[str],
    *,
    slice_dir: str = "",
    exclude: Sequence[str] = (),
    slice_mm: float = 0.75,
    pixels: int = 48,
    seed: int = 0,
) -> SliceDataset:
    """A `SliceDataset` from a crop folder and, where given, a folder of slices, for a bundle's config.

    A nodule in both is drawn twice as often: more readers rated it.

    Raises:
        UsageError: no nodule of `patients` is left, or none that is marked and rated; or a folder lacks a file.
        InputError: a file is damaged.
    """
    nodules = [flat_crop(crop) for crop in load_crops(folder, patients, exclude)]
    if slice_dir:
        nodules += [flat_slice(n) for n in read_slices(slice_dir, set(patients) - set(exclude))]
    data = SliceDataset(nodules, slice_mm, pixels, seed=seed)
    if not len(data):
        raise UsageError(f"{folder}: no nodule of {len(nodules)} is marked and rated: nothing to learn from")
    return data


def whole_nodules(
    folder: str,
    patients: Sequence[str],
    rate_settings: Mapping[str, Any],
    bundle_root: str,
    exclude: Sequence[str] = (),
) -> WholeNodules:
    """`WholeNodules` from a crop folder, for a bundle's config, which gives the `rate_settings` of its inference.

    Raises:
        UsageError: no nodule of `patients` is left, or none that can be validated with.
        InputError: a file is damaged.
    """
    whole = WholeNodules(
        load_crops(folder, patients, exclude), settings(RateSettings, rate_settings, Path(bundle_root))
    )
    if all(np.mean(crop.row.ratings.get("malignancy", (3,))) == 3 for crop in whole.crops):
        raise UsageError(f"{folder}: no nodule to validate with is rated benign or malignant; give another --fold")
    return whole
