"""Which share of each voxel belongs to a nodule: the sub-voxel outline that every size is taken from.

A mask counts a voxel as whole or not at all, which misses a 6 mm sphere in 5 mm slices by up to a third. Two sources
say more about the voxels at the surface:

* an outline whose probability is graded is a network's. It says which tissue is nodule; where its edge lies, the HU say
  wherever lung is beside it (`partial_volume`). Beside other tissue, and where nodule and lung hardly differ, the
  probability does: its logit falls off across the surface, so that the logit over its change from voxel to voxel is the
  distance of the surface from the voxel's centre, to first order. That holds for a probability that is a partial volume
  and for one that is a smooth function of the distance, of whatever width;
* a mask and no more is what somebody drew: it says itself where the surface lies, at some level of HU; the HU only say
  how the voxels next to the surface share it. There a voxel of the mask keeps at least half of itself, and a voxel
  outside gets at most half.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.clinical.partial_volume import MIN_CONTRAST_HU, share_at_edge
from monai_lung.errors import MaskError
from monai_lung.model import CT, Index, Outline

MARGIN = 4
"""Voxels added on each side of an outline's box: room for the surface and for the lung around."""

LOGIT_LIMIT = float(np.log(0.998 / 0.002))
"""Probabilities beyond this say no more of the distance to the surface."""

GRADED_SHARE = 0.1
"""A probability is graded if this share of the surface's voxels is neither 0 nor 1 (within 0.02)."""

_FACES = ndimage.generate_binary_structure(3, 1)
_CORNERS = ndimage.generate_binary_structure(3, 3)


def occupancy(outline: Outline, ct: CT) -> tuple[NDArray[np.float64], Index]:
    """Share of each voxel that the nodule fills.

    Args:
        outline: mask and probability on a box of the CT's grid.
        ct: the CT.

    Returns:
        share (x, y, z) in 0...1, zero beyond the CT and more than a voxel away from the mask; >= 0.5 exactly where the
        mask is, if the probability is as crisp as the mask. And the index (i, j, k) of its first voxel, which is
        `MARGIN` less than the outline's along each axis and may be negative.

    Raises:
        MaskError: the mask is empty, or the box doesn't lie within the CT.
    """
    _check(outline, ct)
    mask = np.pad(outline.mask, MARGIN)
    probability = np.pad(outline.probability.astype(np.float64), MARGIN)
    offset = (outline.offset[0] - MARGIN, outline.offset[1] - MARGIN, outline.offset[2] - MARGIN)
    hu, known = _patch(ct, offset, mask.shape)
    if _is_graded(mask, probability):
        by_hu = share_at_edge(mask, hu, known, ct.spacing_mm)
        share = np.where(np.isnan(by_hu), _from_probability(mask, probability), by_hu)
    else:
        share = _from_hu(mask, hu, known)
    return _within(share, offset, ct.hu.shape), offset


def _check(outline: Outline, ct: CT) -> None:
    if not outline.mask.any():
        raise MaskError("an outline without a voxel can't be measured: drop it")
    if outline.probability.shape != outline.mask.shape:
        raise MaskError(
            f"probability {outline.probability.shape} and mask {outline.mask.shape} of an outline differ in shape"
        )
    for start, size, limit in zip(outline.offset, outline.mask.shape, ct.hu.shape, strict=True):
        if start < 0 or start + size > limit:
            raise MaskError(
                f"the outline's box at {outline.offset} of {outline.mask.shape} voxels reaches beyond the CT of "
                f"{ct.hu.shape}: was it made on another grid?"
            )


def _is_graded(mask: NDArray[np.bool_], probability: NDArray[np.float64]) -> bool:
    surface = ndimage.binary_dilation(mask, _FACES) & ndimage.binary_dilation(~mask, _FACES)
    values = probability[surface]
    return bool(np.mean((values > 0.02) & (values < 0.98)) >= GRADED_SHARE)


