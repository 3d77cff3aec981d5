"""Regions around outlined nodules, and around what isn't one, for the network that rates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, ConcatItemsd, CopyItemsd, EnsureTyped, Transform
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.data.backgrounds import Background, check_held_out, read_backgrounds
from monai_lung.data.crops import Crop, CropRow
from monai_lung.errors import InputError, UsageError
from monai_lung.grid import Grid, resample
from monai_lung.stages import TARGETS
from monai_lung.training.datasets import load_crops
from monai_lung.training.draws import DrawnDataset, VaryHud, rng_of
from monai_lung.training.structures import a_mask, airy, beside, cut_like_a_crop, middle, structure, thick
from monai_lung.training.synthesis import (
    WAYS,
    Donor,
    continue_in_z,
    donor_of,
    feathered,
    random_frame,
    soft_box,
)
from monai_lung.transforms import LungWindowd, SoftWindowd
from monai_lung.transforms.rating import SURE

SET_IN = 0.5
"""Share of the free nodules that are set into a scan's lung."""
THROUGH = (0.6, 0.4, 0.0)
"""How a negative continues beyond a crop (`continue_in_z`): a vessel cut off would look like a nodule."""
OTHERS = (0.4, 0.3, 0.3)
"""Shares of the negatives: beside a crop's nodule, from a scan but cut like a crop, in its scan."""


