"""The key image of a nodule: the whole axial slice on which its axes were measured, as a reader marks one.

The slice lies along the patient's axes, whichever way the CT was stored: the patient's right on the left, the front on
top. Where the CT is straight, as most are, its pixels are the CT's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_lung.model import CT, Nodule
from monai_lung.report.views import ViewBox, contours, picture, sample_ct, sample_outline

MOST_PIXELS = 768
"""Along a side; a larger slice is made coarser."""

Line = tuple[float, float, float, float]


@dataclass(frozen=True)
class KeyImage:
    """One axial slice and what is drawn on it, in columns and rows whose pixel centres are integers.

    Attributes:
        hu: float32 (rows, columns).
        box: where the slice lies, one voxel thick.
        outlines: closed lines (n, 2).
        axes: long and short axis, each (column, row) of both ends.
        frame: left, top, right and bottom of a square around the nodule.
    """

    hu: NDArray[np.float32]
    box: ViewBox
    outlines: tuple[NDArray[np.float64], ...]
    axes: tuple[Line, Line]
    frame: Line

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.hu.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.hu.shape[0])


def key_image(ct: CT, nodule: Nodule) -> KeyImage:
    """The whole axial slice through the nodule's axes, with its outline there."""
    m = nodule.measurements
    box = _slice_box(ct, float(np.mean([end[2] for end in m.axes_mm])))
    level = picture(sample_outline(ct, nodule.outline, box), "axial", 0)
    ends = [box.place("axial", end) for end in m.axes_mm]
    column, row = box.place("axial", m.center_mm)
    half = (m.max_diameter_3d_mm / 2 + 8) / box.spacing_mm
    return KeyImage(
        hu=picture(sample_ct(ct, box), "axial", 0),
        box=box,
        outlines=tuple(contours(level)),
        axes=((*ends[0], *ends[1]), (*ends[2], *ends[3])),
        frame=(column - half, row - half, column + half, row + half),
    )


def _slice_box(ct: CT, z_mm: float) -> ViewBox:
    """The CT's whole field at one height, with pixels as small as the CT's own in its finest direction."""
    whole = ViewBox.of(ct, 1.0)
    extent_mm = max(whole.shape[:2])
    spacing = max(min(ct.spacing_mm), extent_mm / MOST_PIXELS)
    box = ViewBox.of(ct, spacing)
    return ViewBox((*box.first_mm[:2], z_mm), spacing, (*box.shape[:2], 1))
