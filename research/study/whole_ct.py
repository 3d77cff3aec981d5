"""Whole CTs: which nodules are found, and what else is, after the finding network and after the rating network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.data.crops import Crop
from monai_lung.data.ratings import texture_class
from monai_lung.errors import InputError
from monai_lung.grid import Grid, bounding_box, resample
from monai_lung.inference.delineate import LOOKS, delineate
from monai_lung.inference.find import find
from monai_lung.inference.networks import Networks, load_networks
from monai_lung.inference.rate import rate
from monai_lung.io import read_ct
from monai_lung.lidc.index import read_index
from monai_lung.lidc.nodules import agreed_diameter_mm, marked_nodules
from monai_lung.lidc.xml import marked_boxes
from monai_lung.lungs import segment_lungs
from monai_lung.model import CT, Lungs
from monai_lung.training.synthesis import feathered
from research.study.blobs import blobs
from research.study.malignancy import marked
from research.study.segmentation import SHIPPED_FOLD
from research.study.store import Predictions, Study, crop_ct, installed_key

log = logging.getLogger(__name__)
SCANS = ("LIDC-IDRI-0001", "LIDC-IDRI-0003")
"""Their nodules are left out of the training of the shipped networks. The lung of the first was a background of it."""
STAGES = {
    "blobs": "baseline: a filter for dots",
    "find": "finding",
    "rate": "finding, delineating, rating",
}
"""The judged kinds of nodules in a scene, with their names in tables."""
REACH_MM = 4.0
"""A hit lies within the nodule's radius of its centre, or within this where that's less."""
_APART_MM = 25.0
_A_LUNG = 14
"""Nodules pasted into one scan."""


@dataclass(frozen=True)
class Target:
    """A nodule in a CT: centre in LPS mm, diameter of the sphere of its volume, readers who marked it."""

    id: str
    patient: str
    center_mm: tuple[float, float, float]
    diameter_mm: float
    n_readers: int
    texture: str


@dataclass(frozen=True)
class Scene:
    """A CT with its lungs and what is known in it; what lies at an `ignored` centre (n, 3) is no false positive."""

    ct: CT
    lungs: Lungs
    targets: Sequence[Target]
    ignored: NDArray[np.float64]


def run(study: Study) -> None:
    """Both LIDC scans as they are, then with nodules of the held-out fold pasted in.

    What the installed weights with their settings have done already isn't done again.
    """
    wanted = [study.path("whole-ct", "real", name) for name in SCANS]
    wanted += [study.path("whole-ct", "pasted", copy) for copy in range(study.budget.copies)]
    if all(load(path) for path in wanted):
        return
    networks = load_networks(str(study.device))
    scenes = [read_scene(study.data / "ct" / name) for name in SCANS]
    for name, scene in zip(SCANS, scenes, strict=True):
        _judge(study.path("whole-ct", "real", name), scene, networks)
    held = study.split(SHIPPED_FOLD)[1]
    order = np.random.default_rng(study.seed).permutation(len(held))
    for copy in range(study.budget.copies):
        path = study.path("whole-ct", "pasted", copy)
        if not load(path):
            rng = np.random.default_rng((study.seed, copy))
            chosen = [held[n] for n in np.roll(order, -copy * _A_LUNG)[:_A_LUNG]]
            _judge(path, with_nodules(scenes[copy % len(scenes)], chosen, rng), networks)


def read_scene(folder: Path) -> Scene:
    """A scan of LIDC-IDRI with its nodules as the readers marked them, and every other mark of its XML ignored.

    Raises:
        InputError: scan, XML or the readers' database can't be read.
    """
    ct = read_ct(folder / "dicom")
    if ct.series is None:
        raise InputError(f"{folder}: no DICOM series, so the readers' marks can't be looked up; give LIDC-IDRI's own")
    (scan,) = read_index(series_uids=[ct.series.uid])
    targets = []
    for nodule in marked_nodules(scan):
        masks = nodule.masks()
        x, y, k = (start + (size - 1) / 2 for start, size in zip(masks.offset, masks.bits.shape, strict=True))
        z = float(np.interp(k, np.arange(len(scan.slice_z_mm)), scan.slice_z_mm))
        world = ct.to_world((x, y, 0.0))
        textures = [a.ratings.texture for a in nodule.annotations]
        diameter = agreed_diameter_mm(masks, ct.voxel_mm3)
        center = (float(world[0]), float(world[1]), z)
        targets.append(Target(nodule.id, scan.patient, center, diameter, len(textures), texture_class(textures)))
    xml = next(iter(sorted(folder.glob("*.xml"))), None)
    if xml is None:
        raise InputError(f"{folder}: no *.xml with the readers' marks; restore LIDC-IDRI's own")
    marks = np.array([np.add(*box) / 2 for box in marked_boxes(xml, ct)])
    return Scene(ct, segment_lungs(ct.hu, ct.affine_lps), targets, marks.reshape(-1, 3))


def with_nodules(scene: Scene, crops: Sequence[Crop], rng: np.random.Generator) -> Scene:
    """`scene` with each crop's nodule set into its lungs, free of the pleura and of other nodules.

    Nodules come alone, by their readers' votes with an edge feathered over a voxel, on the CT's own grid. One that has
    no place is left out. The scene's own nodules are ignored.
    """
    ct = scene.ct
    depth = ndimage.distance_transform_edt(scene.lungs.labels > 0, sampling=ct.spacing_mm)
    own = [t.center_mm for t in scene.targets]
    taken = [np.array(c) for c in [*own, *scene.ignored]]
    hu, targets = ct.hu.copy(), []
    for crop in crops:
        diameter = crop.row.diameter_mm or 5.0
        place = _place(ct, depth, diameter / 2, taken, rng)
        if place is None:
            continue
        taken.append(place)
        _set_in(hu, ct, crop, place)
        texture = texture_class(crop.row.ratings["texture"])
        center = (float(place[0]), float(place[1]), float(place[2]))
        targets.append(Target(crop.row.id, crop.row.patient, center, diameter, crop.row.n_readers, texture))
    ignored = np.concatenate([np.array(own).reshape(-1, 3), scene.ignored])
    return Scene(replace(ct, hu=hu), scene.lungs, targets, ignored)


def _place(
    ct: CT, depth_mm: NDArray[np.float64], radius_mm: float, taken: Sequence[NDArray[np.float64]],
    rng: np.random.Generator,
) -> NDArray[np.float64] | None:  # fmt: skip
    """A point in LPS mm, deep enough in a lung and far enough from what is `taken`."""
    choices = np.flatnonzero(depth_mm >= radius_mm + 2)
    for _ in range(200 if len(choices) else 0):
        point = ct.to_world(np.array(np.unravel_index(rng.choice(choices), depth_mm.shape), float))
        if all(np.linalg.norm(point - other) >= _APART_MM for other in taken):
            return point
    return None


def _set_in(hu: NDArray[np.int16], ct: CT, crop: Crop, place: NDArray[np.float64]) -> None:
    """Blend the crop's nodule into `hu` (X, Y, Z), the middle of its mask at `place` (3,) mm."""
    source = crop_ct(crop).grid
    affine = source.affine_lps.copy()
    affine[:3, 3] += place
    affine[:3, 3] -= source.part(bounding_box(marked(crop))).center_mm
    moved = Grid(source.shape, affine)
    box = ct.grid.reach(moved, 1)
    target = ct.grid.part(box)
    alpha = feathered(torch.from_numpy(resample(crop.share, moved, target, outside=0))).numpy()
    value = resample(crop.hu, moved, target)
    hu[box] = np.rint(hu[box] + alpha * (value - hu[box])).astype(np.int16)


