"""Patches of whole lungs with nodules set into them, for the network that finds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Transform
from numpy.typing import NDArray
from torch import Tensor

from monai_lung.data.backgrounds import Background, check_held_out, read_backgrounds
from monai_lung.data.slices import read_slices
from monai_lung.grid import Grid, resample
from monai_lung.training.datasets import load_crops
from monai_lung.training.draws import DrawnDataset, VaryHud, rng_of
from monai_lung.training.synthesis import (
    Donor,
    blend,
    continue_in_z,
    donor_of,
    outwards,
    random_frame,
    rounded,
    soft_box,
    turned_to,
)
from monai_lung.transforms import LungWindowd

DENSE_HU = -400
"""Denser voxels inside the lungs are vessels, scars, fissures: where false positives come from."""
COARSE_SHARE = 0.25
"""Patches as the coarse look for masses sees them: voxels twice as large, nodules grown to masses."""
LARGE_RADIUS_MM = 5.0
"""Nodules larger than this look like small masses where they are grown."""
FAINT_WEIGHT = 3.0
"""How much oftener than others a nodule is set in that isn't clearly solid: they are few, and missed."""
SMALL_RADIUS_MM, MOST_WEIGHT = 4.0, 4.0
"""A voxel of a nodule smaller than this counts for more, so that the whole nodule counts; four times at most."""
NODULES = (0.2, 0.4, 0.25, 0.15)
"""Shares of the patches into which none, one, two, three nodules are set, where there is a place for them."""


@dataclass(frozen=True)
class _Ground:
    """A background and where patches of it are centred: flat indices into its voxels, and hard negatives."""

    background: Background
    inside: NDArray[np.int64]
    dense: NDArray[np.int64]

    @classmethod
    def of(cls, b: Background) -> _Ground:
        dense = (b.depth_mm >= 3) & (b.hu > DENSE_HU) & ~b.known
        return cls(b, np.flatnonzero(b.depth_mm >= 2), np.flatnonzero(dense))

    def place(self, coarse: bool, rng: np.random.Generator) -> NDArray[np.float64]:
        """(3,) LPS mm: half of the time a hard place, if there are any, else a third of the time a dense voxel."""
        b = self.background
        hard = b.hard_coarse_mm if coarse else b.hard_mm
        if rng.random() < 0.5 and len(hard):
            return hard[rng.integers(len(hard))]
        pool = self.dense if rng.random() < 1 / 3 and len(self.dense) else self.inside
        return b.grid.to_world(np.array(np.unravel_index(rng.choice(pool), b.hu.shape)))


