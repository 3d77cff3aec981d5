"""The stages of the analysis as MONAI inferers and transforms: the same functions, so the same results to the voxel."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Transform
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from monai_lung.inference import delineate, find
from monai_lung.inference.delineate import delineate_each
from monai_lung.inference.networks import (
    DelineateSettings,
    Delineator,
    Finder,
    FindSettings,
    RateSettings,
    build_network,
    placed,
    read_config,
    settings,
)
from monai_lung.inference.rate import mirrored_logits, region
from monai_lung.inference.slices import nodule_slices
from monai_lung.model import CT, Lungs, Outline, Seed
from monai_lung.weights import load_weights, resume
from monai_lung.workflow.cases import ct_of, read_mask


def loaded(
    network: nn.Module, bundle_root: Path | str, file: str, device: torch.device, checkpoint: Path | str = ""
) -> nn.Module:
    """`network` with a bundle's weights (checked) or, where given, those of a training checkpoint, ready to run.

    Raises:
        WeightsError: the weights are missing, damaged, or of another network.
    """
    if checkpoint:
        resume(network, checkpoint)
    else:
        load_weights(network, Path(bundle_root), file)
    return placed(network, device)


def delineator_of(bundle_root: Path | str, device: torch.device) -> Delineator:
    """The delineating network of a segmentation bundle, by its own config and weights.

    Raises:
        WeightsError: the weights are missing or damaged.
        ConfigError: the config asks for code that isn't of this package.
    """
    bundle = Path(bundle_root)
    config = read_config(bundle)
    network = loaded(build_network(config, "network_def", bundle), bundle, "model.pt", device)
    return Delineator(network, settings(DelineateSettings, config.get("delineate_settings"), bundle), device)


class NoduleInferer(Inferer):
    """Finds and delineates the nodules of a CT: windows slide over the lungs, each seed's nodule is delineated.

    The network that it's called with delineates; the one that finds is its own.

    Args:
        find_network: finds, on its device.
        find_settings, delineate_settings: as in the bundle's config.
        bundle_root: named in errors.
    """

    def __init__(
        self,
        find_network: nn.Module,
        find_settings: Mapping[str, Any],
        delineate_settings: Mapping[str, Any],
        bundle_root: Path | str,
    ) -> None:
        super().__init__()
        self.find_network = find_network
        self.find_settings = settings(FindSettings, find_settings, Path(bundle_root))
        self.delineate_settings = settings(DelineateSettings, delineate_settings, Path(bundle_root))

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Label maps of a batch.

        Args:
            inputs: MetaTensor (N, 2, X, Y, Z) with its RAS affine: HU, and the lungs (1 right, 2 left).
            network: the delineating network.
            args, kwargs: not used.

        Returns:
            MetaTensor int32 (N, 1, X, Y, Z): k where nodule k is, the largest first; 0 elsewhere.
        """
        finder = Finder(self.find_network, self.find_settings, inputs.device)
        delineator = Delineator(network, self.delineate_settings, inputs.device)
        result = torch.zeros_like(inputs[:, :1], dtype=torch.int32)
        for n, affine in enumerate(_affines(inputs)):
            ct = ct_of(inputs[n, 0], affine)
            lungs = Lungs(inputs[n, 1].cpu().numpy().astype(np.uint8), 0.0, 0.0)
            outlines = delineate(ct, find(ct, lungs, finder), delineator, lungs)
            result[n, 0] = torch.from_numpy(label_map(outlines, ct.hu.shape).astype(np.int32)).to(result.device)
        return result


class CenterInferer(Inferer):
    """Delineates the one nodule of a crop; its seed is the crop's centre.

    Args:
        delineate_settings: as in the bundle's config.
        bundle_root: named in errors.
    """

    def __init__(self, delineate_settings: Mapping[str, Any], bundle_root: Path | str) -> None:
        super().__init__()
        self.settings = settings(DelineateSettings, delineate_settings, Path(bundle_root))

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Masks of a batch.

        Args:
            inputs: MetaTensor (N, 1, X, Y, Z) HU with its RAS affine.
            network: the delineating network.
            args, kwargs: not used.

        Returns:
            MetaTensor int32 (N, 1, X, Y, Z), 1 where the nodule is.
        """
        delineator = Delineator(network, self.settings, inputs.device)
        result = torch.zeros_like(inputs[:, :1], dtype=torch.int32)
        for n, affine in enumerate(_affines(inputs)):
            ct = ct_of(inputs[n, 0], affine)
            (outline,) = delineate_each(ct, [center_seed(ct)], delineator)
            if outline is not None:
                result[n, 0] = torch.from_numpy(label_map([outline], ct.hu.shape).astype(np.int32)).to(result.device)
        return result


class MirrorInferer(Inferer):
    """Logits averaged over mirrors of the region, as `inference.rate` has them."""

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Regions (N, 3, X, Y, Z) to logits (N, T)."""
        return mirrored_logits(inputs, network)


class NoduleRegionsd(Transform):
    """A CT and its label map to the regions that the rating network sees: a list, an item a nodule.

    Takes `image`, a MetaTensor (1, X, Y, Z) HU, and `mask`, a path; each item of the list has `image` (3, *region),
    `slices` (3, pixels, pixels, slices), `case` and `nodule`, its label.
    """

    def __init__(self, rate_settings: Mapping[str, Any], bundle_root: Path | str) -> None:
        self.settings = settings(RateSettings, rate_settings, Path(bundle_root))

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[str, Any]]:
        """The regions, by label.

        Raises:
            MaskError: the mask doesn't fit the CT.
        """
        ct = ct_of(data["image"][0], data["image"].affine)
        outlines = outlines_of(read_mask(Path(data["mask"]), ct), ct)
        return [
            {
                "image": region(ct, outline, self.settings),
                "slices": nodule_slices(ct, outline, self.settings),
                "case": data["case"],
                "nodule": str(label),
            }
            for label, outline in outlines.items()
        ]


def label_map(outlines: Sequence[Outline], shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """k where the kth largest outline is (X, Y, Z); the smaller number wins an overlap."""
    labels = np.zeros(shape, np.uint16)
    ranked = sorted(outlines, key=lambda o: (-int(o.mask.sum()), o.seed.center_mm))
    for number, outline in reversed(list(enumerate(ranked, start=1))):
        labels[outline.box][outline.mask] = number
    return labels


def outlines_of(labels: NDArray[np.integer[Any]], ct: CT) -> dict[int, Outline]:
    """The nodule of each label of a map (X, Y, Z) on the grid of `ct`."""
    result = {}
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            mask = labels[box] == label
            offset = (int(box[0].start), int(box[1].start), int(box[2].start))
            x, y, z = ct.to_world(np.argwhere(mask).mean(0) + offset)
            seed = Seed((float(x), float(y), float(z)), 1.0, 0.0)
            result[label] = Outline(mask, mask.astype(np.float32), offset, seed)
    return result


def center_seed(ct: CT) -> Seed:
    """A seed in the middle of `ct`, of unknown size."""
    x, y, z = ct.to_world((np.array(ct.hu.shape) - 1) / 2)
    return Seed((float(x), float(y), float(z)), 1.0, 0.0)


def _affines(inputs: Tensor) -> Tensor:
    """RAS affine (N, 4, 4) of each image of a batch."""
    if not isinstance(inputs, MetaTensor):
        raise TypeError("an image without an affine has no voxel size: give a MetaTensor")
    return inputs.affine.reshape(-1, 4, 4).expand(len(inputs), 4, 4)
