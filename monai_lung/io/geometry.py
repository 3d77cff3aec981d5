"""From slice headers to one regular grid, before any pixel is decoded.

Slices are ordered by their position along the normal, never by a number or a name. What a plain affine can say
(feet first, prone, oblique, flipped, non-square pixels) needs no case of its own. What it can't say is resampled (tilt,
gaps on request) or refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_lung.io.acquisitions import one_acquisition
from monai_lung.io.header import Header
from monai_lung.io.paths import shown
from monai_lung.io.plane import MIN_SLICES, along_normal, axes, has_geometry, is_regular_grid, series_error

THICK_MM = 3.0
"""Slices further apart than this cost accuracy for small nodules (Fleischner 2017 asks for 1.5 mm or less)."""
MAX_VOXELS = 512 * 512 * 3072
"""More would need more than 1.5 GiB for the image alone."""
_MAX_GAP_MM = 25.0
_PIXEL_MM = (0.05, 10.0)
_STEP_MM = (0.05, 20.0)
_COARSE_MM = 1.5
"""A field of 768 mm over 512 pixels: what is wider is a reduced copy of a chest CT."""
_OBLIQUE_DEGREES = 5.0


@dataclass(frozen=True)
class Layout:
    """The grid of a series, and where each of its slices comes from.

    Attributes:
        headers: source slices, ordered along the normal.
        affine_lps: float64 (4, 4), voxel index to LPS mm; its axes are orthogonal and right-handed.
        shape: columns, rows and slices of the grid.
        shifts: float64 (n, 2), where the first pixel of source slice n lies on the grid, in (columns, rows), >= 0.
        sources: float64 (Z,), which (fractional) source slice each slice of the grid is.
        even: True where grid slice k is source slice k, pixel for pixel, but for the reduction.
        reduction: so many rows and columns of the source are one of the grid.
    """

    headers: tuple[Header, ...]
    affine_lps: NDArray[np.float64]
    shape: tuple[int, int, int]
    shifts: NDArray[np.float64]
    sources: NDArray[np.float64]
    even: bool
    reduction: int
    warnings: tuple[str, ...]

    @property
    def resampled(self) -> bool:
        """False where grid slice k is source slice k, voxel for voxel."""
        return not self.even or self.reduction > 1


def lay_out(headers: Sequence[Header], allow_gaps: bool = False) -> Layout:
    """The regular grid that the slices of one series form.

    Duplicates (the same pixels at the same place) are dropped. Where several acquisitions lie over each other, the one
    with the most slices is kept, of equal ones the first by its number or time. A gantry tilt becomes an orthogonal
    grid in which each slice is shifted within its plane. With `allow_gaps` slices at unequal distances are
    interpolated linearly between their true positions, over at most 25 mm. What has too many voxels is read at half of
    its resolution within the slices. Slices with different frames of reference, as de-identification leaves them, are
    placed by their positions where these lie on one line.

    Raises:
        GeometryError: the slices differ in size, spacing or orientation, are too few, have gaps (without
            `allow_gaps`) or can't be told apart.
    """
    headers = _checked(headers)
    headers, warnings = one_acquisition(headers)
    if len(headers) < MIN_SLICES:
        raise series_error(headers, f"has only {len(headers)} slices where at least {MIN_SLICES} are needed")
    z = along_normal(headers)
    sources, gap_warnings = _sources(headers, z, allow_gaps)
    shifts, start, tilt_warnings = _shifts(headers, z)
    warnings += _frame_warnings(headers, z)
    row, column, normal = axes(headers[0])
    step = float((z[-1] - z[0]) / (len(sources) - 1))
    pixel_y, pixel_x = headers[0].spacing_mm or (0.0, 0.0)
    _check_spacing(headers, pixel_x, pixel_y, step)
    width, height = (np.ceil(shifts.max(axis=0) - 1e-6)).astype(int)
    stored = (headers[0].columns + int(width), headers[0].rows + int(height), len(sources))
    r, size_warnings = _reduction(headers, stored)
    shape = stored[0] // r, stored[1] // r, stored[2]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * pixel_x * r, column * pixel_y * r, normal * step
    affine[:3, 3] = np.asarray(headers[0].position) + affine[:3, :2] @ ((start + (r - 1) / 2) / r)
    warnings += gap_warnings + tilt_warnings + size_warnings + grid_warnings(affine)
    return Layout(headers, affine, shape, shifts / r, sources, not (gap_warnings or tilt_warnings), r, warnings)


def grid_warnings(affine_lps: NDArray[np.float64]) -> tuple[str, ...]:
    """Warnings that follow from the grid itself: thick slices, coarse pixels, oblique slices."""
    step = float(np.linalg.norm(affine_lps[:3, 2]))
    found = []
    if step > THICK_MM:
        found.append(f"Slices are {step:.1f} mm apart: accuracy is reduced, especially for small nodules.")
    pixel = float(np.linalg.norm(affine_lps[:3, :2], axis=0).max())
    if pixel > _COARSE_MM:
        found.append(f"Pixels are {pixel:.1f} mm wide, too wide for a chest CT: vessels may be mistaken for nodules.")
    angle = math.degrees(math.acos(min(1.0, abs(float(affine_lps[2, 2])) / step)))
    if angle > _OBLIQUE_DEGREES:
        found.append(f"Slices are oblique: {angle:.0f} degrees from the axial plane.")
    return tuple(found)


def _checked(headers: Sequence[Header]) -> tuple[Header, ...]:
    """The headers, where all have a geometry, share size, pixel spacing and orientation, and are of one patient."""
    for header in headers:
        if not has_geometry(header):
            raise series_error(
                headers, f"has a slice without position, orientation or pixel spacing ({shown(header.path)})"
            )
    for what, values in {
        "image sizes": [(h.rows, h.columns) for h in headers],
        "pixel spacings": [h.spacing_mm for h in headers],
        "orientations": [h.orientation for h in headers],
    }.items():
        array = np.array(values, float)
        tolerance = 1e-3 * min(1.0, float(np.abs(array[0]).max()))
        odd = np.abs(array - np.median(array, axis=0)).max(axis=1) > tolerance
        if odd.any():
            where = shown(headers[int(np.argmax(odd))].path)
            raise series_error(
                headers, f"mixes {what}: {int(odd.sum())} of {len(headers)} slices differ (first {where})"
            )
    if len({h.patient_id for h in headers}) > 1:
        raise series_error(headers, "mixes patients")
    return tuple(sorted(headers, key=lambda h: h.sop_uid))  # nothing may depend on the order of files


def _frame_warnings(headers: tuple[Header, ...], z: NDArray[np.float64]) -> tuple[str, ...]:
    """A warning where slices name different frames of reference, an error where their positions contradict as well.

    Each frame may have its own origin, but then positions of one volume would not lie on one line.
    """
    count = len({h.frame_of_reference_uid for h in headers})
    if count == 1:
        return ()
    positions = np.array([h.position for h in headers])
    slope, start = np.polyfit(z - z[0], positions, 1)
    if np.abs(positions - (np.outer(z - z[0], slope) + start)).max() > max(1.0, *(headers[0].spacing_mm or ())):
        raise series_error(headers, "mixes frames of reference: its slices can't be placed relative to each other")
    return (f"The slices name {count} frames of reference but lie on one line: they were placed by their positions.",)


def _reduction(headers: tuple[Header, ...], shape: tuple[int, int, int]) -> tuple[int, tuple[str, ...]]:
    """How many rows and columns become one so that the grid has few enough voxels, and a warning."""
    if math.prod(shape) <= MAX_VOXELS:
        return 1, ()
    if math.prod(shape) > 4 * MAX_VOXELS or min(shape[:2]) < 4:
        way_out = "cut it to the chest or choose another series"
        raise series_error(headers, f"would need {math.prod(shape)} voxels, more than {MAX_VOXELS}", way_out)
    sizes = " x ".join(map(str, shape))
    return 2, (f"{sizes} voxels are too many: the slices were read at half their resolution, so fine detail is lost.",)


def _sources(
    headers: tuple[Header, ...], z: NDArray[np.float64], allow_gaps: bool
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Fractional source slice of each grid slice, and a warning where they aren't one to one."""
    if is_regular_grid(z):
        return np.arange(len(z), dtype=float), ()
    steps = np.diff(z)
    step = float(np.median(steps))
    what = _describe_gaps(headers, steps, step)
    if _interleaved(steps):
        raise series_error(headers, f"{what}: two passes that nothing tells apart are interleaved", "send one")
    if not allow_gaps:
        raise series_error(headers, what, "send the missing slices, or give --allow-gaps to interpolate")
    if steps.max() > max(_MAX_GAP_MM, 1.5 * step):
        raise series_error(headers, f"{what}; a gap of {steps.max():.0f} mm is too wide to interpolate")
    count = round(float(z[-1] - z[0]) / step) + 1
    even = np.linspace(z[0], z[-1], min(count, 10_000))
    return np.interp(even, z, np.arange(len(z))), (f"The series {what}: interpolated to {count} slices.",)


