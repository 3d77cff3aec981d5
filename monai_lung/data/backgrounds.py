"""Whole lungs to set nodules into: scans on the finding network's grid, with what is known of their own nodules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from monai_lung.errors import InputError, UsageError
from monai_lung.io.output import replacing
from monai_lung.model import CT, Lungs, Point

Box = tuple[Point, Point]
"""Opposite corners in LPS mm."""
_ARRAYS = ("hu", "depth_mm", "known", "spacing_mm", "hard", "hard_coarse")


@dataclass(frozen=True)
class Background:
    """A scan on a regular grid.

    Attributes:
        hu: int16 (X, Y, Z).
        depth_mm: uint8 (X, Y, Z), distance to the lungs' border inside them, at least 1; 0 outside.
        known: bool (X, Y, Z), at and around nodules that someone marked: neither nodule nor background.
        spacing_mm: of the grid.
        hard: int (n, 3), voxels where a trained network found what nobody marked (`training.mining`).
        hard_coarse: the same on the grid of `halved`.
    """

    name: str
    hu: NDArray[np.int16]
    depth_mm: NDArray[np.uint8]
    known: NDArray[np.bool_]
    spacing_mm: NDArray[np.float64]
    hard: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    hard_coarse: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))


def make_background(
    ct: CT, lungs: Lungs, known: Iterable[Box], spacing_mm: Sequence[float], *, name: str | None = None
) -> Background:
    """`ct` resampled to `spacing_mm` along its own axes and cut to the lungs with 20 mm around them.

    `known` are boxes around marked nodules; they are kept out of the loss with 4 mm around them.
    """
    target = np.asarray(spacing_mm, float)
    inside = np.argwhere(lungs.labels > 0)
    margin = np.ceil(20 / np.array(ct.spacing_mm)).astype(int)
    low = np.maximum(inside.min(0) - margin, 0)
    high = np.minimum(inside.max(0) + margin + 1, ct.hu.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    marked = np.zeros(ct.hu.shape, bool)
    for corners in known:
        index = ct.to_index(np.array(corners))
        pad = 4 / np.array(ct.spacing_mm)
        a = np.maximum(np.floor(index.min(0) - pad), 0).astype(int)
        b = np.maximum(np.ceil(index.max(0) + pad) + 1, 0).astype(int)
        marked[tuple(slice(i, j) for i, j in zip(a, b, strict=True))] = True
    size = [round(n * s / t) for n, s, t in zip(high - low, ct.spacing_mm, target, strict=True)]

    def resize(array: NDArray[np.generic]) -> NDArray[np.float32]:
        tensor = torch.from_numpy(np.ascontiguousarray(array[box], np.float32))[None, None]
        return functional.interpolate(tensor, size, mode="trilinear")[0, 0].numpy()

    lung = resize(lungs.labels > 0) >= 0.5
    depth = ndimage.distance_transform_edt(lung, sampling=target)
    depth_mm = np.where(lung, np.clip(np.ceil(depth), 1, 255), 0).astype(np.uint8)
    return Background(name or ct.name, resize(ct.hu).round().astype(np.int16), depth_mm, resize(marked) > 0, target)


def halved(background: Background) -> Background:
    """`background` with voxels twice as large, each the mean of eight (its depth and marks: the largest)."""
    hu = functional.avg_pool3d(torch.from_numpy(background.hu)[None].float(), 2)[0].round()
    depth, known = (
        functional.max_pool3d(torch.from_numpy(a)[None].float(), 2)[0].numpy()
        for a in (background.depth_mm, background.known)
    )
    return Background(
        background.name,
        hu.numpy().astype(np.int16),
        depth.astype(np.uint8),
        known > 0,
        background.spacing_mm * 2,
        background.hard_coarse,
    )


def save_background(background: Background, folder: Path) -> Path:
    """Write `folder/NAME.npz`, whole or not at all, and return its path.

    Raises:
        OutputError: it can't be written.
    """
    path = folder / f"{background.name}.npz"
    arrays: dict[str, Any] = {key: getattr(background, key) for key in _ARRAYS}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def read_backgrounds(folder: Path | str, exclude: Sequence[str] = ()) -> list[Background]:
    """All backgrounds of a folder but those named in `exclude`, sorted by name.

    Raises:
        UsageError: the folder holds none, or none of a name that is to be excluded.
        InputError: a file is damaged.
    """
    paths = background_files(Path(folder))
    unknown = set(exclude) - {p.stem for p in paths}
    if unknown:
        raise UsageError(f"{folder}: no {min(unknown)}.npz to leave out; give --exclude_backgrounds the files' names")
    kept = [p for p in paths if p.stem not in exclude]
    if not kept:
        raise UsageError(f"{folder}: no backgrounds (*.npz) here; make them with monai-lung lidc backgrounds")
    return [read_background(path) for path in kept]


def background_files(folder: Path) -> list[Path]:
    """The backgrounds of a folder, sorted; without what a writer that was killed left."""
    return [p for p in sorted(folder.glob("*.npz")) if not p.name.startswith(".")]


def read_background(path: Path) -> Background:
    """One background.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return Background(path.stem, *[data[key] for key in _ARRAYS])
    except Exception as error:  # zipfile, zlib, KeyError and ValueError
        raise InputError(f"{path}: no background ({error}); remove it and make it anew") from error


def check_held_out(backgrounds: Sequence[Background], patients: Sequence[str]) -> None:
    """Refuse backgrounds of patients who are held out; a background is named PATIENT or PATIENT_sSCAN.

    Raises:
        UsageError: one is.
    """
    held_out = set(patients)
    for background in backgrounds:
        if background.name.rsplit("_s", 1)[0] in held_out:
            raise UsageError(
                f"background {background.name} is of a patient who is held out: make the backgrounds for this --fold, "
                "or name it in --exclude_backgrounds"
            )
