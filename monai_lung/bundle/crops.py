"""Crops of nodules with their readers' marks in a bundle's `evaluate.json`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from monai_lung.data.crops import CropRow, read_crop, read_table, select
from monai_lung.data.splits import patient_folds
from monai_lung.errors import UsageError


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
