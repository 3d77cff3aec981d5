"""Nodules set into context that they were cut out of: longer in z, or in another patient's lung.

Crops may end in z where the readers' marks end. A network that is trained on them as they are never sees a nodule
end, and learns to fill the box. Here each crop is continued beyond its ends with its own last slice, the nodule painted
over, or is set into the lung of a whole scan with a soft edge. A nodule of which there is one slice is rounded to a
solid before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from monai_lung.data.crops import Crop
from monai_lung.data.slices import NoduleSlice
from monai_lung.grid import Grid

WAYS = (0.5, 0.3, 0.2)
"""How often a crop continues with its last slice cleaned, with its last slice, and with plain parenchyma."""
LUNG_HU = -850
"""Typical parenchyma, where nothing nearer tells."""
ALONE_SHARE = 0.55
"""Nodules set in by their readers' marks; the others come with their surroundings."""
FADED_SHARE = 0.4
"""Free solid nodules set in alone that are made to look like ground glass."""
GROUND_GLASS_HU = (-750.0, -450.0)
"""Mean density of these."""


@dataclass(frozen=True)
class LongCrop:
    """A crop continued in z: float32 channels (3, X, Y, Z) of HU, readers' share, and trust (0 where made up).

    `origin_mm` is where voxel (0, 0, 0) lies relative to the nodule's centre; the axes are the crop's own.
    """

    channels: Tensor
    spacing_mm: NDArray[np.float64]
    origin_mm: NDArray[np.float64]

    @property
    def grid(self) -> Grid:
        """Where its voxels lie, in mm from the nodule's centre, along the crop's own axes."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        x, y, z = self.channels.shape[1:]
        return Grid((x, y, z), affine)


def continue_in_z(crop: Crop, margin_mm: float, rng: np.random.Generator) -> LongCrop:
    """`crop` with `margin_mm` more at both ends.

    Three ways, drawn at random with the shares `WAYS`, so that none can be told by its look: the last slice with the
    nodule painted over (there the truth is known, since no reader marked anything beyond), the last slice repeated
    (truth unknown, trust 0), or plain parenchyma (truth known).
    """
    n = max(1, int(np.ceil(margin_mm / crop.spacing_mm[2])))
    share = crop.share
    parts = [_beyond(crop.hu[..., 0], share[..., 0], n, rng)]
    parts.append((crop.hu.astype(np.float32), share, np.ones_like(share)))
    parts.append(_beyond(crop.hu[..., -1], share[..., -1], n, rng))
    parts[0] = tuple(a[..., ::-1] for a in parts[0])
    channels = np.stack([np.concatenate(p, axis=-1) for p in zip(*parts, strict=True)])
    marked = np.argwhere(share >= 0.5)
    center = (marked.min(0) + marked.max(0)) / 2 if len(marked) else (np.array(share.shape) - 1) / 2
    origin = -(center + np.array([0, 0, n])) * crop.spacing_mm
    return LongCrop(torch.from_numpy(np.ascontiguousarray(channels)), crop.spacing_mm, origin)


def _beyond(
    hu: NDArray[np.int16], share: NDArray[np.float32], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], ...]:
    """HU, share and trust (X, Y, n) of `n` slices that follow the slice `hu` outwards."""
    way = rng.choice(3, p=WAYS)
    values: NDArray[np.float32] = hu.astype(np.float32)
    zero = np.zeros((*hu.shape, n), np.float32)
    if way == 1:
        return np.repeat(values[..., None], n, -1), zero, zero
    clean = paint_over(values, share > 0, rng) if way == 0 else np.full_like(values, LUNG_HU)
    slices = np.repeat(clean[..., None], n, -1) + rng.normal(0, rng.uniform(5, 40), zero.shape)
    fade = rng.uniform(0, 0.45)  # the nodule's last partial volume, too faint to be marked
    slices[..., 0] += fade * (values - clean)
    return slices.astype(np.float32), zero, np.ones_like(zero)


def paint_over(hu: NDArray[np.float32], mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """The slice `hu` (X, Y) with `mask`, two voxels wider, replaced by its nearest surroundings, smoothed."""
    if not mask.any():
        return hu
    wide = ndimage.binary_dilation(mask, iterations=2)
    if wide.all():
        return np.full_like(hu, LUNG_HU)
    nearest = ndimage.distance_transform_edt(wide, return_distances=False, return_indices=True)
    filled = hu[tuple(nearest)]
    smooth = ndimage.gaussian_filter(filled, 1.5)
    return np.where(wide, smooth, hu)


@dataclass(frozen=True)
class Donor:
    """A crop whose nodule is set into another lung.

    Attributes:
        radius_mm: of the sphere of its volume.
        wall: in-plane direction (2,) to the chest wall that the nodule sits on, None for a free one.
        alone: its surroundings are not real, only the nodule itself may be set in.
    """

    crop: Crop
    radius_mm: float
    wall: NDArray[np.float64] | None
    alone: bool = False

    @property
    def agreement(self) -> float:
        """How far it counts as a nodule: 1 where three readers or more marked it, else their share of three."""
        return min(1.0, self.crop.row.n_readers / 3)

    @property
    def solid(self) -> bool:
        """Its readers' mean texture is above 4: clearly so, stricter than `labels.texture_class`."""
        return float(np.mean(self.crop.row.ratings.get("texture", (5,)))) > 4


