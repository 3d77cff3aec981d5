"""Which voxels belong to the nodule? A fine network on a patch around each seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from monai_lung.grid import Grid, bounding_box, resample
from monai_lung.inference.branching import without_branches
from monai_lung.inference.memory import within_memory
from monai_lung.inference.networks import DelineateSettings, Delineator
from monai_lung.inference.precision import fast_precision
from monai_lung.model import CT, Lungs, Outline, Seed
from monai_lung.transforms.window import windowed

FILLED = 0.75
"""Share of the patch that a seed's diameter may fill; for a larger one the grid is coarser from the start."""
BORDER = 0.5
"""Shifted probability at the nodule's border (`run`)."""
IN_LUNGS = 0.4
"""Share of a nodule that has to be in the lungs, or at most `BESIDE_MM` beside them."""
BESIDE_MM = 2.0
LOOKS = 5
"""The first, and up to four on coarser grids."""
_BATCH = 8


def delineate(ct: CT, seeds: Sequence[Seed], networks: Delineator, lungs: Lungs | None = None) -> list[Outline]:
    """The outline of each seed that has one, in the seeds' order, without doubles.

    With `lungs` what lies outside of them is dropped (`within_lungs`), as are large outlines that branch
    (`without_branches`), and of the rest only copies of each other: which of two doubles is the nodule is for the
    rating to say (`without_doubles`).

    A nodule that touches the border of its patch is looked at again on a grid 1.5 times coarser, around the middle of
    what was seen of it, up to four times: until a mass of 15 cm fits.
    """
    outlines = [o for o in delineate_each(ct, seeds, networks) if o is not None]
    if lungs is None:
        return without_doubles(outlines, ct)
    return without_copies(without_branches(within_lungs(outlines, ct, lungs), ct), ct)


def delineate_each(ct: CT, seeds: Sequence[Seed], networks: Delineator) -> list[Outline | None]:
    """The outline of each seed, None where the network sees no nodule."""
    settings = networks.delineate_settings
    width = min(n * s for n, s in zip(settings.patch, settings.spacing_mm, strict=True))
    scales = [max(1.0, seed.diameter_mm / (FILLED * width)) for seed in seeds]
    centers = [np.array(seed.center_mm) for seed in seeds]
    outlines: list[Outline | None] = [None] * len(seeds)
    waiting = list(range(len(seeds)))
    for look in range(LOOKS):
        again = []
        for batch in (waiting[n : n + _BATCH] for n in range(0, len(waiting), _BATCH)):
            patches = [Patch(ct, seeds[n], scales[n], settings, centers[n]) for n in batch]
            for n, patch, probability in zip(batch, patches, probabilities(patches, networks), strict=True):
                found, touches = patch.outline(probability)
                outlines[n] = found or outlines[n]
                if found and touches and look + 1 < LOOKS:
                    scales[n], centers[n] = scales[n] * 1.5, found.middle_mm(ct.grid)
                    again.append(n)
        waiting = again
    return outlines


def probabilities(patches: Sequence[Patch], networks: Delineator) -> list[Tensor]:
    """Probability (X, Y, Z) of each patch, averaged with two of its mirrors, shifted so that 0.5 is the threshold."""
    return within_memory(lambda batch: _probabilities(patches, networks, batch), _BATCH, networks.device)


def _probabilities(patches: Sequence[Patch], networks: Delineator, batch: int) -> list[Tensor]:
    if len(patches) > batch:
        return _probabilities(patches[:batch], networks, batch) + _probabilities(patches[batch:], networks, batch)
    image = torch.stack([p.image for p in patches])[:, None]
    return list(seen_by(networks.delineate, image, networks.delineate_settings.threshold, networks.device))


def seen_by(
    network: nn.Module,
    image: Tensor,
    threshold: float,
    device: torch.device,
    mirrors: Sequence[tuple[int, ...]] = ((2, 4), (3,)),
) -> Tensor:
    """What a network sees in patches.

    Args:
        network: on `device`.
        image: (N, C, X, Y, Z).
        threshold: the probability that becomes 0.5.
        device: that it runs on.
        mirrors: axes of the mirrored images whose logits are averaged with its own: two give most of the gain of all.

    Returns:
        Probability (N, X, Y, Z), on the CPU.
    """
    image = image.to(device, memory_format=torch.channels_last_3d)
    with torch.inference_mode(), fast_precision(device):
        logits = network(image).float()
        for axes in mirrors:
            logits = logits + network(image.flip(axes)).float().flip(axes)
        probability = torch.sigmoid(logits / (1 + len(mirrors)) - math.log(threshold / (1 - threshold)))
    return probability[:, 0].cpu()


