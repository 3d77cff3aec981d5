"""Whole scans with nodules of other patients set into their lungs, to run the stages on as on any CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from monai_lung.data.backgrounds import Background
from monai_lung.grid import Grid, resample
from monai_lung.model import CT, Lungs, Point
from monai_lung.training.synthesis import Donor, blend, continue_in_z, outwards, random_frame, soft_box, turned_to

APART_MM = 22.0
"""Between two nodules that are set in, and from one that was there before."""
_TRIES = 60


@dataclass(frozen=True)
class Planted:
    """A nodule that was set in: where, how large, how dense (mean HU of its core), and whose it is."""

    center_mm: Point
    radius_mm: float
    mean_hu: float
    donor: Donor


@dataclass(frozen=True)
class Scene:
    """A scan with nodules set in."""

    ct: CT
    lungs: Lungs
    planted: tuple[Planted, ...]


def plant(background: Background, donors: Sequence[Donor], rng: np.random.Generator) -> Scene:
    """`background` with each of `donors` set into its lungs where there is a place for it, in random order and turn.

    Free nodules lie anywhere in the lungs, those of the pleura on the lungs' border. None comes near another or near
    what was marked in the scan before.
    """
    ct = background.ct
    hu, planted = ct.hu.copy(order="K"), []
    taken = [background.grid.to_world(at) for at in _middles(background.known)]
    for donor in donors:
        place = _place(background, donor, taken, rng)
        if place is None:
            continue
        taken.append(background.grid.to_world(place))
        mean_hu = _set_in(hu, background, donor, place, rng)
        x, y, z = taken[-1]
        planted.append(Planted((float(x), float(y), float(z)), donor.radius_mm, mean_hu, donor))
    return Scene(replace(ct, hu=hu), background.lungs, tuple(planted))


def _middles(known: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    from scipy import ndimage

    parts = ndimage.find_objects(ndimage.label(known)[0])
    return [np.array([(s.start + s.stop - 1) / 2 for s in part]) for part in parts]


def _place(
    b: Background, donor: Donor, taken: Sequence[NDArray[np.float64]], rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """A voxel (3,) for the nodule's middle, far enough from what is `taken`."""
    if donor.wall is None:
        fits = b.depth_mm >= min(donor.radius_mm + 1, 8.0)
    else:
        fits = (b.depth_mm >= 1) & (b.depth_mm <= max(2.0, 0.8 * donor.radius_mm))
    choices = np.flatnonzero(fits)
    for _ in range(_TRIES if len(choices) else 0):
        place = np.array(np.unravel_index(rng.choice(choices), fits.shape))
        point = b.grid.to_world(place)
        if all(np.linalg.norm(point - other) >= APART_MM for other in taken):
            return place
    return None


def _set_in(
    hu: NDArray[np.int16], b: Background, donor: Donor, place: NDArray[np.int64], rng: np.random.Generator
) -> float:
    """Blend the donor's nodule into `hu` (X, Y, Z), its middle at the voxel `place`; the mean HU of its core now."""
    long = continue_in_z(donor.crop, 8.0, rng)
    channels = torch.cat([long.channels, soft_box(tuple(long.channels.shape[1:]), long.spacing_mm)[None]]).numpy()
    frame = random_frame(rng, scale=(0.9, 1.1), tilt_deg=8)  # LPS mm about the place to mm about the nodule's middle
    if donor.wall is not None:
        frame = turned_to(frame, donor.wall, outwards(b.depth_mm, place, b.spacing_mm))
    to_crop = np.eye(4)
    to_crop[:3, :3] = frame
    to_crop[:3, 3] = -frame @ b.grid.to_world(place)
    box = b.grid.reach(Grid(long.grid.shape, np.linalg.inv(to_crop) @ long.grid.affine_lps), 1)
    here = b.grid.part(box)
    seen = Grid(here.shape, to_crop @ here.affine_lps)
    nodule = np.concatenate(
        [resample(channels[:1], long.grid, seen), resample(channels[1:], long.grid, seen, outside=0)]
    )
    blended, _, _ = blend(torch.from_numpy(hu[box].astype(np.float32)), torch.from_numpy(nodule), donor, rng)
    hu[box] = np.rint(blended.numpy()).astype(np.int16)
    core = hu[box][nodule[1] >= min(0.75, float(nodule[1].max()))]
    return float(core.mean())
