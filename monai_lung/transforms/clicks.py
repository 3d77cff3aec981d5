"""Clicks as the correcting network is shown them: one channel for all of a kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def click_map(
    points: NDArray[np.float64] | Sequence[Sequence[float]],
    shape: Sequence[int],
    spacing_mm: NDArray[np.float64] | Sequence[float],
    click_mm: float,
) -> NDArray[np.float32]:
    """Balls that fade by exp(-d^2 / (2 click_mm^2)); where several meet, the nearest counts.

    Args:
        points: fractional indices (n, 3), which may lie outside.
        shape: of the result, voxels along each axis.
        spacing_mm: of neighbouring voxels.
        click_mm: where a ball has faded to 0.61.

    Returns:
        (X, Y, Z), 1 at a click, 0 everywhere without any.

    >>> click_map([[2, 0, 0]], (5, 1, 1), (1, 1, 1), 1.0)[:, 0, 0].astype(float).round(2).tolist()
    [0.14, 0.61, 1.0, 0.61, 0.14]
    """
    result = np.zeros(tuple(shape), np.float32)
    for point in np.reshape(np.asarray(points, float), (-1, 3)):
        x, y, z = (
            np.exp(-(((np.arange(n) - p) * s / click_mm) ** 2) / 2)
            for n, p, s in zip(shape, point, spacing_mm, strict=True)
        )
        np.maximum(result, x[:, None, None] * y[None, :, None] * z, out=result, casting="same_kind")
    return result
