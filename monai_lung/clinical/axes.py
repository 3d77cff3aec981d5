"""Long and short axis, and the largest extent, of an outline with sub-voxel care.

Fleischner's way (Bankier et al., Radiology 2017;285:584): the long axis is the largest extent on the axial slice where
the nodule is largest, the short axis the largest extent at right angles to it on the same slice.

Voxels make symmetric outlines, so equally long chords are common. Which of them is taken is told by the outline and its
place in the patient (`TIE_MM`), never by the order in which the voxels are stored.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform
from skimage.measure import find_contours, marching_cubes

from monai_lung.model import Index, Point

TIE_MM = 1e-3
"""Lengths that differ by less are equally long: far above rounding errors, far below a digit that is reported."""

_ORDER = np.array([1, 0.618, 0.382])
"""A direction along which two points of a nodule hardly ever lie equally far: it orders points in the patient."""


class _Chord(NamedTuple):
    """A chord of a contour and the largest extent at right angles to it; end points (3,) in LPS mm."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    short_start: NDArray[np.float64]
    short_end: NDArray[np.float64]

    @property
    def short_mm(self) -> float:
        return float(np.linalg.norm(self.short_end - self.short_start))


@dataclass(frozen=True)
class Axes:
    """Long and short axis in mm, and their end points in LPS mm: (long start, long end, short start, short end)."""

    long_mm: float
    short_mm: float
    points_mm: tuple[Point, Point, Point, Point]

    @property
    def mean_mm(self) -> float:
        """Mean of long and short axis."""
        return (self.long_mm + self.short_mm) / 2


def axial_axis(affine_lps: NDArray[np.float64]) -> int:
    """The array axis (0, 1, 2) that runs closest to the patient's foot-head direction; slices across it are axial."""
    columns = affine_lps[:3, :3] / np.linalg.norm(affine_lps[:3, :3], axis=0)
    return int(np.argmax(np.abs(columns[2])))


def axes(share: NDArray[np.float64], offset: Index, affine_lps: NDArray[np.float64]) -> Axes:
    """Long and short axis on the axial slice that holds most of the nodule.

    The outline is the half-maximum contour of that slice: in thick slices a nodule fills no voxel, and its edge is
    where it fills half of what it fills at its thickest. A rounded body thins out towards its rim, so that contour lies
    within the true outline by up to 13 % (`_rim`); both axes are corrected for that.

    Args:
        share: (x, y, z), share of each voxel that the nodule fills, with a margin of zeros; some voxel above 0.
        offset: index of its first voxel in the CT.
        affine_lps: (4, 4) of the CT.
    """
    across = axial_axis(affine_lps)
    sizes = share.sum(axis=tuple(axis for axis in range(3) if axis != across))
    largest = np.flatnonzero(sizes >= sizes.max() * (1 - 1e-6))  # two of a nodule that lies evenly between them
    return max((_on_slice(share, offset, affine_lps, int(k)) for k in largest), key=_preferred)


def _preferred(found: Axes) -> tuple[float, float, float]:
    """Of two equally large slices the one with the longer axes is measured, then the one nearer to the head."""
    return round(found.long_mm / TIE_MM), round(found.short_mm / TIE_MM), found.points_mm[0][2]


def _on_slice(share: NDArray[np.float64], offset: Index, affine_lps: NDArray[np.float64], k: int) -> Axes:
    """Long and short axis on slice `k` of `share`; arguments as `axes`."""
    across = axial_axis(affine_lps)
    in_plane = [axis for axis in range(3) if axis != across]
    outline = _largest_contour(np.take(share, k, axis=across))
    index = np.empty((len(outline), 3))
    index[:, in_plane] = outline
    index[:, across] = k
    points = (index + offset) @ affine_lps[:3, :3].T + affine_lps[:3, 3]
    first, second = affine_lps[:3, in_plane].T
    chord = _long_and_short(points, np.cross(first, second))
    center_k = float(share.sum(axis=tuple(in_plane)) @ np.arange(share.shape[across])) / float(share.sum())
    pixel_mm2 = float(np.linalg.norm(np.cross(first, second)))
    thickness_mm = float(abs(np.linalg.det(affine_lps[:3, :3]))) / pixel_mm2
    height = 3 / 4 * float(share.sum()) * thickness_mm / _area(outline)
    middle, rim = (chord.start + chord.end) / 2, _rim(height, thickness_mm, abs(k - center_k) * thickness_mm)
    corners = [middle + (point - middle) / rim for point in chord]
    long_mm, short_mm = (float(np.linalg.norm(corners[i + 1] - corners[i])) for i in (0, 2))
    a, b, c, d = ((float(p[0]), float(p[1]), float(p[2])) for p in corners)
    return Axes(long_mm, min(short_mm, long_mm), (a, b, c, d))  # a disc's axes differ by rounding alone


