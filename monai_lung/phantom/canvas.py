"""A piece of the phantom's grid that shapes are painted on, with soft edges."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.grid import Box
from monai_lung.phantom.trees import Points, Tube

Field = NDArray[np.floating[Any]]
"""Coordinates, distances or HU, broadcastable to (X, Y, Z)."""


class Canvas:
    """HU on a grid whose axes run along the patient's, save for a tilt.

    Attributes:
        x, y, z: LPS mm of the voxels' centres, broadcastable: (X, 1, 1), (1, Y, 1), (1, 1, Z) or, tilted, (1, Y, Z).
        hu: float32 (X, Y, Z).
        edge_mm: width over which a painted edge fades, about a voxel.
    """

    def __init__(self, x: Field, y: Field, z: Field, *, edge_mm: float, background_hu: float) -> None:
        self.x, self.y, self.z = x, y, z
        self.edge_mm = edge_mm
        self._flat = x.ravel(), y.ravel(), z.min(axis=(0, 1)), z.max(axis=(0, 1))
        self.hu = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), background_hu, np.float32)

    def coverage(self, distance_mm: Field) -> Field:
        """How much of a voxel a shape fills, 0...1, from the signed distance to its surface (negative inside)."""
        share = distance_mm * np.float32(-1 / self.edge_mm)
        share += np.float32(0.5)
        return np.clip(share, 0, 1, out=share)

    def paint(self, distance_mm: Field, hu: float | Field) -> None:
        """Fill the shape of which `distance_mm` is the signed distance."""
        share = self.coverage(distance_mm)
        self.hu += share * (np.asarray(hu, np.float32) - self.hu)

    def part(self, low_mm: tuple[float, float, float], high_mm: tuple[float, float, float]) -> Canvas | None:
        """The canvas between two corners in LPS mm, to paint something small on; None where they share no voxel."""
        box = self.box(np.array(low_mm), np.array(high_mm))
        if box is None:
            return None
        canvas = copy(self)
        canvas.x, canvas.y, canvas.z = self.crop(box)
        canvas.hu = self.hu[box]
        canvas._flat = canvas.x.ravel(), canvas.y.ravel(), canvas.z.min(axis=(0, 1)), canvas.z.max(axis=(0, 1))
        return canvas

    def box(self, low_mm: Points, high_mm: Points) -> Box | None:
        """Slices of the voxels between two corners (3,) in LPS mm; None where there are none."""
        x, y, z_low, z_high = self._flat
        if not (z_low.min() <= high_mm[2] and z_high.max() >= low_mm[2]):  # by far the most frequent case
            return None
        return _slices(
            (x >= low_mm[0]) & (x <= high_mm[0]),
            (y >= low_mm[1]) & (y <= high_mm[1]),
            (z_high >= low_mm[2]) & (z_low <= high_mm[2]),
        )

    def crop(self, box: Box) -> tuple[Field, Field, Field]:
        """The coordinates within a box."""
        z = self.z[:, box[1] if self.z.shape[1] > 1 else slice(None), box[2]]
        return self.x[box[0]], self.y[:, box[1]], z

    def paint_tube(self, tube: Tube, hu: float, *, brighten: bool) -> None:
        """Draw a tube; with `brighten` it only ever raises a value (a vessel), else only lowers it (an airway)."""
        reach = tube.radius_mm + self.edge_mm
        ends = np.stack([tube.start_mm, tube.end_mm])
        box = self.box(ends.min(0) - reach, ends.max(0) + reach)
        if box is None:
            return
        part = self.hu[box]
        painted = part + self.coverage(tube_distance(tube, *self.crop(box))) * (np.float32(hu) - part)
        np.maximum(part, painted, out=part) if brighten else np.minimum(part, painted, out=part)


def tube_distance(tube: Tube, x: Field, y: Field, z: Field) -> Field:
    """Signed distance in mm to a tube's surface, negative inside."""
    start = tube.start_mm.astype(np.float32)
    along = (tube.end_mm - tube.start_mm).astype(np.float32)
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    t = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / max(float(along @ along), 1e-6), 0, 1)
    return np.sqrt((dx - t * along[0]) ** 2 + (dy - t * along[1]) ** 2 + (dz - t * along[2]) ** 2) - tube.radius_mm


def _slices(*chosen: NDArray[np.bool_]) -> Box | None:
    """The slice from the first to the last True along each axis."""
    where = [np.flatnonzero(c) for c in chosen]
    if any(w.size == 0 for w in where):
        return None
    x, y, z = (slice(int(w[0]), int(w[-1]) + 1) for w in where)
    return x, y, z
