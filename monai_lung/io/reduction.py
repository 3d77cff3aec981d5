"""Volumes with too many voxels to be analysed: read a plane at a time, at half of the resolution within the slices."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import GeometryError, NotCTError
from monai_lung.io import geometry
from monai_lung.io.paths import shown
from monai_lung.io.pixels import MAX_HU, MIN_HU

Factors = tuple[int, int, int]
"""How many voxels become one along each stored axis."""


def factors_of(path: Path, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> tuple[Factors, tuple[str, ...]]:
    """By how much a volume has to be reduced, and a warning where it has: across the patient's long axis alone.

    Raises:
        GeometryError: half of the resolution is still too much.
    """
    limit = geometry.MAX_VOXELS
    if math.prod(shape) <= limit:
        return (1, 1, 1), ()
    if math.prod(shape) > 4 * limit:
        way_out = "cut it to the chest, resample it, or give the DICOM series"
        raise GeometryError(f"{shown(path)} has {math.prod(shape)} voxels, more than {4 * limit}: {way_out}")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    along = int(np.argmax(np.abs(affine[2, :3]) / np.where(lengths > 0, lengths, 1)))
    factors = [2, 2, 2]
    factors[along] = 1
    sizes = " x ".join(map(str, shape))
    warning = f"{sizes} voxels are too many: the slices were read at half their resolution, so fine detail is lost."
    return (factors[0], factors[1], factors[2]), (warning,)


def reduced_affine(affine: NDArray[np.float64], factors: Factors) -> NDArray[np.float64]:
    """The affine of the grid whose voxels are `factors` voxels of the stored one; rests at the ends are left out."""
    step = np.diag([*map(float, factors), 1.0])
    step[:3, 3] = (np.array(factors) - 1) / 2
    return np.asarray(affine @ step)


class Planes:
    """Takes the planes of a volume in the order of its third axis, and has its HU when all are there.

    Attributes:
        hu: int16 (X, Y, Z) of the reduced grid.
        nan: how many values were NaN or infinite.
    """

    def __init__(self, shape: tuple[int, int, int], factors: Factors) -> None:
        self.factors, self.nan, self._k = factors, 0, 0
        x, y, z = (n // f for n, f in zip(shape, factors, strict=True))
        self.hu: NDArray[np.int16] = np.empty((z, y, x), np.int16).T
        self._sum = np.zeros((x, y), np.float32)

    def put(self, values: NDArray[Any]) -> None:
        """The next plane (x, y): any numbers, which become clipped HU."""
        k, deep = divmod(self._k, self.factors[2])
        self._k += 1
        if k >= self.hu.shape[2]:  # a rest
            return
        if self.factors == (1, 1, 1):
            self.nan += into(values, self.hu[..., k])
            return
        whole = np.empty(values.shape, np.int16)
        self.nan += into(values, whole)
        (fx, fy, fz), (x, y) = self.factors, self._sum.shape
        self._sum += whole[: x * fx, : y * fy].reshape(x, fx, y, fy).mean(axis=(1, 3), dtype=np.float32)
        if deep == fz - 1:
            self.hu[..., k] = np.rint(self._sum / fz)
            self._sum[:] = 0


def into(values: NDArray[Any], out: NDArray[np.int16]) -> int:
    """Values to clipped HU in `out`; how many were NaN or infinite.

    Raises:
        NotCTError: values that are not numbers.
    """
    if values.dtype.kind in "iu":
        np.clip(values, *_limits(values.dtype), out=out, casting="unsafe")
        return 0
    if values.dtype.kind != "f":
        raise NotCTError(f"voxels of type {values.dtype} are not Hounsfield units")
    bad = ~np.isfinite(values)
    count = int(bad.sum())
    if count:
        values = np.where(bad, MIN_HU, values)
    out[...] = np.rint(np.clip(values, MIN_HU, MAX_HU))
    return count


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return max(MIN_HU, info.min), min(MAX_HU, info.max)
