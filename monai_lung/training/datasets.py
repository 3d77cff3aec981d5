"""What the networks are trained on: patches drawn afresh each time, augmented as they are resampled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_lung.data.crops import Crop, read_crop, read_table, select
from monai_lung.errors import UsageError
from monai_lung.grid import Grid, resample
from monai_lung.training.synthesis import continue_in_z, random_frame
from monai_lung.transforms.window import windowed

log = logging.getLogger(__name__)

Target = Literal["share", "half", "three"]


def load_crops(folder: Path | str, patients: Sequence[str], exclude: Sequence[str] = ()) -> list[Crop]:
    """The crops of `patients` without those of `exclude`, in memory (840 take 34 MB).

    Raises:
        UsageError: none is left.
        InputError: a crop can't be read.
    """
    rows = select(read_table(folder), set(patients) - set(exclude))
    if not rows:
        raise UsageError(
            f"{folder}: no nodule of the {len(patients)} patients of this side of the split: give the --fold_file that "
            "was made for these data (monai-lung lidc split), and a fold in it"
        )
    log.info("%s: %d nodules of %d patients", folder, len(rows), len({row.patient for row in rows}))
    return [read_crop(folder, row) for row in rows]


def vary_hu(hu: Tensor, rng: np.random.Generator) -> Tensor:
    """`hu` (X, Y, Z) with another scanner's noise, offset, contrast and sharpness."""
    if rng.random() < 0.3:  # softer or sharper kernel, along one axis or all
        blurred = torch.nn.functional.avg_pool3d(hu[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
        hu = hu + rng.uniform(-0.4, 0.7) * (blurred - hu)
    if rng.random() < 0.2:  # thicker slices
        z = torch.nn.functional.pad(hu, (1, 1), mode="replicate")
        hu = hu + rng.uniform(0, 0.8) * ((z[..., :-2] + z[..., 2:]) / 2 - hu) * 0.66
    if rng.random() < 0.5:
        noise = torch.from_numpy(rng.standard_normal(hu.shape, np.float32))
        hu = hu + rng.uniform(0, 50) * noise
    return hu * rng.uniform(0.95, 1.05) + rng.uniform(-25, 25)


class DelineateDataset(Dataset[dict[str, Any]]):
    """Crops resampled around their nodule, for the network that delineates.

    An item is `image` float32 (1, *size), windowed, and `label` (2, *size): the share of the readers who marked the
    voxel, and the trust in that (0 outside the crop). `id` is the crop's.

    Args:
        crops: in memory.
        spacing_mm: of the network's grid.
        size: voxels of the patch.
        seed: items depend on it, on the index and on the epoch.
        augment: False gives the plain crop, centred, for validation.
        jitter_mm: how far the seed may miss the nodule's centre.
        target: what the label says: the "share" of the readers, what "half" of them marked, or what "three" of them
            did, the paper's truth; the last two are 0 or 1.
    """

    def __init__(
        self,
        crops: Sequence[Crop],
        spacing_mm: Sequence[float],
        size: Sequence[int],
        *,
        seed: int = 0,
        augment: bool = True,
        jitter_mm: float = 4.0,
        target: Target = "share",
    ) -> None:
        self.crops = list(crops)
        self.spacing_mm = np.asarray(spacing_mm, float)
        self.size = (int(size[0]), int(size[1]), int(size[2]))
        self.seed, self.augment, self.jitter_mm = seed, augment, jitter_mm
        if target not in get_args(Target):
            raise UsageError(f"target {target!r}: give one of {', '.join(get_args(Target))}")
        few = [c.row.id for c in self.crops if c.row.n_readers < 3]
        if target == "three" and few:
            raise UsageError(f"{few[0]} has fewer than three readers, and the target is what three of them marked")
        self.target = target
        self._epoch = 0

    def __len__(self) -> int:
        """Crops."""
        return len(self.crops)

    def set_epoch(self, epoch: int) -> None:
        """Draw as in the epoch of this number, from 0."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The item, drawn afresh."""
        rng = np.random.default_rng((self.seed, index, self._epoch))
        margin = self.spacing_mm[2] * self.size[2] / 2 + self.jitter_mm
        long = continue_in_z(self.crops[index], margin, rng)
        if self.target != "share":
            least = 0.5 if self.target == "half" else 3 / self.crops[index].row.n_readers
            long.channels[1] = (long.channels[1] >= least - 1e-3).float()
        frame, shift = np.eye(3), np.zeros(3)
        if self.augment:
            wide = max(1.0, np.abs(long.origin_mm[:2]).max() / 26)  # the largest nodules are seen on a coarser grid
            frame = random_frame(rng, scale=(0.8 * wide, 1.25 * wide), tilt_deg=12)
            shift = rng.uniform(-1, 1, 3) * self.jitter_mm
        patch = Grid.around(shift, self.spacing_mm.tolist(), self.size, frame)
        channels = torch.from_numpy(resample(long.channels.numpy(), long.grid, patch, outside=0))
        inside = channels[2:3]
        hu = torch.from_numpy(resample(long.channels[0].numpy(), long.grid, patch, outside="reflect"))
        if self.augment:
            hu = vary_hu(hu, rng)
        marked = channels[1:2] if self.target == "share" else (channels[1:2] >= 0.5).float()
        label = torch.cat([marked, (inside > 0.5).float()])
        return {"image": windowed(hu)[None], "label": label, "id": self.crops[index].row.id}


def crop_dataset(folder: str, patients: Sequence[str], exclude: Sequence[str] = (), **options: Any) -> DelineateDataset:
    """A `DelineateDataset` from a crop folder, for a bundle's config; options as there."""
    return DelineateDataset(load_crops(folder, patients, exclude), **options)
