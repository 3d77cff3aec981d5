"""Prints the phantom table and the landmark errors of `docs/explanation/clinical.md`.

python tests/clinical/phantom_accuracy.py DATA, where DATA holds ct/elastix_lung
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from clinical_phantoms import random_nodule
from test_growth import landmarks, load
from test_measurements import SHAPES, semi_axes

from monai_lung.clinical.measurements import measure
from monai_lung.clinical.registration import register, register_masks


def phantoms(slice_mm: float, graded: bool, rng: np.random.Generator) -> np.ndarray:
    """(n, 3): error of our volume and of a voxel mask's in %, of the mean diameter in mm."""
    rows = []
    for shape in SHAPES:
        for diameter_mm in (6.0, 9.0, 13.0):
            semi, truth = semi_axes(shape, diameter_mm), np.pi * diameter_mm**3 / 6
            if 2 * semi[2] < (1.2 if graded else 1.6) * slice_mm:
                continue
            for _ in range(5 if slice_mm < 1 else 12):
                drawn = random_nodule(rng, semi, (0.7, 0.7, slice_mm), graded=graded)
                if drawn is None:
                    continue
                ours, voxels = measure(*drawn), drawn[0].mask.sum() * drawn[1].voxel_mm3
                errors = 100 * (ours.volume_mm3 / truth - 1), 100 * (voxels / truth - 1)
                rows.append((*errors, ours.mean_diameter_mm - semi[0] - semi[1]))
    return np.array(rows)


def main(data: Path) -> None:
    rng = np.random.default_rng(5)
    for slice_mm in (0.5, 1.25, 2.5, 5.0):
        for graded in (True, False):
            found = phantoms(slice_mm, graded, rng)
            bias, spread, worst = found.mean(axis=0), found.std(axis=0), np.abs(found).max(axis=0)
            kind = "probability" if graded else "mask"
            print(f"{slice_mm} mm, {kind}: n = {len(found)}, bias {bias}, SD {spread}, worst {worst}", flush=True)
    folder = data / "ct" / "elastix_lung"
    (fixed, fixed_lungs), (moving, moving_lungs) = load(folder, "baseline"), load(folder, "followup")
    here, there = landmarks(folder, fixed, fixed_lungs)
    by_masks = register_masks(fixed_lungs, fixed.affine_lps, moving_lungs, moving.affine_lps)
    for name, alignment in (("CT", register(fixed, fixed_lungs, moving, moving_lungs)), ("masks", by_masks)):
        error = np.linalg.norm(alignment.to_moving(here) - there, axis=1)
        low, high = np.percentile(error[rng.integers(0, len(error), (2000, len(error)))].mean(axis=1), (2.5, 97.5))
        print(f"{name}: n = {len(error)}, mean {error.mean():.2f} mm (95 % {low:.2f} to {high:.2f})", end=", ")
        print(f"median {np.median(error):.2f}, worst {error.max():.2f}, surface {alignment.residual_mm:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
