"""Slices of nodules with their readers' ratings, for the network that says how likely a nodule is malignant."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Transform
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.data.crops import Crop, CropRow
from monai_lung.data.slices import NoduleSlice, read_slices
from monai_lung.definitions import settings
from monai_lung.errors import UsageError
from monai_lung.grid import Grid, resample
from monai_lung.inference.slices import nodule_slices, wide_slices
from monai_lung.model import CT, LPS_RAS, Outline, Seed
from monai_lung.stages import SLICE_TARGETS, RateSettings
from monai_lung.training.datasets import load_crops
from monai_lung.training.draws import DrawnDataset, rng_of
from monai_lung.training.targets import rating_targets
from monai_lung.transforms.rating import slice_channels

_FULL_READERS = 4
"""A nodule that fewer rated weighs less: their mean predicts the others' ratings less well."""
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


class DrawSliced(Transform):
    """One slice of a nodule, with the mask of one of its readers or of several.

    Takes `nodule` (`FlatNodule`), adds `hu` and `mask` (X, Y) on the nodule's own pixels.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw slice and mask."""
        rng, nodule = rng_of(data), data["nodule"]
        k = int(rng.integers(nodule.hu.shape[2]))
        return {**data, "hu": nodule.hu[..., k], "mask": a_flat_mask(nodule.readers[..., k], rng)}


class TurnSliced(Transform):
    """A slice on the network's pixels about its mask: turned, mirrored, and scaled by up to a seventh an axis.

    `hu` and `mask` become float32 (pixels, pixels, 1).

    Args:
        slice_mm, pixels: of the network's grid.
    """

    def __init__(self, slice_mm: float, pixels: int) -> None:
        self.slice_mm, self.pixels = slice_mm, pixels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn and resample."""
        rng, hu, mask, nodule = rng_of(data), data["hu"], data["mask"], data["nodule"]
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
        return {**data, "hu": torch.from_numpy(image), "mask": torch.from_numpy(drawn)}


class VarySliced(Transform):
    """`hu` with another scanner's noise, contrast and offset."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Vary it."""
        rng, hu = rng_of(data), data["hu"]
        if rng.random() < 0.5:
            hu = hu + rng.uniform(0, 40) * torch.from_numpy(rng.standard_normal(hu.shape, np.float32))
        return {**data, "hu": hu * rng.uniform(0.95, 1.05) + rng.uniform(-25, 25)}


class SliceChannelsd(Transform):
    """`image` float32 (3, pixels, pixels, 1) of `hu` and `mask`: both windows and the mask, plain lung far from it.

    Args:
        slice_mm: of the network's grid.
    """

    def __init__(self, slice_mm: float) -> None:
        self.slice_mm = slice_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the image."""
        return {**data, "image": slice_channels(data["hu"], data["mask"], self.slice_mm)}


class SliceDataset(DrawnDataset):
    """One slice of a nodule at a time, as `train_malignancy.json` of the classification bundle has them.

    An item is `image` float32 (3, pixels, pixels, 1) (`transforms.rating.slice_channels`), `label` (2, T): soft targets
    in the order of `SLICE_TARGETS`, and their weights; and the nodule's `id`.

    Args:
        nodules: in memory.
        slice_mm, pixels: of the network's grid.
        seed: items depend on it, on the index and on the epoch.
    """

    def __init__(self, nodules: Sequence[FlatNodule], slice_mm: float, pixels: int, *, seed: int = 0) -> None:
        steps = [DrawSliced(), TurnSliced(slice_mm, pixels), VarySliced(), SliceChannelsd(slice_mm)]
        super().__init__(items_of(nodules), Compose(steps), seed=seed)

    @property
    def nodules(self) -> list[FlatNodule]:
        """Those that are marked and rated."""
        return [item["nodule"] for item in self.data]


def items_of(nodules: Sequence[FlatNodule]) -> list[dict[str, Any]]:
    """An item for each nodule that is marked and rated: `nodule`, `label` and `id`."""
    known = [n for n in nodules if n.readers.any() and n.row.ratings.get("malignancy")]
    return [{"nodule": n, "label": slice_targets(n.row), "id": n.row.id} for n in known]


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


class WholeNoduled(Transform):
    """A crop as the network sees it in use, with the mask of half of its readers: `image` and `label`.

    Args:
        rate_settings: as in the bundle's config.
        bundle_root: named in errors.
    """

    def __init__(self, rate_settings: Mapping[str, Any] | RateSettings, bundle_root: Path | str = "") -> None:
        given = rate_settings
        self.settings = given if isinstance(given, RateSettings) else settings(RateSettings, given, Path(bundle_root))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add image float32 (3, pixels, pixels, slices) and label (2, T)."""
        crop = data["crop"]
        ct = CT(np.maximum(crop.hu, -1024), LPS_RAS @ crop.affine_ras, name=crop.row.id, path=Path(crop.row.id))
        mask = crop.share >= 0.5
        outline = Outline(mask, mask.astype(np.float32), (0, 0, 0), Seed((0.0, 0.0, 0.0), 1.0, 0.0))
        label = torch.stack(rating_targets(crop.row))[:, 1:]
        return {**data, "image": nodule_slices(ct, outline, self.settings), "label": label}


def slice_items(
    folder: str, patients: Sequence[str], *, slice_dir: str = "", exclude: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """`items_of` a crop folder and, where given, a folder of slices, for a bundle's config.

    A nodule in both is drawn twice as often: more readers rated it.

    Raises:
        UsageError: no nodule of `patients` is left, or none that is marked and rated; or a folder lacks a file.
        InputError: a file is damaged.
    """
    nodules = [flat_crop(crop) for crop in load_crops(folder, patients, exclude)]
    if slice_dir:
        nodules += [flat_slice(n) for n in read_slices(slice_dir, set(patients) - set(exclude))]
    items = items_of(nodules)
    if not items:
        raise UsageError(f"{folder}: no nodule of {len(nodules)} is marked and rated: nothing to learn from")
    return items


def marked_crops(folder: str, patients: Sequence[str], exclude: Sequence[str] = ()) -> list[dict[str, Any]]:
    """An item for each crop that half of its readers marked a voxel of, to validate with.

    Raises:
        UsageError: no nodule of `patients` is left, or none that can be validated with.
        InputError: a file is damaged.
    """
    crops = [crop for crop in load_crops(folder, patients, exclude) if (crop.share >= 0.5).any()]
    if all(np.mean(crop.row.ratings.get("malignancy", (3,))) == 3 for crop in crops):
        raise UsageError(f"{folder}: no nodule to validate with is rated benign or malignant; give another fold")
    return [{"crop": crop, "id": crop.row.id} for crop in crops]
