"""Whole lungs to set nodules into: scans on their own grid, with what is known of their own nodules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_lung.errors import InputError, LungsNotFoundError, UsageError
from monai_lung.grid import Grid, bounding_box
from monai_lung.io.output import replacing
from monai_lung.model import CT, Lungs, Point

KnownBox = tuple[Point, Point]
"""Opposite corners in LPS mm."""
_ARRAYS = ("hu", "depth_mm", "known", "affine_lps", "hard_mm", "hard_coarse_mm", "lesions_mm")
_MARGIN_MM, _KNOWN_MARGIN_MM = 20.0, 4.0


def _no_places() -> NDArray[np.float64]:
    return np.zeros((0, 3))


def _no_lesions() -> NDArray[np.float64]:
    return np.zeros((0, 4))


@dataclass(frozen=True)
class Background:
    """A scan, cut to its lungs.

    Attributes:
        hu: int16 (X, Y, Z).
        depth_mm: uint8 (X, Y, Z), distance to the lungs' border inside them, at least 1; 0 outside.
        known: bool (X, Y, Z), at and around nodules that someone marked: neither nodule nor background.
        affine_lps: (4, 4), of these arrays.
        hard_mm: (n, 3) LPS mm, places where a trained network found what nobody marked (`training.mining`).
        hard_coarse_mm: the same of the look for masses.
        lesions_mm: (n, 4) LPS mm and diameter of nodules and masses that are there for sure, `known` too.
    """

    name: str
    hu: NDArray[np.int16]
    depth_mm: NDArray[np.uint8]
    known: NDArray[np.bool_]
    affine_lps: NDArray[np.float64]
    hard_mm: NDArray[np.float64] = field(default_factory=_no_places)
    hard_coarse_mm: NDArray[np.float64] = field(default_factory=_no_places)
    lesions_mm: NDArray[np.float64] = field(default_factory=_no_lesions)

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid.of(self.hu, self.affine_lps)

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) of its voxels."""
        return self.grid.spacing_mm

    @property
    def ct(self) -> CT:
        """The scan as the stages of the analysis take it."""
        return CT(self.hu, self.affine_lps, self.name, Path(self.name))

    @property
    def lungs(self) -> Lungs:
        """Its lungs, both labelled 1."""
        return Lungs((self.depth_mm > 0).astype(np.uint8), 0.0, 0.0)


def make_background(
    ct: CT,
    lungs: Lungs,
    known: Iterable[KnownBox],
    *,
    name: str | None = None,
    lesions: Iterable[KnownBox] = (),
) -> Background:
    """`ct` cut to the lungs with 20 mm around them.

    `known` are boxes around marked nodules; they are kept out of the loss with 4 mm around them. `lesions` are boxes
    around nodules and masses that are there for sure.

    Raises:
        LungsNotFoundError: the mask is empty.
    """
    grid = ct.grid
    if not lungs.labels.any():
        raise LungsNotFoundError(f"{name or ct.name}: no lungs, so it can't be a background")
    box = bounding_box(lungs.labels > 0, np.ceil(_MARGIN_MM / grid.spacing_mm).astype(int).tolist())
    part, inside = grid.part(box), lungs.labels[box] > 0
    marked = np.zeros(part.shape, bool)
    for corners in known:
        index = part.to_index(np.array(corners))
        pad = _KNOWN_MARGIN_MM / part.spacing_mm
        low = np.maximum(np.floor(index.min(0) - pad), 0).astype(int)
        high = np.maximum(np.ceil(index.max(0) + pad) + 1, 0).astype(int)
        marked[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    depth = ndimage.distance_transform_edt(inside, sampling=part.spacing_mm)
    depth_mm = np.where(inside, np.clip(np.ceil(depth), 1, 255), 0).astype(np.uint8)
    sure = [(*np.mean(corners, 0), np.ptp(np.array(corners), 0).max()) for corners in lesions]
    return Background(
        name or ct.name,
        np.asfortranarray(ct.hu[box]),
        depth_mm,
        marked,
        part.affine_lps,
        lesions_mm=np.array(sure, float).reshape(-1, 4),
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
        raise UsageError(f"{folder}: no {min(unknown)}.npz to leave out; give the names of files, without .npz")
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
        raise InputError(f"{path}: not a background ({error}); remove it and make it again") from error


def check_held_out(backgrounds: Sequence[Background], patients: Sequence[str]) -> None:
    """Refuse backgrounds of patients who are held out; a background is named PATIENT or PATIENT_sSCAN.

    Raises:
        UsageError: one is.
    """
    held_out = set(patients)
    for background in backgrounds:
        if background.name.rsplit("_s", 1)[0] in held_out:
            raise UsageError(
                f"background {background.name} is of a patient who is held out: make the backgrounds for this fold, "
                "or leave it out"
            )
