"""The training data of the paper's two networks: lungs on its own grid, nodules that three readers saw set into them.

Lungs are resampled once (`render`), several times over, each time a little turned and scaled, so that a sub-case or a
region is cut out of them voxel by voxel, as inference sees it.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.transforms import Transform
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from monai_lung.data.backgrounds import Background, check_held_out, read_backgrounds, save_background
from monai_lung.data.crops import Crop
from monai_lung.errors import InputError, UsageError
from monai_lung.grid import Grid, resample
from monai_lung.inference.paper import AIR_HU, near_only
from monai_lung.networks import NoduleResNet50, ResUNet3d
from monai_lung.networks.layers import init_xavier
from monai_lung.networks.plain import PlainResUNet3d, resnet50
from monai_lung.training.datasets import load_crops
from monai_lung.training.draws import rng_of
from monai_lung.training.synthesis import (
    Donor,
    continue_in_z,
    donor_of,
    outwards,
    random_frame,
    soft_box,
    turned_to,
)
from monai_lung.transforms.lung_grid import lung_grid
from monai_lung.transforms.spacing import SPACING_MM
from monai_lung.transforms.window import LUNG_WINDOW_HU

log = logging.getLogger(__name__)

READERS = 3
"""Who have to call a voxel nodule."""
LOOKS = 4
"""How often each scan's lungs are resampled."""
_VOTES = (0.0, 0.17, 0.33, 0.67, 1.0)
"""The value for a number of readers: three are above a half, two below, so that interpolation keeps the border."""
_TILT_DEG, _SCALE = 8.0, (0.9, 1.15)
_TRIES = 4000
Labels = Literal["marks", "nodules"]
SEGMENTERS, CLASSIFIERS = ("res-unet", "unet"), ("nodule-resnet", "resnet50")


def segmenter(architecture: str, width: int) -> nn.Module:
    """The paper's 3D Res U-Net ("res-unet"), or the 3D U-Net that it's compared with ("unet"), both four levels deep.

    The 3D U-Net is the same without identity paths: the paper's change is a residual unit in place of two convolutions.

    Raises:
        UsageError: another architecture.
    """
    if architecture not in SEGMENTERS:
        raise UsageError(f"--architecture {architecture}: choose one of {', '.join(SEGMENTERS)}")
    return ResUNet3d(width=width, levels=4) if architecture == "res-unet" else PlainResUNet3d(width, 4)


def classifier(architecture: str, width: int) -> nn.Module:
    """The paper's 3D ResNet50 ("nodule-resnet"), or the unmodified one ("resnet50"): one channel in, two scores out.

    Raises:
        UsageError: another architecture.
    """
    if architecture not in CLASSIFIERS:
        raise UsageError(f"--architecture {architecture}: choose one of {', '.join(CLASSIFIERS)}")
    if architecture == "nodule-resnet":
        return NoduleResNet50(1, 2, width, strides=(1, 1, 2, 2, 2), late_kernel=1)
    network = resnet50(1, 2, width)
    init_xavier(network)
    return network


@dataclass(frozen=True)
class ThreeReaders(Crop):
    """A crop whose `share` is above a half where three readers or more marked a voxel, the paper's truth."""

    @property
    def share(self) -> NDArray[np.float32]:
        """0...1, float32 (X, Y, Z)."""
        return np.array(_VOTES, np.float32)[np.minimum(self.votes, len(_VOTES) - 1)]


def donors_of(folder: str, patients: Sequence[str], exclude: Sequence[str] = ()) -> list[Donor]:
    """The nodules of a crop folder of which three readers saw a voxel together, in the lung window.

    Raises:
        UsageError: none of the patients is left.
        InputError: a crop can't be read.
    """
    donors = []
    for crop in load_crops(folder, patients, exclude):
        own = ThreeReaders(crop.row, np.clip(crop.hu, *LUNG_WINDOW_HU).astype(np.int16), crop.readers, crop.affine_ras)
        if (crop.votes >= READERS).any():
            donors.append(replace(donor_of(crop), crop=own))
    if not donors:
        raise UsageError(f"{folder}: no nodule that three readers saw; give others")
    return donors


