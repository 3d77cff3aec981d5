"""A small synthetic LIDC: balls in lung, the large ones rated malignant."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

from monai_lung.data.crops import RATINGS
from monai_lung.data.splits import crop_rows, make_folds, write_folds
from research.study.budget import CPU, Budget, Task
from research.study.store import Study

TINY: Budget = replace(
    CPU,
    name="tiny",
    segmentation=Task(2, 2, (1.0, 1.0, 1.5), (16, 16, 8)),
    rating=Task(2, 2, (1.5, 1.5, 2.0), (12, 12, 8)),
    slices=Task(2, 2, (1.5, 1.5, 1.0), (12, 12, 1)),
    widths=dict.fromkeys(CPU.widths, 4),
    copies=1,
)
SPACING = (0.8, 0.8, 1.5)


def make_study(folder: Path, nodules: int = 16) -> Study:
    """Two folds, two nodules for each patient, three readers who differ by half a millimetre."""
    crops = folder / "lidc_crops"
    for kind in ("images", "readers"):
        (crops / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for n in range(nodules):
        radius = 2.0 + 4.0 * rng.random()
        grade = 2 if radius < 4 else 4
        hu, readers = ball(radius, rng)
        for kind, array in (("images", hu), ("readers", readers)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([*SPACING, 1.0])), crops / kind / f"n{n}.nii.gz")
        ratings = dict.fromkeys(RATINGS, "4 4 5") | {"malignancy": f"{grade} {grade} {grade}"}
        if n % 5 == 0:
            ratings |= {"texture": "1 1 2", "malignancy": "1 3 5"}
        marks = " ".join(str(3 * n + k) for k in range(3))
        row = {"id": f"n{n}", "patient": f"p{n // 2}", "n_readers": 3, "annotation_ids": marks}
        median = sorted(ratings["malignancy"].split())[1]
        rows.append(row | ratings | {"malignancy_median": median, "diameter_mm": f"{2 * radius:.2f}"})
    with (crops / "nodules.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    _write_slices(folder / "lidc_slices", rows)
    write_folds(make_folds(crop_rows(crops), 2), folder / "folds.json")
    return Study(folder, folder / "out", TINY, fold_file=folder / "folds.json")


def _write_slices(folder: Path, rows: list[dict[str, object]]) -> None:
    """Each nodule on its middle slice, of the first reader alone."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    pairs = [ball(float(str(row["diameter_mm"])) / 2, rng) for row in rows]
    images, readers = (np.stack([pair[k][..., 6] for pair in pairs]) for k in (0, 1))
    np.savez(folder / "slices.npz", image_hu=images, readers=readers & 1)
    with (folder / "slices.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [*rows[0], "row", "spacing_mm"])
        table.writeheader()
        for n, row in enumerate(rows):
            own = {name: str(row[name]).split()[0] for name in RATINGS} | {"malignancy_median": "", "n_readers": 1}
            table.writerow({**row, **own, "row": n, "spacing_mm": SPACING[0]})


def ball(radius_mm: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """HU and readers' bits of a ball in a box of 20 x 20 x 18 mm."""
    size = (25, 25, 12)
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, SPACING, strict=True)]
    distance = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    hu = np.where(distance <= radius_mm, 30, -860) + rng.normal(0, 20, size)
    readers = np.zeros(size, np.uint8)
    for bit, extra in enumerate((-0.5, 0.0, 0.5)):
        readers |= (distance <= radius_mm + extra).astype(np.uint8) << bit
    return hu.astype(np.int16), readers
