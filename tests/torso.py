"""A torso of simple shapes in LPS mm, sampled on any grid: what lungs are is known exactly.

Patient coordinates: x to the left, y to the back, z to the head; the origin lies between the lungs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]

RIGHT, LEFT = 1, 2


@dataclass(frozen=True)
class Torso:
    """What is inside; every length in mm. A nodule or mass is (centre, diameter)."""

    lung_hu: float = -850.0
    lung_noise_hu: float = 30.0
    right: bool = True
    left: bool = True
    blood_hu: float = 50.0
    nodules: tuple[tuple[Vector, float], ...] = ()
    gas: tuple[tuple[Vector, float], ...] = ()
    junction: bool = False
    arms: bool = False
    table: bool = True


@dataclass(frozen=True)
class Scan:
    """A sampled torso: HU, its affine, and the truth."""

    hu: NDArray[np.int16]
    affine_lps: NDArray[np.float64]
    truth: NDArray[np.uint8]
    trachea: NDArray[np.bool_]
    world: tuple[NDArray[np.float64], ...]

    def ball(self, center_mm: Vector, diameter_mm: float) -> NDArray[np.bool_]:
        """Voxels in a ball."""
        return _ball(self.world, center_mm, (diameter_mm / 2,) * 3)


def grid(
    low: Vector = (-200.0, -150.0, -190.0),
    high: Vector = (200.0, 190.0, 160.0),
    spacing_mm: Vector = (2.5, 2.5, 3.0),
    axes: tuple[int, int, int] = (0, 1, 2),
    flips: tuple[int, int, int] = (1, 1, 1),
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and LPS affine of a grid over a box; array axis n runs along world axis `axes[n]`, backwards for -1."""
    shape, affine = [], np.zeros((4, 4))
    affine[3, 3] = 1
    for n, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        size = int((high[axis] - low[axis]) / spacing_mm[axis])
        shape.append(size)
        affine[axis, n] = flip * spacing_mm[axis]
        affine[axis, 3] = low[axis] if flip > 0 else low[axis] + (size - 1) * spacing_mm[axis]
    return (shape[0], shape[1], shape[2]), affine


def scan(torso: Torso, shape: tuple[int, int, int], affine_lps: NDArray[np.float64], seed: int = 0) -> Scan:
    """Sample `torso` on a grid."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    world = tuple(
        affine_lps[a, 0] * i + affine_lps[a, 1] * j + affine_lps[a, 2] * k + affine_lps[a, 3] for a in range(3)
    )
    x, y, z = world
    rng = np.random.default_rng(seed)
    hu = np.full(shape, -1000.0)

    def fill(where: NDArray[np.bool_], value: float) -> None:
        hu[np.broadcast_to(where, shape)] = value

    if torso.table:  # its shell touches the back; foam inside
        fill((y > 108) & (y < 150) & (abs(x) < 190), -300.0)
        fill((y > 116) & (y < 146) & (abs(x) < 186), -930.0)
    body = (x / 165) ** 2 + (y / 110) ** 2 < 1
    if torso.arms:
        body = body | ((abs(x) - 200) ** 2 + y**2 < 33**2)
    fill(body, 40.0)
    truth = np.zeros(shape, np.uint8)
    for side, sign, present in ((RIGHT, -1, torso.right), (LEFT, 1, torso.left)):
        if present:
            lung = _ball(world, (sign * 72.0, 0.0, 0.0), (60.0, 82.0, 125.0))
            if torso.junction:  # a tongue of lung in front of the heart, up to the midline
                lung = lung | ((abs(y + 55) < 6) & (abs(z - 20) < 40) & (sign * x > 0) & (abs(x) < 60))
            truth[lung] = side
    heart = _ball(world, (20.0, -10.0, -40.0), (48.0, 40.0, 60.0))
    truth[heart] = 0
    fill(truth > 0, torso.lung_hu)
    fill(heart, torso.blood_hu)
    fill((x**2 + (y - 70) ** 2 < 18**2) | ((abs(x) < 15) & (abs(y + 98) < 5)), 350.0)
    fill(
        (abs(y) < 100)
        & (abs((z + 400) % 25 - 6) < 6)
        & ~_ball(world, (0, 0, 0), (140.0, 95.0, 1000.0))
        & body
        & _ball(world, (0, 0, 0), (150.0, 103.0, 1000.0)),
        400.0,
    )  # ribs
    trachea = (x**2 + (y - 25) ** 2 < 9**2) & (z > 0)
    for sign in (-1, 1):
        along = np.clip(sign * x, 0, 40)
        trachea = trachea | ((sign * x - along) ** 2 + (y - 25) ** 2 + (z + 0.8 * along) ** 2 < 6.5**2)
    wall = (x**2 + (y - 25) ** 2 < 11**2) & (z > 0)
    truth[np.broadcast_to(wall | trachea, shape)] = 0
    fill(wall, 40.0)
    fill(trachea, -1000.0)
    for center_mm, diameter_mm in torso.gas:
        fill(_ball(world, center_mm, (diameter_mm / 2 + 4,) * 3), 40.0)
        fill(_ball(world, center_mm, (diameter_mm / 2,) * 3), -1000.0)
        truth[_ball(world, center_mm, (diameter_mm / 2 + 4,) * 3)] = 0
    for center_mm, diameter_mm in torso.nodules:
        ball = _ball(world, center_mm, (diameter_mm / 2,) * 3)
        fill(ball, 40.0)
        cavity = _ball(world, (np.sign(center_mm[0]) * 72.0, 0.0, 0.0), (60.0, 82.0, 125.0))
        truth[ball & cavity] = LEFT if center_mm[0] > 0 else RIGHT
    hu += rng.normal(0, np.where(truth > 0, torso.lung_noise_hu, 12.0))
    stored = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return Scan(stored, affine_lps, truth, np.broadcast_to(trachea, shape), world)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice of two masks."""
    return float(2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b)))


def _ball(world: tuple[NDArray[np.float64], ...], center_mm: Vector, radii_mm: Vector) -> NDArray[np.bool_]:
    """Voxels in an ellipsoid."""
    total = sum(((w - c) / r) ** 2 for w, c, r in zip(world, center_mm, radii_mm, strict=True))
    return np.asarray(total < 1)