def render(background: Background, looks: int = LOOKS, spacing_mm: Sequence[float] = SPACING_MM) -> list[Background]:
    """The lungs of a scan on the paper's grid, `looks` times: as they are, then turned and scaled a little.

    They are named NAME_s0, NAME_s1, ..., and their values are those of the lung window, -1000 ... 400 HU.
    """
    rng = np.random.default_rng(0)
    hu, source = background.grid.turned(np.clip(background.hu, *LUNG_WINDOW_HU))
    depth, known = (source_of.turned(a)[0] for source_of, a in ((background.grid, background.depth_mm),
                                                                (background.grid, background.known)))  # fmt: skip
    upright = lung_grid(source, depth > 0, spacing_mm, margin_mm=6.0)
    result = []
    for look in range(looks):
        angles = rng.uniform(-_TILT_DEG, _TILT_DEG, 3)
        frame = (
            Rotation.from_euler("zxy", angles, degrees=True).as_matrix() / rng.uniform(*_SCALE) if look else np.eye(3)
        )
        grid = Grid.around(upright.center_mm, spacing_mm, upright.shape, upright.axes @ frame)
        values = np.rint(resample(hu, source, grid, outside=LUNG_WINDOW_HU[0])).astype(np.int16)
        marks = resample(np.stack([depth, known]), source, grid, outside=0, average=False)
        inside = np.ceil(marks[0]).astype(np.uint8)
        affine = Grid.around(upright.center_mm, spacing_mm, grid.shape).affine_lps
        result.append(Background(f"{background.name}_s{look}", values, inside, marks[1] > 0.01, affine))
    return result


def render_folder(source: Path | str, out: Path | str, looks: int = LOOKS) -> int:
    """`render` each background of a folder into another, but what is there already; how many scans there are.

    Raises:
        UsageError: there are none.
        InputError: one is damaged.
        OutputError: they can't be written.
    """
    scans = read_backgrounds(source)
    Path(out).mkdir(parents=True, exist_ok=True)
    for scan in scans:
        if not (Path(out) / f"{scan.name}_s{looks - 1}.npz").is_file():
            log.info("%s: lungs on the paper's grid", scan.name)
            for one in render(scan, looks):
                save_background(one, Path(out))
    return len(scans)


def lungs_of(folder: str, exclude: Sequence[str] = (), held_out: Sequence[str] = ()) -> list[Background]:
    """The files of `render_folder`, without the scans `exclude`, for a bundle's config.

    Raises:
        UsageError: nothing is left, or a scan is of a patient in `held_out`.
        InputError: a file is damaged.
    """
    lungs = [one for one in read_backgrounds(folder) if one.name.rsplit("_s", 1)[0] not in exclude]
    if not lungs:
        raise UsageError(f"{folder}: no lungs are left; leave fewer out")
    check_held_out(lungs, held_out)
    return lungs


def cut(array: NDArray[Any], start: Sequence[int], size: Sequence[int], fill: float) -> NDArray[Any]:
    """The box of `size` voxels from `start` (may be negative) of `array` (X, Y, Z), `fill` beyond."""
    result = np.full(tuple(size), fill, array.dtype)
    low = [max(0, s) for s in start]
    high = [max(a, min(n, s + m)) for a, n, s, m in zip(low, array.shape, start, size, strict=True)]
    there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    here = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    result[here] = array[there]
    return result


