"""The system of Yu et al. (BMC Bioinformatics 22:314, 2021): a network over whole lungs, another on what it outlines.

Lungs in sub-cases of 288 x 288 x 144 mm to a 3D Res U-Net, its mask back on the CT's own grid, a region of 72 x 72 x
48 mm around each part of it to a 3D ResNet50. `docs/paper.md` says what of this the paper states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from monai_lung.definitions import build_network, check_contract, read_config, settings
from monai_lung.grid import Grid, bounding_box, resample
from monai_lung.inference.memory import within_memory
from monai_lung.inference.networks import choose_device, ready_on
from monai_lung.inference.precision import fast_precision
from monai_lung.inference.rate import calibrate
from monai_lung.model import CT, Lungs, Outline, Rating, Seed
from monai_lung.stages import PAPER, PAPER_STAGES, RateSettings, SegmentSettings
from monai_lung.transforms.lung_grid import lung_grid, near_lungs
from monai_lung.transforms.subcases import SubCases
from monai_lung.transforms.window import windowed
from monai_lung.weights import bundle_dir, load_weights

AIR_HU = -1024
"""HU of everything outside the lungs."""
SMALLEST_MM3 = 7.0
"""Half of a ball of 3 mm: what is smaller isn't reported, so it isn't looked at."""
NEAR_MM = 6.0
"""How far around a mask its region is shown to the network that classifies; farther on there is air."""
_BATCH = 8
_SURE = 1e-4
Progress = Callable[[float], None]


@dataclass(frozen=True)
class PaperNetworks:
    """The paper's two networks on their device, with their settings and the sha256 of their weights."""

    segment: nn.Module
    classify: nn.Module
    segment_settings: SegmentSettings
    classify_settings: RateSettings
    device: torch.device
    weights: Mapping[str, str]

    @property
    def rate_settings(self) -> RateSettings:
        """The settings of what rates: calibration and operating points."""
        return self.classify_settings


def load_paper_networks(
    device: str = "auto", bundle: Path | None = None, *, trust_bundle: bool = False
) -> PaperNetworks:
    """The networks of a bundle (default: the installed one); errors as `inference.load_networks`."""
    target, bundle = choose_device(device), Path(bundle or bundle_dir(PAPER))
    config, weights, networks, values = read_config(bundle), {}, {}, {}
    for name, stage in PAPER_STAGES.items():
        values[name] = settings(stage.settings, config.get(stage.settings_key), bundle)
        network = build_network(config, stage.definition, bundle, trust_bundle=trust_bundle)
        weights[name] = load_weights(network, bundle, stage.weights)
        check_contract(network, stage, values[name], bundle)
        networks[name] = ready_on(network, target)
    return PaperNetworks(
        networks["segment"], networks["classify"], values["segment"], values["classify"], target, weights
    )


def paper_nodules(
    ct: CT, lungs: Lungs, networks: PaperNetworks, progress: Progress | None = None
) -> tuple[list[Outline], list[Rating]]:
    """The system's findings in the lungs of a CT, with their ratings.

    Args:
        ct: the CT.
        lungs: its lungs.
        networks: the paper's.
        progress: called with the share of the sub-cases that is done, 0...1.

    Raises:
        LungsNotFoundError: the mask of the lungs is empty.
    """
    outlines = segmented(ct, lungs, networks, progress)
    return outlines, classified(ct, outlines, networks)


def segmented(ct: CT, lungs: Lungs, networks: PaperNetworks, progress: Progress | None = None) -> list[Outline]:
    """The outlines of the 3D Res U-Net, on the CT's own grid; arguments and errors as `paper_nodules`."""
    values = networks.segment_settings
    image, inside, grid = paper_image(ct, lungs, values)
    logits = over_subcases(image.to(networks.device), inside, networks.segment, values.subcase, progress)
    probability = torch.where(inside, torch.sigmoid(logits.cpu()), 0)
    return outlines_on(ct, probability.numpy(), grid, values.threshold)