class DrawRegiond(Transform):
    """The region around a nodule, or around what is none, on the network's grid; in training turned and scaled.

    What surrounds an item must not tell what it is. Nodules come from crops, whose surroundings are made up beyond
    their margins; other structures come from whole scans. So both come both ways: some free nodules are set into the
    whole scans' lungs, some structures of the scans are cut like crops, and some stand beside the crops' own nodules.
    The mask is one reader's, or that of half of the readers, or what is dense there: a user's mask isn't the consensus
    either.

    Takes `nodule`, its place in `donors`, None for what is none. Adds `image` and `mask`, float32 (1, *roi_size), HU
    and 0...1; `label` (2, T), soft targets in the order of `TARGETS`, and their weights (0 where a target isn't known:
    negatives have no malignancy); `id`, the crop's, or "no nodule".

    Args:
        donors: nodules.
        backgrounds: scans to take other structures from, best of their own resolution; () for none.
        pixdim: voxel size of the network's grid in mm.
        roi_size: voxels of the region.
        others: whether there are negatives.
        augment: False gives the plain region with the mask of half of the readers.

    Raises:
        InputError: a background has no lung deep enough to set a nodule in, or nothing dense.
    """

    def __init__(
        self,
        donors: Sequence[Donor],
        backgrounds: Sequence[Background],
        pixdim: Sequence[float],
        roi_size: Sequence[int],
        *,
        others: bool = False,
        augment: bool = True,
    ) -> None:
        self.donors, self.backgrounds = list(donors), list(backgrounds)
        self.spacing_mm = np.asarray(pixdim, float)
        self.size = (int(roi_size[0]), int(roi_size[1]), int(roi_size[2]))
        self.others, self.augment = others and bool(backgrounds), augment
        self._deep = [np.flatnonzero((b.depth_mm >= 6) & ~b.known) for b in self.backgrounds]
        self._dense = [np.flatnonzero((b.depth_mm >= 3) & thick(b.hu) & ~b.known) for b in self.backgrounds]
        for b, *places in zip(self.backgrounds, self._deep, self._dense, strict=True):
            if not all(map(len, places)):
                raise InputError(
                    f"background {b.name}: no place deep in its lungs, or nothing dense there; leave it out"
                )
        self._beside = [beside(donor.crop) for donor in self.donors] if self.others else []
        self._with_others = [n for n, places in enumerate(self._beside) if len(places)]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw a region."""
        rng, which = rng_of(data), data["nodule"]
        if which is None:
            name, (hu, mask) = "no nodule", self._other(rng)
            target, weight = torch.zeros(len(TARGETS)), torch.zeros(len(TARGETS))
            weight[0] = 1
        else:
            donor = self.donors[which]
            name, (hu, mask) = donor.crop.row.id, self._nodule(donor, rng)
            target, weight = rating_targets(donor.crop.row)
        label = torch.stack([target, weight])
        return {**data, "image": hu[None], "mask": mask[None], "label": label, "id": name}

    def _nodule(self, donor: Donor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if not self.augment:
            return self._in_crop(donor.crop, (donor.crop.share >= 0.5).astype(np.float32), rng)
        mask = a_mask(donor.crop, rng)
        if self.others and donor.wall is None and rng.random() < SET_IN:
            return self._set_in(donor, mask, rng)
        return self._in_crop(donor.crop, mask, rng)

    def _other(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A structure that isn't marked there: beside a nodule, from a scan but cut like a crop, or in its scan."""
        way = rng.choice(3, p=OTHERS)
        if way == 0 and self._with_others:
            n = self._with_others[rng.integers(len(self._with_others))]
            crop = self.donors[n].crop
            free = (crop.votes == 0) & airy(crop.hu, 0.15)
            box = crop.hu, structure(crop.hu, free, self._beside[n][rng.integers(len(self._beside[n]))], crop, rng)
            cut = cut_like_a_crop(*box, crop.spacing_mm, rng)
            return self._in_crop(*cut, rng, ways=THROUGH)
        which = rng.integers(len(self.backgrounds))
        b = self.backgrounds[which]
        at = np.array(np.unravel_index(rng.choice(self._dense[which]), b.hu.shape))
        if len(b.hard_mm) and rng.random() < 0.25:
            at = densest(b.hu, b.grid.to_index(b.hard_mm[rng.integers(len(b.hard_mm))]))
        reach = np.ceil(np.array(self.size) * self.spacing_mm * 0.9 / b.spacing_mm).astype(int)
        low = np.clip(at - reach, 0, None)
        x, y, z = (slice(i, j) for i, j in zip(low, np.minimum(at + reach + 1, b.hu.shape), strict=True))
        hu, near = b.hu[x, y, z], b.grid.part((x, y, z))
        mask = structure(hu, (b.depth_mm[x, y, z] > 0) & ~b.known[x, y, z], at - low, b, rng)
        if way == 1:
            return self._in_crop(*cut_like_a_crop(hu, mask, b.spacing_mm, rng), rng, ways=THROUGH)
        region = self._region(near.to_world(middle(mask)), near.patient_axes, rng)
        return _tensor(resample(hu, near, region)), _tensor(resample(mask, near, region, outside=0))

    def _region(self, center_mm: NDArray[np.float64], axes: NDArray[np.float64], rng: np.random.Generator) -> Grid:
        """The network's grid about a point, turned, scaled and shifted."""
        frame, shift = np.eye(3), np.zeros(3)
        if self.augment:
            frame, shift = random_frame(rng, scale=(0.92, 1.08), tilt_deg=12), rng.uniform(-1.5, 1.5, 3)
        return Grid.around(center_mm + axes @ shift, self.spacing_mm.tolist(), self.size, axes @ frame)

    def _in_crop(
        self, crop: Crop, mask: NDArray[np.float32], rng: np.random.Generator, ways: tuple[float, ...] = WAYS
    ) -> tuple[Tensor, Tensor]:
        """HU and mask of the region around a crop's structure, continued beyond the crop."""
        long = continue_in_z(crop, self.spacing_mm[2] * self.size[2] / 2, rng, ways)
        extra = (long.channels.shape[3] - crop.hu.shape[2]) // 2
        region = self._region(long.grid.to_world(middle(mask > 0) + np.array([0, 0, extra])), np.eye(3), rng)
        hu = resample(long.channels[0].numpy(), long.grid, region, outside="reflect")
        drawn = np.pad(mask, ((0, 0), (0, 0), (extra, extra)))
        return _tensor(hu), _tensor(resample(drawn, long.grid, region, outside=0))

    def _set_in(self, donor: Donor, mask: NDArray[np.float32], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """HU and mask of a region of a scan's lung with the donor's nodule in its middle."""
        which = rng.integers(len(self.backgrounds))
        b = self.backgrounds[which]
        place = np.array(np.unravel_index(rng.choice(self._deep[which]), b.hu.shape), float)
        lung = self._region(b.grid.to_world(place), b.grid.patient_axes, rng)
        hu = _tensor(resample(b.hu, b.grid, lung))
        long = continue_in_z(donor.crop, 8.0, rng)
        extra = (long.channels.shape[3] - donor.crop.hu.shape[2]) // 2
        drawn = np.pad(mask, ((0, 0), (0, 0), (extra, extra)))
        box = soft_box(tuple(long.channels.shape[1:]), long.spacing_mm).numpy()
        region = self._region(np.zeros(3), np.eye(3), rng)
        value = _tensor(resample(long.channels[0].numpy(), long.grid, region))
        set_in = np.stack([long.channels[1].numpy(), box, drawn])
        share, alpha, shown = _tensor(resample(set_in, long.grid, region, outside=0))
        if rng.random() < 0.5:  # alone, not with its surroundings
            alpha = feathered(share)
        return hu + alpha * (value - hu), shown


class RateDataset(DrawnDataset):
    """Nodules with their readers' ratings, and vessels, scars and borders that are none, as `train.json` has them.

    An item is `image` float32 (3, *size) (`transforms.rating.region_channels`), `label` (2, T) and `id`; see
    `DrawRegiond`.

    Args:
        crops: nodules.
        backgrounds: scans to take other structures from, best of their own resolution; () for none.
        spacing_mm: of the network's grid.
        size: voxels of the region.
        others: negatives of an epoch.
        seed: items depend on it, on the index and on the epoch.
        augment: False gives the plain region with the mask of half of the readers.

    Raises:
        InputError: a background has no lung deep enough to set a nodule in, or nothing dense.
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
        donors = [donor_of(crop) for crop in crops]
        others = others if backgrounds else 0
        steps = [
            DrawRegiond(donors, backgrounds, spacing_mm, size, others=others > 0, augment=augment),
            *([VaryHud("image")] if augment else []),
            CopyItemsd("image", names="soft"),
            LungWindowd("image"),
            SoftWindowd("soft"),
            EnsureTyped(["image", "soft", "mask"], track_meta=False),
            ConcatItemsd(["image", "soft", "mask"], "image"),
        ]
        super().__init__(nodules_and_others(donors, others), Compose(steps), seed=seed)


def nodules_and_others(donors: Sequence[Donor], others: int = 0) -> list[dict[str, Any]]:
    """The items of `DrawRegiond`: each nodule by its place, then what is none."""
    return [{"nodule": n} for n in range(len(donors))] + [{"nodule": None}] * others


def _tensor(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(values)


def densest(hu: NDArray[np.int16], at: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index (3,) of the densest voxel of `hu` (X, Y, Z) near the index `at`."""
    near = np.clip(np.rint(at).astype(int), 0, np.array(hu.shape) - 1)
    low = np.maximum(near - np.array([3, 3, 1]), 0)
    part = hu[tuple(slice(a, b) for a, b in zip(low, near + np.array([4, 4, 2]), strict=True))]
    return low + np.unravel_index(part.argmax(), part.shape)


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
        target[k] = float(np.clip(soft, SURE, 1 - SURE))
        weight[k] = 1.0 if name == "malignancy" else 0.25
    return target, weight


def rated_nodules(
    folder: str, patients: Sequence[str], exclude: Sequence[str] = (), *, validate: bool = False
) -> list[Donor]:
    """The nodules of a crop folder, for a bundle's config.

    Raises:
        UsageError: no nodule of the patients is left; or nothing can be validated, since none is rated other than 3.
        InputError: a crop can't be read.
    """
    crops = load_crops(folder, patients, exclude)
    means = [np.mean(crop.row.ratings.get("malignancy", (3,))) for crop in crops]
    if validate and all(mean == 3 for mean in means):
        raise UsageError(f"{folder}: no nodule to validate with is rated benign or malignant; give another --fold")
    return [donor_of(crop) for crop in crops]


def other_lungs(
    folder: str, others: int, exclude: Sequence[str] = (), held_out: Sequence[str] = ()
) -> list[Background]:
    """The backgrounds to take negatives from, none where none are wanted, for a bundle's config.

    Raises:
        UsageError: some are wanted, and there is no folder; or a background is of a patient in `held_out`.
        InputError: a file is damaged.
    """
    if not others:
        return []
    if not folder:
        raise UsageError(
            "no --background_dir: without it the network has no negatives to learn from; "
            "make one with monai-lung lidc backgrounds, or set the recipe's others to 0 to learn ratings alone"
        )
    scans = read_backgrounds(folder, exclude)
    check_held_out(scans, held_out)
    return scans
