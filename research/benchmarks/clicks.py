"""The cost and accuracy of a click: agreement between points in one nodule, Dice by the readers' votes, time, phantoms.

`python -m research.benchmarks.clicks --crops DIR` writes docs/clicks.json, and a line for each nodule into
docs/clicks.jsonl. A crop holds no whole lungs, so it is measured as any piece of a CT: `monai_lung.pointed.outline_at`
on points drawn within the truth (half of the readers or more). The first point is the voxel nearest to the truth's
centre, the others are drawn from all of its voxels. A point without an outline counts 0, in Dice and in agreement.

The patients of fold 0, whom no network has seen, come first, so that a run cut short has them, and stand in rows of
their own. `--corrections` counts the clicks that correct an outline (`research.benchmarks.corrections`) instead, for
those patients alone. A crop ends in z where the readers' marks end, which tells a network where a nodule ends: `room`
is a row for the nodules with a slice to spare at both ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.bundle.segmentation_scores import dice
from monai_lung.data.crops import Crop, CropRow, read_crop, read_table
from monai_lung.data.splits import patient_folds
from monai_lung.inference import load_networks
from monai_lung.inference.correct import BALL_MM
from monai_lung.inference.networks import Networks, load_corrector
from monai_lung.metrics.figures import figure, mean_of
from monai_lung.model import CT, LPS_RAS, Outline, Point
from monai_lung.pointed import lungs_or_none, measured, outline_at
from research import ROOT
from research.benchmarks import corrections, machine

log = logging.getLogger("clicks")
FOLDS = ROOT / "bundles" / "lung_nodule_segmentation" / "configs" / "folds.json"
SIZES = ((0, 6), (6, 10), (10, 20), (20, 1000))
SPHERES_MM = (5, 8, 10, 12, 20)
HELD_OUT = 0
GOAL = 0.95


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is wanted and isn't measured yet, and write the figures; 0 is done."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    networks = load_networks("cpu")
    figures: dict[str, Any] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
    figures |= {"machine": machine.describe("cpu"), "busy_cores": machine.busy_cores()}
    if given.corrections:
        each = _corrections(given, networks)
        if not each:
            return 0
        held = [one for one in each if one["room"]]
        figures[f"corrections_{given.wanted}"] = {
            "nodules": len(each),
            "radius_mm": given.radius,
            "all": corrections.correction_table(each),
            "room": corrections.correction_table(held) if held else None,
        }
        _save(figures, given.out)
        return 0
    if given.repeats:
        figures["spheres"] = []
        for row in spheres(networks, given.repeats):
            figures["spheres"].append(row)
            _save(figures, given.out)
    if given.crops:
        each = _on_crops(given, networks)
        figures["crops"] = {"nodules": len(each), "points": given.points, "sizes": table(each)}
    _save(figures, given.out)
    log.info("wrote %s", given.out)
    return 0


def _on_crops(given: argparse.Namespace, networks: Networks) -> list[dict[str, Any]]:
    """The results of clicks in each nodule; rows that are measured already are kept, new ones added one by one."""
    rows = [json.loads(line) for line in given.rows.read_text("utf-8").splitlines()] if given.rows.is_file() else []
    known, folds = {row["id"] for row in rows}, patient_folds(FOLDS)
    wanted = read_table(given.crops)[given.start :: given.every]
    for row in sorted(wanted, key=lambda row: folds.get(row.patient, -1) != HELD_OUT):
        if row.id not in known:
            found = clicks(read_crop(given.crops, row), networks, given.points)
            rows.append({"id": row.id, "patient": row.patient, "fold": folds.get(row.patient, -1), **found})
            with given.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            log.info("%d nodules", len(rows))
    return rows


def _corrections(given: argparse.Namespace, networks: Networks) -> list[dict[str, Any]]:
    """The results of corrections in each nodule of a fold, those that all ways have; what is measured is kept."""
    folds = patient_folds(FOLDS)
    wanted = [row for row in read_table(given.crops) if folds.get(row.patient, -1) == given.fold]
    corrector = load_corrector(networks.device, given.bundle)
    ways = [way for way in corrections.WAYS if way == given.way or given.way is None]
    if corrector is None:
        ways = [way for way in ways if way != "network"]
    for way in ways:
        made = corrections.Made(way, given.wanted, given.radius, corrector)
        known = {row["id"] for row in _kept_rows(given.rows) if made.made(row)}
        for row in wanted[given.start :: given.every]:
            if row.id not in known:
                found = made.measured(read_crop(given.crops, row), networks, given.outlines)
                with given.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
                log.info("%s %s", way, row.id)
    return corrections.joined(_kept_rows(given.rows), given.wanted, given.radius, corrector)


def _kept_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def clicks(crop: Crop, networks: Networks, points: int) -> dict[str, Any]:
    """Of one nodule: Dice of each point with the first, Dice of each with the readers, seconds of a core."""
    ct = CT(crop.hu, LPS_RAS @ crop.affine_ras, "crop")
    truth = crop.share >= 0.5
    masks, seconds = [], []
    for index in _drawn(truth, points, crop.row):
        start = time.process_time()
        masks.append(_mask(outline_at(ct, [_world(ct, index)], networks)[0], ct))
        seconds.append(time.process_time() - start)
    return {
        "diameter_mm": crop.row.diameter_mm or 0.0,
        "room": not (crop.readers[..., 0].any() or crop.readers[..., -1].any()),
        "agreement": [round(dice(masks[0], other), 4) for other in masks[1:]],
        "readers": [round(dice(mask, truth), 4) for mask in masks],
        "cpu_s": [round(s, 2) for s in seconds],
    }


def spheres(networks: Networks, repeats: int) -> Iterator[dict[str, float]]:
    """Solid spheres in air-filled lung at 1.25 mm slices, anywhere between voxels: bias of the volume by a point."""
    for diameter in SPHERES_MM:
        true_mm3 = np.pi * diameter**3 / 6
        bias = [_sphere_mm3(networks, diameter, seed) / true_mm3 - 1 for seed in range(repeats)]
        yield {
            "diameter_mm": diameter,
            "repeats": repeats,
            "bias_percent": round(100 * float(np.mean(bias)), 1),
            "sd_percent": round(100 * float(np.std(bias, ddof=1)), 1),
        }


def _sphere_mm3(networks: Networks, diameter_mm: float, seed: int) -> float:
    """Volume measured at a point in a sphere of 0 HU in lung of -850 HU, 20 HU of noise, voxels 0.7 x 0.7 x 1.25 mm."""
    rng = np.random.default_rng(seed)
    spacing, shape, fine = np.array([0.7, 0.7, 1.25]), (96, 96, 56), 4
    center = spacing * (np.array(shape) / 2 + rng.uniform(-0.5, 0.5, 3))
    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    squares = [((np.arange(n)[:, None] + offsets) * s - c) ** 2 for n, s, c in zip(shape, spacing, center, strict=True)]
    share = np.zeros(shape)
    for i in range(fine):
        for j in range(fine):
            for k in range(fine):
                x, y, z = squares[0][:, i], squares[1][:, j], squares[2][:, k]
                share += x[:, None, None] + y[None, :, None] + z[None, None, :] <= (diameter_mm / 2) ** 2
    hu = -850 + 850 * share / fine**3 + rng.normal(0, 20, shape)
    ct = CT(hu, np.diag([*spacing, 1.0]), "sphere")  # type: ignore[arg-type]  # of fractions of a HU
    x, y, z = (float(v) for v in center)
    outlines, _ = outline_at(ct, [(x, y, z)], networks)
    if not outlines:
        return 0.0
    return measured(outlines[0], ct, lungs_or_none(ct)).volume_mm3


def table(each: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a range of diameters and one for all; of all patients, of those unseen, of these with room in z."""
    unseen = [one for one in each if one["fold"] == HELD_OUT]
    groups = {"all": each, "unseen": unseen, "unseen, room": [one for one in unseen if one["room"]]}
    return [
        {"patients": name, "from_mm": low, "to_mm": high, **_figures(of)}
        for name, members in groups.items()
        for low, high in (*SIZES, (0, 1000))
        if (of := [one for one in members if low <= one["diameter_mm"] < high])
    ]


