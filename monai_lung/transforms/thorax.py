"""Which air of a CT is right lung, left lung or something else, on a coarse grid whose axes run along L, P and S.

Air is eroded until what merely touches falls apart (the lungs at the anterior junction, lung and stomach bubble, lung
and trachea). Each core that remains is judged as a whole: by its size, its mean HU and by how far the body surrounds
it. The cores then grow back into the air between them, each into its own part.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from monai_lung.model import LEFT_LUNG, RIGHT_LUNG
from monai_lung.transforms.morphology import Mask, Spacing, dilate, erode

AIR_HU = -400
"""Half way between lung (about -850) and soft tissue (about 50): where a blurred border lies."""
GAS_HU = -960
"""A lung's mean lies above it, even in severe emphysema; that of room air, stomach and bowel gas below."""
PADDING_HU = -1020
"""Nothing that a scanner measures is as low as this on average: the voxels outside its field of view are."""
BONE_HU = 250
CORE_RADII_MM = (4.0, 7.0, 10.0)
"""Erosions tried one after the other until right and left are apart; the first is half a bronchus' width."""
SMALLEST_LUNG_ML = 30.0
"""A core below this is no lung of its own: bowel gas, a bulla, the oesophagus."""
OTHER = 3


@dataclass(frozen=True)
class Thorax:
    """Labels (X, Y, Z) on the coarse grid, 1 right and 2 left, only their air; and what to tell the reader."""

    labels: NDArray[np.uint8]
    outside: Mask
    warnings: tuple[str, ...] = ()


def outside_field_of_view(hu: NDArray[np.float32]) -> Mask:
    """Padding (X, Y, Z): voxels as low as nothing measured is, connected to the sides of the image."""
    low = hu <= PADDING_HU
    return _touching_sides(low) if low.any() else low


def find_thorax(hu: NDArray[np.float32], airways: Mask, spacing_mm: Spacing) -> Thorax:
    """Tell right lung, left lung and the rest apart.

    Args:
        hu: (X, Y, Z) HU on a grid of about 2.5 mm, axes along L, P and S.
        airways: (X, Y, Z) trachea and main bronchi, not lung.
        spacing_mm: of the grid.

    Returns:
        the labels, empty where no core is a lung.
    """
    outside = outside_field_of_view(hu)
    air = (hu < AIR_HU) & ~outside & ~airways
    enclosed = _sides_of_body(hu, spacing_mm) >= 3
    spine = _spine_column(hu, spacing_mm)
    best: tuple[NDArray[np.uint32], dict[int, int]] | None = None
    for radius in CORE_RADII_MM:
        cores = cc3d.connected_components(erode(air, radius, spacing_mm), connectivity=6)
        sides = _judge(cores, hu, enclosed, spine, spacing_mm)
        if best is None:
            best = cores, sides
        if {RIGHT_LUNG, LEFT_LUNG} <= set(sides.values()):
            best = cores, sides
            break
    cores, sides = best
    table = np.full(int(cores.max()) + 1, OTHER, np.uint8)
    table[0] = 0
    for core, side in sides.items():
        table[core] = side
    return Thorax(_grow_back(table[cores], air), outside)


def _judge(cores, hu, enclosed, spine, spacing_mm):
    """Core number to side, for the cores that are lung."""
    n = int(cores.max()) + 1
    flat = cores.ravel(order="K")
    count = np.bincount(flat, minlength=n)
    ml = count * np.prod(spacing_mm) / 1000
    safe = np.maximum(count, 1)
    mean_hu = np.bincount(flat, hu.ravel(order="K"), n) / safe
    inside = np.bincount(flat, enclosed.ravel(order="K"), n) / safe
    x = np.bincount(flat, np.broadcast_to(np.arange(hu.shape[0])[:, None, None], hu.shape).ravel(order="K"), n) / safe
    lung = (ml >= SMALLEST_LUNG_ML) & (mean_hu > GAS_HU) & (inside > 0.5)
    lung[0] = False
    sides = {int(c): RIGHT_LUNG if x[c] < spine else LEFT_LUNG for c in np.flatnonzero(lung)}
    undecided = (ml < SMALLEST_LUNG_ML) & (mean_hu > GAS_HU)
    return sides | {int(c): 0 for c in np.flatnonzero(undecided) if c > 0}


def _sides_of_body(hu, spacing_mm):
    """From how many of the four sides in the axial plane a voxel sees the body (X, Y, Z), 0...4."""
    body = erode(hu > AIR_HU, 4.0, spacing_mm)
    body = cc3d.largest_k(body, k=1, connectivity=6) > 0
    count = np.zeros(hu.shape, np.uint8)
    for axis in (0, 1):
        count += np.maximum.accumulate(body, axis)
        count += np.flip(np.maximum.accumulate(np.flip(body, axis), axis), axis)
    return count


def _spine_column(hu, spacing_mm):
    """Index along x with the most bone around it: the spine's."""
    bone = (hu > BONE_HU).sum((1, 2)).astype(float)
    width = max(1, round(30 / spacing_mm[0]))
    return float(np.argmax(np.convolve(bone, np.ones(width), "same")))


def _touching_sides(mask):
    """The components of `mask` that reach one of the four sides of the image."""
    labels = cc3d.connected_components(mask, connectivity=6)
    rim = np.concatenate([labels[[0, -1]].ravel(), labels[:, [0, -1]].ravel()])
    keep = np.zeros(int(labels.max()) + 1, bool)
    keep[rim] = True
    keep[0] = False
    return keep[labels]


def _grow_back(cores, air, steps: int = 40):
    """Let each core take the air next to it, a voxel a step."""
    labels = cores.copy()
    for _ in range(steps):
        free = air & (labels == 0)
        before = np.count_nonzero(free)
        for value in (RIGHT_LUNG, LEFT_LUNG, OTHER):
            new = dilate(labels == value, 1.0, (1.0, 1.0, 1.0)) & free
            labels[new] = value
            free &= ~new
        if np.count_nonzero(free) == before:
            break
    labels[labels == OTHER] = 0
    return labels
