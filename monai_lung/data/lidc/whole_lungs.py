"""Prepared scans as the whole-lung backgrounds that the finding and the rating network are trained on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.data.backgrounds import Box, make_background, save_background
from monai_lung.data.splits import patient_folds
from monai_lung.errors import InputError, UsageError
from monai_lung.io import read_ct
from monai_lung.model import CT, Lungs


def make_backgrounds(
    prepared: Path,
    out: Path,
    *,
    fold_file: Path,
    fold: int,
    spacing_mm: Sequence[float] | None = (1.0, 1.0, 2.0),
    most: int = 40,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write `out/PATIENT_sSCAN.npz` for scans of the patients outside of a fold; those that are there are kept.

    Args:
        prepared: what `monai_lung.data.lidc.prepare` made.
        out: the folder of backgrounds.
        fold_file: folds by patient.
        fold: whose patients are held out: none of them becomes a background. Patients in no fold may.
        spacing_mm: of the network's grid; None keeps each scan's own.
        most: scans at most, in the manifest's order; a background takes some 100 MB of memory in training.
        progress: called with the scans behind us and in all.

    Returns:
        How many backgrounds of these scans there are.

    Raises:
        UsageError: no manifest, a fold file of other patients, or no scan to take.
        InputError: a scan's files can't be read.
        OutputError: a background can't be written.
    """
    manifest = prepared / "manifest.csv"
    if not manifest.is_file():
        raise UsageError(f"{manifest}: not found; make it with monai-lung lidc prepare")
    with manifest.open(newline="") as file:
        done = [row for row in csv.DictReader(file) if row["status"] == "done"]
    folds = patient_folds(fold_file)
    if done and not folds.keys() & {row["patient"] for row in done}:
        raise UsageError(f"{fold_file}: none of the patients of {manifest} is in it; give the fold file of these scans")
    chosen = [prepared / row["folder"] for row in done if folds.get(row["patient"]) != fold][:most]
    if not chosen:
        raise UsageError(f"{manifest}: no scan that is done lies outside of fold {fold}")
    for n, folder in enumerate(chosen):
        if not (out / f"{folder.name}.npz").is_file():
            ct = read_ct(folder / "ct.nii.gz")
            labels, votes = (_mask(folder / f"{name}.nii.gz", ct) for name in ("lungs", "votes"))
            marked = [_box(part, ct) for part in ndimage.find_objects(ndimage.label(votes)[0])]
            lungs = Lungs(labels.astype(np.uint8), 0.0, 0.0)
            background = make_background(ct, lungs, marked, spacing_mm or ct.spacing_mm, name=folder.name)
            save_background(background, out)
        if progress:
            progress(n + 1, len(chosen))
    return len(chosen)


def _mask(path: Path, ct: CT) -> NDArray[np.generic]:
    """Labels (X, Y, Z) on the grid of `ct`."""
    try:
        array = np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
    except Exception as error:  # nibabel raises many kinds, zlib and OS errors among them
        raise InputError(f"{path}: can't be read ({error}); prepare the scan again") from error
    if array.shape != ct.hu.shape:
        raise InputError(f"{path}: {array.shape} voxels, its CT has {ct.hu.shape}; prepare the scan again")
    return array


def _box(part: tuple[slice, ...], ct: CT) -> Box:
    """Opposite corners in LPS mm of a part of the grid."""
    first, last = (
        ct.to_world(np.array(index, float)) for index in zip(*((s.start, s.stop - 1) for s in part), strict=True)
    )
    return (float(first[0]), float(first[1]), float(first[2])), (float(last[0]), float(last[1]), float(last[2]))