def _from_probability(mask: NDArray[np.bool_], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """First-order distance to the surface, by the logit and its steepest change from voxel to voxel."""
    limit = LOGIT_LIMIT
    low = 1 / (1 + np.exp(limit))
    clipped = np.clip(probability, low, 1 - low)
    logit = np.log(clipped / (1 - clipped))
    change = np.max(np.abs(np.gradient(logit)), axis=0)
    share = 0.5 + logit / np.maximum(change, 1e-3)
    near = ndimage.binary_dilation(mask, _CORNERS)
    inner = mask & ndimage.binary_dilation(~mask, _CORNERS)
    return _limited(mask, share, inner, near & ~mask)


def _from_hu(mask: NDArray[np.bool_], hu: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mixture of nodule and lung in the voxels on both sides of the mask's surface; the mask itself where unsound."""
    near = ndimage.binary_dilation(mask, _FACES)
    inner = mask & ndimage.binary_dilation(~mask, _FACES)
    core = mask & ~inner
    nodule_hu = float(np.median(hu[core]) if core.any() else np.percentile(hu[mask], 90))
    around = ndimage.binary_dilation(mask, _CORNERS, iterations=3) & ~ndimage.binary_dilation(near, _FACES) & known
    if not around.any():
        return mask.astype(np.float64)
    # Lung is the darker part of what is around: the rest may be a vessel or the chest wall.
    half_way = (float(np.percentile(hu[around], 10)) + nodule_hu) / 2
    lung = around & (hu < half_way)
    if not lung.any() or nodule_hu - float(np.median(hu[lung])) < MIN_CONTRAST_HU:
        return mask.astype(np.float64)
    lung_hu = float(np.median(hu[lung]))
    mixture = (hu - lung_hu) / (nodule_hu - lung_hu)
    # What is dense outside the mask is other tissue; beside it no voxel is a mixture of nodule and lung.
    other = ndimage.binary_dilation(~near & (hu > half_way) & known, _FACES)
    inner, outer = inner & ~other, near & ~mask & ~other & known
    level = _level(mixture[inner], mixture[outer])
    if level is None:
        return mask.astype(np.float64)
    # Without a voxel that is all nodule its HU isn't known, and the level alone sets the scale.
    full = max(1.0, level + 0.05) if core.any() else 2 * level
    share = np.interp(mixture, [0, level, full], [0, 0.5, 1])
    return _limited(mask, share, inner, outer)


def _level(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float | None:
    """The level that as many of the surface's voxels exceed as lie within the mask; None where there is no such."""
    if not inside.size or not outside.size:
        return None
    values = np.sort(np.concatenate([inside, outside]))[::-1]
    level = float(values[inside.size - 1 : inside.size + 1].mean())
    return level if 0.1 < level < 0.95 else None


def _limited(
    mask: NDArray[np.bool_], share: NDArray[np.float64], inner: NDArray[np.bool_], outer: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The mask, with `share` where it's allowed to speak."""
    result = mask.astype(np.float64)
    result[inner] = np.clip(share[inner], 0.5, 1)
    # Just under a half: whoever asks for >= 0.5 finds the mask.
    result[outer] = np.clip(share[outer], 0, 0.499)
    return result


def _patch(ct: CT, offset: Index, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """HU of a box that may reach beyond the CT (nearest voxel there), and where it is within the CT."""
    grids = [np.arange(o, o + n) for o, n in zip(offset, shape, strict=True)]
    inside = [(g >= 0) & (g < limit) for g, limit in zip(grids, ct.hu.shape, strict=True)]
    index = np.ix_(*(np.clip(g, 0, limit - 1) for g, limit in zip(grids, ct.hu.shape, strict=True)))
    known = inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]
    return ct.hu[index].astype(np.float64), known


def _within(share: NDArray[np.float64], offset: Index, limits: tuple[int, ...]) -> NDArray[np.float64]:
    """`share` with zeros beyond the CT."""
    result = np.zeros_like(share)
    box = tuple(
        slice(max(0, -o), max(0, min(n, limit - o))) for o, n, limit in zip(offset, share.shape, limits, strict=True)
    )
    result[box] = share[box]
    return result
