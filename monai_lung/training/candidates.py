"""Candidates of the finding and the delineating network, true and false, for the network that tells one from the other.

Scans with nodules set in go through the stages as any CT does. Each outline is kept with its surroundings, near and
wide, somewhat larger than the network sees, so that trainings can turn and shift it without the scan.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.data.backgrounds import Background
from monai_lung.errors import InputError, UsageError
from monai_lung.grid import Grid, resample
from monai_lung.inference.delineate import delineate
from monai_lung.inference.find import find
from monai_lung.inference.looks import look
from monai_lung.inference.networks import Networks
from monai_lung.io.output import replacing
from monai_lung.model import Outline, Seed
from monai_lung.training.draws import rng_of
from monai_lung.training.scenes import Scene
from monai_lung.training.synthesis import random_frame
from monai_lung.training.targets import rating_targets
from monai_lung.transforms.rating import TARGETS, near_channels, wide_channels

NEAR_MM, WIDE_MM = (0.75, 0.75, 1.5), (2.0, 2.0, 3.0)
"""Voxels of the near and of the wide look that ship."""
SIZE = (64, 64, 32)
"""Voxels kept of each look."""
BROUGHT_MM = 12.0
"""How far around a nodule of this size or less its crop may bring other structures along; as many times farther as it
is larger: what is proposed there is a piece of vessel or wall that no patient has in that place."""
_LOOKS = ("near", "near_mask", "wide", "wide_mask", "wide_inside")
HIT_MM = 4.0
"""A hit lies within the nodule's radius of its middle, or within this where that is less."""
LESION, LESION_WEIGHT = "lesion", 3.0
"""Name of a lesion that the scan has itself, and how much it counts: there are few, and none was made up."""
LARGE_MM = 12.0
"""A false candidate of this size or more is a large one."""
FALSE, TRUE, NEITHER = 0, 1, 2
"""The kinds of candidates; `NEITHER` was marked in the scan but nobody is sure of it."""


@dataclass(frozen=True)
class Candidates:
    """n outlines with their surroundings.

    Attributes:
        near_hu, near_mask: int16 and uint8 (0...255) (n, *SIZE) on the near look's grid.
        wide_hu, wide_mask, wide_inside: the same on the wide look's; `inside` is the lungs.
        kind: (n,) `FALSE`, `TRUE` or `NEITHER`.
        label: float32 (n, 2, T), targets and weights in the order of `transforms.rating.TARGETS`.
        scan, id: (n,) names of the scan and of the nodule set in; `LESION` for one that was there, "" for none.
        score: (n,) the finding network's.
        center_mm: (n, 3) LPS mm.
        diameter_mm: (n,) of the sphere of the outline's volume.
        nodule_mm, nodule_hu: (n,) diameter and mean HU of the nodule set in; NaN for everything else.
    """

    near_hu: NDArray[np.int16]
    near_mask: NDArray[np.uint8]
    wide_hu: NDArray[np.int16]
    wide_mask: NDArray[np.uint8]
    wide_inside: NDArray[np.uint8]
    kind: NDArray[np.int64]
    label: NDArray[np.float32]
    scan: NDArray[np.str_]
    id: NDArray[np.str_]
    score: NDArray[np.float64]
    center_mm: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]
    nodule_mm: NDArray[np.float64]
    nodule_hu: NDArray[np.float64]

    def __len__(self) -> int:
        """How many."""
        return len(self.kind)

    def of(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Candidates:
        """Those chosen by a mask or by indices."""
        return Candidates(*[getattr(self, f.name)[which] for f in fields(self)])


def propose(
    scene: Scene,
    background: Background,
    networks: Networks,
    near_mm: Sequence[float],
    wide_mm: Sequence[float],
) -> Candidates:
    """Every outline that `networks` make in `scene`, and one of each nodule set in and each lesion that they missed.

    Args:
        scene: with nodules set in.
        background: the scan it was made of, whose `known` places are neither true nor false.
        networks: finding and delineating, at whatever threshold they are set to.
        near_mm, wide_mm: voxels of both looks.
    """
    ct, lungs = scene.ct, scene.lungs
    outlines = delineate(ct, find(ct, lungs, networks), networks, lungs)
    middles = np.array([o.middle_mm(ct.grid) for o in outlines]).reshape(-1, 3)
    places = [(p.center_mm, p.radius_mm) for p in scene.planted]
    places += [((float(x), float(y), float(z)), float(mm) / 2) for x, y, z, mm in background.lesions_mm]
    seeds = [Seed(at, 0.0, 2 * radius) for at, radius in places if not _near(middles, at, radius).any()]
    outlines += delineate(ct, seeds, networks, lungs)
    rows = [_record(scene, background, outline, near_mm, wide_mm) for outline in outlines]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Candidates(*columns)


def _near(points: NDArray[np.float64], center_mm: Sequence[float], radius_mm: float) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(points - center_mm, axis=-1) <= max(radius_mm, HIT_MM))


