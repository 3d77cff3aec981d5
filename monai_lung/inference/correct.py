"""An outline with more or less where a person clicked: by a network that sees the clicks, and held to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.grid import Box, Grid, bounding_box, resample
from monai_lung.inference.delineate import BORDER, FILLED, seen_by
from monai_lung.inference.networks import Corrector
from monai_lung.model import CT, Outline, Point
from monai_lung.stages import CorrectSettings
from monai_lung.transforms.clicks import click_map
from monai_lung.transforms.window import windowed

HELD_MM, HELD_LOGIT = 1.5, 0.5
"""Where a click isn't followed, the logits around it shift by a ball that fades by exp(-d^2 / (2 HELD_MM^2)), so far
that the voxel at the click is on the right side by HELD_LOGIT.

Chosen among 1 to 4 mm and 0.05 to 1 by simulated clicks on every twelfth nodule of fold 1.
"""
BALL_MM = 1.0
"""Radius of the plain way, the best of 1, 1.5, 2 and 3 mm on the same nodules."""
LOGITS_PER_MM = 2.0
"""How the logits of an outline without probabilities fall across its border."""
_LIMIT = float(np.log(0.998 / 0.002))
FADES = 0.25
"""Share of the reach over which the network's say fades to that of the outline before."""

CHANGED = 0.25
"""Share of a voxel in which the network draws another border than before, from which on its say counts there.

Elsewhere the voxels of the CT stay as they were: on the way to the network's grid and back a border would blur.
"""


def correct(
    ct: CT, outline: Outline, add: Sequence[Point], cut: Sequence[Point], networks: Corrector | None
) -> Outline | None:
    """`outline` with more where somebody clicked to add, and less where to cut; a stroke is many clicks.

    The voxel at each click then belongs to the nodule or doesn't, as the click says; what is farther than the
    settings' `reach_mm` from every click stays as it was, but for what a cut severs. All clicks count at once: their
    order makes no difference.

    Args:
        ct: that the outline lies on.
        outline: before.
        add, cut: clicks, (x, y, z) LPS mm each; those outside the CT are left out.
        networks: of `load_corrector`; without, the outline's own probabilities are shifted around the clicks.

    Returns:
        The outline, on the CT's grid; None where nothing is left.
    """
    clicks = _Clicks.of(ct, add, cut)
    if clicks is None:
        return outline
    box = _reached(ct, outline, clicks.index, networks.correct_settings.reach_mm if networks else 4 * HELD_MM)
    voxels = clicks.index - [part.start for part in box]
    probability, before = _laid_into(outline, box)
    crisp = not ((probability > 0.02) & (probability < 0.98)).any()
    if crisp:
        probability = _softened(before, np.array(ct.spacing_mm))
    if networks is not None:
        said, counts = _said(ct, outline, clicks, box, networks)
        probability += counts * (said - probability)
    probability = _held(probability, voxels, clicks.adds, np.array(ct.spacing_mm))
    return _finished(outline, probability, before, clicks, box, crisp=crisp)


def correct_plainly(
    ct: CT, outline: Outline, add: Sequence[Point], cut: Sequence[Point], radius_mm: float = BALL_MM
) -> Outline | None:
    """`correct` by balls: the voxels within `radius_mm` of a click are added or cut, nothing else."""
    clicks = _Clicks.of(ct, add, cut)
    if clicks is None:
        return outline
    box = _reached(ct, outline, clicks.index, radius_mm)
    voxels = clicks.index - [part.start for part in box]
    probability, before = _laid_into(outline, box)
    nearest, distance_mm = _nearest(voxels, before.shape, np.array(ct.spacing_mm))
    probability = np.where(distance_mm <= radius_mm, clicks.adds[nearest], probability).astype(np.float32)
    return _finished(outline, probability, before, clicks, box)


@dataclass(frozen=True)
class _Clicks:
    """Points in LPS mm (n, 3), the voxels of the CT (n, 3) that they lie in, and whether they add (n,)."""

    points: NDArray[np.float64]
    index: NDArray[np.int64]
    adds: NDArray[np.bool_]

    @classmethod
    def of(cls, ct: CT, add: Sequence[Point], cut: Sequence[Point]) -> _Clicks | None:
        """Those within the CT; None without any."""
        kept = [(p, adds) for clicks, adds in ((add, True), (cut, False)) for p in clicks if ct.grid.holds(p)]
        if not kept:
            return None
        points = np.array([p for p, _ in kept], float)
        index = np.clip(np.rint(ct.to_index(points)).astype(int), 0, np.array(ct.hu.shape) - 1)
        return cls(points, index, np.array([adds for _, adds in kept]))


def _said(
    ct: CT, outline: Outline, clicks: _Clicks, box: Box, networks: Corrector
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """In a box of the CT: the probability by the network, and how far it counts, 0...1."""
    settings = networks.correct_settings
    grid = _patch(ct, outline, clicks.points, settings)
    before = resample(outline.mask.astype(np.float32), ct.grid.part(outline.box), grid, outside=0) >= BORDER
    maps = [
        click_map(grid.to_index(clicks.points[of]), grid.shape, settings.spacing_mm, settings.click_mm)
        for of in (clicks.adds, ~clicks.adds)
    ]
    seen = windowed(torch.from_numpy(resample(ct.hu, ct.grid, grid))).numpy()
    image = torch.from_numpy(np.stack([seen, before, *maps]).astype(np.float32))[None]
    after = seen_by(networks.correct, image, settings.threshold, networks.device, mirrors=())[0].numpy()
    changed = (after >= BORDER) != before
    probability, share = resample(np.stack([after, changed]), grid, ct.grid.part(box), outside=0)
    _, distance_mm = _nearest(clicks.index - [part.start for part in box], probability.shape, np.array(ct.spacing_mm))
    reach_mm = settings.reach_mm
    return probability, (share >= CHANGED) * np.clip((reach_mm - distance_mm) / (FADES * reach_mm), 0, 1)


def _softened(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """A probability for a mask that has none: by the distance to its border."""
    padded = np.pad(mask, 1)
    inside, outside = (ndimage.distance_transform_edt(m, sampling=spacing_mm) for m in (padded, ~padded))
    # half a voxel: the border runs between the voxels
    logit = LOGITS_PER_MM * (inside - outside - np.where(padded, 0.5, -0.5) * spacing_mm.min())
    return _probability(logit[1:-1, 1:-1, 1:-1])


def _probability(logit: NDArray[np.float64]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.clip(logit, -_LIMIT, _LIMIT)))).astype(np.float32)


