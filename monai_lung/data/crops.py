"""The crop format: `nodules.csv`, `images/ID.nii.gz` (HU) and `readers/ID.nii.gz` (one bit for each reader)."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import InputError, UsageError

RATINGS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)
"""The nine ratings of LIDC-IDRI, one value for each reader."""
_HIGHEST = {"calcification": 6}


@dataclass(frozen=True)
class CropRow:
    """A row of `nodules.csv`.

    `ratings` has a tuple a rating, in the order of the readers' bits; `diameter_mm` is the diameter of the sphere of
    the volume that half of the readers agree on, None where the table doesn't say.
    """

    id: str
    patient: str
    n_readers: int
    ratings: dict[str, tuple[int, ...]]
    diameter_mm: float | None


@dataclass(frozen=True)
class Crop:
    """A nodule with its surroundings, on the scan's own grid.

    Attributes:
        hu: int16 (X, Y, Z).
        readers: uint8 (X, Y, Z), bit k set where reader k marked the voxel.
        affine_ras: float64 (4, 4), voxel index to RAS mm.
    """

    row: CropRow
    hu: NDArray[np.int16]
    readers: NDArray[np.uint8]
    affine_ras: NDArray[np.float64]

    @property
    def votes(self) -> NDArray[np.uint8]:
        """How many readers marked each voxel, uint8 (X, Y, Z)."""
        return np.unpackbits(self.readers[..., None], axis=-1).sum(-1, dtype=np.uint8)

    @property
    def share(self) -> NDArray[np.float32]:
        """Share of the readers who marked each voxel, 0...1, float32 (X, Y, Z); the truth is where it's >= 0.5."""
        return (self.votes / self.row.n_readers).astype(np.float32)

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Voxel size along the three axes."""
        return np.asarray(np.linalg.norm(self.affine_ras[:3, :3], axis=0))


def read_table(folder: Path | str) -> list[CropRow]:
    """The rows of `folder/nodules.csv`.

    Raises:
        UsageError: there is no such table.
        InputError: a row lacks a column or its values don't fit each other.
    """
    path = Path(folder) / "nodules.csv"
    if not path.is_file():
        raise UsageError(f"{path}: not found; the folder of crops must hold nodules.csv, images/ and readers/")
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a readable table ({error}); restore the file") from error
    return [crop_row(path, n, row) for n, row in enumerate(rows, start=2)]


def crop_row(path: Path, line: int, row: dict[str, str]) -> CropRow:
    """A line of a nodule table, `nodules.csv` or `slices.csv`.

    Raises:
        InputError: it lacks a column, its values don't fit each other, or a rating is off its scale.
    """
    try:
        n_readers = int(row["n_readers"])
        ratings = {name: tuple(int(v) for v in row[name].split()) for name in RATINGS if row.get(name)}
        diameter = float(row["diameter_mm"]) if row.get("diameter_mm") else None
        median = float(row["malignancy_median"]) if row.get("malignancy_median") else None
        result = CropRow(row["id"], row["patient"], n_readers, ratings, diameter)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} line {line}: {type(error).__name__} {error}; see the crop format in docs") from error
    wrong = [name for name, values in ratings.items() if len(values) != n_readers]
    if wrong or n_readers < 1:
        raise InputError(f"{path} line {line}: {', '.join(wrong) or 'n_readers'} must have a value for each reader")
    off = [f"{n} {v}" for n, values in ratings.items() for v in values if not 1 <= v <= _HIGHEST.get(n, 5)]
    contradicts = median is not None and median != statistics.median(ratings.get("malignancy") or [median])
    if off or contradicts:
        reason = f"{off[0]} is off LIDC's scale" if off else f"malignancy_median {median} isn't that of the readers"
        raise InputError(f"{path} line {line}: {reason}; mend the table")
    return result


def select(rows: Iterable[CropRow], patients: Iterable[str]) -> list[CropRow]:
    """The rows of these patients, in the table's order."""
    wanted = set(patients)
    return [row for row in rows if row.patient in wanted]


def read_crop(folder: Path | str, row: CropRow) -> Crop:
    """Image and readers of one row.

    Raises:
        InputError: a file is missing or damaged, image and readers differ in shape or place, or there are marks of more
            readers than the row has.
    """
    arrays, affines = [], []
    for kind in ("images", "readers"):
        path = Path(folder) / kind / f"{row.id}.nii.gz"
        try:
            image: Any = nibabel.load(path)
            arrays.append(np.asarray(image.dataobj))
            affines.append(image.affine.astype(np.float64))
        except Exception as error:  # nibabel raises many kinds, zlib and OS errors among them
            raise InputError(f"{path}: can't be read ({error}); restore the file or take its row out") from error
    hu, readers = arrays
    if hu.shape != readers.shape or hu.ndim != 3:
        raise InputError(f"crop {row.id}: image {hu.shape} and readers {readers.shape} must be the same 3D shape")
    if not np.allclose(affines[0], affines[1], atol=1e-3):
        raise InputError(f"crop {row.id}: image and readers don't lie at the same place; give both the same affine")
    if readers.size and int(readers.max()) >> row.n_readers:
        raise InputError(f"crop {row.id}: marks of reader {int(readers.max()).bit_length()} of {row.n_readers}")
    return Crop(row, hu.astype(np.int16), readers.astype(np.uint8), affines[0])
