"""From contours to masks: which voxels each reader took for the nodule, and what the readers agree on.

The pixels of an outline lie outside the nodule (LIDC's XML documentation), so a slice of a mask is the filled polygon
without its outline; an exclusion takes its own outline with it. The outline is the line through its pixels, since some
readers' pixels are further apart than neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.draw import line, polygon

from monai_lung.errors import UsageError
from monai_lung.lidc.index import Annotation, Contour
from monai_lung.model import Index

READERS_AT_MOST = 8


@dataclass(frozen=True, eq=False)
class ReaderMasks:
    """The masks of a nodule's readers on a box of the scan's grid.

    Attributes:
        bits: uint8 (X, Y, Z), axes column, row, slice; bit k is reader k's mask.
        offset: column, row and slice of the box's first voxel in the scan.
        n_readers: marks of the nodule, 1 to 8.
    """

    bits: NDArray[np.uint8]
    offset: Index
    n_readers: int

    def reader(self, k: int) -> NDArray[np.bool_]:
        """Mask (X, Y, Z) of reader k."""
        return (self.bits >> k & 1).astype(bool)

    def votes(self) -> NDArray[np.uint8]:
        """How many readers marked each voxel, (X, Y, Z)."""
        return count_votes(self.bits)

    def consensus(self, *, at_least: int | None = None, share: float | None = None) -> NDArray[np.bool_]:
        """Voxels that so many readers marked, (X, Y, Z); one of the two is given.

        Args:
            at_least: number of readers (Yu 2021: 3).
            share: share of the readers in 0 ... 1 (0.5 is half of them or more).

        Raises:
            UsageError: both or none given, or outside 1 ... 8 or 0 ... 1.
        """
        if (at_least is None) == (share is None):
            raise UsageError("consensus takes either at_least or share: give one of them")
        needed = at_least if at_least is not None else share * self.n_readers if share is not None else 0
        if not 0 < needed <= (READERS_AT_MOST if share is None else self.n_readers):
            raise UsageError(f"a consensus of {needed} readers is not possible: at_least is 1 to 8, share above 0 to 1")
        return self.votes() >= needed

    def on(self, start: Index, shape: Index) -> ReaderMasks:
        """The same masks on another box: `shape` voxels from `start` of the scan; what lies outside it is cut off."""
        bits = np.zeros(shape, np.uint8)
        into, out_of = [], []
        for own, n, begin, size in zip(self.offset, self.bits.shape, start, shape, strict=True):
            low, high = max(own, begin), min(own + n, begin + size)
            into.append(slice(max(low - begin, 0), max(high - begin, 0)))
            out_of.append(slice(max(low - own, 0), max(high - own, 0)))
        bits[tuple(into)] = self.bits[tuple(out_of)]
        return ReaderMasks(bits, start, self.n_readers)


def draw_masks(annotations: Sequence[Annotation], slice_of: Callable[[float], int]) -> ReaderMasks:
    """Draw the readers' masks of one nodule on the box that their outlines span.

    Args:
        annotations: one for each reader; their order decides the bits.
        slice_of: slice index of a z position in mm.

    Raises:
        UsageError: no annotation, or more than eight.
    """
    if not 1 <= len(annotations) <= READERS_AT_MOST:
        raise UsageError(f"masks of {len(annotations)} readers can't be drawn: give 1 to {READERS_AT_MOST} annotations")
    slices = [[slice_of(contour.z_mm) for contour in annotation.contours] for annotation in annotations]
    points = np.concatenate([contour.points for annotation in annotations for contour in annotation.contours])
    flat = [k for of_reader in slices for k in of_reader]
    low = np.array([*points.min(0), min(flat)])
    bits = np.zeros(np.array([*points.max(0), max(flat)]) - low + 1, np.uint8)
    for reader, (annotation, indices) in enumerate(zip(annotations, slices, strict=True)):
        mask = np.zeros(bits.shape, bool)
        pairs = zip(annotation.contours, indices, strict=True)
        for contour, k in sorted(pairs, key=lambda pair: not pair[0].inclusion):
            inside, outline = _fill(contour, low[:2], mask.shape[:2])
            if contour.inclusion:
                mask[..., k - low[2]] |= inside & ~outline
            else:
                mask[..., k - low[2]] &= ~(inside | outline)
        bits |= mask.astype(np.uint8) << np.uint8(reader)
    column, row, k = low.tolist()
    return ReaderMasks(bits, (column, row, k), len(annotations))


def count_votes(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Number of bits set in each voxel: how many readers marked it; any shape."""
    return np.unpackbits(bits[..., None], axis=-1).sum(-1, dtype=np.uint8)


def sphere_diameter_mm(volume_mm3: float) -> float:
    """Diameter of the sphere of a volume."""
    return float((6 * volume_mm3 / math.pi) ** (1 / 3))


def _fill(
    contour: Contour, low: NDArray[np.int_], shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The polygon's inside and its outline, both (columns, rows) of the box that starts at `low`."""
    points = contour.points - low
    inside, outline = np.zeros(shape, bool), np.zeros(shape, bool)
    inside[polygon(points[:, 0], points[:, 1], shape)] = True
    outline[tuple(points.T)] = True
    following = np.roll(points, -1, axis=0)
    for i in np.flatnonzero(np.abs(following - points).max(1) > 1):
        outline[line(*points[i], *following[i])] = True
    return inside, outline