def _interleaved(steps: NDArray[np.float64]) -> bool:
    """Whether most slices lie between those of another pass: a short and a long step in turn, together always the same.

    Interpolated, they would be one volume in which two breaths alternate.
    """
    if len(steps) < 4:
        return False
    pairs, change = steps[1:] + steps[:-1], np.abs(np.diff(steps))
    usual = float(np.median(pairs))
    return bool(((np.abs(pairs - usual) < 0.05 * usual) & (change > 0.1 * usual)).mean() > 0.5)


def _describe_gaps(headers: tuple[Header, ...], steps: NDArray[np.float64], step: float) -> str:
    wide = np.flatnonzero(steps > 1.5 * step)
    places = ", ".join(
        f"{(headers[i].position or (0, 0, 0))[2]:.1f} and {(headers[i + 1].position or (0, 0, 0))[2]:.1f}"
        for i in wide[:3]
    )
    multiples = steps / step
    if len(wide) and np.abs(multiples - np.round(multiples)).max() < 0.1:
        missing = int(np.round(multiples).sum()) - len(steps)
        more = ", ..." if len(wide) > 3 else ""
        return f"misses {missing} slices (between z = {places}{more} mm)"
    return f"has slices at unequal distances, {steps.min():.2f} to {steps.max():.2f} mm"


