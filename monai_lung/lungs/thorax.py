"""Which air of a CT is right lung, which is left, which neither: on a coarse grid whose axes run along L, P and S.

The air is eroded until what merely touches falls apart: the lungs at the anterior junction, lung and stomach bubble.
Each core that remains is judged as a whole, by whether the body surrounds it and by its HU. The cores then grow back
into the air between them, each into its own part. Nothing depends on air being left around the body, so a field of
view that cuts the chest needs no special case.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from monai_lung.grid import bounding_box
from monai_lung.lungs.morphology import Mask, Spacing, dilate, erode
from monai_lung.model import LEFT_LUNG, RIGHT_LUNG

OTHER_AIR = 3
"""Label of air inside or around the body that is not lung."""
AIR_HU = -400
"""Half way between lung (about -850) and soft tissue (about 50): a border blurred by the scanner lies there."""
PADDING_HU = -1020
"""No part of an image that was measured is as low as this on average: what is, lies outside the field of view."""
PARENCHYMA_HU = (-960, -500)
"""Lung tissue, down to severe emphysema; gas in the room, stomach and bowel lies below."""
PADDING_ML = 50.0
"""Less at the side of an image may be a bulla which the field of view cuts."""
BONE_HU = 250
CORE_RADII_MM = (4.0, 7.0, 10.0)
"""Erosions, tried one after the other until right and left are apart. A diaphragm with stomach wall, and a bronchus
that joins the trachea to a lung, are narrower than twice the first; an anterior junction than twice the last."""
COMPACT_TISSUE_ML = 50.0
"""So much lung tissue in a lump, not as the blurred edge of gas, makes the air around it a lung's (pneumothorax)."""
PHANTOM_LUNG_ML, PHANTOM_RADIUS_MM = 500.0, 25.0
"""Where no air holds lung tissue, each lung of a phantom has at least this volume and a ball of this radius in it."""
CORE_ML = 30.0
"""A smaller core is not a lung of its own. It follows its neighbours, or is bowel gas."""
BULLA_CONTACT = 0.4
"""Share of its surface that a bulla, or a piece of lung taken for an airway, has on lung. Airways, stomach and bowel
are surrounded by tissue."""


@dataclass(frozen=True)
class Thorax:
    """The kinds of air on the coarse grid.

    Attributes:
        labels: uint8 (X, Y, Z): 0 no air, 1 right lung, 2 left lung, `OTHER_AIR`. Vessels and nodules are not air.
        spine: index of the spine along x, fractional.
        apart: False where right and left hung together and were cut at the spine.
        phantom: whether the lungs are two large rooms of air in the body, without lung tissue.
    """

    labels: NDArray[np.uint8]
    spine: float
    apart: bool
    phantom: bool = False


def find_field_of_view(hu: NDArray[np.float32], spacing_mm: Spacing) -> Mask:
    """Voxels (X, Y, Z) that the scanner measured: all but the padding that reaches the sides of the image."""
    low = hu <= PADDING_HU
    pieces = cc3d.connected_components(low, connectivity=6)
    padding = np.zeros(int(pieces.max()) + 1, bool)
    padding[pieces[[0, -1]].ravel()] = True
    padding[pieces[:, [0, -1]].ravel()] = True
    padding &= np.bincount(pieces.ravel(order="K")) * np.prod(spacing_mm) / 1000 >= PADDING_ML
    padding[0] = False
    return ~padding[pieces]


def find_body(hu: NDArray[np.float32], spacing_mm: Spacing) -> tuple[Mask, float]:
    """Where the body surrounds a voxel (X, Y, Z), and the index of the spine along x.

    The body is the largest piece of what is not air after an erosion by 4 mm, which takes off the table's shell. It
    surrounds a voxel that sees it on at least three of four sides in the axial plane: one side may be beyond the
    field of view. Air between arm and trunk, and the foam in a table, see it on two at most.
    """
    body = cc3d.largest_k(erode(hu > AIR_HU, 4.0, spacing_mm), k=1, connectivity=6) > 0
    sides = np.zeros(hu.shape, np.uint8)
    for axis in (0, 1):
        sides += np.logical_or.accumulate(body, axis)
        sides += np.flip(np.logical_or.accumulate(np.flip(body, axis), axis), axis)
    return sides >= 3, _find_spine(hu, body, spacing_mm)