def donor_of(crop: Crop, *, alone: bool = False) -> Donor:
    """`crop` as a donor; it sits on a wall where a quarter of its rim is dense."""
    mask = crop.votes > 0
    center = np.argwhere(mask).mean(0)
    ring = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask)
    dense = np.argwhere(ring & (crop.hu > -300))
    volume = float((crop.share >= 0.5).sum() * np.prod(crop.spacing_mm))
    radius = (3 * max(volume, 1.0) / (4 * np.pi)) ** (1 / 3)
    if len(dense) < 0.25 * ring.sum():
        return Donor(crop, radius, None, alone)
    wall = ((dense - center) * crop.spacing_mm)[:, :2].mean(0)
    return Donor(crop, radius, wall / max(np.linalg.norm(wall), 1e-6), alone)


def grown(donor: Donor, scale: float) -> Donor:
    """`donor` with its nodule and surroundings `scale` times as large."""
    affine = donor.crop.affine_ras @ np.diag([scale, scale, scale, 1.0])
    return replace(donor, crop=replace(donor.crop, affine_ras=affine), radius_mm=donor.radius_mm * scale)


def rounded(nodule: NoduleSlice, *, z_mm: float = 1.0, blur_mm: float = 1.0) -> Crop | None:
    """`nodule` as a solid: every slice is the given one, shrunk about the nodule's centre.

    Half as high as a disc of its area is wide, with slices of `z_mm`, blurred along z as a scan's slices are. What lies
    around the nodule is shrunk with it and means nothing. None where fewer than four pixels are marked by half of the
    readers.
    """
    share = np.unpackbits(nodule.readers[..., None], axis=-1).sum(-1) / nodule.row.n_readers
    marked = np.argwhere(share >= 0.5)
    if len(marked) < 4:
        return None
    center = marked.mean(0)
    radius_mm = np.sqrt(len(marked) / np.pi) * nodule.spacing_mm
    reach = int(np.ceil(np.abs(np.argwhere(nodule.readers) - center).max())) + 6
    half = int(np.ceil(radius_mm / z_mm))
    z = np.arange(-half - 1, half + 2) * z_mm
    shrink = np.sqrt(np.clip(1 - (z / (radius_mm + z_mm / 2)) ** 2, 0.01, 1))
    offsets = np.arange(-reach, reach + 1, dtype=float)
    points = np.stack(np.broadcast_arrays(offsets[:, None, None] / shrink, offsets[None, :, None] / shrink))
    points = points + center[:, None, None, None]
    hu = ndimage.map_coordinates(nodule.hu.astype(np.float32), points, order=1, mode="nearest")
    hu = ndimage.gaussian_filter1d(hu, blur_mm / z_mm, axis=-1, mode="nearest")
    readers = ndimage.map_coordinates(nodule.readers, points, order=0, mode="constant")
    readers[..., np.abs(z) > radius_mm] = 0
    affine = np.diag([nodule.spacing_mm, nodule.spacing_mm, z_mm, 1.0])
    return Crop(nodule.row, np.rint(hu).astype(np.int16), readers, affine)


