"""Our sizes and texture classes against those of LIDC-IDRI's readers.

The tests beside it bound what this computes. As a script it prints the figures of `docs/explanation/clinical.md` and
draws the Bland-Altman picture: python tests/clinical/reader_agreement.py CROPS PICTURE
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from clinical_phantoms import all_lung, make_ct, outline_of
from numpy.typing import NDArray

from monai_lung.clinical.axes import axial_axis
from monai_lung.clinical.measurements import measure
from monai_lung.clinical.texture import GROUND_GLASS_BELOW_HU, SOLID_ABOVE_HU, core_percentile
from monai_lung.model import CT

CLASSES = ("ground-glass", "part-solid", "solid")


@dataclass(frozen=True)
class Crop:
    patient: str
    ct: CT
    readers: NDArray[np.bool_]
    """(n, X, Y, Z)."""
    textures: list[int]
    diameter_mm: float

    @property
    def consensus(self) -> NDArray[np.bool_]:
        """At least half of the readers; all of any where they share no voxel."""
        half = self.readers.sum(axis=0) >= len(self.readers) / 2
        return half if half.any() else self.readers.any(axis=0)


def crops(folder: Path, every: int = 1) -> Iterator[Crop]:
    with (folder / "nodules.csv").open() as file:
        rows = list(csv.DictReader(file))[::every]
    for row in rows:
        image = nib.load(folder / "images" / f"{row['id']}.nii.gz")
        marks = np.asarray(nib.load(folder / "readers" / f"{row['id']}.nii.gz").dataobj)
        ct = make_ct(np.asarray(image.dataobj), np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)
        readers = np.stack([marks >> k & 1 for k in range(int(row["n_readers"]))]).astype(bool)
        textures = [int(t) for t in row["texture"].split()]
        yield Crop(row["patient"], ct, readers, textures, float(row["diameter_mm"]))


def mean_diameter(mask: NDArray[np.bool_], ct: CT) -> tuple[float, float]:
    """Mean of the axes, and equivalent diameter, in mm."""
    ours = measure(outline_of(mask.astype(float)), ct, all_lung(ct))
    return ours.mean_diameter_mm, ours.equivalent_diameter_mm


def diameters(folder: Path, every: int = 1) -> list[tuple[str, float, float, float, float]]:
    """Patient; mean diameter of the consensus and of one reader; equivalent diameter and that by counting voxels."""
    table = []
    for crop in crops(folder, every):
        consensus, equivalent = mean_diameter(crop.consensus, crop.ct)
        for reader in crop.readers:
            if reader.any():
                own = mean_diameter(reader, crop.ct)[0]
                table.append((crop.patient, consensus, own, equivalent, crop.diameter_mm))
    return table


def texture_class(rating: float) -> int:
    return 0 if rating <= 2 else 2 if rating >= 4 else 1


def densities(folder: Path) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.int64], list[list[int]]]:
    """Patient, the core's 75th percentile (HU), class of the median rating, and the ratings of each nodule."""
    rows = [
        (c.patient, core_percentile(c.ct.hu, c.consensus, axial_axis(c.ct.affine_lps)), c.textures)
        for c in crops(folder)
    ]
    truth = np.array([texture_class(float(np.median(t))) for _, _, t in rows])
    return np.array([p for p, _, _ in rows]), np.array([d for _, d, _ in rows]), truth, [t for _, _, t in rows]


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> NDArray[np.float64]:
    table = np.zeros((3, 3))
    np.add.at(table, (truth, guess), 1)
    return table


def weighted_kappa(table: NDArray[np.float64]) -> float:
    """Cohen's kappa with quadratic weights."""
    i, j = np.indices(table.shape)
    weight = (i - j) ** 2
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(1 - (weight * table).sum() / max((weight * expected).sum(), 1e-9))


def classify(density: NDArray[np.float64], low: float, high: float) -> NDArray[np.int64]:
    return (density > low).astype(int) + (density > high)


def fitted_limits(density: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[float, float]:
    """The pair of limits, on a grid of 20 HU, with the best weighted kappa."""
    grid = np.arange(-690, 0, 20.0)
    pairs = [(low, high) for low in grid for high in grid if low <= high]
    return max(pairs, key=lambda pair: weighted_kappa(confusion(truth, classify(density, *pair))))


def cross_validated(
    patient: NDArray[np.str_], density: NDArray[np.float64], truth: NDArray[np.int64], folds: int = 5
) -> NDArray[np.int64]:
    """Classes by limits that were fitted on other patients."""
    names = np.unique(patient)
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % folds, strict=True))
    fold = np.array([fold_of[p] for p in patient])
    guess = np.empty_like(truth)
    for k in range(folds):
        guess[fold == k] = classify(density[fold == k], *fitted_limits(density[fold != k], truth[fold != k]))
    return guess


def readers_among_themselves(ratings: list[list[int]]) -> NDArray[np.float64]:
    """One reader (columns) against the median of the others (rows)."""
    table = np.zeros((3, 3))
    for given in ratings:
        for k, own in enumerate(given):
            table[texture_class(float(np.median(given[:k] + given[k + 1 :]))), texture_class(own)] += 1
    return table


def bootstrap(patient: NDArray[np.str_], value: NDArray[np.float64], repeats: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean, over patients."""
    _, which = np.unique(patient, return_inverse=True)
    sums, counts = np.bincount(which, value), np.bincount(which)
    drawn = np.random.default_rng(0).integers(0, len(sums), (repeats, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (2.5, 97.5))
    return float(low), float(high)


def main(folder: Path, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    patient, density, truth, ratings = densities(folder)
    shipped = confusion(truth, classify(density, GROUND_GLASS_BELOW_HU, SOLID_ABOVE_HU))
    validated = confusion(truth, cross_validated(patient, density, truth))
    among = readers_among_themselves(ratings)
    for name, found in (("shipped limits", shipped), ("cross-validated", validated), ("a reader", among)):
        print(f"texture, {name}: weighted kappa {weighted_kappa(found):.3f}\n{found.astype(int)}")
    print("limits fitted on all:", fitted_limits(density, truth))

    rows = diameters(folder)
    who, (consensus, own, equivalent, counted) = np.array([r[0] for r in rows]), np.array([r[1:] for r in rows]).T
    for name, a, b in (("mean diameter", consensus, own), ("equivalent diameter", equivalent, counted)):
        difference = a - b
        low, high = bootstrap(who, difference)
        spread = 1.96 * difference.std(ddof=1)
        print(
            f"{name}: n = {len(a)}, bias {difference.mean():+.3f} mm (95 % {low:+.3f} to {high:+.3f}), "
            f"limits {difference.mean() - spread:+.2f} to {difference.mean() + spread:+.2f} mm"
        )
    difference = consensus - own
    pyplot.figure(figsize=(7, 4.5))
    pyplot.scatter((consensus + own) / 2, difference, s=4, alpha=0.25, edgecolors="none")
    for height in (difference.mean(), *(difference.mean() + np.array([-1.96, 1.96]) * difference.std(ddof=1))):
        pyplot.axhline(height, color="k", linewidth=0.8, linestyle="-" if height == difference.mean() else "--")
        pyplot.annotate(f"{height:+.2f} mm", (1, height), xycoords=("axes fraction", "data"), fontsize=8)
    pyplot.xlabel("mean of both (mm)")
    pyplot.ylabel("ours on the consensus - a reader's own (mm)")
    pyplot.title(f"Mean diameter, {len(own)} outlines of {len(np.unique(who))} patients, LIDC-IDRI", fontsize=10)
    pyplot.savefig(picture, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