def _find_spine(hu: NDArray[np.float32], body: Mask, spacing_mm: Spacing) -> float:
    """Index along x of the 30 mm that hold the most bone in the back half of the body."""
    depth = np.cumsum(body.sum((0, 2)))
    middle = int(np.searchsorted(depth, depth[-1] / 2))
    bone = np.count_nonzero(hu[:, middle:] > BONE_HU, axis=(1, 2))
    width = max(1, round(30.0 / spacing_mm[0]))
    column = np.convolve(bone, np.ones(width), "same")
    return float(np.flatnonzero(column == column.max()).mean())


def find_thorax(
    hu: NDArray[np.float32], airways: Mask, in_view: Mask, body: tuple[Mask, float], spacing_mm: Spacing
) -> Thorax:
    """Tell right lung, left lung and other air apart.

    Args:
        hu: (X, Y, Z) HU on a grid of about 2.5 mm, axes along L, P and S.
        airways: (X, Y, Z), trachea and main bronchi: not lung.
        in_view: of `find_field_of_view`.
        body: of `find_body`.
        spacing_mm: of the grid.
    """
    enclosed, spine = body
    air = (hu < AIR_HU) & in_view & ~airways
    levels: list[Mask] = []
    for radius_mm in CORE_RADII_MM:
        levels.append(erode(air, radius_mm, spacing_mm))
        pieces = cc3d.connected_components(levels[-1], connectivity=6)
        cores = _Cores(pieces, hu, enclosed, spine, spacing_mm)
        if not cores.joint.any():
            break
    phantom = not cores.lung.any() and cores.take_rooms(erode(air, PHANTOM_RADIUS_MM, spacing_mm))
    labels = cores.labels()
    for level in (*levels[-2::-1], air):
        labels = _grow(labels, level)
    labels[(labels == 0) & ((hu < AIR_HU) | airways)] = OTHER_AIR
    _absorb_bullae(labels, in_view)
    return Thorax(labels, spine, not cores.joint.any(), phantom)