def _figures(of: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over nodules, each of its points' mean, with intervals over patients."""
    patients = [one["patient"] for one in of]
    agree = [np.array(one["agreement"]) for one in of]
    readers = [np.array(one["readers"]) for one in of]
    return {
        "agreement": figure(mean_of([float(a.mean()) for a in agree]), patients),
        "agreement_at_least_0.95": figure(mean_of([float((a >= GOAL).mean()) for a in agree]), patients),
        "readers": figure(mean_of([float(r.mean()) for r in readers]), patients),
        "readers_first_point": figure(mean_of([float(r[0]) for r in readers]), patients),
        "points_without_outline": round(float(np.mean([(r == 0).mean() for r in readers])), 4),
        "cpu_s_median": round(float(np.median([s for one in of for s in one["cpu_s"]])), 2),
    }


def _drawn(truth: NDArray[np.bool_], points: int, row: CropRow) -> list[NDArray[np.float64]]:
    """Indices of the points: the voxel nearest to the centre, then random ones."""
    index = np.argwhere(truth).astype(float)
    rng = np.random.default_rng(sum(row.id.encode()))
    first = index[np.linalg.norm(index - index.mean(0), axis=1).argmin()]
    return [first, *index[rng.choice(len(index), points - 1, replace=len(index) < points)]]


def _world(ct: CT, index: NDArray[np.float64]) -> Point:
    x, y, z = (float(v) for v in ct.to_world(index))
    return x, y, z


def _mask(outlines: Sequence[Outline], ct: CT) -> NDArray[np.bool_]:
    mask = np.zeros(ct.hu.shape, bool)
    for outline in outlines:
        mask[outline.box] |= outline.mask
    return mask


def _save(figures: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clicks", description=__doc__)
    parser.add_argument("--crops", type=Path, help="folder of crops; without, the spheres alone")
    parser.add_argument("--start", type=int, default=0, help="the first nodule, counted from 0 (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take each so many-th nodule (default: all)")
    parser.add_argument("--points", type=int, default=3, help="in a nodule (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=10, help="places of each sphere; 0 for none (default: %(default)s)"
    )
    parser.add_argument("--corrections", action="store_true", help="count the clicks that correct an outline")
    parser.add_argument(
        "--wanted",
        choices=corrections.WANTED,
        default="half",
        help="what the corrections aim at: what half of the readers marked, or one reader (default: %(default)s)",
    )
    parser.add_argument("--way", choices=corrections.WAYS, help="measure this way alone (default: all)")
    parser.add_argument("--radius", type=float, default=BALL_MM, help="of the plain way, mm (default: %(default)s)")
    parser.add_argument("--fold", type=int, default=HELD_OUT, help="that corrections take (default: %(default)s)")
    parser.add_argument("--outlines", type=Path, help="keep the first outlines here, for another run")
    parser.add_argument("--bundle", type=Path, help="a bundle with other correcting weights")
    parser.add_argument("--rows", type=Path, default=ROOT / "docs" / "clicks.jsonl", help="default: docs/clicks.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "clicks.json", help="default: docs/clicks.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