class SubCasePatchd(Transform):
    """A sub-case, or a part of one, cut out of a scan's lungs voxel by voxel, mirrored left to right or not.

    It lies around a place in the lungs, anywhere in the box. Adds what `training.find_dataset.LungPatchd` adds:
    `image` float32 (1, *roi_size) HU, `label` (2, *roi_size), `depth`, `spacing_mm`, `coarse`, `id`.

    Args:
        lungs: of `render`.
        roi_size: voxels.
    """

    def __init__(self, lungs: Sequence[Background], roi_size: Sequence[int]) -> None:
        self.lungs, self.size = list(lungs), [int(n) for n in roi_size]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw one."""
        rng = rng_of(data)
        b = self.lungs[rng.integers(len(self.lungs))]
        place = place_in(b, rng, 1, 255)
        margin = [min(12, n // 4) for n in self.size]
        start = [int(p - rng.integers(m, n - m)) for p, n, m in zip(place, self.size, margin, strict=True)]
        mirror = -1 if rng.random() < 0.5 else 1
        hu, depth, known = (
            np.ascontiguousarray(cut(a, start, self.size, fill)[::mirror])
            for a, fill in ((b.hu, AIR_HU), (b.depth_mm, 0), (b.known, 0))
        )
        trust = torch.from_numpy(1 - known.astype(np.float32))
        return {
            **data,
            "image": torch.from_numpy(hu.astype(np.float32))[None],
            "label": torch.stack([torch.zeros_like(trust), trust]),
            "depth": depth.astype(np.float32),
            "spacing_mm": b.spacing_mm,
            "coarse": False,
            "id": b.name,
        }


class PaperLabeld(Transform):
    """The input and target of the paper's network: lung parenchyma alone, and nodule or not.

    Takes `image`, `depth` and `label` of a patch into which nodules were set. What isn't lung nor nodule becomes air;
    the label's share becomes 1 where it is above a half, and its trust 0 or 1.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change image and label."""
        share, trust = data["label"]
        inside = torch.maximum(torch.from_numpy(data["depth"]).clamp(0, 1), (2 * share).clamp(0, 1))
        image = AIR_HU + inside * (data["image"] - AIR_HU)
        return {**data, "image": image, "label": torch.stack([(share >= 0.5).float(), (trust > 0).float()])}


def place_in(b: Background, rng: np.random.Generator, low: float, high: float) -> NDArray[np.int64]:
    """A voxel (3,) of the lungs between two depths in mm, away from what is known there.

    Raises:
        InputError: none is found.
    """
    for _ in range(_TRIES):
        at = rng.integers(b.hu.shape)
        if low <= b.depth_mm[tuple(at)] <= high and not b.known[tuple(at)]:
            return at
    raise InputError(f"background {b.name}: no place {low:g} to {high:g} mm deep in its lungs; leave it out")


def place_for(b: Background, donor: Donor, rng: np.random.Generator) -> NDArray[np.int64]:
    """A voxel (3,) for a nodule's middle: deep enough, or as near the border as one on the pleura sits."""
    if donor.wall is None:
        return place_in(b, rng, min(donor.radius_mm + 1, 8.0), 255)
    return place_in(b, rng, 1, max(2.0, 0.8 * donor.radius_mm))


def frame_for(
    b: Background, donor: Donor, place: NDArray[np.int64], rng: np.random.Generator, *, turn: bool = True
) -> NDArray[np.float64]:
    """(3, 3), from mm about `place` to mm about the nodule's middle: any turn, a wall towards the lung's border."""
    frame = random_frame(rng, scale=(0.92, 1.08) if turn else (1.0, 1.0), tilt_deg=8 if turn else 0)
    return frame if donor.wall is None else turned_to(frame, donor.wall, outwards(b.depth_mm, place, b.spacing_mm))


