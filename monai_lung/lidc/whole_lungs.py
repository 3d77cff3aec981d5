"""Prepared scans as the whole-lung backgrounds that the finding and the rating network are trained on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.data.backgrounds import KnownBox, background_files, make_background, read_background, save_background
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
    most: int = 40,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write `out/PATIENT_sSCAN.npz` for scans of the patients who are trained on; those that are there are kept.

    Args:
        prepared: what `monai_lung.lidc.prepare` made.
        out: the folder of backgrounds; it may hold no others, for all of a folder are trained on.
        fold_file: folds by patient.
        fold: whose patients are held out: none of them becomes a background, nor does a patient who is in no fold.
        most: scans at most, in the manifest's order; a background takes some 100 MB of memory in training.
        progress: called with the scans behind us and in all.

    Returns:
        How many backgrounds there are.

    Raises:
        UsageError: no manifest, no such fold, no scan to take, or a folder with other backgrounds.
        InputError: the manifest or a scan's files can't be read.
        OutputError: a background can't be written.
    """
    chosen = _chosen(prepared / "manifest.csv", fold_file, fold)[:most]
    others = {p.stem for p in background_files(out)} - {folder.name for folder in chosen}
    if others:
        raise UsageError(f"{out}: holds {min(others)}, which isn't among these scans; give another --output")
    for n, folder in enumerate(chosen):
        _make(folder, out)
        if progress:
            progress(n + 1, len(chosen))
    return len(chosen)


def _chosen(manifest: Path, fold_file: Path, fold: int) -> list[Path]:
    """Folders of the prepared scans of the patients outside of `fold`."""
    if not manifest.is_file():
        raise UsageError(f"{manifest}: not found; make it with monai-lung lidc prepare")
    folds = patient_folds(fold_file)
    if fold not in folds.values():
        raise UsageError(f"{fold_file} has no fold {fold}: it has 0 to {max(folds.values())}")
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            done = [(row["patient"], row["folder"]) for row in csv.DictReader(file) if row["status"] == "done"]
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f"{manifest} is not a manifest ({error!r}); prepare the download again") from error
    chosen = [manifest.parent / folder for patient, folder in done if folds.get(patient, fold) != fold]
    if not chosen:
        raise UsageError(
            f"{manifest}: of {len(done)} scans none is of a patient outside of fold {fold} of {fold_file}; "
            "prepare more, or give the fold file that was made of these scans"
        )
    return chosen


def _make(folder: Path, out: Path) -> None:
    """The background of one prepared scan, unless a sound one is there."""
    path = out / f"{folder.name}.npz"
    if path.is_file():
        read_background(path)
        return
    ct = read_ct(folder / "ct.nii.gz")
    labels, votes = (_mask(folder / f"{name}.nii.gz", ct) for name in ("lungs", "votes"))
    if not labels.any():
        raise InputError(f"{folder / 'lungs.nii.gz'}: no lungs in it; prepare the scan again, or take it out")
    marked = [_box(part, ct) for part in ndimage.find_objects(ndimage.label(votes)[0])]
    lungs = Lungs(labels.astype(np.uint8), 0.0, 0.0)
    save_background(make_background(ct, lungs, marked, name=folder.name), out)


def _mask(path: Path, ct: CT) -> NDArray[np.generic]:
    """Labels (X, Y, Z) on the grid of `ct`."""
    try:
        array = np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
    except Exception as error:  # nibabel raises many kinds, zlib and OS errors among them
        raise InputError(f"{path}: can't be read ({error}); prepare the scan again") from error
    if array.shape != ct.hu.shape:
        raise InputError(f"{path}: {array.shape} voxels, its CT has {ct.hu.shape}; prepare the scan again")
    return array


def _box(part: tuple[slice, ...], ct: CT) -> KnownBox:
    """Opposite corners in LPS mm of a part of the grid."""
    first, last = (
        ct.to_world(np.array(index, float)) for index in zip(*((s.start, s.stop - 1) for s in part), strict=True)
    )
    return (float(first[0]), float(first[1]), float(first[2])), (float(last[0]), float(last[1]), float(last[2]))
