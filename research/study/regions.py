"""Regions around the nodules of crops, for the study's 3D networks: the package trains none of these."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, ConcatItemsd, CopyItemsd, EnsureTyped, Transform
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from monai_lung.data.crops import Crop
from monai_lung.grid import Grid, resample
from monai_lung.training.draws import DrawnDataset, VaryHud, rng_of
from monai_lung.training.synthesis import continue_in_z, random_frame
from monai_lung.training.targets import rating_targets
from monai_lung.transforms import LungWindowd, SoftWindowd


class DrawRegiond(Transform):
    """The region around a nodule on the network's grid, turned, scaled and shifted, with a mask as users draw them.

    The mask is that of one reader, or of half of the readers, or of what is dense there.

    Takes `crop`. Adds `image` and `mask`, float32 (1, *size), HU and 0...1; `label` (2, T), soft targets in the order
    of `monai_lung.stages.TARGETS`, and their weights; `id`, the crop's.

    Args:
        spacing_mm: voxel size of the network's grid.
        size: voxels of the region.
    """

    def __init__(self, spacing_mm: Sequence[float], size: Sequence[int]) -> None:
        self.spacing_mm = np.asarray(spacing_mm, float)
        self.size = (int(size[0]), int(size[1]), int(size[2]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw a region."""
        rng, crop = rng_of(data), data["crop"]
        hu, mask = self._around(crop, a_mask(crop, rng), rng)
        label = torch.stack(rating_targets(crop.row))
        return {**data, "image": hu[None], "mask": mask[None], "label": label, "id": crop.row.id}

    def _around(self, crop: Crop, mask: NDArray[np.float32], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """HU and mask of the region, continued beyond the crop."""
        long = continue_in_z(crop, self.spacing_mm[2] * self.size[2] / 2, rng)
        extra = (long.channels.shape[3] - crop.hu.shape[2]) // 2
        index = np.argwhere(mask > 0)
        center_mm = long.grid.to_world((index.min(0) + index.max(0)) / 2 + np.array([0, 0, extra]))
        frame, shift = random_frame(rng, scale=(0.92, 1.08), tilt_deg=12), rng.uniform(-1.5, 1.5, 3)
        region = Grid.around(center_mm + shift, self.spacing_mm.tolist(), self.size, frame)
        hu = resample(long.channels[0].numpy(), long.grid, region, outside="reflect")
        drawn = np.pad(mask, ((0, 0), (0, 0), (extra, extra)))
        return torch.from_numpy(hu), torch.from_numpy(resample(drawn, long.grid, region, outside=0))


class RegionDataset(DrawnDataset):
    """Nodules with their readers' ratings.

    An item is `image` float32 (3, *size) (`transforms.rating.region_channels`), `label` (2, T) and `id`; see
    `DrawRegiond`.

    Args:
        crops: nodules.
        spacing_mm: of the network's grid.
        size: voxels of the region.
        seed: items depend on it, on the index and on the epoch.
    """

    def __init__(
        self, crops: Sequence[Crop], spacing_mm: Sequence[float], size: Sequence[int], *, seed: int = 0
    ) -> None:
        steps = [
            DrawRegiond(spacing_mm, size),
            VaryHud("image"),
            CopyItemsd("image", names="soft"),
            LungWindowd("image"),
            SoftWindowd("soft"),
            EnsureTyped(["image", "soft", "mask"], track_meta=False),
            ConcatItemsd(["image", "soft", "mask"], "image"),
        ]
        super().__init__([{"crop": crop} for crop in crops], Compose(steps), seed=seed)


def a_mask(crop: Crop, rng: np.random.Generator) -> NDArray[np.float32]:
    """A mask of the crop's nodule, 0 or 1, float32 (X, Y, Z): a reader's, half of the readers', or what is dense."""
    half = crop.share >= 0.5
    if not half.any():
        half = crop.votes > 0
    way = rng.choice(3, p=(0.4, 0.35, 0.25))
    one = (crop.readers >> int(rng.integers(crop.row.n_readers))) & 1 > 0
    if way == 0 and one.any():
        return one.astype(np.float32)
    if way == 2:
        dense = (crop.hu > rng.uniform(-600, -300)) & ndimage.binary_dilation(crop.votes > 0)
        return (dense if dense.any() else half).astype(np.float32)
    return half.astype(np.float32)
