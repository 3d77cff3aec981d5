"""From the air of the lungs to whole lungs: vessels, nodules, and what grows on the pleura, on the coarse grid."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from skimage.draw import polygon2mask

from monai_lung.model import LEFT_LUNG, RIGHT_LUNG
from monai_lung.transforms.morphology import Mask, Spacing, bounding_box, close, dilate, erode

CLOSING_MM = 9.0
"""Half the width of the vessels at the hilum, and of what is filled on the pleura anywhere."""
MASS_NECKS_MM = (6.0, 12.0)
"""Half the width of the bridge by which a mass may hang on chest wall or mediastinum: of a small one, a large one."""
MASS_MM3 = 1000.0
"""What is smaller is closed by `CLOSING_MM`."""
MASS_CONTACT = 0.4
"""Least share of a mass's surface that is on lung."""
MIDLINE_MM = 25.0
"""Half the width of the spine with what lies before it: no mass there."""


def fill_lungs(labels: NDArray[np.uint8], spine: float, spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Lungs (X, Y, Z), 1 right and 2 left, with all that is inside of them.

    Args:
        labels: (X, Y, Z), of `thorax.Thorax`.
        spine: index along x.
        spacing_mm: of the grid.
    """
    filled = _close(labels, spacing_mm)
    masses = _find_masses(filled, labels, spine, spacing_mm)
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


def _find_masses(filled: NDArray[np.uint8], labels: NDArray[np.uint8], spine: float, spacing_mm: Spacing) -> Mask:
    """Lumps of tissue inside the convex hull of both lungs that lung surrounds on more sides than not.

    What remains of a lump after an erosion must not reach the spine (then it is mediastinum) nor the last slices
    (then it may be liver or spleen). Grown back, about half of its surface has to be on lung: a mass on the pleura
    has lung on all sides but the chest wall's; the cut-off edge of a liver or an aorta hasn't.
    """
    lungs = filled > 0
    both = np.flatnonzero((filled == RIGHT_LUNG).any((0, 1)) & (filled == LEFT_LUNG).any((0, 1)))
    masses = np.zeros(filled.shape, bool)
    if len(both) == 0:
        return masses
    hull = _hull_of_slices(lungs, both)
    tissue = hull & ~lungs & (labels == 0)
    reach = round(MIDLINE_MM / spacing_mm[0])
    midline = slice(max(0, round(spine) - reach), round(spine) + reach + 1)
    for neck_mm in MASS_NECKS_MM:
        pieces = cc3d.connected_components(erode(tissue, neck_mm, spacing_mm) & tissue, connectivity=6)
        excluded = {0, *np.unique(pieces[midline]), *np.unique(pieces[:, :, both[[0, -1]]])}
        margin = 2 + round(neck_mm / min(spacing_mm))
        for piece in set(np.unique(pieces)) - excluded:
            box = bounding_box(pieces == piece, margin)
            lump = dilate(pieces[box] == piece, neck_mm, spacing_mm) & tissue[box]
            shell = dilate(lump, 1, (1, 1, 1)) & ~lump
            if lump.sum() * np.prod(spacing_mm) >= MASS_MM3 and lungs[box][shell].mean() >= MASS_CONTACT:
                masses[box] |= lump
    return masses


def _hull_of_slices(mask: Mask, slices: NDArray[np.int64]) -> Mask:
    """The convex hull of `mask` (X, Y, Z) on each of the axial `slices`."""
    hull = np.zeros(mask.shape, bool)
    for k in slices:
        rows = np.flatnonzero(mask[:, :, k].any(1))
        first = mask[rows, :, k].argmax(1)
        last = mask.shape[1] - 1 - mask[rows, ::-1, k].argmax(1)
        points = np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)])
        try:
            corners = points[ConvexHull(points).vertices]
        except QhullError:  # the slice holds no more than a line
            continue
        hull[:, :, k] = polygon2mask(mask.shape[:2], corners)
    return hull