class LungPatchd(Transform):
    """A patch drawn from a lung on the network's grid, a little turned and scaled.

    Half of the patches are centred on the background's hard negatives where it has some, and a third of the others on
    dense voxels in the lungs. With `masses` a quarter is of twice the voxel size, as the look for masses sees them.

    Adds `image` float32 (1, *roi_size) in HU; `label` (2, *roi_size), the share of the readers, 0 so far, and the
    trust in that, 0 at the background's own nodules; `depth`, mm inside the lungs (*roi_size); `spacing_mm` of the
    voxels; `coarse`, whether this is such a quarter; `id`, the background's name.

    Args:
        backgrounds: scans on their own grids.
        pixdim: voxel size of the network's grid in mm.
        roi_size: voxels along each axis.
        masses: draw such a quarter.
    """

    def __init__(
        self, backgrounds: Sequence[Background], pixdim: Sequence[float], roi_size: Sequence[int], masses: bool = True
    ) -> None:
        self.pixdim = np.asarray(pixdim, float)
        self.roi_size = [int(n) for n in roi_size]
        self.masses = masses
        self._grounds = [_Ground.of(b) for b in backgrounds]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw a patch."""
        rng = rng_of(data)
        coarse = self.masses and rng.random() < COARSE_SHARE
        ground = self._grounds[rng.integers(len(self._grounds))]
        b = ground.background
        spacing = self.pixdim * (2.0 if coarse else 1.0) * rng.uniform(0.85, 1.2)
        frame = b.grid.patient_axes @ random_frame(rng, scale=(1, 1), tilt_deg=10)
        center = ground.place(coarse, rng) + frame @ (rng.uniform(-0.25, 0.25, 3) * self.roi_size * spacing)
        patch = Grid.around(center, spacing.tolist(), self.roi_size, frame)
        hu = torch.from_numpy(resample(b.hu, b.grid, patch))
        box = b.grid.reach(patch, 2)
        marks = np.stack([b.depth_mm[box], b.known[box]])
        depth, known = resample(marks, b.grid.part(box), patch, average=False)
        trust = 1 - (torch.from_numpy(known) > 0.01).float()
        return {
            **data,
            "image": hu[None],
            "label": torch.stack([torch.zeros_like(hu), trust]),
            "depth": depth,
            "spacing_mm": spacing,
            "coarse": coarse,
            "id": b.name,
        }


class SetInNodulesd(Transform):
    """None to three nodules set into a patch of a lung (`LungPatchd`); in a coarse one they are grown to masses.

    A nodule comes either alone, by its readers' marks with a soft edge, or with its own surroundings. One that sits on
    the pleura is turned so that its wall faces the lung's border and is set there. The label gets the share of the
    readers, less where fewer than three saw the nodule at all, and no trust at seams. In small nodules the trust is
    above 1: they have few voxels, and are what is missed.

    Args:
        donors: nodules to set in.
    """

    def __init__(self, donors: Sequence[Donor]) -> None:
        self.donors = list(donors)
        weight = np.array([1.0 if donor.solid else FAINT_WEIGHT for donor in self.donors])
        self.often = weight / weight.sum()
        self._large = large_of(self.donors)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set some in."""
        rng = rng_of(data)
        hu, (share, trust) = data["image"][0], data["label"]
        for _ in range(rng.choice(len(NODULES), p=NODULES)):
            hu, share, trust = self._set_in(hu, data["depth"], share, trust, data["spacing_mm"], data["coarse"], rng)
        return {**data, "image": hu[None], "label": torch.stack([share, trust])}

    def _set_in(
        self,
        hu: Tensor,
        depth: NDArray[np.float32],
        share: Tensor,
        trust: Tensor,
        spacing: NDArray[np.float64],
        coarse: bool,
        rng: np.random.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        large = coarse or (self._large and rng.random() < 0.1)
        donor = self.donors[rng.choice(self._large) if large else rng.choice(len(self.donors), p=self.often)]
        scale = rng.uniform(1.4, 2.5) if large else 1.0
        place = _place(depth, donor, scale, rng)
        if place is None:
            return hu, share, trust
        nodule = _nodule(donor, place, depth, spacing, scale, rng)
        hu, inside, seam = blend(hu, nodule, donor, rng)
        radius_mm = donor.radius_mm * scale / (2.0 if coarse else 1.0)
        weight = float(np.clip((SMALL_RADIUS_MM / radius_mm) ** 2, 1, MOST_WEIGHT))
        trust = torch.where(inside & (nodule[1] >= 0.5), weight * trust, trust)
        return (
            hu,
            torch.where(inside, nodule[1] * donor.agreement, share),
            torch.where(seam, torch.zeros_like(trust), trust),
        )


class FindDataset(DrawnDataset):
    """Patches of lungs with nodules set in, as `train_find.json` of the segmentation bundle has them.

    An item is `image` float32 (1, *size), windowed, `label` (2, *size) and the background's `id`.

    Args:
        backgrounds: scans on their own grids.
        donors: nodules to set in.
        size: voxels of a patch.
        samples: items of an epoch.
        spacing_mm: of the network's grid.
        seed: items depend on it, on the index and on the epoch.
    """

    def __init__(
        self,
        backgrounds: Sequence[Background],
        donors: Sequence[Donor],
        size: Sequence[int],
        *,
        samples: int,
        spacing_mm: Sequence[float] = (1.0, 1.0, 2.0),
        seed: int = 0,
    ) -> None:
        steps = [
            LungPatchd(backgrounds, spacing_mm, size, masses=bool(large_of(donors))),
            SetInNodulesd(donors),
            VaryHud("image"),
            LungWindowd("image"),
        ]
        super().__init__([{}] * samples, Compose(steps), seed=seed)


def large_of(donors: Sequence[Donor]) -> list[int]:
    """Which nodules look like small masses where they are grown."""
    return [n for n, donor in enumerate(donors) if donor.radius_mm > LARGE_RADIUS_MM]


def _nodule(
    donor: Donor,
    place: NDArray[np.int64],
    depth: NDArray[np.float32],
    spacing: NDArray[np.float64],
    scale: float,
    rng: np.random.Generator,
) -> Tensor:
    """(4, X, Y, Z) on the patch's grid, the nodule's centre at `place`, `scale` times its size.

    Channels: HU, share, trust, soft box.
    """
    long = continue_in_z(donor.crop, 8.0, rng)
    channels = torch.cat([long.channels, soft_box(tuple(long.channels.shape[1:]), long.spacing_mm)[None]]).numpy()
    frame = random_frame(rng, scale=(0.85 / scale, 1.15 / scale), tilt_deg=8)
    if donor.wall is not None:
        frame = turned_to(frame, donor.wall, outwards(depth, place, spacing))
    from_place = (frame * spacing) @ ((np.array(depth.shape) - 1) / 2 - place)
    patch = Grid.around(from_place, spacing.tolist(), depth.shape, frame)
    box = patch.reach(long.grid, 1)
    nodule = np.zeros((4, *depth.shape), np.float32)
    here = patch.part(box)
    if 0 not in here.shape:
        nodule[(0, *box)] = resample(channels[0], long.grid, here)
        nodule[(slice(1, None), *box)] = resample(channels[1:], long.grid, here, outside=0)
    return torch.from_numpy(nodule)


def _place(
    depth: NDArray[np.float32], donor: Donor, scale: float, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """A voxel for the nodule's centre: anywhere deep enough, or as near the border as one on the pleura sits."""
    edge = tuple(slice(6, -6) if n > 24 else slice(2, -2) for n in depth.shape)
    inner = np.zeros(depth.shape, bool)
    inner[edge] = True
    if donor.wall is None:
        fits = inner & (depth >= min(donor.radius_mm * scale, 8.0))
    else:
        fits = inner & (depth >= 1) & (depth <= max(2.0, 0.8 * donor.radius_mm * scale))
    choices = np.flatnonzero(fits)
    if not len(choices):
        return None
    return np.array(np.unravel_index(rng.choice(choices), depth.shape))


def backgrounds_of(folder: str, exclude: Sequence[str] = (), held_out: Sequence[str] = ()) -> list[Background]:
    """The backgrounds of a folder but those to leave out, for a bundle's config.

    Raises:
        UsageError: there is none, or one is of a patient in `held_out`.
        InputError: a file is damaged.
    """
    scans = read_backgrounds(folder, exclude)
    check_held_out(scans, held_out)
    return scans


def donors_of(folder: str, patients: Sequence[str], exclude: Sequence[str] = (), slices: str = "") -> list[Donor]:
    """Nodules to set in, from a folder of crops and, if given, of slices, for a bundle's config.

    A nodule of the slices that is among the crops is taken from there; the others are rounded to solids. Large ones are
    left out: with them, grown to masses, a network called hearts and diaphragms nodules.

    Raises:
        UsageError: no nodule of the patients is left.
        InputError: a file is damaged.
    """
    donors = [donor_of(crop) for crop in load_crops(folder, patients, exclude)]
    if slices:
        known = {donor.crop.row.id for donor in donors}
        flat = (n for n in read_slices(slices, set(patients) - set(exclude)) if n.row.id not in known)
        solids = [donor_of(solid, alone=True) for solid in map(rounded, flat) if solid is not None]
        donors += [donor for donor in solids if donor.radius_mm <= LARGE_RADIUS_MM]
    return donors
