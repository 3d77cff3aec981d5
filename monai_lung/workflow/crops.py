"""Crops of nodules with their readers' marks in a bundle's `evaluate.json`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from monai_lung.data.crops import Crop, CropRow, read_crop, read_table, select
from monai_lung.data.splits import patient_folds
from monai_lung.errors import UsageError
from monai_lung.inference.delineate import delineate_each
from monai_lung.inference.networks import Delineator, RateSettings, settings
from monai_lung.inference.rate import region
from monai_lung.inference.slices import nodule_slices
from monai_lung.model import CT, Outline
from monai_lung.workflow.cases import ct_of
from monai_lung.workflow.stages import center_seed, outlines_of

SMALLEST_BALL_MM = 4.0
"""Diameter of what is rated at a seed where the network outlines nothing."""


def crop_rows(folder: Path | str, fold_file: Path | str = "", fold: int | None = None) -> list[CropRow]:
    """The rows of a crop folder, of one fold's patients where a fold is given.

    Raises:
        UsageError: there is no table, or no row left.
        InputError: the table or the fold file is damaged.
    """
    rows = read_table(folder)
    if fold is not None:
        rows = select(rows, [p for p, f in patient_folds(fold_file).items() if f == fold])
    if not rows:
        where = "" if fold is None else f" in fold {fold} of {fold_file}"
        raise UsageError(f"{folder}: no nodule to evaluate{where}; choose another folder or fold")
    return rows


def crop_items(rows: list[CropRow]) -> list[dict[str, Any]]:
    """An item for each row: `id`, and its place in `rows`."""
    return [{"id": row.id, "row": n} for n, row in enumerate(rows)]


class ReadCropd(Transform):
    """A row's crop: `image` int16 HU (1, X, Y, Z) with its affine, `votes` and `label` uint8 (1, X, Y, Z).

    `votes` counts the readers who marked a voxel; `label` is 1 where at least half of them did.
    """

    def __init__(self, folder: Path | str, rows: list[CropRow]) -> None:
        self.folder, self.rows = Path(folder), rows

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with image, votes and label.

        Raises:
            InputError: a file is missing or damaged.
        """
        crop = read_crop(self.folder, self.rows[data["row"]])
        votes = crop.votes[None]
        label = (crop.share >= 0.5)[None].astype(np.uint8)
        return {
            **data,
            "image": MetaTensor(torch.from_numpy(crop.hu[None]), affine=torch.from_numpy(crop.affine_ras)),
            "votes": torch.from_numpy(votes),
            "label": torch.from_numpy(label),
        }


class CropRegiond(Transform):
    """A row's crop as the rating network sees it: `image` (3, *region) and `slices` (3, pixels, pixels, slices).

    Args:
        folder: of the crops.
        rows: its rows.
        rate_settings: as in the bundle's config.
        bundle_root: named in errors.
        mask: "predicted" by `delineator` from the crop's centre, or that of half of the "readers".
        delineator: needed for "predicted".

    Raises:
        UsageError: another `mask`.
    """

    def __init__(
        self,
        folder: Path | str,
        rows: list[CropRow],
        rate_settings: Mapping[str, Any],
        bundle_root: Path | str,
        mask: Literal["predicted", "readers"] = "predicted",
        delineator: Delineator | None = None,
    ) -> None:
        if mask not in ("predicted", "readers") or (mask == "predicted" and delineator is None):
            raise UsageError(f"mask {mask!r}: must be predicted (with a segmentation bundle) or readers")
        self.folder, self.rows = Path(folder), rows
        self.settings = settings(RateSettings, rate_settings, Path(bundle_root))
        self.delineator = delineator if mask == "predicted" else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with `image`, `slices` and `outlined`: False where nothing was, and a small ball is rated instead.

        Raises:
            InputError: a file is missing or damaged.
        """
        crop = read_crop(self.folder, self.rows[data["row"]])
        ct = ct_of(torch.from_numpy(crop.hu), torch.from_numpy(crop.affine_ras))
        outline = self._outline(ct, crop)
        rated = outline or ball(ct)
        image, slices = region(ct, rated, self.settings), nodule_slices(ct, rated, self.settings)
        return {**data, "image": image, "slices": slices, "outlined": outline is not None}

    def _outline(self, ct: CT, crop: Crop) -> Outline | None:
        if self.delineator is not None:
            return delineate_each(ct, [center_seed(ct)], self.delineator)[0]
        marked = outlines_of((crop.share >= 0.5).astype(np.int64), ct)
        return marked.get(1)


def ball(ct: CT) -> Outline:
    """A ball of `SMALLEST_BALL_MM` in the middle of `ct`, at least its middle voxel."""
    middle = (np.array(ct.hu.shape) - 1) / 2
    index = np.stack(np.meshgrid(*[np.arange(n) for n in ct.hu.shape], indexing="ij"), axis=-1)
    distance = np.linalg.norm((index - middle) * ct.spacing_mm, axis=-1)
    mask = distance <= max(SMALLEST_BALL_MM / 2, float(distance.min()))
    return outlines_of(mask.astype(np.int64), ct)[1]
