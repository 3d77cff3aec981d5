"""The pictures of one nodule in the page: three planes through it, their outlines, and the voxels to scroll in.

The same place in an earlier CT is cut with a box of the same size, so that both are shown at one scale and scroll
together.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.extras import require
from monai_lung.model import CT, Nodule, Outline, Point
from monai_lung.report.key_image import KeyImage
from monai_lung.report.views import (
    EDGES,
    LUNG_WINDOW_HU,
    PLANES,
    Plane,
    ViewBox,
    contours,
    grey,
    picture,
    sample_ct,
    sample_outline,
)

VOXELS_HU = ((0, -1024.0), (222, 400.0), (255, 1390.0))
"""The HU of the 8 bits of the voxels, linear in between: fine where lung and soft tissue lie, coarse in bone."""

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

    box: ViewBox
    views: tuple[View, ...]
    voxels: str
    columns: int
    images: tuple[int | None, ...] = ()
    """Number of the DICOM image nearest to each axial slice; () where there is none."""

    @property
    def script_data(self) -> dict[str, Any]:
        """The data with which the page's script scrolls."""
        return {
            "voxels": self.voxels,
            "columns": self.columns,
            "size": self.box.shape[0],
            "spacing": round(self.box.spacing_mm, 4),
            "first": [round(v, 2) for v in self.box.first_mm],
            "images": self.images,
            "outlines": {view.plane: view.outlines for view in self.views},
        }


@dataclass(frozen=True)
class KeyPicture:
    """The whole slice as a JPEG of `width` by `height` pixels, with an SVG path of the outline and both axes."""

    image: str
    width: int
    height: int
    outline: str
    axes: tuple[tuple[float, float, float, float], ...]
    frame: tuple[float, float, float, float]


def nodule_views(ct: CT, nodule: Nodule, *, scrolls: bool = True) -> NoduleViews:
    """Cut a box around a nodule and draw it: the axial view starts where the axes were measured.

    Args:
        ct: the examination.
        nodule: one of its nodules.
        scrolls: keep the voxels and the outlines of all slices, not only those of the slice to start with.
    """
    m = nodule.measurements
    box = ViewBox.around(m.center_mm, m.max_diameter_3d_mm)
    ends = [box.place("axial", end) for end in m.axes_mm]
    axes = ((*ends[0], *ends[1]), (*ends[2], *ends[3]))
    x, y, _ = box.nearest(m.center_mm)
    measured_z = float(np.mean([end[2] for end in m.axes_mm]))
    starts = (x, y, box.nearest((*m.center_mm[:2], measured_z))[2])
    return box_views(ct, box, starts, nodule.outline, axes=axes, scrolls=scrolls)


def same_box(box: ViewBox, center_mm: Point) -> ViewBox:
    """A box of the same size and voxels around another point."""
    x, y, z = (float(c - (n - 1) / 2 * box.spacing_mm) for c, n in zip(center_mm, box.shape, strict=True))
    return ViewBox((x, y, z), box.spacing_mm, box.shape)


def box_views(
    ct: CT,
    box: ViewBox,
    starts: tuple[int, int, int],
    outline: Outline | None,
    *,
    axes: tuple[tuple[float, float, float, float], ...] = (),
    scrolls: bool = True,
) -> NoduleViews:
    """Draw a box of a CT.

    Args:
        ct: the examination.
        box: of it.
        starts: index along x, y and z of the sagittal, coronal and axial slice to start with.
        outline: what is outlined in it; None for nothing.
        axes: drawn on the axial slice to start with.
        scrolls: as in `nodule_views`.
    """
    hu = sample_ct(ct, box)
    level = None if outline is None else sample_outline(ct, outline, box)
    views = tuple(
        View(
            plane,
            starts[through],
            jpeg(grey(picture(hu, plane, starts[through]), LUNG_WINDOW_HU)),
            {} if level is None else _outlines(level, plane, None if scrolls else starts[through]),
            axes if plane == "axial" else (),
        )
        for plane, (_, _, through) in PLANES.items()
    )
    columns = int(np.ceil(np.sqrt(box.shape[2])))
    voxels = jpeg(_tiles(to_bytes(hu), columns)) if scrolls else ""
    return NoduleViews(box, views, voxels, columns, _images(ct, box))


def key_picture(image: KeyImage) -> KeyPicture:
    """The whole slice of a nodule for the page, in the lung window."""
    left, top, right, bottom = (round(v + 0.5, 1) for v in image.frame)
    return KeyPicture(
        jpeg(grey(image.hu, LUNG_WINDOW_HU)),
        image.width,
        image.height,
        _path(list(image.outlines)),
        image.axes,
        (left, top, right - left, bottom - top),
    )


def to_bytes(hu: NDArray[Any]) -> NDArray[np.uint8]:
    """HU as the page keeps them, by `VOXELS_HU`."""
    steps, values = zip(*VOXELS_HU, strict=True)
    return np.rint(np.interp(hu, values, steps)).astype(np.uint8)


def jpeg(image: NDArray[np.uint8]) -> str:
    """A grey picture (rows, columns) as a data URL."""
    stream = io.BytesIO()
    require("PIL.Image", "report.html").fromarray(image).save(stream, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _images(ct: CT, box: ViewBox) -> tuple[int | None, ...]:
    """Number of the DICOM image nearest to the middle of each axial slice of a box."""
    if not ct.slices or all(one.image_number is None for one in ct.slices):
        return ()
    x, y, z = box.first_mm
    middle = np.array(box.shape) // 2 * box.spacing_mm
    points = np.array([(x + middle[0], y + middle[1], z + n * box.spacing_mm) for n in range(box.shape[2])])
    normals = np.array([one.affine_lps[:3, 2] for one in ct.slices])
    origins = np.array([one.affine_lps[:3, 3] for one in ct.slices])
    distance = np.abs(points @ normals.T - (normals * origins).sum(1))
    return tuple(ct.slices[int(n)].image_number for n in distance.argmin(1))


def _outlines(level: NDArray[np.float32], plane: Plane, only: int | None) -> dict[int, str]:
    """SVG path of the outline by slice, or of one slice; the picture's edges are whole numbers, its centres halves."""
    paths = {}
    for index in range(level.shape[PLANES[plane][2]]) if only is None else (only,):
        image = picture(level, plane, index)
        if image.max() >= 0.5:
            paths[index] = _path(contours(image))
    return paths


def _path(lines: list[NDArray[np.float64]]) -> str:
    """Closed lines as one SVG path."""
    return "".join(
        "M" + "L".join(f"{column + 0.5:.1f} {row + 0.5:.1f}" for column, row in line[:-1]) + "Z" for line in lines
    )


def _tiles(voxels: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Axial slices of (x, y, z), `columns` of them side by side, the rest black."""
    nx, ny, nz = voxels.shape
    rows = -(-nz // columns)
    padded = np.zeros((rows * columns, ny, nx), np.uint8)
    padded[:nz] = voxels.transpose(2, 1, 0)
    return padded.reshape(rows, columns, ny, nx).swapaxes(1, 2).reshape(rows * ny, columns * nx)