def _brought(point: NDArray[np.float64], center_mm: Sequence[float], diameter_mm: float) -> bool:
    """Whether a place lies where a nodule that was set in may have brought its surroundings along."""
    reach = diameter_mm / 2 + BROUGHT_MM * max(1.0, diameter_mm / BROUGHT_MM)
    return bool(np.linalg.norm(point - center_mm) <= reach)


def _record(
    scene: Scene, background: Background, outline: Outline, near_mm: Sequence[float], wide_mm: Sequence[float]
) -> tuple[object, ...]:
    """The fields of `Candidates` for one outline."""
    ct = scene.ct
    middle = outline.middle_mm(ct.grid)
    hits = [p for p in scene.planted if _near(middle, p.center_mm, p.radius_mm)]
    at = tuple(np.clip(np.rint(ct.grid.to_index(middle)).astype(int), 0, np.array(ct.hu.shape) - 1))
    known = background.known[at] or background.known[outline.box][outline.mask].mean() > 0.3
    brought = any(_brought(middle, p.center_mm, 2 * p.radius_mm) for p in scene.planted)
    kind = NEITHER if known or brought else FALSE
    diameter = (6 * outline.mask.sum() * ct.voxel_mm3 / np.pi) ** (1 / 3)
    label = torch.zeros(2, len(TARGETS))
    label[1, 0] = 1.0
    name = ""
    if hits:
        kind, name = TRUE, hits[0].donor.crop.row.id
        label = torch.stack(rating_targets(hits[0].donor.crop.row))
        label[0, 0] = hits[0].donor.agreement
    elif _shows_a_lesion(background.lesions_mm, middle, diameter):
        kind, name = TRUE, LESION
        label[0, 0], label[1, 0] = 1.0, LESION_WEIGHT
    near, wide = (look(ct, scene.lungs, outline, mm, SIZE) for mm in (near_mm, wide_mm))
    return (
        near[0].astype(np.int16),
        _bytes(near[1]),
        wide[0].astype(np.int16),
        _bytes(wide[1]),
        _bytes(wide[2]),
        kind,
        label.numpy(),
        background.name,
        name,
        outline.seed.score,
        middle,
        diameter,
        2 * hits[0].radius_mm if hits else np.nan,
        hits[0].mean_hu if hits else np.nan,
    )


def _shows_a_lesion(lesions_mm: NDArray[np.float64], middle: NDArray[np.float64], diameter_mm: float) -> bool:
    """Whether an outline lies where the scan has a lesion of its own, and is about as large."""
    return any(
        np.linalg.norm(middle - lesion[:3]) <= max(lesion[3] / 2, HIT_MM) and 0.4 <= diameter_mm / lesion[3] <= 1.6
        for lesion in lesions_mm
    )


def _bytes(share: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def joined(parts: Sequence[Candidates]) -> Candidates:
    """All of them in one."""
    return Candidates(*[np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Candidates)])


def save(candidates: Candidates, path: Path) -> None:
    """Write `path` (.npz), whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{f.name: getattr(candidates, f.name) for f in fields(Candidates)})


def read(path: Path) -> Candidates:
    """The candidates of a file.

    Raises:
        InputError: it's damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return Candidates(*[data[f.name] for f in fields(Candidates)])
    except Exception as error:  # zipfile, zlib, KeyError and ValueError
        raise InputError(f"{path}: not a file of candidates ({error}); make it again") from error


