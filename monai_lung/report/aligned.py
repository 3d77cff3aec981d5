"""Trilinear sampling between grids whose axes run along each other: one axis after the other.

Most CTs lie straight in the patient, so that what a picture needs is a stretch along each axis. Three passes of two
reads each then take the place of eight reads for every voxel of the result (`scipy.ndimage.affine_transform`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRAIGHT = 1e-6
"""Of a voxel: how far the axes may run apart over the whole result."""


def along(to_voxel: NDArray[np.float64], shape: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """Which axis of the sampled grid runs along each axis of the result; None where they aren't aligned.

    Args:
        to_voxel: (4, 4), index of the result to index of the sampled grid.
        shape: of the result.
    """
    reach = np.abs(to_voxel[:3, :3]) * shape
    axes = reach.argmax(0)
    rest = reach.copy()
    rest[axes, range(3)] = 0
    if sorted(axes) != [0, 1, 2] or rest.max() > _STRAIGHT:
        return None
    return int(axes[0]), int(axes[1]), int(axes[2])


def stretch(
    values: NDArray[Any],
    to_voxel: NDArray[np.float64],
    shape: tuple[int, int, int],
    axes: tuple[int, int, int],
    *,
    outside: float,
) -> NDArray[np.float32]:
    """What `scipy.ndimage.affine_transform` of order 1 and mode "constant" gives, to float32's precision.

    Args:
        values: (X, Y, Z).
        to_voxel: (4, 4), index of the result to index of `values`.
        shape: of the result.
        axes: as `along` gives them.
        outside: value of what lies beyond `values`.
    """
    positions = [to_voxel[axis, n] * np.arange(shape[n]) + to_voxel[axis, 3] for n, axis in enumerate(axes)]
    reads = [_Reads.of(p, values.shape[axis]) for p, axis in zip(positions, axes, strict=True)]
    turned = values.transpose(axes)[tuple(read.span for read in reads)]
    flip = abs(turned.strides[0]) < abs(turned.strides[2])  # CTs are stored with x fastest: plane by plane along z
    result = _by_planes(turned.T, reads[::-1]).T if flip else _by_planes(turned, reads)
    for n, (p, axis) in enumerate(zip(positions, axes, strict=True)):
        beyond = (p < 0) | (p > values.shape[axis] - 1)
        if beyond.any():
            result[(slice(None),) * n + (beyond,)] = outside
    return result


@dataclass(frozen=True)
class _Reads:
    """Where each voxel of the result reads along one axis: two neighbours in `span`, and the second one's weight."""

    span: slice
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, positions: NDArray[np.float64], length: int) -> _Reads:
        """For fractional positions on an axis of `length` voxels; of those beyond it the values are no use."""
        low = np.clip(np.floor(positions), 0, max(length - 2, 0)).astype(np.intp)
        high = np.minimum(low + 1, length - 1)
        span = slice(int(low.min()), int(high.max()) + 1)
        return cls(span, low - span.start, high - span.start, (positions - low).astype(np.float32))


def _by_planes(values: NDArray[Any], reads: list[_Reads]) -> NDArray[np.float32]:
    """All three axes, the last two in a plane at a time: what is worked on stays in the processor's cache."""
    through, down, across = reads
    planes = np.empty((len(values), len(down.low), len(across.low)), np.float32)
    for plane, target in zip(values, planes, strict=True):
        rows = _mixed(plane[down.low], plane[down.high], down.weight[:, None])
        target[:] = _mixed(rows.take(across.low, 1), rows.take(across.high, 1), across.weight)
    result = np.empty((len(through.low), *planes.shape[1:]), np.float32)
    for n, (low, high, weight) in enumerate(zip(through.low, through.high, through.weight, strict=True)):
        result[n] = _mixed(planes[low], planes[high], weight)
    return result


def _mixed(low: NDArray[Any], high: NDArray[Any], weight: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    mixed: NDArray[np.float32] = np.subtract(high, low, dtype=np.float32)
    mixed *= weight
    mixed += low
    return mixed
