"""Shapes of the phantom's nodules: solids of which size, place and extent are known exactly.

A shape is a function that says which points around the origin belong to it, and a volume. Every shape but a reader's
contour is scaled so that its volume is that of a sphere of the nodule's diameter, so that the truth is a formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import InputError, UsageError
from monai_lung.model import Point, Texture

Shape = Literal["sphere", "ellipsoid", "lobulated", "contour"]
Inside = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[np.bool_]]
_STRETCH = (1.45, 1.0, 0.69)
"""Proportions of the ellipsoid's half-axes."""
_BUMPS = 0.4
"""How far the bumps of the lobulated shape stand out."""


@dataclass(frozen=True, eq=False)
class Contour:
    """A nodule as readers drew it.

    Attributes:
        mask: bool (x, y, z), True where at least half of the readers marked the voxel; axes along LPS.
        spacing_mm: distance of voxel centres along the axes.
        name: where it comes from.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    spacing_mm: Point
    name: str = ""

    @property
    def volume_mm3(self) -> float:
        """Of the marked voxels, each a box."""
        return float(self.mask.sum() * np.prod(self.spacing_mm))

    @cached_property
    def center_index(self) -> NDArray[np.float64]:
        """Centre of mass, in voxels."""
        return np.argwhere(self.mask).mean(0)


@dataclass(frozen=True)
class PhantomNodule:
    """A nodule to be painted.

    Attributes:
        center_mm: LPS mm; the phantom's origin lies between the lungs. With `pleural` only a start: the nodule moves
            to the nearest pleura.
        diameter_mm: of the sphere of the same volume; without meaning for a contour, which keeps its size.
        shape: an ellipsoid is longest along x; a lobulated nodule has eight bumps.
        texture: what it is made of; a part-solid nodule has a solid core of the same shape.
        core: diameter of that core over the nodule's.
        pleural: sits on the pleura with a broad base; the part beyond the pleura does not belong to the nodule.
        contour: for the shape "contour": `read_contour` loads one.
    """

    center_mm: Point
    diameter_mm: float = 8.0
    shape: Shape = "sphere"
    texture: Texture = "solid"
    core: float = 0.5
    pleural: bool = False
    contour: Contour | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be painted.

        Raises:
            UsageError: a size out of range, or a contour missing or too many.
        """
        if not 1 <= self.diameter_mm <= 120 or not 0 < self.core < 1:
            raise UsageError("a phantom's nodule: the diameter must be 1 to 120 mm, the core between 0 and 1")
        if (self.shape == "contour") != (self.contour is not None):
            raise UsageError("a phantom's nodule: only the shape 'contour' takes a contour, of read_contour")

    @property
    def volume_mm3(self) -> float:
        """Of the whole shape, before the pleura cuts it."""
        return self.contour.volume_mm3 if self.contour else float(np.pi / 6 * self.diameter_mm**3)

    @property
    def reach_mm(self) -> float:
        """No point of the shape lies farther from its centre."""
        if self.contour is None:
            return self.diameter_mm / 2 * (max(_STRETCH) if self.shape == "ellipsoid" else 1 + _BUMPS)
        middle = self.contour.center_index
        farthest = np.maximum(middle + 1, np.array(self.contour.mask.shape) - middle)
        return float(np.linalg.norm(farthest * self.contour.spacing_mm))

    def inside(self, scale: float = 1.0) -> Inside:
        """Says which offsets (x, y, z) in mm from the centre lie inside the shape, shrunk by `scale`."""
        if self.contour is not None:
            return _contour(self.contour, scale)
        radius = scale * self.diameter_mm / 2
        return {"sphere": _sphere, "ellipsoid": _ellipsoid, "lobulated": _lobulated}[self.shape](radius)


def _sphere(radius_mm: float) -> Inside:
    return lambda x, y, z: x**2 + y**2 + z**2 < radius_mm**2