def candidates_of(
    folder: str | Path,
    *,
    without: Sequence[str] = (),
    only: Sequence[str] = (),
    least_score: float = 0.0,
    large_weight: float = 1.0,
) -> Candidates:
    """All true and false candidates of a folder, for a bundle's config.

    Args:
        folder: of `candidate_runs.make_candidates`, its `train` or `held`.
        without: scans that are left out, by their names in the files' names.
        only: scans that are taken, all if empty.
        least_score: of the finding network; what is false and scored below is left out, as it is in use.
        large_weight: how much what is false and `LARGE_MM` or more across counts: hila and hearts are few in each scan,
            and a false mass does more harm than a false dot.

    Raises:
        UsageError: no file is left, or nothing true or nothing false in them.
        InputError: a file is damaged.
    """
    files = [p for p in sorted(Path(folder).glob("*.npz")) if not p.name.startswith(".")]
    kept = [p for p in files if not any(name in p.name for name in without)]
    kept = [p for p in kept if not only or any(name in p.name for name in only)]
    if not kept:
        raise UsageError(
            f"{folder}: none of {len(files)} files of candidates is left; see `monai-lung train candidates`"
        )
    every = joined([read(path) for path in kept])
    sure = every.of((every.kind == TRUE) | ((every.kind == FALSE) & (every.score >= least_score)))
    if len(set(sure.kind.tolist())) < 2:
        raise UsageError(
            f"{folder}: candidates of nodules and of other things are needed; see `monai-lung train candidates`"
        )
    sure.label[(sure.kind == FALSE) & (sure.diameter_mm >= LARGE_MM), 1, 0] *= large_weight
    return sure


class DrawCandidated(Transform):
    """A candidate's two looks; in training turned, shifted and scaled about its middle.

    Takes `candidate`, its index. Adds float32 (1, *roi_size): `near` and `wide` in HU, `near_mask`, `wide_mask` and
    `wide_inside` (the lungs) in 0...1; `label` float32 (2, T), targets and weights in the order of `TARGETS`; `id`.

    Args:
        candidates: true and false ones.
        near_mm, wide_mm: voxels of both looks, as `propose` had them.
        roi_size: voxels of the region.
        augment: False gives each as it is.
    """

    def __init__(
        self,
        candidates: Candidates,
        near_mm: Sequence[float],
        wide_mm: Sequence[float],
        roi_size: Sequence[int],
        *,
        augment: bool = True,
    ) -> None:
        self.candidates, self.augment = candidates, augment
        self.near_mm, self.wide_mm = near_mm, wide_mm
        self.size = (int(roi_size[0]), int(roi_size[1]), int(roi_size[2]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw it."""
        c, n, rng = self.candidates, data["candidate"], rng_of(data)
        frame, shift = np.eye(3), np.zeros(3)
        if self.augment:
            frame, shift = random_frame(rng, scale=(0.92, 1.08), tilt_deg=10), rng.uniform(-2, 2, 3)
        near, near_mask = self._turned(self.near_mm, frame, shift, c.near_hu[n], c.near_mask[n])
        wide, wide_mask, inside = self._turned(
            self.wide_mm, frame, shift, c.wide_hu[n], c.wide_mask[n], c.wide_inside[n]
        )
        return {
            **data,
            "near": near[None],
            "near_mask": near_mask[None] / 255,
            "wide": wide[None],
            "wide_mask": wide_mask[None] / 255,
            "wide_inside": inside[None] / 255,
            "label": torch.from_numpy(c.label[n]),
            "id": str(c.id[n]),
        }

    def _turned(
        self, spacing_mm: Sequence[float], frame: NDArray[np.float64], shift: NDArray[np.float64], *arrays: NDArray[Any]
    ) -> list[Tensor]:
        """The arrays (*SIZE) about their middle, turned by `frame` and shifted by mm."""
        kept = Grid.around((0, 0, 0), spacing_mm, SIZE)
        seen = Grid.around(shift, spacing_mm, self.size, frame)
        return list(torch.from_numpy(resample(np.stack(arrays), kept, seen, average=False)))


class TwoLooksd(Transform):
    """Both looks of `DrawCandidated` as the channels that the network sees: `image`, float32 (near + wide, *roi_size).

    Args:
        near_mm, wide_mm: voxels of both looks.
        without_wide: share of the items whose wide look is left out (zeros), so that a nodule without surroundings,
            from a crop, can be rated too.
    """

    def __init__(self, near_mm: Sequence[float], wide_mm: Sequence[float], *, without_wide: float = 0.0) -> None:
        self.near_mm, self.wide_mm, self.without_wide = near_mm, wide_mm, without_wide

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make the channels; the looks themselves go."""
        near = near_channels(data["near"][0], data["near_mask"][0], float(self.near_mm[2]))
        wide = wide_channels(data["wide"][0], data["wide_mask"][0], data["wide_inside"][0], self.wide_mm)
        if rng_of(data).random() < self.without_wide:
            wide = torch.zeros_like(wide)
        kept = {key: value for key, value in data.items() if key not in _LOOKS}
        return {**kept, "image": torch.cat([near, wide])}
