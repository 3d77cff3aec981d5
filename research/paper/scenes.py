"""Nodules of held-out patients in lungs that no network has seen: where the paper's system is judged, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monai_lung.data.backgrounds import Background
from monai_lung.data.ratings import texture_class
from monai_lung.errors import InputError
from monai_lung.grid import Box, Grid, bounding_box, resample
from monai_lung.inference.paper import malignancy_of, nodule_roi, outlines_on, over_subcases, paper_image
from monai_lung.model import CT, Lungs, Outline, Seed
from monai_lung.stages import RateSettings, SegmentSettings
from monai_lung.training.paper import frame_for, place_for, set_in
from monai_lung.training.scenes import APART_MM
from monai_lung.training.synthesis import Donor

SETTINGS = SegmentSettings((1.5, 1.5, 3.0), (192, 192, 48), 0.5)
ROI = RateSettings((1.5, 1.5, 3.0), (48, 48, 16), 1.0, 0.0, 0.0, 0.5)
LEAST_DICE = 0.1
"""A finding that overlaps a nodule less than this hasn't found it: half a lung called nodule finds nothing."""
SMALLEST_MM3 = math.pi / 6 * 3.0**3
"""A ball of 3 mm: what is smaller isn't reported."""
_REACH_MM, _TRIES = 60.0, 40


@dataclass(frozen=True)
class SetIn:
    """A nodule in a scene: whose it is, where its middle lies, and its voxels on the scan's own grid."""

    donor: Donor
    center_mm: NDArray[np.float64]
    outline: Outline


@dataclass(frozen=True)
class Scene:
    """A scan with nodules set into its lungs; `known` is what was marked in it before, bool (X, Y, Z)."""

    ct: CT
    lungs: Lungs
    nodules: tuple[SetIn, ...]
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class Answer:
    """A system's findings in a scene.

    Attributes:
        outlines: on the scan's own grid.
        scores: of each, how surely it's a nodule.
        mask: bool (X, Y, Z) on the paper's grid, and that grid; None for a system that has another.
    """

    outlines: Sequence[Outline]
    scores: Sequence[float]
    mask: tuple[NDArray[np.bool_], Grid] | None = None


def scenes(
    lungs: Sequence[Background], donors: Sequence[Donor], copies: int, seed: int = 0, most: int = 12
) -> list[tuple[str, Background, list[Donor], int]]:
    """Which nodules come into which scan: each once a copy, dealt out over the scans; name, scan, nodules, seed.

    No scan holds more than `most` at a time.
    """
    plan = []
    for copy in range(copies):
        rng = np.random.default_rng((seed, copy))
        order = [donors[n] for n in rng.permutation(len(donors))]
        parts = math.ceil(len(order) / most)
        for part in range(parts):
            b = lungs[part % len(lungs)]
            plan.append((f"{b.name}-{copy}-{part}", b, order[part::parts], copy * 1000 + part))
    return plan


def scene(name: str, background: Background, donors: Sequence[Donor], seed: int) -> Scene:
    """`background` with each of the nodules that finds a place in its lungs, at its own size, its own surroundings.

    None comes near another one or near what was marked there before.
    """
    rng = np.random.default_rng(seed)
    b, grid = background, background.grid
    hu = b.hu.astype(np.float32)
    inside = (b.depth_mm > 0).astype(np.uint8)
    placed: list[SetIn] = []
    for donor in donors:
        place = _apart(b, donor, [one.center_mm for one in placed], rng)
        if place is None:
            continue
        center = grid.to_world(place)
        box = _around(grid, place)
        frame = frame_for(b, donor, place, rng, turn=False)
        new, share = set_in(hu[box], grid.part(box), donor, center, frame, rng)
        truth = share >= 0.5
        if truth.any():
            hu[box] = new
            inside[box] |= truth
            placed.append(SetIn(donor, center, _outline(truth, box, grid)))
    ct = replace(b.ct, hu=np.rint(hu).astype(np.int16), name=name)
    ml = float(inside.sum()) * ct.voxel_mm3 / 1000
    return Scene(ct, Lungs(inside, ml, 0.0), tuple(placed), b.known)


