"""Clicks that correct: Dice and IoU with the readers after each click of a simulated person, and how many it takes.

Part of `research.benchmarks.clicks`. The first click points at the nodule (the voxel nearest to the middle of what half
of the readers marked) and gives the outline of `monai_lung.pointed.outline_at`. Each further one goes to the middle of
the largest error, on the crop's own grid (`monai_lung.training.simulated_clicks`), and all of them together correct
that first outline: by the network (`monai_lung.inference.correct.correct`), by the outline's own probabilities, shifted
around the clicks (`correct` without a network), or the plain way, which adds or cuts balls and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.bundle.segmentation_scores import dice
from monai_lung.data.crops import Crop
from monai_lung.inference.correct import HELD_LOGIT, HELD_MM, correct, correct_plainly
from monai_lung.inference.networks import Corrector, Networks
from monai_lung.metrics.figures import figure, mean_of
from monai_lung.model import CT, LPS_RAS, Outline, Point, Seed
from monai_lung.pointed import outline_at
from monai_lung.training.simulated_clicks import next_click

MOST = 20
"""Clicks, the first among them: where interactive segmentation stops counting."""
SHOWN = 5
"""Corrections after which Dice is told."""
GOALS = {"dice_0.85": 0.85, "dice_0.90": 0.90, "iou_0.85": 2 * 0.85 / 1.85, "iou_0.90": 2 * 0.90 / 1.90}
"""Goals as a Dice: IoU x is Dice 2 x / (1 + x)."""
WANTED = ("half", "reader")
WAYS = ("network", "shift", "plain")
"""By the network; by the outline's own probabilities, shifted around the clicks; by balls."""

_Way = Callable[[CT, Outline, Sequence[Point], Sequence[Point]], Outline | None]


def wanted_of(crop: Crop, wanted: str) -> NDArray[np.bool_]:
    """What the simulated person wants: what half of the readers marked, or one reader, drawn by the crop's name."""
    if wanted == "half":
        return crop.share >= 0.5
    masks = [(crop.readers >> k) & 1 == 1 for k in range(crop.row.n_readers)]
    marked = [mask for mask in masks if mask.any()]
    return marked[sum(crop.row.id.encode()) % len(marked)]


def first_outline(crop: Crop, networks: Networks, kept: Path | None) -> Outline | None:
    """The outline by the first click; read from the folder `kept`, or written there."""
    ct = CT(crop.hu, LPS_RAS @ crop.affine_ras, "crop")
    index = np.argwhere(wanted_of(crop, "half")).astype(float)
    x, y, z = (float(v) for v in ct.to_world(index[np.linalg.norm(index - index.mean(0), axis=1).argmin()]))
    path = kept and kept / f"{crop.row.id}_{x:.1f}_{y:.1f}_{z:.1f}.npz"
    if path and path.is_file():
        with np.load(path) as file:
            i, j, k = (int(v) for v in file["offset"])
            if not file["mask"].any():
                return None
            return Outline(file["mask"], file["probability"], (i, j, k), Seed((x, y, z), 1.0, 8.0))
    outlines, _ = outline_at(ct, [(x, y, z)], networks)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        none = np.zeros((1, 1, 1), np.float32)
        mask, probability, offset = (none > 0, none, (0, 0, 0))
        if outlines:
            mask, probability, offset = outlines[0].mask, outlines[0].probability, outlines[0].offset
        np.savez_compressed(path, mask=mask, probability=probability, offset=offset)
    return outlines[0] if outlines else None


def corrections(
    crop: Crop, truth: NDArray[np.bool_], first: Outline | None, way: _Way
) -> tuple[list[float], list[float]]:
    """Dice after each click, from the first on, and seconds of a core for each correction.

    Until the highest goal is reached and `SHOWN` corrections are made, or `MOST` clicks.
    """
    ct = CT(crop.hu, LPS_RAS @ crop.affine_ras, "crop")
    outline, add, cut = first, list[Point](), list[Point]()
    scores, seconds = [dice(_mask(outline, ct), truth)], []
    while first is not None and len(scores) < MOST:
        if scores[-1] >= max(GOALS.values()) and len(scores) > SHOWN:
            break
        click = next_click(_mask(outline, ct), truth, np.array(ct.spacing_mm))
        if click is None:
            scores.append(1.0)
            continue
        x, y, z = (float(v) for v in ct.to_world(np.array(click.index, float)))
        (add if click.adds else cut).append((x, y, z))
        start = time.process_time()
        outline = way(ct, first, add, cut)
        seconds.append(time.process_time() - start)
        scores.append(dice(_mask(outline, ct), truth))
    return scores, seconds