def max_diameter_3d(share: NDArray[np.float64], affine_lps: NDArray[np.float64]) -> float:
    """Largest distance of two points of the nodule's surface, mm; `share` (x, y, z) as in `axes`."""
    vertices = marching_cubes(share, 0.4999 * float(share.max()), allow_degenerate=False)[0]
    return float(np.max(pdist(_hull(vertices @ affine_lps[:3, :3].T))))


def _rim(height_mm: float, thickness_mm: float, off_center_mm: float) -> float:
    """Radius of the half-maximum contour in a slice, as a share of the true radius of the body cut there.

    The body is taken for an ellipsoid whose half height is that of its volume over its area. At a share r of its radius
    it reaches h = height sqrt(1 - r^2) up and down; the slice sees the part of that within it.

    Args:
        height_mm: half height by the volume and the contour's area: smaller than the true one by r^2, as is the area.
        thickness_mm: of the slice.
        off_center_mm: of the slice's middle from the body's.
    """
    near_side = max(0.0, thickness_mm / 2 - off_center_mm)
    far_side = thickness_mm - near_side
    rim = 1.0
    for _ in range(8):  # the height needs the true area, the area the rim: converges within three rounds
        height = height_mm * rim**2
        half = (min(height, near_side) + min(height, far_side)) / 2
        reach = half / 2 if half <= 2 * near_side else half - near_side
        rim = float(np.sqrt(1 - min(reach / height, 0.5) ** 2))
    return rim


def _largest_contour(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Closed contour (n, 2) of the largest area at half of the plane's maximum, in index coordinates."""
    contours = find_contours(plane / plane.max(), 0.4999)
    return np.asarray(max(contours, key=_area))


def _area(contour: NDArray[np.float64]) -> float:
    x, y = contour.T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those of points (n, 3) that lie on their convex hull: the two that are farthest apart are among them."""
    spread = points - points.mean(axis=0)
    basis = np.linalg.svd(spread, full_matrices=False)
    flat = spread @ basis[2][basis[1] > 1e-6 * basis[1][0]].T  # a contour is flat: its hull is two-dimensional
    with suppress(QhullError, ValueError):  # fewer points than a hull needs: they all stay
        points = points[ConvexHull(flat).vertices]
    return points


def _long_and_short(points: NDArray[np.float64], normal: NDArray[np.float64]) -> _Chord:
    """The longest chord of a closed contour (n, 3), and the largest extent at right angles to it in its plane.

    Of equally long chords it's the one with the largest such extent.
    """
    corners = _hull(points)
    corners = corners[np.argsort(corners @ _ORDER)]  # each chord runs the same way however the contour does
    distance = np.triu(squareform(pdist(corners)))
    chords = [
        _Chord(corners[i], corners[j], *_across(points, corners[i], corners[j], normal))
        for i, j in np.argwhere(distance >= distance.max() - TIE_MM)
    ]
    widest = max(chord.short_mm for chord in chords)
    return max((c for c in chords if c.short_mm >= widest - TIE_MM), key=lambda c: float(c.end @ _ORDER))


def _across(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """End points of the largest extent of a closed contour (n, 3) at right angles to start-end, in its plane.

    Of equally large ones it's that nearest to the middle of start-end, then that nearest to its end.
    """
    along = (end - start) / np.linalg.norm(end - start)
    sideways = np.cross(normal, along)
    sideways *= np.copysign(1 / np.linalg.norm(sideways), sideways @ _ORDER)
    s, t = (points - start) @ along, (points - start) @ sideways
    # Where each line s = const through a vertex meets each edge of the contour.
    s0, s1, t0, t1 = s[:-1], s[1:], t[:-1], t[1:]
    lines = s[:-1, None]
    meets = (np.minimum(s0, s1) <= lines) & (lines <= np.maximum(s0, s1))
    step = np.where(np.abs(s1 - s0) < 1e-9, 1.0, s1 - s0)
    crossing = t0 + (lines - s0) / step * (t1 - t0)
    high = np.where(meets, crossing, -np.inf).max(axis=1)
    low = np.where(meets, crossing, np.inf).min(axis=1)
    extent, from_middle = high - low, np.abs(s[:-1] - (end - start) @ along / 2)
    equal = np.flatnonzero(extent >= extent.max() - TIE_MM)
    best = min(equal, key=lambda n: (round(float(from_middle[n]) / TIE_MM), -s[n]))
    foot = start + s[best] * along
    return foot + low[best] * sideways, foot + high[best] * sideways
