"""Calcium, fat and bone in a nodule, by HU and place: which patterns are benign.

Sources of the limits: 200 HU and more is calcium in a nodule (the usual limit on CT); benign calcium fills more than a
tenth of the nodule and is diffuse, central, laminated or popcorn-like, and no other pattern is a sign of benignity
(Khan et al., Ann Thorac Med 2010;5:67; Lung-RADS v2022 and BTS 2015 list the same); fat lies between -120 and -40 HU,
in at least eight voxels (Siegelman et al., Radiology 1986;160:313). How "central" or "laminated" is put into numbers is
ours; `docs/explanation/clinical.md` has the agreement with LIDC-IDRI's readers. Contrast medium, sharp kernels and
metal raise HU: a pattern is a hint that a reader confirms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.clinical.axes import axial_axis
from monai_lung.clinical.surroundings import box_around, mask_in
from monai_lung.clinical.texture import core
from monai_lung.model import CT, BenignPattern, Lungs, Outline

CALCIUM_HU = 200.0
FAT_HU = (-120.0, -40.0)
LEAST_SHARE = 0.1
"""Of the nodule; less calcium says nothing."""

DIFFUSE_SHARE = 0.5
"""Of the core. Its edge is blurred in thick slices and small nodules, so that complete calcification reads as less."""

FAT_VOXELS, FAT_SHARE = 8, 0.03
"""The least fat in one piece: voxels, and their share of the core; noise makes smaller ones."""
FAT_AROUND, FAT_OPEN_SHARE = 3, 0.0
"""Pixels around a pocket of fat, and the share of them that may be less dense than fat."""
FAT_THROUGHOUT = 0.7
"""Of the core without its own rim: such a nodule is fat all through."""

OFF_CENTER = 0.35
"""Calcium whose centre of mass lies farther from the nodule's, as a share of its radius, is eccentric."""

INNER, OUTER = 0.4, 0.9
"""Depth as a share of the deepest voxel's: what lies deeper than `1 - INNER` is the centre, the shell is around it."""

PATTERNED_MM = 8.0
"""Smaller nodules show no rings, no popcorn, and no fat that could be told from their blurred edge."""

BONE_HU = 400.0
"""95th percentile of bone with its cortex; vessels with contrast medium stay below."""

BONE_AROUND_MM = 10.0
BONE_TIMES = 1.0
"""Bone reaches beyond the outline by at least so many times its own volume."""


@dataclass(frozen=True)
class Composition:
    """The composition of a nodule: shares of its volume, the benign pattern if there is one, and whether it is bone."""

    calcified_share: float
    fat_share: float
    benign_pattern: BenignPattern | None
    bone: bool


def composition(outline: Outline, ct: CT, lungs: Lungs) -> Composition:
    """Calcium, fat and bone of an outlined nodule."""
    hu, mask = ct.hu[outline.box], outline.mask
    across = axial_axis(ct.affine_lps)
    inner = core(mask, across)
    calcium = mask & (_without_noise(hu, across) >= CALCIUM_HU)
    share = float(calcium.sum() / mask.sum())
    fat = _fat(hu, inner, across)
    patterned = 2 * _radius_mm(mask, ct) >= PATTERNED_MM
    bone = share >= LEAST_SHARE and _is_bone(outline, ct, lungs)
    pattern: BenignPattern | None = None
    if not bone:
        pattern = _calcium_pattern(calcium, mask, inner, ct) or ("fat" if fat.any() and patterned else None)
    return Composition(share, float(fat.sum() / inner.sum()), pattern, bone)


def _calcium_pattern(
    calcium: NDArray[np.bool_], mask: NDArray[np.bool_], inner: NDArray[np.bool_], ct: CT
) -> BenignPattern | None:
    """The benign pattern of calcified voxels; None where there is too little, or it lies at one side."""
    through = calcium[inner].mean() >= DIFFUSE_SHARE
    if not through and calcium.sum() < LEAST_SHARE * mask.sum():
        return None
    spacing = np.array(ct.spacing_mm)
    radius_mm = _radius_mm(mask, ct)
    apart = (np.argwhere(calcium).mean(0) - np.argwhere(mask).mean(0)) * spacing
    if not through and float(np.linalg.norm(apart)) > OFF_CENTER * radius_mm:
        return None
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    place = 1 - depth / depth.max()
    center, shell = mask & (place <= INNER), mask & (place > INNER) & (place <= OUTER)
    in_center, in_shell = float(calcium[center].mean()), float(calcium[shell].mean()) if shell.any() else 0.0
    if 2 * radius_mm >= PATTERNED_MM and in_shell >= 2 * in_center and in_shell >= DIFFUSE_SHARE:
        return "laminated"
    if through:
        return "diffuse"
    if 2 * radius_mm >= PATTERNED_MM:
        labels, count = ndimage.label(calcium, np.ones((3, 3, 3)))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        if (sizes >= max(2.0, 0.1 * calcium.sum())).sum() >= 3:
            return "popcorn"
    return "central" if in_center > in_shell else None


def _radius_mm(mask: NDArray[np.bool_], ct: CT) -> float:
    """Of the sphere of the same volume."""
    return float(np.cbrt(0.75 / np.pi * mask.sum() * ct.voxel_mm3))


def _without_noise(hu: NDArray[np.int16], across: int) -> NDArray[np.float32]:
    """HU with the median of its neighbours within the slice: single bright or dark voxels are noise."""
    size = [3, 3, 3]
    size[across] = 1
    return np.asarray(ndimage.median_filter(hu.astype(np.float32), size))


def _fat(hu: NDArray[np.int16], inner: NDArray[np.bool_], across: int) -> NDArray[np.bool_]:
    """The largest piece of fat in the core: all of it, or a pocket that denser tissue surrounds.

    Between soft tissue and lung every HU occurs, and a part-solid nodule has broad places of such values: they have
    something less dense beside them, which a pocket of fat hasn't.
    """
    nothing = np.zeros_like(inner)
    smooth = _without_noise(hu, across)
    inside = ndimage.binary_erosion(inner, _cross(across))
    labels, count = ndimage.label(inside & (smooth >= FAT_HU[0]) & (smooth <= FAT_HU[1]))
    if not count:
        return nothing
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    piece = np.asarray(labels == int(sizes.argmax()))
    if piece.sum() < max(FAT_VOXELS, FAT_SHARE * inside.sum()):
        return nothing
    around = ndimage.binary_dilation(piece, _cross(across), iterations=FAT_AROUND) & ~piece
    enclosed = (smooth[around] < FAT_HU[0]).mean() <= FAT_OPEN_SHARE
    throughout = piece.sum() >= FAT_THROUGHOUT * inside.sum()
    return piece if enclosed or throughout else nothing


def _cross(across: int) -> NDArray[np.bool_]:
    return np.take(ndimage.generate_binary_structure(3, 1), [1], axis=across)


def _is_bone(outline: Outline, ct: CT, lungs: Lungs) -> bool:
    """Whether the outline's dense part goes on, as bone, into what lies outside the lungs."""
    box = box_around(outline, ct, BONE_AROUND_MM)
    own = mask_in(outline, box)
    hu = ct.hu[box]
    labels, _ = ndimage.label(hu >= CALCIUM_HU)
    touched = np.bincount(labels[own & (labels > 0)].ravel())
    if not touched.size:
        return False
    dense = labels == int(touched.argmax())
    beyond = dense & ~own & (lungs.labels[box] == 0)
    large = beyond.sum() >= BONE_TIMES * (dense & own).sum()
    return bool(large and np.percentile(hu[dense], 95) >= BONE_HU)
