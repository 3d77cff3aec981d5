"""The pictures of one nodule in the page: three planes through it, their outlines, and the voxels to scroll in."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.model import CT, Nodule
from monai_lung.report.extras import require
from monai_lung.report.views import (
    EDGES,
    LUNG_WINDOW_HU,
    PLANES,
    Box,
    Plane,
    contours,
    grey,
    picture,
    sample_ct,
    sample_outline,
)

VOXELS_HU = (-1024.0, 400.0)
"""Range of HU that the 8 bits of the voxels hold."""

JPEG_QUALITY = 90


@dataclass(frozen=True)
class View:
    """One plane: a JPEG of the slice to start with, and an SVG path of the outline for each slice that has one.

    `axes` are the ends (x1, y1, x2, y2) of the long and the short axis in pixels, on slice `start`, only for axial.
    """

    plane: Plane
    start: int
    image: str
    outlines: dict[int, str]
    axes: tuple[tuple[float, float, float, float], ...] = ()

    @property
    def edges(self) -> tuple[str, str, str, str]:
        """The patient's direction at the left, right, top and bottom."""
        return EDGES[self.plane]


@dataclass(frozen=True)
class NoduleViews:
    """The three planes of a nodule, and the voxels as one JPEG: axial slices from the feet up, `columns` in a row.

    Without voxels ("") the views stand still.
    """

    box: Box
    views: tuple[View, ...]
    voxels: str
    columns: int

    @property
    def script_data(self) -> dict[str, Any]:
        """What the page's script needs to scroll."""
        return {
            "voxels": self.voxels,
            "columns": self.columns,
            "size": self.box.shape[0],
            "spacing": round(self.box.spacing_mm, 4),
            "first": [round(v, 2) for v in self.box.first_mm],
            "outlines": {view.plane: view.outlines for view in self.views},
        }


def nodule_views(ct: CT, nodule: Nodule, *, scrolls: bool = True) -> NoduleViews:
    """Cut a box around a nodule and draw it: the axial view starts where the axes were measured.

    Args:
        ct: the examination.
        nodule: one of its nodules.
        scrolls: keep the voxels and the outlines of all slices, not only those of the slice to start with.
    """
    m = nodule.measurements
    box = Box.around(m.center_mm, m.max_diameter_3d_mm)
    hu, level = sample_ct(ct, box), sample_outline(ct, nodule.outline, box)
    ends = [box.place("axial", end) for end in m.axes_mm]
    axes = ((*ends[0], *ends[1]), (*ends[2], *ends[3]))
    x, y, _ = box.nearest(m.center_mm)
    measured_z = float(np.mean([end[2] for end in m.axes_mm]))
    starts = {"axial": box.nearest((*m.center_mm[:2], measured_z))[2], "coronal": y, "sagittal": x}
    views = tuple(
        View(
            plane,
            starts[plane],
            jpeg(grey(picture(hu, plane, starts[plane]), LUNG_WINDOW_HU)),
            _outlines(level, plane, None if scrolls else starts[plane]),
            axes if plane == "axial" else (),
        )
        for plane in PLANES
    )
    columns = int(np.ceil(np.sqrt(box.shape[2])))
    voxels = jpeg(_tiles(grey(hu, VOXELS_HU), columns)) if scrolls else ""
    return NoduleViews(box, views, voxels, columns)


def jpeg(image: NDArray[np.uint8]) -> str:
    """A grey picture (rows, columns) as a data URL."""
    stream = io.BytesIO()
    require("PIL.Image", "report.html").fromarray(image).save(stream, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _outlines(level: NDArray[np.float32], plane: Plane, only: int | None) -> dict[int, str]:
    """SVG path of the outline by slice, or of one slice; the picture's edges are whole numbers, its centres halves."""
    paths = {}
    for index in range(level.shape[PLANES[plane][2]]) if only is None else (only,):
        image = picture(level, plane, index)
        if image.max() >= 0.5:
            paths[index] = "".join(
                "M" + "L".join(f"{column + 0.5:.1f} {row + 0.5:.1f}" for column, row in line[:-1]) + "Z"
                for line in contours(image)
            )
    return paths


def _tiles(voxels: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Axial slices of (x, y, z), `columns` of them side by side, the rest black."""
    nx, ny, nz = voxels.shape
    rows = -(-nz // columns)
    padded = np.zeros((rows * columns, ny, nx), np.uint8)
    padded[:nz] = voxels.transpose(2, 1, 0)
    return padded.reshape(rows, columns, ny, nx).swapaxes(1, 2).reshape(rows * ny, columns * nx)
