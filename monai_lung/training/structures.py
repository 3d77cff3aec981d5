"""Dense structures in a lung that are not nodules, and masks as users would have them, for the rating network."""

from __future__ import annotations

from typing import Protocol

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.data.crops import Crop, CropRow

_DENSE_HU = -500
_THICK_HU = -600
_AIR_HU = -700
_AIRY_MM = 10.0
_APART_MM = 4.0
_MARGIN = 15
"""Voxels in the plane around a structure that is cut like a crop of LIDC-IDRI."""


class _Grid(Protocol):
    @property
    def spacing_mm(self) -> NDArray[np.float64]: ...


def airy(hu: NDArray[np.int16], least: float, *, most: float = 1.0, voxels: int = 13) -> NDArray[np.bool_]:
    """Where between `least` and `most` of the `voxels` around, in the plane, are aerated lung; bool (X, Y, Z)."""
    share = ndimage.uniform_filter((hu < _AIR_HU).astype(np.float32), (voxels, voxels, 1))
    return (share >= least) & (share <= most)


def thick(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Dense voxels (X, Y, Z) of what is more than a hair: thinner vessels are never taken for nodules."""
    mean: NDArray[np.float32] = ndimage.uniform_filter(hu.astype(np.float32), (5, 5, 1))
    return (hu > _DENSE_HU) & (mean > _THICK_HU)


def beside(crop: Crop) -> NDArray[np.int64]:
    """Indices (n, 3) of dense voxels in a crop's lung that belong to no nodule, apart from its border."""
    voxels = max(3, round(_AIRY_MM / crop.spacing_mm[0]))
    away_mm = ndimage.distance_transform_edt(crop.votes == 0, sampling=crop.spacing_mm)
    places = thick(crop.hu) & (away_mm >= _APART_MM) & airy(crop.hu, 0.4, most=0.95, voxels=voxels)
    inner = np.zeros_like(places)
    inner[4:-4, 4:-4] = True
    return np.argwhere(places & inner)


def structure(
    hu: NDArray[np.int16], inside: NDArray[np.bool_], at: NDArray[np.int64], grid: _Grid, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """The dense structure (X, Y, Z) at the index `at`: what hangs together within 3-9 mm of it, `inside`.

    At least the voxel itself. Half of the draws are smoothed, as a network's outline is.
    """
    radius = rng.uniform(3, 9)
    axes = np.ogrid[tuple(slice(0, n) for n in hu.shape)]
    far = sum(((axis - c) * s) ** 2 for axis, c, s in zip(axes, at, grid.spacing_mm, strict=True))
    dense = (hu > rng.uniform(-600, -300)) & (far <= radius**2) & inside
    dense[tuple(at)] = True
    labels = cc3d.connected_components(dense, connectivity=6)
    mask = labels == labels[tuple(at)]
    smooth = ndimage.uniform_filter(mask.astype(np.float32), (3, 3, 1)) >= 0.5
    return smooth if rng.random() < 0.5 and smooth.any() else mask


def cut_like_a_crop(
    hu: NDArray[np.int16], mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Crop, NDArray[np.float32]]:
    """`mask` (X, Y, Z) and `hu` around it as the crops of nodules are cut: near in z, wider in the plane.

    The crop's readers marked nothing.
    """
    index = np.argwhere(mask)
    margin = np.array([_MARGIN, _MARGIN, rng.choice(3, p=(0.6, 0.3, 0.1))])
    low = np.maximum(index.min(0) - margin, 0)
    high = np.minimum(index.max(0) + margin + 1, mask.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    row = CropRow("structure", "", 1, {}, None)
    own = mask[box]
    return Crop(row, hu[box], np.zeros(own.shape, np.uint8), np.diag([*spacing_mm, 1.0])), own.astype(np.float32)


def middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The middle (3,) of the box around a mask, as an index."""
    index = np.argwhere(mask)
    return np.asarray((index.min(0) + index.max(0)) / 2)


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