class _Cores:
    """Eroded pieces of air and what each is, indexed by the number of the piece (0 is no air)."""

    def __init__(
        self,
        pieces: NDArray[np.unsignedinteger],
        hu: NDArray[np.float32],
        enclosed: Mask,
        spine: float,
        spacing_mm: Spacing,
    ) -> None:
        self.pieces, self.spine = pieces, spine
        index = pieces.ravel(order="K")
        size = int(pieces.max()) + 1

        def count(mask: Mask) -> NDArray[np.int64]:
            return np.bincount(index[mask.ravel(order="K")], minlength=size)

        voxels = np.maximum(np.bincount(index, minlength=size), 1)
        self._count, voxel_ml = count, float(np.prod(spacing_mm)) / 1000
        tissue = (hu > PARENCHYMA_HU[0]) & (hu < PARENCHYMA_HU[1])
        compact = count(erode(tissue, CORE_RADII_MM[0], spacing_mm)) * voxel_ml >= COMPACT_TISSUE_ML
        right = count(np.broadcast_to(np.arange(hu.shape[0])[:, None, None] < spine, hu.shape)) / voxels
        self.ml, self.enclosed = voxels * voxel_ml, count(enclosed) / voxels > 0.5
        self.enclosed[0] = False
        # Stomach and bowel gas have a tenth of such voxels, from noise and at their edge; emphysema half.
        inside = self.enclosed & ((count(tissue) / voxels > 0.25) | compact)
        self.lung = inside & (self.ml >= CORE_ML)
        self.undecided = inside & (self.ml < CORE_ML)
        self.right = right >= 0.5
        # A lung may reach across the midline before or behind the heart, but not with a quarter of itself.
        self.astride = (right > 0.25) & (right < 0.75)

    @property
    def joint(self) -> NDArray[np.bool_]:
        """Lungs that hang together."""
        return self.lung & self.astride

    def take_rooms(self, deep: Mask) -> bool:
        """Take large rooms of air without tissue for lungs, if there is one on either side; whether they were.

        `deep` is the air that is far from any wall: bowel is narrower.
        """
        rooms = self.enclosed & (self.ml >= PHANTOM_LUNG_ML) & (self._count(deep) > 0)
        sides = self.astride[rooms].any() or len(np.unique(self.right[rooms])) == 2
        if sides:
            self.lung = rooms
        return bool(sides)

    def labels(self) -> NDArray[np.uint8]:
        """Right lung, left lung, other air; what is undecided is left to its neighbours. Joint cores are cut."""
        kind = np.full(len(self.lung), OTHER_AIR, np.uint8)
        kind[0] = 0
        kind[self.undecided] = 0
        kind[self.lung] = np.where(self.right[self.lung], RIGHT_LUNG, LEFT_LUNG)
        labels = kind[self.pieces]
        middle = round(self.spine)
        joint = self.joint[self.pieces]
        labels[:middle][joint[:middle]] = RIGHT_LUNG
        labels[middle:][joint[middle:]] = LEFT_LUNG
        return labels


def _grow(labels: NDArray[np.uint8], air: Mask) -> NDArray[np.uint8]:
    """Let each label take the air that hangs together with it, all at the same speed, one voxel per step."""
    lungs = (labels == RIGHT_LUNG) | (labels == LEFT_LUNG)
    if not lungs.any():
        return labels
    pieces = cc3d.connected_components(air, connectivity=6)
    reached = np.zeros(int(pieces.max()) + 1, bool)
    reached[np.unique(pieces[lungs])] = True
    reached[0] = False
    box = bounding_box(reached[pieces])
    grown, free = labels.copy(), reached[pieces[box]] & (labels[box] == 0)
    view = grown[box]
    while True:
        progress = False
        for value in (RIGHT_LUNG, LEFT_LUNG, OTHER_AIR):
            new = dilate(view == value, 1, (1, 1, 1)) & free
            if new.any():
                view[new] = value
                free &= ~new
                progress = True
        if not progress:
            return grown


def _absorb_bullae(labels: NDArray[np.uint8], in_view: Mask) -> None:
    """Turn other air in the field of view into lung, in place, where `BULLA_CONTACT` of its surface is on a lung."""
    lungs = (labels == RIGHT_LUNG) | (labels == LEFT_LUNG)
    if not lungs.any():
        return
    box = bounding_box(lungs, margin=1)
    inner = labels[box]
    pieces = cc3d.connected_components((inner == OTHER_AIR) & in_view[box], connectivity=6)
    size = int(pieces.max()) + 1
    faces = np.zeros((4, size), np.int64)
    for axis in range(3):
        ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        behind = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        for here, there in ((ahead, behind), (behind, ahead)):
            for value in (0, RIGHT_LUNG, LEFT_LUNG):
                beside = (pieces[here] > 0) & (inner[there] == value)
                faces[value] += np.bincount(pieces[here][beside], minlength=size)
    on_lung = faces[RIGHT_LUNG] + faces[LEFT_LUNG]
    bulla = on_lung > BULLA_CONTACT * np.maximum(faces.sum(0), 1)
    side = np.where(faces[RIGHT_LUNG] >= faces[LEFT_LUNG], RIGHT_LUNG, LEFT_LUNG).astype(np.uint8)
    inside = (pieces > 0) & bulla[pieces]
    inner[inside] = side[pieces[inside]]
