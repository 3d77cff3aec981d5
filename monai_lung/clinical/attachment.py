"""The structures that a nodule touches (pleura, diaphragm, hilum, vessel), by its surroundings, and its shape there.

Everything here is measured on the lung mask and the HU, so it is a hint: a mask doesn't tell the chest wall from what
sits on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from monai_lung.clinical.axes import axial_axis
from monai_lung.clinical.surroundings import box_around, filled_lung, mask_in
from monai_lung.model import CT, LEFT_LUNG, RIGHT_LUNG, Attachment, Lungs, Outline, Side

MARGIN_MM = 12.0
DOWNWARDS = 0.75
"""Cosine between the way to what is touched and the patient's feet: more is the diaphragm."""
INWARDS = 0.6
"""The same with the way to the other lung: more is the mediastinum, or the hilum."""
HILAR_HEIGHT = (0.25, 0.8)
"""Where the hilum and the mediastinum lie, as a share of the lung's height from its base."""

VESSEL_HU = -400.0
VESSEL_REACH_MM = 5.0
VESSEL_GAP_MM = 1.5
"""The nodule's own blurred rim is left out; beyond, a vessel goes on for at least the reach."""
VESSEL_SHARE = 0.25
"""A vessel holds at most so much of the shell around the nodule: more is consolidation, or the wall."""

SMOOTH = 0.9
"""Area of the largest slice over that of its convex hull; less is lobulated or spiculated."""
FLAT = 1.3
"""Long over short axis; anything rounder is not a lens, an oval or a triangle."""
LYMPH_NODE_MM = 10.0


@dataclass(frozen=True)
class _Neighbourhood:
    """A nodule's surroundings: masks on one box of the CT."""

    nodule: NDArray[np.bool_]
    lung: NDArray[np.bool_]
    """Filled within the slices."""
    hu: NDArray[np.int16]
    contact: NDArray[np.bool_]
    """Voxels outside the lung beside the nodule, and of the nodule outside the lung."""


def attachments(outline: Outline, ct: CT, lungs: Lungs, side: Side, height: float) -> tuple[Attachment, ...]:
    """The structures that a nodule touches.

    Args:
        outline: the nodule.
        ct: the CT.
        lungs: its lungs.
        side: the lung it lies in.
        height: its place between the base (0) and the top (1) of that lung.
    """
    around = _neighbourhood(outline, ct, lungs)
    found: list[Attachment] = []
    if around.contact.any():
        found.append(_wall(around, outline, ct, lungs, side, height))
    if _on_vessel(around, ct):
        found.append("vessel")
    return tuple(found)


def has_lymph_node_shape(outline: Outline, ct: CT, touches: bool, long_mm: float, short_mm: float) -> bool:
    """Whether a solid nodule at the pleura is shaped as an intrapulmonary lymph node: below 10 mm, smooth, not round.

    Fleischner 2017 and Lung-RADS v2022 name the shapes (oval, lentiform, triangular; smooth); the numbers are ours.
    """
    if not touches or (long_mm + short_mm) / 2 >= LYMPH_NODE_MM or long_mm < FLAT * short_mm:
        return False
    across = axial_axis(ct.affine_lps)
    slices = np.moveaxis(outline.mask, across, 0)
    points = np.argwhere(slices[int(slices.sum(axis=(1, 2)).argmax())])
    corners = (points[:, None] + np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])).reshape(-1, 2)
    try:
        return bool(len(points) / ConvexHull(corners).volume >= SMOOTH)
    except (QhullError, ValueError):
        return False


def _neighbourhood(outline: Outline, ct: CT, lungs: Lungs) -> _Neighbourhood:
    box = box_around(outline, ct, MARGIN_MM)
    nodule = mask_in(outline, box)
    lung = filled_lung(lungs.labels[box] > 0, axial_axis(ct.affine_lps))
    beside = ndimage.binary_dilation(nodule, ndimage.generate_binary_structure(3, 1))
    return _Neighbourhood(nodule, lung, ct.hu[box], beside & ~lung)


def _wall(around: _Neighbourhood, outline: Outline, ct: CT, lungs: Lungs, side: Side, height: float) -> Attachment:
    """Which wall of the lung: by the way from the nodule to where it touches."""
    middle = np.argwhere(around.nodule).mean(0)
    way = (np.argwhere(around.contact).mean(0) - middle) @ ct.affine_lps[:3, :3].T
    length = float(np.linalg.norm(way))
    if length < 1e-6:
        return "pleura"
    way = way / length
    if -way[2] >= DOWNWARDS:
        return "diaphragm"
    inwards = 1.0 if side == "right" else -1.0  # LPS: x grows to the left
    between = HILAR_HEIGHT[0] <= height <= HILAR_HEIGHT[1] and _between_the_lungs(outline, ct, lungs, side)
    return "hilum" if inwards * way[0] >= INWARDS and between else "pleura"


def _between_the_lungs(outline: Outline, ct: CT, lungs: Lungs, side: Side) -> bool:
    """Whether the other lung lies straight across, so that the mediastinum is between, and not the spine behind it."""
    across = axial_axis(ct.affine_lps)
    middle = np.rint(np.argwhere(outline.mask).mean(0) + outline.offset).astype(int)
    plane = np.moveaxis(lungs.labels, across, 0)[middle[across]]
    other = np.argwhere(plane == (LEFT_LUNG if side == "right" else RIGHT_LUNG))
    if not len(other):
        return False
    index = np.insert(other.astype(float), across, middle[across], axis=1)
    depth = ct.to_world(index)[:, 1]
    low, high = np.percentile(depth, (20, 70))
    return bool(low <= ct.to_world(middle.astype(float))[1] <= high)


def _on_vessel(around: _Neighbourhood, ct: CT) -> bool:
    """Whether something dense inside the lung leaves the nodule and goes on."""
    distance = ndimage.distance_transform_edt(~around.nodule, sampling=ct.spacing_mm)
    shell = around.lung & (distance > VESSEL_GAP_MM) & (distance <= VESSEL_REACH_MM + VESSEL_GAP_MM)
    dense = shell & (around.hu > VESSEL_HU)
    if not dense.any() or dense.sum() > VESSEL_SHARE * shell.sum():
        return False
    labels, count = ndimage.label(dense, np.ones((3, 3, 3)))
    nearest = ndimage.minimum(distance, labels, range(1, count + 1))
    farthest = ndimage.maximum(distance, labels, range(1, count + 1))
    step = max(ct.spacing_mm)
    starts = np.asarray(nearest) <= VESSEL_GAP_MM + step
    return bool((starts & (np.asarray(farthest) >= VESSEL_REACH_MM)).any())