def _held(
    probability: NDArray[np.float32],
    voxels: NDArray[np.int64],
    adds: NDArray[np.bool_],
    spacing_mm: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The probability shifted smoothly around clicks that it doesn't follow; where it follows them, it stays."""
    sharp = np.clip(probability.astype(float), 0.002, 0.998)
    logit = np.log(sharp / (1 - sharp))
    own, sign = logit[tuple(voxels.T)], np.where(adds, 1, -1)
    missing = np.where(sign * own < HELD_LOGIT, sign * HELD_LOGIT - own, 0)
    if missing.any():
        away = np.linalg.norm((voxels[:, None] - voxels[None]) * spacing_mm, axis=-1)
        weights = np.exp(-(away**2) / (2 * HELD_MM**2)) + 1e-3 * np.eye(len(voxels))  # two clicks in a voxel
        for amount, voxel in zip(np.linalg.solve(weights, missing), voxels, strict=True):
            logit += amount * click_map([voxel], logit.shape, spacing_mm, HELD_MM)
    result = _probability(logit)
    at = tuple(voxels.T)
    result[at] = np.where(adds, np.maximum(result[at], 0.51), np.minimum(result[at], 0.49))
    return result


def _finished(
    outline: Outline,
    probability: NDArray[np.float32],
    before: NDArray[np.bool_],
    clicks: _Clicks,
    box: Box,
    *,
    crisp: bool = False,
) -> Outline | None:
    """The outline of a probability in a box, with the one before to tell which parts belong to it."""
    start = np.array([part.start for part in box])
    mask = _kept(probability >= BORDER, before, (clicks.index - start)[clicks.adds])
    if not mask.any():
        return None
    probability = np.where((probability >= BORDER) & ~mask, 0, mask if crisp else probability).astype(np.float32)
    tight = bounding_box(mask, 2)
    i, j, k = (int(a + part.start) for a, part in zip(start, tight, strict=True))
    return Outline(mask[tight], probability[tight], (i, j, k), outline.seed)


def _patch(ct: CT, outline: Outline, points: NDArray[np.float64], settings: CorrectSettings) -> Grid:
    """The network's grid around outline and clicks, coarser where they don't fit."""
    axes = ct.grid.patient_axes
    voxels = ct.to_world((np.argwhere(outline.mask) + outline.offset).astype(float))
    along = np.concatenate([voxels, points]) @ axes
    low, high = along.min(0), along.max(0)
    width = np.array(settings.patch) * settings.spacing_mm
    scale = max(1.0, float(((high - low) / (FILLED * width)).max()))
    return Grid.around(
        axes @ ((low + high) / 2), np.multiply(settings.spacing_mm, scale).tolist(), settings.patch, axes
    )


def _reached(ct: CT, outline: Outline, index: NDArray[np.int64], reach_mm: float) -> Box:
    """The box of the CT that holds the outline and what the clicks reach."""
    reach = np.ceil(reach_mm / np.array(ct.spacing_mm)).astype(int)
    low = np.minimum(outline.offset, index.min(0) - reach)
    high = np.maximum(np.add(outline.offset, outline.mask.shape), index.max(0) + reach + 1)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(np.maximum(low, 0), np.minimum(high, ct.hu.shape), strict=True))
    return x, y, z


def _laid_into(outline: Outline, box: Box) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probability and mask of the outline in a box that holds it."""
    shape = [part.stop - part.start for part in box]
    place = tuple(
        slice(a - part.start, a - part.start + n)
        for a, part, n in zip(outline.offset, box, outline.mask.shape, strict=True)
    )
    probability, mask = np.zeros(shape, np.float32), np.zeros(shape, bool)
    probability[place], mask[place] = outline.probability, outline.mask
    return probability, mask


def _nearest(
    index: NDArray[np.int64], shape: tuple[int, ...], spacing_mm: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each voxel of a box: which click is nearest, and its distance in mm."""
    which, least = np.zeros(shape, int), np.full(shape, np.inf, np.float32)
    for n, voxel in enumerate(index):
        x, y, z = (((np.arange(m) - v) * s) ** 2 for m, v, s in zip(shape, voxel, spacing_mm, strict=True))
        distance = x[:, None, None] + y[None, :, None] + z
        closer = distance < least
        which[closer], least[closer] = n, distance[closer]
    return which, np.sqrt(least)


def _kept(mask: NDArray[np.bool_], before: NDArray[np.bool_], added: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of each connected part of the outline before, the largest piece that is left, and what holds a click that adds.

    So a vessel goes whole that a click has cut off, and what the network sees elsewhere isn't added.
    """
    labels, parts = (cc3d.connected_components(m, connectivity=18) for m in (mask, before))
    kept = {int(labels[tuple(voxel)]) for voxel in added}
    for part in range(1, int(parts.max()) + 1):
        sizes = np.bincount(labels[parts == part])
        sizes[0] = 0
        kept.add(int(sizes.argmax()))
    return np.isin(labels, sorted(kept - {0}))