class Patch:
    """The surroundings of a place in a seed's nodule, at first the seed itself, on the delineating network's grid.

    Attributes:
        image: float32 (X, Y, Z), windowed to 0...1.
    """

    def __init__(
        self, ct: CT, seed: Seed, scale: float, settings: DelineateSettings, center_mm: NDArray[np.float64]
    ) -> None:
        self.seed, self.ct = seed, ct.grid
        spacing = np.array(settings.spacing_mm) * scale
        self.grid = Grid.around(center_mm, spacing.tolist(), settings.patch, self.ct.patient_axes)
        self.image = windowed(torch.from_numpy(resample(ct.hu, self.ct, self.grid)))

    def outline(self, probability: Tensor) -> tuple[Outline | None, bool]:
        """The seed's nodule on the CT's own grid, and whether it touches the patch's border.

        `probability` is the network's, on the patch's grid.
        """
        box = self.ct.reach(self.grid, -0.5)
        own = self.ct.part(box)
        if 0 in own.shape:
            return None, False
        native = resample(probability.numpy(), self.grid, own)
        mask = component_at(native >= BORDER, own.to_index(self.seed.center_mm), own.spacing_mm)
        if not mask.any():
            return None, False
        touches = any(
            (part.start > 0 and mask.take(0, axis).any()) or (part.stop < length and mask.take(-1, axis).any())
            for axis, (part, length) in enumerate(zip(box, self.ct.shape, strict=True))
        )
        native = np.where((native >= BORDER) & ~mask, 0, native)
        tight = bounding_box(mask, 2)
        offset = tuple(part.start + inner.start for part, inner in zip(box, tight, strict=True))
        return Outline(mask[tight], native[tight], (offset[0], offset[1], offset[2]), self.seed), touches


def component_at(
    mask: NDArray[np.bool_], center: NDArray[np.float64], spacing_mm: NDArray[np.float64], reach_mm: float = 8.0
) -> NDArray[np.bool_]:
    """The connected part of `mask` (X, Y, Z) at or nearest to the index `center`, empty if none within `reach_mm`."""
    labels = cc3d.connected_components(mask, connectivity=18)
    index = np.argwhere(mask)
    if not len(index):
        return mask
    distance = np.linalg.norm((index - center) * spacing_mm, axis=1)
    nearest = distance.argmin()
    if distance[nearest] > reach_mm:
        return np.zeros_like(mask)
    return labels == labels[tuple(index[nearest])]


def within_lungs(outlines: Sequence[Outline], ct: CT, lungs: Lungs) -> list[Outline]:
    """`outlines` without those that lie outside the lungs: less than 0.4 of them is in the lungs or 2 mm beside.

    Heart and hilum lie mostly outside, where a lung's mask doesn't take them in; a tumour at the hilum about by half.

    What the network takes for a mass beyond the diaphragm or the chest wall (a colon, say) goes this way. Lung masks
    are closed over what sits on the pleura, so a mass there stays.

    The order is kept.
    """
    inside = lungs.labels > 0
    spacing = np.array(ct.spacing_mm)
    margin = np.ceil(BESIDE_MM / spacing).astype(int)
    kept = []
    for outline in outlines:
        low = np.maximum(np.array(outline.offset) - margin, 0)
        high = np.array(outline.offset) + outline.mask.shape + margin  # may pass the end: slices stop there
        around = inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        if not around.any():
            continue
        near = np.ones_like(around) if around.all() else _distance_mm(around, spacing) <= BESIDE_MM
        start = np.array(outline.offset) - low
        own = tuple(slice(a, a + n) for a, n in zip(start, outline.mask.shape, strict=True))
        if near[own][outline.mask].mean() >= IN_LUNGS:
            kept.append(outline)
    return kept


def _distance_mm(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each voxel to the nearest of `mask`."""
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing))


SAME = 0.7
"""Share of the larger of two outlines that both have in common, from which on they are copies of each other."""
SHARED = 0.3
"""Share of the smaller of two outlines that both have in common, from which on they are doubles."""


def without_copies(outlines: Sequence[Outline], ct: CT) -> list[Outline]:
    """`outlines` without those that are nearly another one. The order of those that stay is kept."""
    return _without(outlines, ct, lambda shared, own, other: shared > SAME * max(own, other), _by_size(outlines))


def without_doubles(
    outlines: Sequence[Outline], ct: CT, overlap: float = SHARED, confidence: Sequence[float] | None = None
) -> list[Outline]:
    """`outlines` without doubles: of two that share more than `overlap` of the smaller one, one stays.

    It's the larger, or where `confidence` (0...1) is given the one that is more surely a nodule, by fifths: a vessel's
    outline that holds a nodule must not take its place. Of two of one size the one with the higher score stays, so that
    no result depends on the order of seeds. The order of those that stay is kept.
    """
    order = _by_size(outlines)
    if confidence is not None:
        sure = [round(5 * c) for c in confidence]
        order.sort(key=lambda n: -sure[n])  # stable: the larger stays first among those as sure
    return _without(outlines, ct, lambda shared, own, other: shared > overlap * min(own, other), order)


def _by_size(outlines: Sequence[Outline]) -> list[int]:
    """Places of the outlines, largest first."""
    sizes = [int(o.mask.sum()) for o in outlines]
    return sorted(range(len(outlines)), key=lambda n: (-sizes[n], -outlines[n].seed.score, outlines[n].offset))


def _without(
    outlines: Sequence[Outline], ct: CT, gives_way: Callable[[int, int, int], bool], order: Sequence[int]
) -> list[Outline]:
    """Those of `outlines` that, taken in `order`, don't give way to one before: voxels shared, own and the other's."""
    owner = np.full(ct.hu.shape, -1, np.int32)
    sizes = [int(o.mask.sum()) for o in outlines]
    kept = set()
    for n in order:
        here = owner[outlines[n].box][outlines[n].mask]
        others, shared = np.unique(here[here >= 0], return_counts=True)
        if not any(gives_way(int(s), sizes[n], sizes[m]) for m, s in zip(others, shared, strict=True)):
            free = outlines[n].mask & (owner[outlines[n].box] < 0)
            owner[outlines[n].box][free] = n
            kept.add(n)
    return [o for n, o in enumerate(outlines) if n in kept]
