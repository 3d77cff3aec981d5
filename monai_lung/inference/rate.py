"""Is it a nodule at all, and how likely malignant? One network on the region around each outline, one on its slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_lung.inference.looks import region
from monai_lung.inference.memory import within_memory
from monai_lung.inference.networks import Rater, RateSettings
from monai_lung.inference.precision import fast_precision
from monai_lung.inference.slices import nodule_slices
from monai_lung.model import CT, Lungs, Outline, Rating
from monai_lung.transforms.rating import SLICE_TARGETS, SURE, TARGETS

_BATCH = 8
_MIRRORS: tuple[tuple[int, ...], ...] = ((2,), (3,), (2, 3, 4))
"""Beside the image as it is."""
_CLEARLY = 3.0
"""How far the nodule's logit lies below the least that is kept, so that mirrors can't lift it there."""


def rate(ct: CT, outlines: Sequence[Outline], networks: Rater, lungs: Lungs | None = None) -> list[Rating]:
    """The rating of each outline, in order; where they lie in the lungs counts if these are given."""
    return _rated(ct, outlines, networks, rate_logits(ct, outlines, networks, lungs))


def rate_likely(
    ct: CT, outlines: Sequence[Outline], networks: Rater, lungs: Lungs | None = None
) -> tuple[list[Outline], list[Rating]]:
    """The outlines with a nodule probability of at least `least_nodule`, in order, and the rating of each.

    The same ratings as `rate`, for less: what is far from a nodule at the first look isn't seen in mirrors too, and the
    malignancy of what is dropped isn't asked.
    """
    settings = networks.rate_settings
    logits = rate_logits(ct, outlines, networks, lungs, clear=settings.nodule_logit(settings.least_nodule) - _CLEARLY)
    likely = [n for n, row in enumerate(logits) if nodule_probability(row, settings) >= settings.least_nodule]
    kept = [outlines[n] for n in likely]
    return kept, _rated(ct, kept, networks, logits[likely])


def _rated(ct: CT, outlines: Sequence[Outline], networks: Rater, logits: NDArray[np.float64]) -> list[Rating]:
    """The ratings of outlines whose logits (n, T) are known, but for the malignancy."""
    malignancy = malignancy_logits(ct, outlines, networks)
    return [calibrate(row, x, networks.rate_settings) for row, x in zip(logits, malignancy, strict=True)]


def rate_logits(
    ct: CT, outlines: Sequence[Outline], networks: Rater, lungs: Lungs | None = None, clear: float = -np.inf
) -> NDArray[np.float64]:
    """Logits (n, T) of each outline in the order of `transforms.rating.TARGETS`, averaged over four mirrors.

    Those whose nodule logit is below `clear` at the first look have that look alone.
    """
    settings = networks.rate_settings
    rows = _logits(
        lambda outline: region(ct, outline, settings, lungs), outlines, networks.rate, networks.device, clear
    )
    return rows.reshape(len(outlines), len(TARGETS))


def malignancy_logits(ct: CT, outlines: Sequence[Outline], networks: Rater) -> NDArray[np.float64]:
    """The malignancy's logit (n,) of each outline by the network on slices, averaged over four mirrors."""
    settings = networks.rate_settings
    rows = _logits(lambda outline: nodule_slices(ct, outline, settings), outlines, networks.malignancy, networks.device)
    return rows.reshape(len(outlines), len(SLICE_TARGETS))[:, SLICE_TARGETS.index("malignancy")]


def _logits(
    image_of: Callable[[Outline], Tensor],
    outlines: Sequence[Outline],
    network: nn.Module,
    device: torch.device,
    clear: float = -np.inf,
) -> NDArray[np.float64]:
    """The output of `network` for the image of each outline, a batch at a time."""

    def rows(size: int) -> list[NDArray[np.float64]]:
        found: list[NDArray[np.float64]] = []
        for batch in (outlines[n : n + size] for n in range(0, len(outlines), size)):
            image = torch.stack([image_of(outline) for outline in batch])
            image = image.to(device, memory_format=torch.channels_last_3d)
            found.extend(mirrored_logits(image, network, clear).double().cpu().numpy())
        return found

    return np.array(within_memory(rows, _BATCH, device))


def mirrored_logits(regions: Tensor, network: nn.Module, clear: float = -np.inf) -> Tensor:
    """Logits (n, T), float32, of regions (n, channels, X, Y, Z), averaged over four mirrors.

    Those whose first logit is below `clear` without a mirror keep that look's.
    """
    with torch.inference_mode(), fast_precision(regions.device):
        first = network(regions).float()
        seen = torch.nonzero(first[:, 0] >= clear).flatten()
        if not len(seen):
            return first
        again = regions if len(seen) == len(regions) else regions[seen]
        again = again.contiguous(memory_format=torch.channels_last_3d)
        mirrored = [network(again.flip(mirror)).float() for mirror in _MIRRORS]
        first[seen] = torch.stack([first[seen], *mirrored]).mean(0)
        return first


def nodule_probability(logits: NDArray[np.float64], settings: RateSettings) -> float:
    """The calibrated probability of a nodule, of its logits (T,)."""
    return _sigmoid(settings.nodule_slope * logits[TARGETS.index("nodule")] + settings.nodule_offset)


def calibrate(logits: NDArray[np.float64], malignancy: float, settings: RateSettings) -> Rating:
    """Logits (T,) and the malignancy's logit to calibrated probabilities; the interval is around its probability."""
    middle = settings.slope * malignancy + settings.offset
    half = settings.spread * _stretch(settings)
    return Rating(
        nodule_probability(logits, settings), _sigmoid(middle), (_sigmoid(middle - half), _sigmoid(middle + half))
    )


def rating_as_probability(mean_rating: float, settings: RateSettings) -> float:
    """The readers' mean rating, 1...5, on the scale of the malignancy's probability: what the interval is to hold.

    It is the probability that the network would give if it read the nodule as its readers did on average.
    """
    share = min(max((mean_rating - 1) / 4, SURE), 1 - SURE)
    rated = float(np.log(share / (1 - share)))
    return _sigmoid(_stretch(settings) * (rated - settings.reader_offset) + settings.offset)


def _stretch(settings: RateSettings) -> float:
    """Logits of the probability for each logit of the readers' mean rating."""
    return settings.slope / settings.reader_slope if settings.reader_slope else 1.0


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(x, -60, 60))))
