"""Outlines corrected by clicks: which nodule a click belongs to, and what a reader of the result must know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from monai_lung.model import CT, Outline, Point

if TYPE_CHECKING:
    from monai_lung.inference.networks import Corrector

FAR_MM = 15.0
"""A click farther than this from every outline belongs to none."""


def correct_outlines(
    ct: CT, outlines: Sequence[Outline], add: Sequence[Point], cut: Sequence[Point], corrector: Corrector | None
) -> tuple[list[Outline], list[str]]:
    """Outlines with more where somebody clicked to add, and less where to cut.

    A click belongs to the nearest outline, a stroke is many clicks. An outline without clicks stays as it is.

    Args:
        ct: that the outlines lie on.
        outlines: before.
        add, cut: clicks, (x, y, z) LPS mm each.
        corrector: of `monai_lung.inference.networks.load_corrector`; None as in `inference.correct`.

    Returns:
        The outlines that are left, in their order, and a sentence on each nodule that was corrected, on each outline of
        which nothing is left, and on each click that belongs to none.
    """
    from monai_lung.inference.correct import correct

    owners, notes = _owners(ct, outlines, add, cut)
    left = []
    for n, outline in enumerate(outlines):
        own_add, own_cut = ([p for p, owner in zip(c, of, strict=True) if owner == n] for c, of in owners)
        corrected = correct(ct, outline, own_add, own_cut, corrector)
        if own_add or own_cut:
            place = _text(outline.seed.center_mm)
            counts = f"clicks to add: {len(own_add)}, to cut: {len(own_cut)}"
            done = "was corrected by hand" if corrected else "is gone, nothing is left of its outline"
            notes.append(f"The nodule at {place} {done} ({counts}).")
        if corrected is not None:
            left.append(corrected)
    return left, notes


def _owners(
    ct: CT, outlines: Sequence[Outline], add: Sequence[Point], cut: Sequence[Point]
) -> tuple[list[tuple[Sequence[Point], list[int]]], list[str]]:
    """For the clicks of each kind the number of the outline that each belongs to (-1: none), and what was left out."""
    voxels = [ct.to_world((np.argwhere(o.mask) + o.offset).astype(float)) for o in outlines]
    of = np.repeat(np.arange(len(outlines)), [len(v) for v in voxels])
    tree = cKDTree(np.concatenate(voxels)) if voxels else None
    result, notes = [], []
    for kind, points in (("add", add), ("cut", cut)):
        owners = []
        for number, point in enumerate(points, start=1):
            away_mm, nearest = tree.query(np.asarray(point, float)) if tree is not None else (np.inf, 0)
            belongs = away_mm <= max(FAR_MM, *ct.spacing_mm) and ct.grid.holds(point)
            owners.append(int(of[nearest]) if belongs else -1)
            if not belongs:
                where = "outside the CT" if not ct.grid.holds(point) else f"{away_mm:.0f} mm from the nearest outline"
                notes.append(f"Click {number} to {kind} ({_text(point)}) lies {where} and was left out.")
        result.append((points, owners))
    return result, notes


def _text(point: Point) -> str:
    return ", ".join(f"{v:.1f}" for v in point)