def set_in(
    hu: NDArray[np.float32],
    grid: Grid,
    donor: Donor,
    place_mm: NDArray[np.float64],
    frame: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A nodule with its surroundings in a lung: HU, and the readers' share (above a half: nodule), both (X, Y, Z).

    Args:
        hu: of the lung.
        grid: of `hu`.
        donor: the nodule.
        place_mm: (3,) LPS mm of its middle.
        frame: of `frame_for`.
        rng: draws how the crop continues beyond its slices.
    """
    long = continue_in_z(donor.crop, 8.0, rng)
    box = soft_box(tuple(long.channels.shape[1:]), long.spacing_mm)[None]
    to_nodule = np.eye(4)
    to_nodule[:3, :3], to_nodule[:3, 3] = frame, -frame @ place_mm
    seen = Grid(grid.shape, to_nodule @ grid.affine_lps)
    here = seen.reach(long.grid, 1)
    part = seen.part(here)
    hu, share = hu.copy(), np.zeros_like(hu)
    if 0 not in part.shape:
        value = resample(long.channels[0].numpy(), long.grid, part)
        share[here], alpha = resample(torch.cat([long.channels[1:2], box]).numpy(), long.grid, part, outside=0)
        hu[here] += alpha * (value - hu[here])
    return hu, share


class NoduleInLungd(Transform):
    """A nodule set into a scan's lungs, and the region near it: what the network that classifies learns from.

    Takes `nodule`, its place in `donors`, and `malignant`, 0 or 1. Adds `image` float32 (1, *roi_size) HU; `label`,
    the class; `id`, the crop's.

    Args:
        donors: nodules.
        lungs: of `render`.
        roi_size: voxels of the region.
        augment: False draws no turn, no scale and no shift.
    """

    def __init__(
        self, donors: Sequence[Donor], lungs: Sequence[Background], roi_size: Sequence[int], augment: bool = True
    ) -> None:
        self.donors, self.lungs = list(donors), list(lungs)
        self.size, self.augment = tuple(int(n) for n in roi_size), augment

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw one."""
        rng, donor = rng_of(data), self.donors[data["nodule"]]
        b = self.lungs[rng.integers(len(self.lungs))]
        place = place_for(b, donor, rng)
        shift = rng.integers(-1, 2, 3) if self.augment else np.zeros(3, int)
        start = place + shift - np.array(self.size) // 2
        frame = frame_for(b, donor, place, rng, turn=self.augment)
        x, y, z = (slice(int(s), int(s) + n) for s, n in zip(start, self.size, strict=True))
        lung = cut(b.hu, start.tolist(), self.size, LUNG_WINDOW_HU[0]).astype(np.float32)
        hu, share = set_in(lung, b.grid.part((x, y, z)), donor, b.grid.to_world(place), frame, rng)
        hu = near_only(hu, share, b.spacing_mm, LUNG_WINDOW_HU[0])
        if self.augment and rng.random() < 0.5:
            hu = np.ascontiguousarray(hu[::-1])
        return {**data, "image": torch.from_numpy(hu)[None], "label": data["malignant"], "id": donor.crop.row.id}


def class_items(donors: Sequence[Donor], labels: Labels = "marks") -> list[dict[str, int]]:
    """The items of `NoduleInLungd`: benign where malignancy is rated 1 or 2, malignant at 4 or 5; 3 is left out.

    Args:
        donors: nodules.
        labels: "marks" has an item for each reader's mark, as the paper's counts have; "nodules" one for each nodule,
            by the median of its readers.

    Raises:
        UsageError: other labels, or all items are of one class.
    """
    if labels not in ("marks", "nodules"):
        raise UsageError(f"labels {labels!r}: choose marks or nodules")
    items = []
    for n, donor in enumerate(donors):
        ratings: Sequence[float] = donor.crop.row.ratings.get("malignancy", ())
        said = ratings if labels == "marks" else [statistics.median(ratings or [3])]
        items += [{"nodule": n, "malignant": int(rating > 3)} for rating in said if rating != 3]
    if len({item["malignant"] for item in items}) < 2:
        raise UsageError("benign and malignant nodules are needed, and only one kind is here; give another fold")
    return items


class ClassScoresd(Transform):
    """Two scores and a class to one score and 0 or 1, so that `ROCAUC` can compare them."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`pred` (2,) becomes (1,), `label` a tensor (1,)."""
        score: Tensor = data["pred"].float()
        return {**data, "pred": score[1:] - score[:1], "label": torch.as_tensor(data["label"]).float().reshape(1)}
