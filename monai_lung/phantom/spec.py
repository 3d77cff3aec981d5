"""The specification of a phantom: its grid, its imaging, its nodules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import UsageError
from monai_lung.model import Point
from monai_lung.phantom.canvas import Field
from monai_lung.phantom.shapes import PhantomNodule

Kernel = Literal["smooth", "standard", "sharp"]
Position = Literal["HFS", "FFS", "HFP", "FFP"]

DEFAULT_NODULES = (
    PhantomNodule((-72, -10, 45), 12, "lobulated"),
    PhantomNodule((80, 40, 10), 8),
    PhantomNodule((-80, 45, -20), 16, texture="part-solid"),
    PhantomNodule((70, -15, 60), 11, "ellipsoid", texture="ground-glass"),
    PhantomNodule((-105, 20, 5), 10, pleural=True),
)
"""A nodule of each kind."""


@dataclass(frozen=True)
class PhantomSpec:
    """The specification of a phantom.

    Attributes:
        size: columns and rows.
        slices: number of slices.
        pixel_mm: distance of pixels.
        spacing_mm: distance of slices along z.
        thickness_mm: over which a slice averages; None takes `spacing_mm`.
        center_mm: LPS mm of the image's middle; moving it cuts the field of view.
        nodules: to be painted.
        noise_hu: standard deviation of the noise after the kernel.
        kernel: of the reconstruction: how it blurs edges and colours noise.
        blood_hu: of heart and vessels; 250 is a scan with contrast.
        position: patient position: head or feet first, supine or prone. It sets the order of slices and pixels.
        tilt_deg: of the gantry.
        padding_hu: value outside the round field of view, None for a square one.
        seed: of branches and noise.
    """

    size: int = 256
    slices: int = 60
    pixel_mm: float = 1.5
    spacing_mm: float = 5.0
    thickness_mm: float | None = None
    center_mm: Point = (0.0, 5.0, -2.5)
    nodules: tuple[PhantomNodule, ...] = DEFAULT_NODULES
    noise_hu: float = 15.0
    kernel: Kernel = "standard"
    blood_hu: float = 45.0
    position: Position = "HFS"
    tilt_deg: float = 0.0
    padding_hu: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what can't be made.

        Raises:
            UsageError: a value out of range.
        """
        ranges = {
            "size": (16, 1024),
            "slices": (1, 2000),
            "pixel_mm": (0.1, 20),
            "spacing_mm": (0.1, 50),
            "noise_hu": (0, 500),
            "tilt_deg": (-30, 30),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"phantom: {name} is {getattr(self, name)}, it must be {low} to {high}")
        if not 0.1 <= self.slice_mm <= 50:
            raise UsageError(f"phantom: thickness_mm is {self.thickness_mm}, it must be 0.1 to 50")

    @property
    def slice_mm(self) -> float:
        """Thickness of a slice."""
        return self.spacing_mm if self.thickness_mm is None else self.thickness_mm

    @property
    def affine_lps(self) -> NDArray[np.float64]:
        """Voxel index to LPS mm, (4, 4).

        Head first the slices run down, feet first up; prone turns rows and columns.
        """
        turn = -1 if self.position.endswith("P") else 1
        down = -1 if self.position.startswith("H") else 1
        tilt = np.deg2rad(self.tilt_deg)
        affine = np.eye(4)
        affine[:3, 0] = np.array([turn, 0, 0]) * self.pixel_mm
        affine[:3, 1] = np.array([0, np.cos(tilt), -np.sin(tilt)]) * turn * self.pixel_mm
        affine[:3, 2] = np.array([0, 0, down]) * self.spacing_mm
        middle = (np.array([self.size, self.size, self.slices]) - 1) / 2
        affine[:3, 3] = self.center_mm - affine[:3, :3] @ middle
        return affine


def axes(spec: PhantomSpec, chosen: slice, offsets_mm: NDArray[np.float64]) -> tuple[Field, Field, Field]:
    """Coordinates of slices, each repeated at offsets along z: (X, 1, 1), (1, Y, 1), (1, 1 or Y, Z * offsets)."""
    affine = spec.affine_lps
    i, k = np.arange(spec.size), np.arange(chosen.start, chosen.stop)
    z = affine[2, 3] + (affine[2, 2] * k[:, None] + offsets_mm).reshape(1, 1, -1)
    if spec.tilt_deg:
        z = z + affine[2, 1] * i.reshape(1, -1, 1)
    x, y = affine[0, 3] + affine[0, 0] * i, affine[1, 3] + affine[1, 1] * i
    return x[:, None, None].astype(np.float32), y[None, :, None].astype(np.float32), z.astype(np.float32)


def offsets(spec: PhantomSpec, step_mm: float) -> NDArray[np.float64]:
    """Places along z that a slice is the mean of; a tilted slice reaches farther along z than it is thick."""
    count = max(1, int(np.ceil(spec.slice_mm / step_mm)))
    return ((np.arange(count) + 0.5) / count - 0.5) * spec.slice_mm / np.cos(np.deg2rad(spec.tilt_deg))