def _shifts(
    headers: tuple[Header, ...], z: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Shift of each slice within its plane (n, 2) in pixels, the grid's start against slice 0, and a warning."""
    row, column, _ = axes(headers[0])
    pixel_y, pixel_x = headers[0].spacing_mm or (1.0, 1.0)
    moved = np.array([h.position for h in headers]) - np.asarray(headers[0].position)
    drift_mm = moved @ np.stack([row, column], axis=1)
    if np.abs(drift_mm).max() <= min(0.2, 0.25 * min(pixel_x, pixel_y)):
        return np.zeros((len(headers), 2)), np.zeros(2), ()
    extent = headers[0].columns * pixel_x, headers[0].rows * pixel_y
    if (np.ptp(drift_mm, axis=0) > extent).any():
        raise series_error(headers, "has slices that lie beside each other, not stacked")
    slope = np.array([np.polyfit(z, drift_mm[:, i], 1)[0] for i in (0, 1)])
    line = np.outer(z - z[0], slope)
    if np.abs(drift_mm - line).max() <= max(0.5, min(pixel_x, pixel_y)):
        angle = math.degrees(math.atan(float(np.linalg.norm(slope))))
        warning = f"Gantry tilted by {angle:.1f} degrees: resampled to a grid with right angles."
    else:
        warning = "Slices are shifted within their plane: resampled to one grid."
    shifts = drift_mm / (pixel_x, pixel_y)
    start = shifts.min(axis=0)
    return shifts - start, start, (warning,)


def _check_spacing(headers: tuple[Header, ...], pixel_x: float, pixel_y: float, step: float) -> None:
    (low, high), (near, far) = _PIXEL_MM, _STEP_MM
    if not (low <= pixel_x <= high and low <= pixel_y <= high and near <= step <= far):
        raise series_error(
            headers, f"has voxels of {pixel_x:.3g} x {pixel_y:.3g} x {step:.3g} mm, which no chest CT has"
        )
