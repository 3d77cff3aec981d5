"""Where a slice lies: its plane, its place along the normal."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import GeometryError
from monai_lung.io.header import Header
from monai_lung.model import SourceSlice

MIN_SLICES = 8
"""A chest CT has at least this many slices."""
SAME_Z_MM = 0.01
"""Positions closer than this are one."""


def axes(header: Header) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors in LPS along a row, along a column (made orthogonal to it), and normal to both."""
    row, column = np.reshape(np.asarray(header.orientation, float), (2, 3))
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def source_slices(headers: Sequence[Header]) -> tuple[SourceSlice, ...]:
    """The instances behind slices, in their order; a SOPInstanceUID that names more than one of them names none."""
    files: dict[str, set[Path]] = defaultdict(set)
    for header in headers:
        files[header.sop_uid].add(header.path)
    frames = Counter((h.sop_uid, h.frame) for h in headers)
    own = {uid for uid, paths in files.items() if len(paths) == 1}
    return tuple(_source_slice(h, h.sop_uid in own and frames[h.sop_uid, h.frame] == 1) for h in headers)


def _source_slice(header: Header, named: bool) -> SourceSlice:
    """The instance behind a slice, with its own affine; without its UID where it isn't `named` by it."""
    row, column, normal = axes(header)
    pixel_y, pixel_x = header.spacing_mm or (0.0, 0.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * pixel_x, column * pixel_y, normal
    affine[:3, 3] = header.position
    uid, size = header.sop_uid if named else "", (header.columns, header.rows)
    return SourceSlice(header.path, uid, affine, size, header.frame, header.image_number)


def along_normal(headers: Sequence[Header]) -> NDArray[np.float64]:
    """Positions of slices (n,) in mm along the normal of the first; each header has position and orientation."""
    return np.array([h.position for h in headers]) @ axes(headers[0])[2]


def is_axial(header: Header) -> bool:
    """Whether the slice is nearer to the axial plane than to the others: its normal within 45 degrees of z."""
    return abs(axes(header)[2][2]) > math.sqrt(0.5)


def has_geometry(header: Header) -> bool:
    """Whether the header says where the slice lies: a position, pixel spacing, two orthogonal directions."""
    if header.position is None or header.orientation is None or header.spacing_mm is None:
        return False
    row, column = np.reshape(header.orientation, (2, 3))
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    return bool(np.allclose(lengths, 1, atol=0.01) and abs(row @ column) < 0.01 and min(header.spacing_mm) > 0)


def is_regular_grid(z: NDArray[np.float64]) -> bool:
    """Whether ordered positions lie on a regular grid, but for rounding to 0.1 mm or 3 % of a step."""
    if len(z) < 2 or z[-1] <= z[0]:
        return False
    even = np.linspace(z[0], z[-1], len(z))
    step = even[1] - even[0]
    # The first and the last may be rounded too, hence twice half of 0.1 mm.
    no_gap = np.abs(np.diff(z) - step).max() < 0.5 * step
    return bool(no_gap and np.abs(z - even).max() <= max(0.101, 0.03 * step))


def series_error(
    headers: Sequence[Header], what: str, way_out: str = "choose another series or send it again"
) -> GeometryError:
    """The error of a series: what is wrong with it and the way out."""
    return GeometryError(f"series {headers[0].series_uid} {what}: {way_out}")