def _apart(
    b: Background, donor: Donor, taken: Sequence[NDArray[np.float64]], rng: np.random.Generator
) -> NDArray[np.int64] | None:
    for _ in range(_TRIES):
        try:
            place = place_for(b, donor, rng)
        except InputError:
            return None
        point = b.grid.to_world(place)
        if all(np.linalg.norm(point - other) >= APART_MM + donor.radius_mm for other in taken):
            return place
    return None


def _around(grid: Grid, place: NDArray[np.int64]) -> Box:
    reach = np.ceil(_REACH_MM / grid.spacing_mm).astype(int)
    low = np.maximum(place - reach, 0)
    x, y, z = (slice(int(a), int(min(p + r + 1, n))) for a, p, r, n in zip(low, place, reach, grid.shape, strict=True))
    return x, y, z


def _outline(truth: NDArray[np.bool_], box: Box, grid: Grid) -> Outline:
    inner = bounding_box(truth)
    first = [b.start + i.start for b, i in zip(box, inner, strict=True)]
    x, y, z = grid.to_world(np.argwhere(truth[inner]).mean(0) + first)
    mask = truth[inner]
    seed = Seed((float(x), float(y), float(z)), 1.0, 0.0)
    return Outline(mask, mask.astype(np.float32), (first[0], first[1], first[2]), seed)


def answer(scene: Scene, network: nn.Module, device: torch.device, settings: SegmentSettings = SETTINGS) -> Answer:
    """The findings of a network that segments sub-cases in a scene."""
    image, inside, grid = paper_image(scene.ct, scene.lungs, settings)
    logits = over_subcases(image.to(device), inside, network, settings.subcase)
    probability = torch.where(inside, torch.sigmoid(logits.cpu()), 0).numpy()
    outlines = outlines_on(scene.ct, probability, grid, settings.threshold)
    scores = [float(o.probability[o.mask].mean()) for o in outlines]
    return Answer(outlines, scores, (probability >= settings.threshold, grid))


def segmentation_rows(system: str, scene: Scene, said: Answer) -> list[dict[str, Any]]:
    """A row for each nodule, with its overlap on the paper's grid and on the scan's own, and for each false finding.

    What overlaps a nodule with a Dice of `LEAST_DICE` has found it; parts of one nodule count together. What lies at
    something that was marked in the scan before counts for nothing.
    """
    own = _labels(said.outlines, scene.ct)
    base = {"system": system, "scan": scene.ct.name}
    rows, hits = [], set()
    for one in scene.nodules:
        here = own[one.outline.box][one.outline.mask]
        parts = {int(k) for k in np.unique(here[here > 0])}
        size = sum(int(said.outlines[k - 1].mask.sum()) for k in parts)
        both, truth = int((here > 0).sum()), int(one.outline.mask.sum())
        dice = 2 * both / (size + truth)
        found = parts if dice >= LEAST_DICE else set()
        hits |= found
        rows.append(
            base
            | nodule_columns(one)
            | {"found": bool(found), "score": max((said.scores[k - 1] for k in found), default=0.0), "dice": dice}
            | (_on_grid(scene, one, *said.mask) if said.mask else {})
        )
    for k, (outline, score) in enumerate(zip(said.outlines, said.scores, strict=True), start=1):
        small = outline.mask.sum() * scene.ct.voxel_mm3 < SMALLEST_MM3
        if k not in hits and not small and not scene.known[outline.box][outline.mask].any():
            rows.append(base | {"nodule": "", "found": True, "score": score})
    return rows