def feathered(share: Tensor) -> Tensor:
    """How much of a nodule set in alone is seen at each voxel (X, Y, Z), by the readers' `share`: soft over a voxel."""
    solid = (share * 2).clamp(0, 1)
    return torch.maximum(functional.avg_pool3d(solid[None], 3, 1, 1)[0], share)


def blend(hu: Tensor, nodule: Tensor, donor: Donor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A nodule in a lung: alone, by its readers' marks with a soft edge, or with its own surroundings.

    Some of the free solid ones are made to look like ground glass.

    Args:
        hu: (X, Y, Z) of the lung.
        nodule: (4, X, Y, Z) on the same grid: HU, readers' share, trust and soft box of a `LongCrop`.
        donor: whose nodule it is.
        rng: draws the way.

    Returns:
        HU; where the nodule was set in; and the seam, whose truth isn't known.
    """
    if donor.alone or rng.random() < ALONE_SHARE:
        alpha = feathered(nodule[1])
        if donor.wall is not None:
            value = torch.maximum(nodule[0], hu)
        else:
            value = hu + _density(nodule, donor, rng) * (nodule[0] - hu)
        seam = torch.zeros_like(alpha, dtype=torch.bool)
    else:
        alpha, value = nodule[3], nodule[0]
        seam = ((alpha > 0.02) & (alpha < 0.95)) | ((alpha >= 0.95) & (nodule[2] < 0.5))
    return hu + alpha * (value - hu), alpha > 0.02, seam


def _density(nodule: Tensor, donor: Donor, rng: np.random.Generator) -> float:
    """1, or for some solid nodules the share of their density that makes them ground glass."""
    core = nodule[0][nodule[1] >= 0.5]
    if not donor.solid or rng.random() >= FADED_SHARE or not len(core):
        return 1.0
    return float(np.clip((rng.uniform(*GROUND_GLASS_HU) - LUNG_HU) / max(float(core.mean()) - LUNG_HU, 50.0), 0.1, 1.0))


def soft_box(shape: tuple[int, ...], spacing_mm: NDArray[np.float64]) -> Tensor:
    """1 inside a box of `shape` (X, Y, Z), falling to 0 over the outer 3 mm (5 mm in z)."""
    ramps = []
    for n, s, soft in zip(shape, spacing_mm, (3.0, 3.0, 5.0), strict=True):
        to_edge = torch.minimum(torch.arange(n), torch.arange(n - 1, -1, -1)) * float(s)
        ramps.append((to_edge / soft).clamp(0, 1))
    return ramps[0][:, None, None] * ramps[1][None, :, None] * ramps[2][None, None, :]


def random_frame(rng: np.random.Generator, *, scale: tuple[float, float], tilt_deg: float) -> NDArray[np.float64]:
    """A (3, 3) matrix: any turn about z, a tilt of at most `tilt_deg` about x and y, mirrors, a uniform scale."""
    a = rng.uniform(0, 2 * np.pi)
    b, c = np.deg2rad(rng.uniform(-tilt_deg, tilt_deg, 2))
    rz = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    ry = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    return rz @ rx @ ry @ np.diag(rng.choice([-1.0, 1.0], 3)) * rng.uniform(*scale)


def outwards(depth: NDArray[Any], place: NDArray[np.int64], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """In-plane unit vector (2,) from `place` to the nearest border of the lung."""
    around = tuple(slice(max(p - 5, 0), p + 6) for p in place)
    local = ndimage.uniform_filter(depth[around].astype(np.float32), 3)
    if min(local.shape) < 2:
        return np.array([1.0, 0.0])
    slope = np.array([g.mean() for g in np.gradient(local, *spacing)])[:2]
    return -slope / max(np.linalg.norm(slope), 1e-6)


def turned_to(
    frame: NDArray[np.float64], wall: NDArray[np.float64], outwards: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`frame` (patch mm -> crop mm) turned about the crop's z so that `outwards` in the patch is `wall` in the crop."""
    now = frame[:2, :2] @ outwards
    angle = np.arctan2(wall[1], wall[0]) - np.arctan2(now[1], now[0])
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ frame