def _ellipsoid(radius_mm: float) -> Inside:
    a, b, c = np.array(_STRETCH) / np.cbrt(np.prod(_STRETCH)) * radius_mm
    return lambda x, y, z: (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 < 1


def _lobulated(radius_mm: float) -> Inside:
    """A sphere with eight bumps: r = r0 (1 + b u) with u = 27 (n_x n_y n_z)^2 - 27/105 along the unit vector n.

    u is even, so that the centre of mass stays in the middle; r0 makes the volume that of the sphere.
    """
    r0 = radius_mm / np.cbrt(_MEAN_CUBE)

    def inside(x: NDArray[Any], y: NDArray[Any], z: NDArray[Any]) -> NDArray[np.bool_]:
        r2 = np.maximum(x**2 + y**2 + z**2, 1e-6)
        return np.sqrt(r2) < r0 * (1 + _BUMPS * _bumps((x * y * z) ** 2 / r2**3))

    return inside


def _bumps(product: NDArray[Any]) -> NDArray[Any]:
    """27 (n_x n_y n_z)^2 less its mean over the sphere (1/105 of 27): between -0.26 and 0.74."""
    return 27 * (product - 1 / 105)


def _mean_cube() -> float:
    """Mean over the sphere of (1 + b u)^3, by Gauss-Legendre in cos(theta) and equal steps in phi: exact here."""
    cosine, weight = np.polynomial.legendre.leggauss(24)
    phi = np.arange(48) * np.pi / 24
    sine2 = 1 - cosine[:, None] ** 2
    product = sine2**2 * cosine[:, None] ** 2 * (np.cos(phi) * np.sin(phi)) ** 2
    return float((weight[:, None] * (1 + _BUMPS * _bumps(product)) ** 3).sum() / (2 * len(phi)))


_MEAN_CUBE = _mean_cube()


def _contour(contour: Contour, scale: float) -> Inside:
    """Membership by the voxel that holds the point, so that the volume is that of the marked voxels."""
    shape = np.array(contour.mask.shape)

    def inside(x: NDArray[Any], y: NDArray[Any], z: NDArray[Any]) -> NDArray[np.bool_]:
        index, valid = [], np.ones(np.broadcast_shapes(x.shape, y.shape, z.shape), bool)
        for offset, spacing, middle, n in zip((x, y, z), contour.spacing_mm, contour.center_index, shape, strict=True):
            i = np.rint(offset / (scale * spacing) + middle).astype(int)
            valid &= (i >= 0) & (i < n)
            index.append(np.clip(i, 0, n - 1))
        return valid & contour.mask[tuple(index)]

    return inside


def read_contour(crops: Path | str, nodule_id: str) -> Contour:
    """Load a nodule of a folder in the format of `monai_lung.data.crops`.

    Args:
        crops: the folder with `nodules.csv` and `readers/`.
        nodule_id: a value of the column `id`.

    Raises:
        UsageError: no such folder.
        InputError: no such nodule.
    """
    from monai_lung.data.crops import read_crop, read_table

    row = next((r for r in read_table(crops) if r.id == nodule_id), None)
    if row is None:
        raise InputError(f"{crops}: no nodule {nodule_id} in nodules.csv: give an id of that table")
    crop = read_crop(crops, row)
    mask = crop.share >= 0.5
    if not mask.any():
        raise InputError(f"{nodule_id}: no voxel that half of its readers marked: give another nodule")
    steps = np.diag(crop.affine_ras)[:3] * (-1, -1, 1)  # RAS on disk: a positive step runs against L and P
    mask = np.flip(mask, tuple(axis for axis in range(3) if steps[axis] < 0))
    x, y, z = (float(v) for v in np.abs(steps))
    return Contour(mask, (x, y, z), nodule_id)


def parse_nodule(text: str, crops: Path | None = None) -> PhantomNodule:
    """A nodule from a line of text: "X,Y,Z,SIZE[,WORD...]".

    SIZE is a diameter in mm or, with `crops`, the id of a nodule there; the words are those of texture and shape, and
    "pleural".

    Raises:
        UsageError: the text says something else, or there are no such crops.
        InputError: no such nodule in the crops.
    """
    parts = [part.strip() for part in text.split(",")]
    way_out = "give X,Y,Z,MM and words such as ground-glass, lobulated, pleural"
    try:
        x, y, z = (float(part) for part in parts[:3])
        size = parts[3]
    except (ValueError, IndexError) as error:
        raise UsageError(f"nodule {text!r}: {way_out}") from error
    how: dict[str, Any] = {}
    for word in parts[4:]:
        if word in get_args(Texture):
            how["texture"] = word
        elif word in get_args(Shape) and word != "contour":
            how["shape"] = word
        elif word == "pleural":
            how["pleural"] = True
        else:
            raise UsageError(f"nodule {text!r}: {word!r} is unknown; {way_out}")
    try:
        how["diameter_mm"] = float(size)
    except ValueError as error:
        if crops is None:
            raise UsageError(f"nodule {text!r}: {size!r} is not a diameter in mm; an id needs --crops") from error
        how |= {"shape": "contour", "contour": read_contour(crops, size)}
    return PhantomNodule((x, y, z), **how)
