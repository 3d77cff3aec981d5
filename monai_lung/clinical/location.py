"""Where in the lungs a nodule lies: side, third, and distance to the pleura, as far as a lung mask can say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.clinical.axes import axial_axis
from monai_lung.clinical.surroundings import box_around, filled_lung, mask_in
from monai_lung.errors import MaskError
from monai_lung.model import CT, LEFT_LUNG, RIGHT_LUNG, Lungs, Outline, Point, Side, Third

SAMPLES = 128
"""Voxels along each axis that suffice to find the nearest lung and a lung's height."""

PLEURA_SEARCH_MM = (20.0, 60.0, 400.0)
"""Margins around the nodule that are searched one after the other for the lung's border."""


def check_lungs(lungs: Lungs, ct: CT) -> None:
    """Refuse a lung mask that doesn't fit the CT.

    Raises:
        MaskError: another shape than the CT, or no voxel of a lung.
    """
    if lungs.labels.shape != ct.hu.shape:
        raise MaskError(
            f"{ct.name}: the lung mask has {lungs.labels.shape} voxels, the CT {ct.hu.shape}: both must be on one grid"
        )
    if not lungs.labels.any():
        raise MaskError(f"{ct.name}: the lung mask is empty: no side or distance can be measured")


def side(outline: Outline, ct: CT, lungs: Lungs) -> Side:
    """The lung that holds most of the nodule; for a nodule outside both, the nearest lung."""
    labels = lungs.labels[outline.box][outline.mask]
    right, left = np.count_nonzero(labels == RIGHT_LUNG), np.count_nonzero(labels == LEFT_LUNG)
    if right or left:
        return "right" if right >= left else "left"
    sampled, step = _sampled(lungs.labels)
    index = np.argwhere(sampled) * step
    points = ct.to_world(index.astype(np.float64))
    center = ct.to_world(np.argwhere(outline.mask).mean(axis=0) + outline.offset)
    nearest = int(np.argmin(np.linalg.norm(points - center, axis=1)))
    return "right" if lungs.labels[tuple(index[nearest])] == RIGHT_LUNG else "left"


def third(height: float) -> Third:
    """Upper, middle or lower third of the height of a lung, along the patient's foot-head axis.

    Thirds of height, not lobes: a lung mask knows no fissures.

    Args:
        height: between the lung's base (0) and its top (1).
    """
    return "upper" if height > 2 / 3 else "middle" if height > 1 / 3 else "lower"


def shows_top(side: Side, ct: CT, lungs: Lungs) -> bool:
    """Whether the scan holds the top of the lung on that side: False where the scan's last slice cuts it."""
    across = axial_axis(ct.affine_lps)
    upwards = ct.affine_lps[2, across] > 0
    label = RIGHT_LUNG if side == "right" else LEFT_LUNG
    last = np.moveaxis(lungs.labels, across, 0)[-1 if upwards else 0]  # a view: np.take copies the whole volume
    return not (last == label).any() and bool((lungs.labels == label).any())


def base_and_top(side: Side, ct: CT, lungs: Lungs) -> tuple[float, float]:
    """Heights of the lowest and the highest voxel of a lung, LPS mm."""
    label = RIGHT_LUNG if side == "right" else LEFT_LUNG
    sampled, step = _sampled(lungs.labels)
    index = np.argwhere(sampled == label) * step
    if not len(index):  # one lung only, and the nodule on the other side of nothing
        index = np.argwhere(sampled) * step
    heights = index @ ct.affine_lps[2, :3] + ct.affine_lps[2, 3]
    return float(heights.min()), float(heights.max())


def pleura_distance(outline: Outline, ct: CT, lungs: Lungs) -> float:
    """Distance in mm from the nodule's surface to the lung's, 0 where they touch.

    The lung's surface is the border of its mask once the holes within the slices (vessels, the nodule itself) are
    filled: chest wall, diaphragm and mediastinum alike, for a mask doesn't tell them apart. Near the hilum the large
    vessels are such a border too, so that there the figure is a lower bound.
    """
    for margin_mm in PLEURA_SEARCH_MM:
        box = box_around(outline, ct, margin_mm)
        nodule = mask_in(outline, box)
        outside = ~filled_lung(lungs.labels[box] > 0, axial_axis(ct.affine_lps))
        if (outside & nodule).any():
            return 0.0
        if not outside.any():
            continue
        gap = _gap(nodule, outside, ct.spacing_mm)
        if gap <= margin_mm:
            return gap
    return gap if outside.any() else PLEURA_SEARCH_MM[-1]


def _sampled(labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    step = np.maximum(1, np.array(labels.shape) // SAMPLES)
    sampled = labels[:: step[0], :: step[1], :: step[2]]
    return (sampled, step) if sampled.any() else (labels, np.ones(3, np.int64))


def _gap(nodule: NDArray[np.bool_], outside: NDArray[np.bool_], spacing_mm: Point) -> float:
    """Distance in mm between the surfaces of two sets of voxels: of their centres, less what the voxels take up."""
    distance, nearest = ndimage.distance_transform_edt(~outside, sampling=spacing_mm, return_indices=True)
    here = np.argwhere(nodule)[int(np.argmin(distance[nodule]))]
    vector = (nearest[(slice(None), *here)] - here) * np.array(spacing_mm)
    length = float(np.linalg.norm(vector))
    reach = np.array(spacing_mm) / np.maximum(np.abs(vector) / length, 1e-9)  # voxel's extent along the vector
    return max(0.0, length - float(reach.min()))