def paper_image(ct: CT, lungs: Lungs, values: SegmentSettings) -> tuple[Tensor, Tensor, Grid]:
    """The network's input: the lung parenchyma in the lung window, float32 (1, 1, X, Y, Z), on the paper's voxels.

    With it where an answer is wanted, bool (X, Y, Z), and the grid of both.
    """
    hu, source = ct.grid.turned(ct.hu)
    lung, _ = ct.grid.turned(lungs.labels > 0)
    shown = windowed(torch.from_numpy(np.where(lung, hu, AIR_HU)).float()).numpy()
    grid = lung_grid(source, lung, values.spacing_mm)
    inside = near_lungs(torch.from_numpy(resample(lung, source, grid, outside=0)))
    return torch.from_numpy(resample(shown, source, grid, outside=0))[None, None], inside, grid


def over_subcases(
    image: Tensor,
    inside: Tensor,
    network: Callable[[Tensor], Tensor],
    size: Sequence[int],
    progress: Progress | None = None,
) -> Tensor:
    """Logits float32 (X, Y, Z) of a network over the sub-cases of the lungs, their mean where these overlap.

    Two sub-cases along z at least, as in the paper; more where the lungs are longer or wider. 0 where none lies.

    Args:
        image: (1, C, X, Y, Z), windowed.
        inside: bool (X, Y, Z), the lungs.
        network: of a sub-case.
        size: its voxels.
        progress: called with the share that is done, 0...1.
    """
    cut = SubCases(size, fill=0.0)
    starts = cut.starts(inside[None])

    def one(start: tuple[int, int, int]) -> Tensor:
        part = torch.as_tensor(cut.crop.cut(image[0], start, cut.size))[None]
        part = getattr(part, "as_tensor", lambda: part)().contiguous(memory_format=torch.channels_last_3d)
        with torch.inference_mode(), fast_precision(image.device):
            return within_memory(lambda _: network(part), 1, image.device)[0].float().cpu()

    parts = []
    for n, start in enumerate(starts, start=1):
        parts.append(one(start))
        if progress:
            progress(n / len(starts))
    return cut.merge(parts, starts, inside.shape)[0]


def outlines_on(ct: CT, probability: NDArray[np.float32], grid: Grid, threshold: float) -> list[Outline]:
    """A probability (X, Y, Z) on another grid as outlines on the CT's own: its connected parts above a threshold.

    Outlines carry probabilities shifted so that 0.5 is the threshold, and a seed that scores the highest unshifted one.
    The order is that of the parts along the CT's axes.
    """
    box = ct.grid.reach(grid)
    own = ct.grid.part(box)
    if 0 in own.shape:
        return []
    native = resample(probability, grid, own, outside=0)
    labels = cc3d.connected_components(native >= threshold, connectivity=18)
    outlines = []
    for n, part in enumerate(cc3d.statistics(labels)["bounding_boxes"][1:], start=1):
        if (labels[part] == n).sum() * ct.voxel_mm3 >= SMALLEST_MM3:
            outlines.append(_outline(native, labels, n, part, ct, box, threshold))
    return outlines


def _outline(
    native: NDArray[np.float32],
    labels: NDArray[np.integer],
    n: int,
    part: tuple[slice, slice, slice],
    ct: CT,
    box: tuple[slice, slice, slice],
    threshold: float,
) -> Outline:
    """The part `n` of `labels`, which lie at `box` of the CT's grid, with two voxels around it."""
    x, y, z = (slice(max(s.start - 2, 0), min(s.stop + 2, m)) for s, m in zip(part, labels.shape, strict=True))
    mask = labels[x, y, z] == n
    inner = bounding_box(mask, 2)
    mask = mask[inner]
    known = np.where((labels[x, y, z][inner] > 0) & ~mask, 0, native[x, y, z][inner])
    odds = (1 - threshold) / threshold
    shifted = (known * odds / (known * odds + 1 - known)).astype(np.float32)
    first = [b.start + s.start + i.start for b, s, i in zip(box, (x, y, z), inner, strict=True)]
    grid = ct.grid.part(tuple(slice(a, a + m) for a, m in zip(first, mask.shape, strict=True)))  # type: ignore[arg-type]
    marked = np.argwhere(mask)
    cx, cy, cz = grid.to_world(marked.mean(0))
    extent = (np.ptp(marked, axis=0) + 1) * grid.spacing_mm
    seed = Seed((float(cx), float(cy), float(cz)), float(known.max()), float(extent.max()))
    return Outline(mask, shifted, (first[0], first[1], first[2]), seed)


