"""The phantom's nodules in place: how much of each lies in the lung, and its voxels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import UsageError
from monai_lung.grid import Box
from monai_lung.model import Point
from monai_lung.phantom.anatomy import lung_distance_at, nearer_lung_distance
from monai_lung.phantom.canvas import Canvas, Field
from monai_lung.phantom.shapes import PhantomNodule
from monai_lung.phantom.spec import PhantomSpec, offsets
from monai_lung.phantom.trees import Points

_FINE = 4
_SOLID_HU, _GROUND_GLASS_HU = 40.0, -580.0


@dataclass(frozen=True)
class TrueNodule:
    """The truth about a painted nodule.

    Attributes:
        id: its label, 1 for the first of the specification.
        center_mm: centre of mass in LPS mm.
        volume_mm3: of the part inside the lung; by formula where `exact`, else (on the pleura) by summing over a grid
            of a hundredth of its diameter.
        solid_volume_mm3: of the solid part.
        diameter_mm: of the sphere of the same volume.
        exact: whether volume and centre come from a formula.
        nodule: as specified.
    """

    id: int
    center_mm: Point
    volume_mm3: float
    solid_volume_mm3: float
    diameter_mm: float
    exact: bool
    nodule: PhantomNodule


def place(number: int, nodule: PhantomNodule) -> TrueNodule:
    """Where a nodule comes to lie, and how much of it is in the lung."""
    center = np.array(nodule.center_mm, float)
    if lung_distance_at(center[None])[0] > 0:
        raise UsageError(f"phantom: nodule {number} at {nodule.center_mm} lies outside the lungs: move its centre")
    if nodule.pleural:
        center = _onto_pleura(center, 0.3 * nodule.diameter_mm)
    core = nodule.core**3 if nodule.texture == "part-solid" else float(nodule.texture == "solid")
    volume, exact = nodule.volume_mm3, True
    solid = core * volume
    middle = center
    painted = replace(nodule, center_mm=tuple(center.tolist()))
    if _near_pleura(painted):
        offsets, cell = _grid(nodule)
        within = lung_distance_at(center + offsets) < 0
        if not within.all():
            exact = False
            volume, middle = float(within.sum() * cell), center + offsets[within].mean(0)
            small = nodule.inside(nodule.core if nodule.texture == "part-solid" else 1.0)(*offsets.T)
            solid = float((within & small).sum() * cell) if core else 0.0
    x, y, z = (float(v) for v in middle)
    return TrueNodule(number, (x, y, z), volume, solid, float(np.cbrt(volume * 6 / np.pi)), exact, painted)


def _onto_pleura(center: Points, depth_mm: float) -> Points:
    """Move a point towards the nearest pleura until it lies `depth_mm` inside."""
    for _ in range(40):
        distance = lung_distance_at(center[None])[0]
        steps = np.eye(3) * 0.5
        slope = (lung_distance_at(center + steps) - lung_distance_at(center - steps)) / 1.0
        center = center + slope / max(float(slope @ slope), 0.1) * (-depth_mm - distance) * 0.7
    return center


def _grid(nodule: PhantomNodule) -> tuple[Points, float]:
    """Offsets (n, 3) in mm of the cells of a fine grid that lie in the nodule, and a cell's volume in mm3."""
    axis, step = np.linspace(-nodule.reach_mm, nodule.reach_mm, 120, retstep=True)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    inside = np.argwhere(nodule.inside()(x, y, z))
    return axis[inside], float(step**3)


def paint_nodule(canvas: Canvas, spec: PhantomSpec, truth: TrueNodule, labels: NDArray[np.uint8]) -> None:
    """Paint a nodule, each voxel by the share of it that is filled; set its label where that is half."""
    nodule = truth.nodule
    center = np.array(nodule.center_mm)
    reach = nodule.reach_mm + np.array([spec.pixel_mm, spec.pixel_mm, spec.slice_mm])
    box = canvas.box(center - reach, center + reach)
    if box is None:
        return
    lung, painted = _filled(canvas, spec, nodule, box, 1.0)
    part = canvas.hu[box]
    if nodule.texture == "solid":
        part += painted * (np.float32(_SOLID_HU) - part)
    else:
        np.maximum(part, part + painted * (np.float32(_GROUND_GLASS_HU) - part), out=part)
    if nodule.texture == "part-solid":
        part += _filled(canvas, spec, nodule, box, nodule.core)[1] * (np.float32(_SOLID_HU) - part)
    labels[box][(lung >= 0.5) & (labels[box] == 0)] = truth.id


def _filled(canvas: Canvas, spec: PhantomSpec, nodule: PhantomNodule, box: Box, scale: float) -> tuple[Field, Field]:
    """Share 0...1 of each voxel of a box that the nodule fills: within the lung, and with 2 mm of the wall.

    The second is what gets painted: were the nodule cut off at the pleura, the voxels there would mix in lung.
    """
    along_z = offsets(spec, 0.6)
    in_plane = ((np.arange(_FINE) + 0.5) / _FINE - 0.5) * spec.pixel_mm
    x, y, z = canvas.crop(box)
    fine_x = (x[..., None] + in_plane).reshape(-1, 1, 1)
    fine_y = (y[..., None] + in_plane).reshape(1, -1, 1)
    fine_z = (z[..., None] + along_z).reshape(1, z.shape[1], -1)
    if z.shape[1] > 1:  # tilted: z goes with the row
        fine_z = np.repeat(fine_z, _FINE, axis=1) - np.tile(in_plane, z.shape[1])[:, None] * _slope(spec)
    center = nodule.center_mm
    inside = nodule.inside(scale)(fine_x - center[0], fine_y - center[1], fine_z - center[2])
    depth = nearer_lung_distance(fine_x, fine_y, fine_z) if _near_pleura(nodule) else np.float32(-np.inf)
    shape = (x.size, _FINE, y.size, _FINE, z.shape[2], len(along_z))
    lung, painted = (
        part.reshape(shape).mean((1, 3, 5), dtype=np.float32) for part in (inside & (depth < 0), inside & (depth < 2))
    )
    return lung, painted


def _slope(spec: PhantomSpec) -> float:
    """How far z falls over a mm of y, along the rows of a tilted slice."""
    return float(np.tan(np.deg2rad(spec.tilt_deg)))


def _near_pleura(nodule: PhantomNodule) -> bool:
    """Whether the pleura may cut the nodule; the factor makes up for a distance that is only roughly one."""
    return bool(lung_distance_at(np.array([nodule.center_mm]))[0] > -2 * nodule.reach_mm)