def _judge(path: Path, scene: Scene, networks: Networks) -> None:
    """Run the networks on a scene and keep what they found of it."""
    if load(path):
        return
    log.info("whole CT: %s %s, %d nodules", path.parent.name, path.stem, len(scene.targets))
    seeds = find(scene.ct, scene.lungs, networks)
    outlines = delineate(scene.ct, seeds, networks, scene.lungs)
    ratings = rate(scene.ct, outlines, networks)
    middles = [scene.ct.to_world(np.argwhere(o.mask).mean(0) + o.offset) for o in outlines]
    values: dict[str, NDArray[np.generic]] = {
        "patient": np.array([t.patient for t in scene.targets]),
        "texture": np.array([t.texture for t in scene.targets]),
        "diameter_mm": np.array([t.diameter_mm for t in scene.targets]),
        "weights": np.array(sorted(f"{name} {digest}" for name, digest in networks.weights.items())),
        "n_readers": np.array([t.n_readers for t in scene.targets]),
        "center_mm": np.array([t.center_mm for t in scene.targets]).reshape(-1, 3),
    }
    found: dict[str, tuple[Sequence[Any] | NDArray[Any], Sequence[float] | NDArray[Any]]] = {
        "blobs": blobs(scene.ct, scene.lungs, networks.find_settings),
        "find": ([s.center_mm for s in seeds], [s.score for s in seeds]),
        "rate": (middles, [r.nodule_probability for r in ratings]),
    }
    for stage, (centers, scores) in found.items():
        points = np.array(centers, float).reshape(-1, 3)
        values[f"{stage}_hit"], values[f"{stage}_false"] = match(scene, points, np.array(scores, float))
    facts = {"min_nodule": networks.rate_settings.min_nodule, **_facts()}
    Predictions([t.id for t in scene.targets], values, (), facts).save(path)


def load(path: Path) -> Predictions | None:
    """The findings in a scene, None where the installed networks weren't run on it."""
    return Predictions.current(path, _facts())


def _facts() -> dict[str, float]:
    return {"installed": installed_key(), "stages": len(STAGES), "looks": LOOKS}


def match(
    scene: Scene, centers: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The best score at each target (0 where nothing is), and the scores of the false positives.

    Args:
        scene: with its targets.
        centers: of candidates (n, 3), LPS mm.
        scores: theirs (n,).
    """
    hits = np.zeros(len(scene.targets))
    false = np.ones(len(scores), bool)
    for n, target in enumerate(scene.targets):
        near = np.linalg.norm(centers - target.center_mm, axis=1) <= max(target.diameter_mm / 2, REACH_MM)
        hits[n] = scores[near].max(initial=0)
        false &= ~near
    for center in scene.ignored:
        false &= np.linalg.norm(centers - center, axis=1) > 10
    return hits, scores[false]