def classified(ct: CT, outlines: Sequence[Outline], networks: PaperNetworks) -> list[Rating]:
    """How the 3D ResNet50 rates each outline, in order.

    The nodule probability is the mean over its voxels of what the network that segments says: the paper has no other.
    """
    rois = [nodule_roi(ct, outline, networks.classify_settings) for outline in outlines]
    return ratings_of(outlines, malignancy_of(rois, networks.classify, networks.device), networks.classify_settings)


def nodule_roi(ct: CT, outline: Outline, values: RateSettings) -> Tensor:
    """The network's input for an outline: float32 (1, *region), the lung window around the middle of its mask.

    The text has the segmented parts classified: what is more than `NEAR_MM` from the mask is air.
    """
    own = outline.grid(ct.grid)
    target = Grid.around(outline.middle_mm(ct.grid), values.spacing_mm, values.region, own.patient_axes)
    part = ct.grid.reach(target, 2)
    near = windowed(torch.from_numpy(ct.hu[part].astype(np.float32))).numpy()
    share = resample(outline.mask.astype(np.float32), own, target, outside=0)
    return torch.from_numpy(near_only(resample(near, ct.grid.part(part), target), share, target.spacing_mm, 0.0))[None]


def near_only(
    image: NDArray[np.float32],
    share: NDArray[np.float32],
    spacing_mm: Sequence[float] | NDArray[np.float64],
    air: float,
) -> NDArray[np.float32]:
    """`image` (X, Y, Z) with `air` wherever it is more than `NEAR_MM` from a nodule.

    Args:
        image: of the nodule's surroundings.
        share: (X, Y, Z), how much of each voxel is nodule. A nodule is where that is half of its highest value or more,
            so that one smaller than a voxel is still somewhere; nothing is, if it is 0 everywhere.
        spacing_mm: of the voxels.
        air: the value of air.

    >>> nodule = np.zeros((9, 9, 9), np.float32)
    >>> nodule[4, 4, 4] = 1
    >>> int(near_only(np.ones_like(nodule), nodule, (3, 3, 3), 0.0).sum())  # a ball of two voxels' radius
    33
    """
    if not share.max() > 0:
        return np.full_like(image, air)
    away_mm = ndimage.distance_transform_edt(share < share.max() / 2, sampling=spacing_mm)
    return np.where(away_mm <= NEAR_MM, image, np.float32(air))


def malignancy_of(rois: Sequence[Tensor], network: nn.Module, device: torch.device) -> NDArray[np.float64]:
    """The malignancy's logit (n,) of each region (1, X, Y, Z): the difference of the two classes' scores."""

    def rows(size: int) -> list[NDArray[np.float64]]:
        found: list[NDArray[np.float64]] = []
        for batch in (rois[n : n + size] for n in range(0, len(rois), size)):
            image = torch.stack(list(batch)).to(device, memory_format=torch.channels_last_3d)
            with torch.inference_mode(), fast_precision(device):
                scores = network(image).double().cpu().numpy()
            found.extend(scores[:, 1] - scores[:, 0])
        return found

    return np.array(within_memory(rows, _BATCH, device), float)


def ratings_of(outlines: Sequence[Outline], logits: NDArray[np.float64], values: RateSettings) -> list[Rating]:
    """The rating of each outline from its malignancy's logit (n,), calibrated."""
    sure = [float(np.clip(o.probability[o.mask].mean(), _SURE, 1 - _SURE)) for o in outlines]
    return [calibrate(np.array([np.log(p / (1 - p))]), float(x), values) for p, x in zip(sure, logits, strict=True)]
