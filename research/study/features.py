"""Features of an outlined nodule that need no network, for the models that networks are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.model import CT, Outline

FEATURES = (
    "ln_diameter",
    "ln_area",
    "ln_perimeter",
    "roundness",
    "ln_elongation",
    "ln_spread",
    "mean_hu",
    "sd_hu",
    "p5_hu",
    "p25_hu",
    "p50_hu",
    "p75_hu",
    "p95_hu",
    "rim_mean_hu",
    "rim_sd_hu",
    "rim_dense",
    "edge_hu_per_mm",
    "height",
)
"""Names, in the order of `nodule_features`; areas and rims are those of the axial slice of the largest area."""

_RIM_MM = 1.5
_SMOOTHING_MM = 0.7
_DENSE_HU = -500
_LIMITS_HU = (-1000, 400)


def nodule_features(ct: CT, outline: Outline) -> NDArray[np.float64]:
    """The features (n,) of one nodule, finite for any mask of at least one voxel.

    Logarithms are of mm and mm2; `roundness` is perimeter over the root of the area, `height` the extent along z over
    the diameter of the sphere of the same volume; the rim is 1.5 mm wide around the nodule in its largest slice.
    """
    hu, mask, (sx, sy, sz) = _boxes(ct, outline)
    diameter = (6 * mask.sum() * sx * sy * sz / np.pi) ** (1 / 3)
    largest = int(mask.sum((0, 1)).argmax())
    plane, plane_hu = mask[..., largest], hu[..., largest]
    area = plane.sum() * sx * sy
    steps = [np.abs(np.diff(plane.astype(int), axis=axis)).sum() for axis in (0, 1)]
    perimeter = steps[0] * sy + steps[1] * sx
    spread = np.cov((np.argwhere(plane) * (sx, sy)).T, bias=True) + np.diag((sx**2, sy**2)) / 12
    short, long = np.linalg.eigvalsh(spread)
    away_mm = ndimage.distance_transform_edt(~plane, sampling=(sx, sy))
    rim = plane_hu[(away_mm > 0) & (away_mm <= max(_RIM_MM, sx, sy))]
    edge = plane & ~ndimage.binary_erosion(plane)
    smooth = ndimage.gaussian_filter(plane_hu, (_SMOOTHING_MM / sx, _SMOOTHING_MM / sy))
    slope = np.hypot(*np.gradient(smooth, sx, sy))[edge].mean()
    inside = hu[mask]
    height = np.ptp(np.flatnonzero(mask.any((0, 1)))) * sz + sz
    return np.array(
        [
            np.log(diameter),
            np.log(area),
            np.log(perimeter),
            perimeter / np.sqrt(area),
            np.log(long / short),
            np.log(long),
            inside.mean(),
            inside.std(),
            *np.percentile(inside, (5, 25, 50, 75, 95)),
            rim.mean(),
            rim.std(),
            (rim > _DENSE_HU).mean(),
            slope,
            height / diameter,
        ]
    )


def _boxes(ct: CT, outline: Outline) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """HU, clipped to the lung window, and mask around the nodule, along the patient, with four voxels of margin.

    And the size of the voxels (3,), mm.

    Beyond the image HU are those of its border.
    """
    low = np.array(outline.offset) - 4
    high = low + np.array(outline.mask.shape) + 8
    index = np.ix_(*[np.clip(np.arange(a, b), 0, n - 1) for a, b, n in zip(low, high, ct.hu.shape, strict=True)])
    hu = np.clip(ct.hu[index].astype(np.float64), *_LIMITS_HU)
    turned, grid = outline.grid(ct.grid).padded(4).turned(hu)
    return turned, outline.grid(ct.grid).turned(np.pad(outline.mask, 4))[0], grid.spacing_mm