def _labels(outlines: Sequence[Outline], ct: CT) -> NDArray[np.int32]:
    """k at the kth outline (X, Y, Z)."""
    labels = np.zeros(ct.hu.shape, np.int32)
    for k, outline in enumerate(outlines, start=1):
        labels[outline.box][outline.mask] = k
    return labels


def _on_grid(scene: Scene, one: SetIn, mask: NDArray[np.bool_], grid: Grid) -> dict[str, float]:
    """Overlap on the paper's grid; nothing where the nodule has no voxel there that is half of it."""
    own = one.outline.grid(scene.ct.grid).padded(2)
    box = grid.reach(own, 1)
    truth = resample(np.pad(one.outline.mask, 2), own, grid.part(box), outside=0) >= 0.5
    if not truth.any():
        return {}
    labels = cc3d.connected_components(mask, connectivity=18)
    here = labels[box][truth]
    size = int(np.isin(labels, np.unique(here[here > 0])).sum()) if here.any() else 0
    both, all_of_it = int((here > 0).sum()), int(truth.sum())
    return {
        "dice_grid": 2 * both / (size + all_of_it),
        "precision_grid": both / size if size else 0.0,
        "recall_grid": both / all_of_it,
    }


def nodule_columns(one: SetIn) -> dict[str, Any]:
    """The columns of tables about a nodule that was set in."""
    row = one.donor.crop.row
    return {
        "nodule": row.id,
        "patient": row.patient,
        "diameter_mm": row.diameter_mm or 0.0,
        "texture": texture_class(row.ratings.get("texture", (5,))),
        "ratings": " ".join(map(str, row.ratings.get("malignancy", ()))),
    }


def best_of(one: SetIn, said: Answer, ct: CT) -> Outline | None:
    """Of the outlines that overlap a nodule the one that shares most with it; None where nothing does."""
    labels = _labels(said.outlines, ct)[one.outline.box][one.outline.mask]
    counts = np.bincount(labels, minlength=1)
    counts[0] = 0
    return said.outlines[int(counts.argmax()) - 1] if counts.any() else None


def masks_of(scene: Scene, said: Answer) -> dict[str, list[Outline]]:
    """The masks that are rated: "readers", and "predicted", where what wasn't found has one voxel in its middle."""
    predicted = []
    for one in scene.nodules:
        found = best_of(one, said, scene.ct)
        predicted.append(found or _voxel_at(scene.ct, one.center_mm))
    return {"predicted": predicted, "readers": [one.outline for one in scene.nodules]}


def _voxel_at(ct: CT, center_mm: NDArray[np.float64]) -> Outline:
    x, y, z = np.clip(np.rint(ct.grid.to_index(center_mm)).astype(int), 0, np.array(ct.hu.shape) - 1)
    mask = np.ones((1, 1, 1), bool)
    px, py, pz = center_mm
    seed = Seed((float(px), float(py), float(pz)), 0.0, 0.0)
    return Outline(mask, mask.astype(np.float32), (int(x), int(y), int(z)), seed)


def rating_rows(
    scene: Scene, masks: Mapping[str, Sequence[Outline]], networks: Mapping[str, nn.Module], device: torch.device
) -> list[dict[str, Any]]:
    """A row for each nodule, kind of mask and network: the malignancy's logit, and the diameter of the mask."""
    rows = []
    for kind, outlines in masks.items():
        rois = [nodule_roi(scene.ct, outline, ROI) for outline in outlines]
        for name, network in networks.items():
            logits = malignancy_of(rois, network, device)
            rows += [
                {
                    "network": name,
                    "mask": kind,
                    "scan": scene.ct.name,
                    "logit": float(x),
                    "mask_mm": _diameter(o, scene.ct),
                }
                | nodule_columns(one)
                for one, o, x in zip(scene.nodules, outlines, logits, strict=True)
            ]
    return rows


def _diameter(outline: Outline, ct: CT) -> float:
    """Of the sphere of its volume."""
    return float((6 * outline.mask.sum() * ct.voxel_mm3 / math.pi) ** (1 / 3))
