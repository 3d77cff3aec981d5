"""Finding nodules without learning: bright blobs in the lungs, the baseline of the finding network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.inference.find import find_image
from monai_lung.inference.networks import FindSettings
from monai_lung.model import CT, Lungs

GRID_MM = (1.5, 1.5, 1.5)
DIAMETERS_MM = (5.0, 9.0, 16.0, 28.0)
"""Of the blobs looked for, a factor of 1.8 apart; below a scale of about a voxel, noise comes first."""
MOST = 300
"""Blobs of a scan that are kept, the best ones."""
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def blobs(ct: CT, lungs: Lungs, settings: FindSettings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (n, 3) in LPS mm and scores (n,) of bright blobs, best first.

    The selective enhancement filter for dots of Li, Sone and Doi (Med Phys 30:2040, 2003): where all eigenvalues of the
    Hessian are negative, the square of the smallest over the largest, by absolute value, at the best of four scales. A
    blob is a highest place within its own radius.

    Args:
        ct: the CT.
        lungs: its lungs; only they are searched, a voxel wider, as the network does.
        settings: the finding network's, whose grid is replaced.
    """
    grid = replace(settings, spacing_mm=GRID_MM)
    image, inside, seen = find_image(ct, lungs, grid)
    where = inside.numpy()
    best = np.zeros(where.shape, np.float32)
    radius = np.zeros(where.shape, np.float32)
    for diameter in DIAMETERS_MM:
        dots = _dots(image[0, 0].numpy(), where, diameter / 4 / GRID_MM[0])
        better = dots > best
        best[better], radius[better] = dots[better], diameter / 2
    peaks = np.argwhere((best > 0) & (best == ndimage.maximum_filter(best, 3)))
    peaks = peaks[np.argsort(-best[tuple(peaks.T)], kind="stable")]
    kept: list[NDArray[np.int64]] = []
    for peak in peaks:
        reach = radius[tuple(peak)] / GRID_MM[0]
        if all(np.linalg.norm(peak - other) > reach for other in kept):
            kept.append(peak)
        if len(kept) == MOST:
            break
    found = np.array(kept, int).reshape(-1, 3)
    return seen.to_world(found), best[tuple(found.T)].astype(np.float64)


def _dots(image: NDArray[np.float32], where: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Response (X, Y, Z) at a scale of `sigma` voxels, 0 outside of `where`."""
    hessian = np.zeros((int(where.sum()), 3, 3), np.float32)
    for a, b in _PAIRS:
        order = [int(a == axis) + int(b == axis) for axis in range(3)]
        values = ndimage.gaussian_filter(image, sigma, order=order, mode="nearest")[where]
        hessian[:, a, b] = hessian[:, b, a] = sigma**2 * values
    size = np.linalg.eigvalsh(hessian)  # ascending: the most negative first
    result = np.zeros(image.shape, np.float32)
    bright = size[:, 2] < 0
    result[where] = np.where(bright, size[:, 2] ** 2 / np.maximum(-size[:, 0], 1e-6), 0)
    return result
