"""The cost and accuracy of a click: agreement between points in one nodule, Dice by the readers' votes, time, phantoms.

`python -m research.benchmarks.clicks --crops DIR` writes docs/clicks.json, and a line for each nodule into
docs/clicks.jsonl. A crop holds no whole lungs, so it is measured as any piece of a CT: `monai_lung.pointed.outline_at`
on points drawn within the truth (half of the readers or more). The first point is the voxel nearest to the truth's
centre, the others are drawn from all of its voxels. Dice with the readers counts patients of fold 0 alone, whom no
network has seen.
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

from monai_lung.data.crops import Crop, CropRow, read_crop, read_table
from monai_lung.data.splits import patient_folds
from monai_lung.inference import delineate, load_networks
from monai_lung.inference.networks import Networks
from monai_lung.model import CT, LPS_RAS, Outline, Point, Seed
from monai_lung.pointed import CLICKED_MM, lungs_or_none, measured, outline_at
from research.benchmarks import machine
from research.benchmarks.inputs import ROOT

log = logging.getLogger("clicks")
FOLDS = ROOT / "bundles" / "lung_nodule_segmentation" / "configs" / "folds.json"
SIZES = ((0, 6), (6, 10), (10, 20), (20, 1000))
SPHERES_MM = (5, 8, 10, 12, 20)
HELD_OUT = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is wanted and isn't measured yet, and write the figures; 0 is done."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    networks = load_networks("cpu")
    figures: dict[str, Any] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
    figures |= {"machine": machine.describe("cpu"), "busy_cores": machine.busy_cores()}
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
    for row in read_table(given.crops)[given.start :: given.every]:
        if row.id not in known:
            found = clicks(read_crop(given.crops, row), networks, given.points)
            rows.append({"id": row.id, "fold": folds.get(row.patient, -1), **found})
            with given.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            log.info("%d nodules", len(rows))
    return rows


def clicks(crop: Crop, networks: Networks, points: int) -> dict[str, Any]:
    """Of one nodule: Dice between points (settled, and drawn once), Dice with the readers, seconds of a core."""
    ct = CT(crop.hu, LPS_RAS @ crop.affine_ras, "crop")
    truth = crop.share >= 0.5
    places = [_world(ct, index) for index in _drawn(truth, points, crop.row)]
    settled, once, seconds = [], [], []
    for place in places:
        start = time.process_time()
        settled.append(_mask(outline_at(ct, [place], networks)[0], ct))
        seconds.append(time.process_time() - start)
        once.append(_mask(delineate(ct, [Seed(place, 1.0, CLICKED_MM)], networks), ct))
    return {
        "diameter_mm": crop.row.diameter_mm or 0.0,
        "agreement": [round(dice(settled[0], other), 4) for other in settled[1:]],
        "agreement_once": [round(dice(once[0], other), 4) for other in once[1:]],
        "readers": [round(dice(mask, truth), 4) for mask in settled],
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
    """A row a range of diameters, and one for all."""
    rows = []
    for low, high in (*SIZES, (0, 1000)):
        of = [one for one in each if low <= one["diameter_mm"] < high]
        if of:
            unseen = [one for one in of if one["fold"] == HELD_OUT]
            rows.append(
                {
                    "from_mm": low,
                    "to_mm": high,
                    "nodules": len(of),
                    "agreement": _spread([v for one in of for v in one["agreement"]]),
                    "agreement_once": _spread([v for one in of for v in one["agreement_once"]]),
                    "unseen_nodules": len(unseen),
                    "readers": _spread([v for one in unseen for v in one["readers"]]),
                    "cpu_s": _spread([v for one in of for v in one.get("cpu_s", ())]),
                }
            )
    return rows


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, median, and the share that is at least 0.95."""
    if not values:
        return {}
    known = np.array(values)
    return {
        "mean": round(float(known.mean()), 3),
        "median": round(float(np.median(known)), 3),
        "at_least_0.95": round(float((known >= 0.95).mean()), 3),
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


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Of two masks; 1 where both are empty."""
    both = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def _save(figures: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clicks", description=__doc__)
    parser.add_argument("--crops", type=Path, help="folder of crops; without, the spheres alone")
    parser.add_argument("--start", type=int, default=0, help="the first nodule, counted from 0 (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take each so many-th nodule (default: all)")
    parser.add_argument("--points", type=int, default=4, help="in a nodule (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=10, help="places of each sphere; 0 for none (default: %(default)s)"
    )
    parser.add_argument("--rows", type=Path, default=ROOT / "docs" / "clicks.jsonl", help="default: docs/clicks.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "clicks.json", help="default: docs/clicks.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