def _mask(outline: Outline | None, ct: CT) -> NDArray[np.bool_]:
    mask = np.zeros(ct.hu.shape, bool)
    if outline is not None:
        mask[outline.box] = outline.mask
    return mask


@dataclass(frozen=True)
class Made:
    """How rows of corrections are made: the way, what is wanted, and the plain way's radius or the network."""

    way: str
    wanted: str
    radius_mm: float
    corrector: Corrector | None

    @property
    def _by(self) -> dict[str, Any]:
        if self.way == "plain":
            return {"radius_mm": self.radius_mm}
        if self.way == "shift":
            return {"held": f"{HELD_MM} mm, {HELD_LOGIT}"}
        return {"weights": self.corrector.weights["correct"][:12] if self.corrector else ""}

    def made(self, row: Mapping[str, Any]) -> bool:
        """Whether a row was made so."""
        return {"way": self.way, "wanted": self.wanted, **self._by}.items() <= row.items()

    def measured(self, crop: Crop, networks: Networks, kept: Path | None) -> dict[str, Any]:
        """The row of a nodule; `kept` as in `first_outline`."""
        truth = wanted_of(crop, self.wanted)
        way: _Way = partial(correct, networks=self.corrector if self.way == "network" else None)
        if self.way == "plain":
            way = partial(correct_plainly, radius_mm=self.radius_mm)
        scores, seconds = corrections(crop, truth, first_outline(crop, networks, kept), way)
        return {
            "way": self.way,
            "wanted": self.wanted,
            **self._by,
            "id": crop.row.id,
            "patient": crop.row.patient,
            "diameter_mm": crop.row.diameter_mm or 0.0,
            "room": not (crop.readers[..., 0].any() or crop.readers[..., -1].any()),
            "dice": [round(s, 4) for s in scores],
            "cpu_s": [round(s, 3) for s in seconds],
        }


def joined(
    rows: Sequence[Mapping[str, Any]], wanted: str, radius_mm: float, corrector: Corrector | None
) -> list[dict[str, Any]]:
    """The nodules that all ways have: patient, size, room, and each way's Dice and seconds."""
    ways = [way for way in WAYS if way != "network" or corrector is not None]
    by_way = [{row["id"]: row for row in rows if Made(way, wanted, radius_mm, corrector).made(row)} for way in ways]
    shared = [name for name in by_way[0] if all(name in of for of in by_way)]
    common = ("id", "patient", "diameter_mm", "room")
    return [
        {key: by_way[0][name][key] for key in common}
        | {way: {key: of[name][key] for key in ("dice", "cpu_s")} for way, of in zip(ways, by_way, strict=True)}
        for name in shared
    ]


def clicks_to(scores: Sequence[float], goal: float) -> tuple[int, bool]:
    """Clicks, the first among them, until Dice is `goal`, and whether it was reached; `MOST` where it wasn't."""
    for n, score in enumerate(scores, start=1):
        if score >= goal:
            return n, True
    return MOST, False


def correction_table(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each way that was measured: mean Dice after 0 to `SHOWN` corrections, clicks to each goal, and seconds."""
    patients = [one["patient"] for one in each]
    table: dict[str, Any] = {}
    for way in [way for way in WAYS if way in each[0]]:
        scores = [one[way]["dice"] for one in each]
        after = {str(n): figure(mean_of([s[min(n, len(s) - 1)] for s in scores]), patients) for n in range(SHOWN + 1)}
        goals = {}
        for name, goal in GOALS.items():
            counts = [clicks_to(s, goal) for s in scores]
            goals[name] = {
                "clicks": figure(mean_of([n for n, _ in counts]), patients),
                "not_reached": figure(mean_of([float(not reached) for _, reached in counts]), patients),
            }
        seconds = [s for one in each for s in one[way]["cpu_s"]]
        table[way] = {"dice": after, "noc": goals, "cpu_s_median": round(float(np.median(seconds)), 3)}
    if "network" in table:
        pairs = [(one["network"]["dice"], one["shift"]["dice"]) for one in each]
        table["network_less_shift_after"] = {
            str(n): figure(mean_of([a[min(n, len(a) - 1)] - b[min(n, len(b) - 1)] for a, b in pairs]), patients)
            for n in range(1, SHOWN + 1)
        }
    return table
