"""From the air of the lungs to whole lungs: vessels, nodules, and what grows on the pleura, on the coarse grid."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from monai_lung.grid import bounding_box
from monai_lung.lungs.morphology import Mask, Spacing, close, dilate, erode
from monai_lung.model import LEFT_LUNG, RIGHT_LUNG

CLOSING_MM = 9.0
"""Half the width of the vessels at the hilum, and of what is filled on the pleura anywhere."""
NODULE_NECK_MM = 3.5
"""Half the width of the bridge by which a nodule on the pleura may hang on what is around the lungs."""
MASS_NECK_MM = 12.0
"""The same of a mass, after vessels and recesses beside it have been closed."""
MASS_CONTACT = 0.4
"""Least share of a mass's surface that is on lung."""
MIDLINE_MM = 25.0
"""Half the width of the spine with what lies before it: no mass there."""
BULGE_MM = 8.0
"""How far the chest wall bulges out behind a mass: 60 mm of a circle of 60 mm radius."""


def fill_lungs(labels: NDArray[np.uint8], spine: float, spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Lungs (X, Y, Z), 1 right and 2 left, with all that is inside of them.

    Args:
        labels: (X, Y, Z), of `thorax.Thorax`.
        spine: index along x.
        spacing_mm: of the grid.
    """
    filled = _close(labels, spacing_mm)
    masses = _find_masses(labels, filled, spine, spacing_mm)
    if not masses.any():
        return filled
    with_masses = labels.copy()
    middle = round(spine)
    with_masses[:middle][masses[:middle]] = RIGHT_LUNG
    with_masses[middle:][masses[middle:]] = LEFT_LUNG
    return _close(with_masses, spacing_mm)


def _close(labels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Each lung closed, and what it then encloses filled; other air stays out."""
    filled = np.zeros_like(labels)
    for side in (RIGHT_LUNG, LEFT_LUNG):
        lung = labels == side
        if lung.any():
            box = bounding_box(lung, margin=1)
            whole = _fill_holes(close(lung[box], CLOSING_MM, spacing_mm))
            filled[box][whole & ((labels[box] == 0) | lung[box]) & (filled[box] == 0)] = side
    return filled


def _fill_holes(mask: Mask) -> Mask:
    """`mask` with everything that it encloses in three dimensions (the dome of the diaphragm isn't)."""
    around = np.pad(~mask, 1, constant_values=True)
    return ~(cc3d.largest_k(around, k=1, connectivity=6) > 0)[1:-1, 1:-1, 1:-1]


def _find_masses(labels: NDArray[np.uint8], filled: NDArray[np.uint8], spine: float, spacing_mm: Spacing) -> Mask:
    """Lumps of tissue inside the convex hull of both lungs that lung surrounds on more sides than not.

    What remains of a lump after an erosion must not reach the spine (then it is mediastinum) nor the last slices
    (then it may be liver or spleen). Grown back, nearly half of its surface has to be on lung: a mass on the pleura
    has lung on all sides but the chest wall's; the heart, an aorta or a dome of the diaphragm has less.
    """
    air = (labels == RIGHT_LUNG) | (labels == LEFT_LUNG)
    both = np.flatnonzero((filled == RIGHT_LUNG).any((0, 1)) & (filled == LEFT_LUNG).any((0, 1)))
    masses = np.zeros(labels.shape, bool)
    if len(both) == 0:
        return masses
    hull = _hull_of_slices(filled > 0, both) & (labels == 0)
    reach = round(MIDLINE_MM / spacing_mm[0])
    midline = slice(max(0, round(spine) - reach), round(spine) + reach + 1)
    for neck_mm, lungs in ((NODULE_NECK_MM, air), (MASS_NECK_MM, filled > 0)):
        tissue = hull & ~lungs
        pieces = cc3d.connected_components(erode(tissue, neck_mm, spacing_mm) & tissue, connectivity=6)
        excluded = {0, *np.unique(pieces[midline]), *np.unique(pieces[:, :, both[[0, -1]]])}
        margin = 2 + round((neck_mm + BULGE_MM) / min(spacing_mm))
        for piece, own in enumerate(ndimage.find_objects(pieces.astype(np.int32)), start=1):
            if piece in excluded:
                continue
            box = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in own)
            lump = dilate(pieces[box] == piece, neck_mm, spacing_mm) & tissue[box]
            shell = dilate(lump, 1, (1, 1, 1)) & ~lump
            if lungs[box][shell].mean() >= MASS_CONTACT:
                masses[box] |= lump | _bulge(lump, lungs[box], labels[box], spacing_mm)
    return masses


def _bulge(lump: Mask, lungs: Mask, labels: NDArray[np.uint8], spacing_mm: Spacing) -> Mask:
    """Tissue next to a lump (X, Y, Z) that lies in the convex hull of it and the lung around: the wall is curved."""
    points = np.argwhere(dilate(lungs | lump, 1, (1, 1, 1)) & ~erode(lungs | lump, 1, (1, 1, 1)) & (lungs | lump))
    near = dilate(lump, BULGE_MM, spacing_mm) & (labels == 0) & ~lump
    if not near.any() or len(points) < 4:  # nothing to add, or nothing that spans a hull
        return np.zeros_like(near)
    voxels = np.argwhere(near)
    hull = ConvexHull(points)
    inside = np.all(voxels @ hull.equations[:, :3].T + hull.equations[:, 3] <= 1e-6, axis=1)
    near[tuple(voxels[~inside].T)] = False
    return near


def _hull_of_slices(mask: Mask, slices: NDArray[np.int64]) -> Mask:
    """The convex hull of `mask` (X, Y, Z) on each of the axial `slices`."""
    hull = np.zeros(mask.shape, bool)
    y = np.arange(mask.shape[1])
    for k in slices:
        rows = np.flatnonzero(mask[:, :, k].any(1))
        first = mask[rows, :, k].argmax(1)
        last = mask.shape[1] - 1 - mask[rows, ::-1, k].argmax(1)
        try:
            corners = ConvexHull(np.stack([np.tile(rows, 2), np.concatenate([first, last])], 1)).vertices
        except QhullError:  # the slice holds no more than a line
            continue
        # Between its corners the front and the back of the hull are straight lines over the rows.
        front, back = np.sort(corners[corners < len(rows)]), np.sort(corners[corners >= len(rows)]) - len(rows)
        ends = [0, len(rows) - 1]
        front, back = np.union1d(front, ends), np.union1d(back, ends)
        inside = np.arange(rows[0], rows[-1] + 1)
        from_y = np.interp(inside, rows[front], first[front])
        to_y = np.interp(inside, rows[back], last[back])
        hull[inside, :, k] = (y >= from_y[:, None]) & (y <= to_y[:, None])
    return hull
