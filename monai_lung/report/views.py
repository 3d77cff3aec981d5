"""Pictures of a CT as a radiologist holds it, whichever way its slices were stored.

Everything shown is first resampled to axes that run along LPS: x to the patient's left, y to the back, z to the head.
A picture is then an array (rows, columns) whose first row is on top: the patient's right on the left of axial and
coronal pictures, the front on top of axial and on the left of sagittal ones, the head on top of the other two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monai_lung.grid import Grid, resample
from monai_lung.model import CT, Outline, Point, Report

Plane = Literal["axial", "coronal", "sagittal"]

PLANES: dict[Plane, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""Axis that runs along the columns, along the rows, and through the slices of each plane."""

EDGES: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
"""Patient's direction at the left, right, top and bottom edge of each plane."""


@dataclass(frozen=True)
class Preset:
    """A window that readers know by name; both ends in HU."""

    name: str
    low: int
    high: int


PRESETS_HU = (Preset("Lung", -1350, 150), Preset("Soft tissue", -135, 215), Preset("Bone", -500, 1300))
"""The windows that pages offer; the first is the default."""
LUNG_WINDOW_HU = (float(PRESETS_HU[0].low), float(PRESETS_HU[0].high))

FINEST_MM, LARGEST = 0.65, 96
"""Spacing of a nodule's box where it's small enough, and about the most voxels along its side."""

OVERVIEW_MM = 1.5
"""Pixel of the overview."""


@dataclass(frozen=True)
class ViewBox:
    """An isotropic piece of space along LPS.

    Attributes:
        first_mm: LPS position of voxel (0, 0, 0).
        spacing_mm: of neighbouring voxels along each axis.
        shape: voxels along x, y and z.
    """

    first_mm: Point
    spacing_mm: float
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, center_mm: Point, diameter_mm: float) -> ViewBox:
        """A cube with a voxel on `center_mm` and about 16 mm of surroundings on each side of the nodule."""
        side_mm = max(diameter_mm, 6.0) + 32.0
        half = min(int(np.ceil(side_mm / FINEST_MM)), LARGEST) // 2
        spacing = max(side_mm / (2 * half), FINEST_MM)
        x, y, z = (float(c - half * spacing) for c in center_mm)
        return cls((x, y, z), float(spacing), (2 * half + 1,) * 3)

    @classmethod
    def of(cls, ct: CT, spacing_mm: float) -> ViewBox:
        """The box that holds every voxel of a CT."""
        last = np.array(ct.hu.shape) - 1
        corners = ct.to_world(np.stack(np.meshgrid(*([0, n] for n in last), indexing="ij"), -1).reshape(-1, 3))
        low, high = corners.min(0), corners.max(0)
        x, y, z = (int(n) for n in np.ceil((high - low) / spacing_mm) + 1)
        return cls((float(low[0]), float(low[1]), float(low[2])), spacing_mm, (x, y, z))

    def to_index(self, point_mm: Point) -> NDArray[np.float64]:
        """Fractional voxel index (3,) of a point in LPS mm."""
        return (np.asarray(point_mm, float) - self.first_mm) / self.spacing_mm

    def nearest(self, point_mm: Point) -> tuple[int, int, int]:
        """The voxel of the box that is nearest to a point in LPS mm."""
        x, y, z = (int(v) for v in np.clip(np.rint(self.to_index(point_mm)), 0, np.array(self.shape) - 1))
        return x, y, z

    def sample(self, values: NDArray[Any], affine_lps: NDArray[np.float64], *, outside: float) -> NDArray[np.float32]:
        """Values (X, Y, Z) of a grid at the box's voxels (`grid.resample`), float32 (x, y, z)."""
        return resample(values, Grid.of(values, affine_lps), self.grid, outside=outside)

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.first_mm
        return Grid(self.shape, affine)

    def place(self, plane: Plane, point_mm: Point) -> tuple[float, float]:
        """Column and row (from the top) of a point in LPS mm on a picture of this box; pixel centres are integers."""
        across, down, _ = PLANES[plane]
        index = self.to_index(point_mm)
        row = index[down] if plane == "axial" else self.shape[down] - 1 - index[down]
        return float(index[across]), float(row)


def sample_ct(ct: CT, box: ViewBox) -> NDArray[np.float32]:
    """HU of a CT at the box's voxels; air beyond the field of view. float32 (x, y, z)."""
    return box.sample(ct.hu, ct.affine_lps, outside=-1024.0)


def sample_outline(ct: CT, outline: Outline, box: ViewBox) -> NDArray[np.float32]:
    """The field whose 0.5 level is a nodule's outline, at the box's voxels. float32 (x, y, z).

    The network's probability places the outline between voxels; on each voxel's centre it agrees with the mask.
    """
    probability = outline.probability.astype(np.float32)
    inside = np.where(outline.mask, np.maximum(probability, 0.51), np.minimum(probability, 0.49))
    affine = ct.affine_lps.copy()
    affine[:3, 3] = ct.to_world(np.asarray(outline.offset, float) - 1)
    return box.sample(np.pad(inside, 1), affine, outside=0.0)


def picture(volume: NDArray[Any], plane: Plane, index: int) -> NDArray[Any]:
    """One slice of a box's voxels (x, y, z) as a picture (rows, columns)."""
    across, down, through = PLANES[plane]
    turned = np.transpose(volume, (down, across, through))[:, :, index]
    return turned if plane == "axial" else turned[::-1]


def grey(hu: NDArray[Any], window_hu: tuple[float, float]) -> NDArray[np.uint8]:
    """HU as grey values, the window's lower end black and its upper end white."""
    low, high = window_hu
    return np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def contours(level: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Closed outlines (n, 2) of the 0.5 level of a picture, as columns and rows; pixel centres are integers."""
    from skimage.measure import find_contours

    return [line[:, ::-1] - 1 for line in find_contours(np.pad(level, 1), 0.5)]


def coronal_overview(report: Report) -> tuple[NDArray[np.uint8], ViewBox]:
    """The chest from the front: a radiograph of the whole, with the brightest of lungs and nodules in front of it.

    The outermost 4.5 mm of the lungs are left out of the projection, else the chest wall would hide all behind it.

    Returns:
        A grey picture (rows, columns) and the box that places points on it (`ViewBox.place("coronal", ...)`).
    """
    from scipy import ndimage

    ct = report.ct
    box = ViewBox.of(ct, OVERVIEW_MM)
    hu = sample_ct(ct, box)
    lung = (report.lungs.labels > 0).astype(np.uint8)
    for nodule in report.nodules:
        lung[nodule.outline.box] |= nodule.outline.mask
    inside = ndimage.binary_erosion(box.sample(lung, ct.affine_lps, outside=0.0) >= 0.5, iterations=3)

    body = np.clip(hu, -1000, 300).mean(1)
    low, high = np.percentile(body, [5, 99.5])
    body = 0.85 * np.clip((body - low) / max(high - low, 1.0), 0, 1)
    front = np.where(inside, np.clip((hu + 950) / 900, 0, 1), 0).max(1)
    weight = 0.7 * ndimage.gaussian_filter(inside.any(1).astype(np.float32), 1.5)
    return grey(picture((body * (1 - weight) + front * weight)[:, None], "coronal", 0), (0.0, 1.0)), box
