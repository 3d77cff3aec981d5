"""Trachea and main bronchi on a coarse grid whose axes run along L, P and S."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.lungs.morphology import Mask, Spacing, dilate

BAND_MM = 70.0
"""Half the width, around the spine, in which trachea and main bronchi are looked for."""
LEVELS_HU = (-400, -600, -800)
"""Levels below which the lumen may be an island of its own on an axial slice. Where lung lies next to it, a thin wall
is seen at the lower ones only."""
WALL_HU = -500
"""The surroundings of an airway are mostly tissue: denser than this on average."""
LUMEN_HU = -940
"""Gas in an airway lies below, lung above, but for emphysema."""
AREA_MM2 = (40.0, 900.0)
"""Of the lumen on an axial slice: from a narrow main bronchus to a wide trachea just above the carina."""
LENGTH_MM = 30.0
"""An airway continues over this length at least; the tip of a lung doesn't stay below 900 mm2 for as long."""
GAP_MM = 20.0
"""Over this length an airway may hang together with lung at every level: what lies between its islands is bridged."""
WALL_MM = 2.0


def find_airways(hu: NDArray[np.float32], enclosed: Mask, spine: float, spacing_mm: Spacing) -> Mask:
    """Trachea and main bronchi (X, Y, Z) with their wall, as far as tissue surrounds them in the axial plane.

    Args:
        hu: (X, Y, Z) HU.
        enclosed: (X, Y, Z), where the body surrounds a voxel.
        spine: index along x.
        spacing_mm: of the grid.
    """
    reach = round(BAND_MM / spacing_mm[0])
    band = slice(max(0, round(spine) - reach), round(spine) + reach + 1)
    islands = np.zeros(hu[band].shape, bool)
    cut = [0] * (band.start > 0) + [-1] * (band.stop < hu.shape[0])
    for level_hu in LEVELS_HU:
        islands |= _islands(hu[band], level_hu, enclosed[band], cut, spacing_mm)
    islands = _bridge(islands, spacing_mm[2])
    pieces = cc3d.connected_components(islands, connectivity=6)
    keep = np.zeros(int(pieces.max()) + 1, bool)
    for number, box in enumerate(ndimage.find_objects(pieces.astype(np.int32)), start=1):
        keep[number] = box is not None and (box[2].stop - box[2].start) * spacing_mm[2] >= LENGTH_MM
    airways = np.zeros(hu.shape, bool)
    airways[band] = keep[pieces]
    return dilate(airways, WALL_MM, spacing_mm) if airways.any() else airways


def _islands(hu: NDArray[np.float32], level_hu: float, enclosed: Mask, cut: list[int], spacing_mm: Spacing) -> Mask:
    """Dark islands on the axial slices, of an airway's area, in tissue; none that continues beyond `cut`."""
    in_slice = np.zeros((3, 3, 3), bool)
    in_slice[1, :, 1] = in_slice[:, 1, 1] = True
    islands, number = ndimage.label((hu < level_hu) & enclosed, in_slice)
    pixels = np.maximum(np.bincount(islands.ravel(), minlength=number + 1), 1)
    dark = np.bincount(islands[hu < LUMEN_HU], minlength=number + 1) / pixels
    area_mm2 = pixels * spacing_mm[0] * spacing_mm[1]
    fits = (area_mm2 >= AREA_MM2[0]) & (area_mm2 <= AREA_MM2[1]) & (dark >= 0.25)
    fits &= _mean_beside(islands, number, hu) > WALL_HU
    fits[0] = False
    fits[islands[cut].ravel()] = False
    return fits[islands]


def _bridge(islands: Mask, spacing_z_mm: float) -> Mask:
    """Closing along z: airways run that way, nearly."""
    size = 1 + 2 * max(1, round(GAP_MM / 2 / spacing_z_mm))
    longer = ndimage.maximum_filter1d(islands.view(np.uint8), size, axis=2, mode="constant")
    return ndimage.minimum_filter1d(longer, size, axis=2, mode="nearest").view(bool)


def _mean_beside(islands: NDArray[np.int32], number: int, hu: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean HU of the voxels beside each island on its axial slice; index 0 means nothing."""
    total, count = np.zeros(number + 1), np.zeros(number + 1)
    for axis in (0, 1):
        for step in (1, -1):
            outside = (islands > 0) & (np.roll(islands, step, axis) == 0)
            total += np.bincount(islands[outside], np.roll(hu, step, axis)[outside], number + 1)
            count += np.bincount(islands[outside], minlength=number + 1)
    return total / np.maximum(count, 1)
