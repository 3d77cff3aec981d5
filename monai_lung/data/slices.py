"""The slice format: a folder with `slices.csv` and `slices.npz`, each nodule on the slice where it is largest."""

from __future__ import annotations

import csv
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_lung.data.crops import CropRow, crop_row
from monai_lung.errors import InputError, UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NoduleSlice:
    """A nodule on its largest slice, in its real surroundings.

    Attributes:
        hu: int16 (X, Y).
        readers: uint8 (X, Y), bit k set where reader k marked the pixel.
        spacing_mm: pixel size.
    """

    row: CropRow
    hu: NDArray[np.int16]
    readers: NDArray[np.uint8]
    spacing_mm: float


def read_slices(folder: Path | str, patients: Collection[str]) -> list[NoduleSlice]:
    """The slices of `patients`, in the table's order.

    Raises:
        UsageError: `folder` lacks a file.
        InputError: a file is damaged or the two don't fit each other.
    """
    table, arrays = Path(folder) / "slices.csv", Path(folder) / "slices.npz"
    for path in (table, arrays):
        if not path.is_file():
            raise UsageError(f"{path}: not found; the folder of slices must hold slices.csv and slices.npz")
    try:
        with np.load(arrays) as file:
            hu, readers = file["image_hu"], file["readers"]
    except Exception as error:  # numpy, zipfile and zlib raise many kinds
        raise InputError(f"{arrays}: can't be read ({error}); restore the file") from error
    try:
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{table}: not a readable table ({error}); restore the file") from error
    if not len(rows) == len(hu) == len(readers) or hu.ndim != 3 or hu.shape != readers.shape:
        raise InputError(f"{folder}: {len(rows)} rows, images {hu.shape} and readers {readers.shape} don't fit")
    slices = [_slice(table, n, row, hu, readers) for n, row in enumerate(rows) if row.get("patient") in patients]
    log.info("%s: %d single-slice nodules of %d patients", folder, len(slices), len({s.row.patient for s in slices}))
    return slices


def _slice(
    table: Path, place: int, row: dict[str, str], hu: NDArray[np.int16], readers: NDArray[np.uint8]
) -> NoduleSlice:
    """The row at `place` of the table; its column `row`, where there is one, says which of the images is its."""
    described = crop_row(table, place + 2, row)
    try:
        index, spacing_mm = int(row.get("row") or place), float(row["spacing_mm"])
        if not 0 <= index < len(hu) or not 0 < spacing_mm < 10:
            raise ValueError("row or spacing_mm out of range")
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{table} line {place + 2}: {type(error).__name__} {error}") from error
    return NoduleSlice(described, hu[index], readers[index], spacing_mm)
