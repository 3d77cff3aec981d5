"""The training data of the networks: patches drawn afresh each time, augmented as they are resampled."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from monai.transforms import Compose, Transform

from monai_lung.data.crops import Crop, read_crop, read_table, select
from monai_lung.errors import UsageError
from monai_lung.grid import Grid, resample
from monai_lung.training.draws import DrawnDataset, VaryHud, rng_of
from monai_lung.training.synthesis import continue_in_z, random_frame
from monai_lung.transforms import LungWindowd

log = logging.getLogger(__name__)

Target = Literal["share", "half", "three"]
JITTER_MM = 4.0
"""How far a seed may miss the nodule's centre."""


def load_crops(folder: Path | str, patients: Sequence[str], exclude: Sequence[str] = ()) -> list[Crop]:
    """The crops of `patients` without those of `exclude`, in memory (840 take 34 MB).

    Raises:
        UsageError: none is left.
        InputError: a crop can't be read.
    """
    rows = select(read_table(folder), set(patients) - set(exclude))
    if not rows:
        raise UsageError(
            f"{folder}: no nodule of the {len(patients)} patients of this side of the split: give the file of "
            "folds that was made for these data (monai-lung lidc split), and a fold in it"
        )
    log.info("%s: %d nodules of %d patients", folder, len(rows), len({row.patient for row in rows}))
    return [read_crop(folder, row) for row in rows]


class ContinueInZd(Transform):
    """A crop continues beyond its first and last slice, where it ends as its nodule does: else the box tells the
    nodule.

    Takes `crop` (`monai_lung.data.crops.Crop`), adds `long` (`training.synthesis.LongCrop`).

    Args:
        margin_mm: of what is needed to each side of the nodule's middle.
    """

    def __init__(self, margin_mm: float) -> None:
        self.margin_mm = margin_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the long crop."""
        return {**data, "long": continue_in_z(data["crop"], self.margin_mm, rng_of(data))}


class ReadersTargetd(Transform):
    """The label of `long`: the share of the readers who marked a voxel, or the voxels that enough of them marked.

    Args:
        target: the "share" of the readers, what "half" of them marked, or what "three" of them did, the paper's truth;
            the last two are 0 or 1.

    Raises:
        UsageError: another target.
    """

    def __init__(self, target: Target = "share") -> None:
        if target not in get_args(Target):
            raise UsageError(f"target {target!r}: give one of {', '.join(get_args(Target))}")
        self.target = target

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the second channel of `long`."""
        row, long = data["crop"].row, data["long"]
        if self.target != "share":
            least = 0.5 if self.target == "half" else 3 / row.n_readers
            long.channels[1] = (long.channels[1] >= least - 1e-3).float()
        return {**data, "hard": self.target != "share"}


class CropPatchd(Transform):
    """A patch around the nodule of `long` on the network's grid; in training turned, mirrored, scaled and shifted.

    Adds `image` float32 (1, *roi_size) in HU and `label` (2, *roi_size): what the readers say, and the trust in that
    (0 outside the crop).

    Args:
        pixdim: voxel size in mm.
        roi_size: voxels along each axis.
        jitter_mm: how far the seed may miss the nodule's centre.
        augment: False gives the plain crop, centred.
    """

    def __init__(
        self, pixdim: Sequence[float], roi_size: Sequence[int], jitter_mm: float = JITTER_MM, augment: bool = True
    ) -> None:
        self.pixdim, self.roi_size = [float(mm) for mm in pixdim], [int(n) for n in roi_size]
        self.jitter_mm, self.augment = jitter_mm, augment

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add image and label."""
        rng, long = rng_of(data), data["long"]
        frame, shift = np.eye(3), np.zeros(3)
        if self.augment:
            wide = max(1.0, np.abs(long.origin_mm[:2]).max() / 26)  # the largest nodules are seen on a coarser grid
            frame = random_frame(rng, scale=(0.8 * wide, 1.25 * wide), tilt_deg=12)
            shift = rng.uniform(-1, 1, 3) * self.jitter_mm
        patch = Grid.around(shift, self.pixdim, self.roi_size, frame)
        channels = torch.from_numpy(resample(long.channels.numpy(), long.grid, patch, outside=0))
        hu = torch.from_numpy(resample(long.channels[0].numpy(), long.grid, patch, outside="reflect"))
        marked = (channels[1:2] >= 0.5).float() if data.get("hard") else channels[1:2]
        return {**data, "image": hu[None], "label": torch.cat([marked, (channels[2:3] > 0.5).float()])}


class DelineateDataset(DrawnDataset):
    """Crops resampled around their nodule, as `train.json` of the segmentation bundle has them for what delineates.

    An item is `image` float32 (1, *size), windowed, and `label` (2, *size): what the readers say of the voxel, and the
    trust in that. `id` is the crop's.

    Args:
        crops: in memory.
        spacing_mm: of the network's grid.
        size: voxels of the patch.
        seed: items depend on it, on the index and on the epoch.
        augment: False gives the plain crop, centred, for validation.
        jitter_mm: how far the seed may miss the nodule's centre.
        target: as `ReadersTargetd`.
    """

    def __init__(
        self,
        crops: Sequence[Crop],
        spacing_mm: Sequence[float],
        size: Sequence[int],
        *,
        seed: int = 0,
        augment: bool = True,
        jitter_mm: float = JITTER_MM,
        target: Target = "share",
    ) -> None:
        check_readers(crops, target)
        steps = [
            ContinueInZd(margin_mm(spacing_mm, size, jitter_mm)),
            ReadersTargetd(target),
            CropPatchd(spacing_mm, size, jitter_mm, augment),
            *([VaryHud("image")] if augment else []),
            LungWindowd("image"),
        ]
        super().__init__(items_of(crops), Compose(steps), seed=seed)


def items_of(crops: Sequence[Crop]) -> list[dict[str, Any]]:
    """An item for each crop: `crop` and `id`."""
    return [{"crop": crop, "id": crop.row.id} for crop in crops]


def crop_items(
    folder: Path | str, patients: Sequence[str], exclude: Sequence[str] = (), target: Target = "share"
) -> list[dict[str, Any]]:
    """`items_of` the crops of `load_crops`, for a bundle's config, all of which have what `target` needs.

    Raises:
        UsageError: none is left, or one has fewer readers than the target asks for.
        InputError: a crop can't be read.
    """
    crops = load_crops(folder, patients, exclude)
    check_readers(crops, target)
    return items_of(crops)


def check_readers(crops: Sequence[Crop], target: Target) -> None:
    """Refuse crops with too few readers for a target.

    Raises:
        UsageError: three are asked for, and one has fewer.
    """
    few = [crop.row.id for crop in crops if crop.row.n_readers < 3]
    if target == "three" and few:
        raise UsageError(f"{few[0]} has fewer than three readers, and the target is what three of them marked")


def margin_mm(spacing_mm: Sequence[float], size: Sequence[int], jitter_mm: float = JITTER_MM) -> float:
    """How far in z a patch may reach from the nodule's middle."""
    return float(spacing_mm[2]) * int(size[2]) / 2 + jitter_mm


def crop_dataset(folder: str, patients: Sequence[str], exclude: Sequence[str] = (), **options: Any) -> DelineateDataset:
    """A `DelineateDataset` from a crop folder; options as there."""
    return DelineateDataset(load_crops(folder, patients, exclude), **options)
