"""The steps of the paper's system that MONAI lacks: an inferer and transforms on the functions of `inference.paper`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform, Transform
from torch import Tensor, nn

from monai_lung.bundle.cases import ct_of
from monai_lung.bundle.delineating import device_of
from monai_lung.definitions import settings
from monai_lung.inference.paper import (
    PaperNetworks,
    malignancy_of,
    nodule_roi,
    outlines_on,
    over_subcases,
    ratings_of,
)
from monai_lung.pipeline import described, measured_nodules
from monai_lung.stages import RateSettings, SegmentSettings
from monai_lung.transforms.averaged_spacing import grid_of
from monai_lung.transforms.subcases import SUBCASE_SIZE
from monai_lung.weights import declared_paper_weights


class SubCaseInferer(Inferer):
    """Runs a network over sub-cases of the lungs, two along z at least, and puts its answers together again.

    Args:
        roi_size: voxels of a sub-case.

    >>> inside = torch.zeros(1, 1, 20, 20, 40, dtype=torch.bool)
    >>> inside[..., 4:16, 4:16, 2:38] = True
    >>> sizes = []
    >>> def network(image):
    ...     sizes.append(tuple(image.shape))
    ...     return image
    >>> image = torch.rand(1, 1, 20, 20, 40)
    >>> same = SubCaseInferer((16, 16, 16))(image, network, inside=inside)
    >>> sizes == 3 * [(1, 1, 16, 16, 16)], bool(((same - image).abs() < 0.01)[inside].all())
    (True, True)
    """

    def __init__(self, roi_size: Sequence[int] = SUBCASE_SIZE) -> None:
        super().__init__()
        self.roi_size = tuple(int(n) for n in roi_size)

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, inside: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """The network's output.

        Args:
            inputs: (N, C, X, Y, Z), the lung window, 0 beyond the lungs.
            network: of sub-cases.
            args, kwargs: further arguments of the network.
            inside: bool (N, 1, X, Y, Z), the lungs; None is everywhere.

        Returns:
            Logits float32 (N, 1, X, Y, Z), 0 where no sub-case lies; of a MetaTensor with its affine.
        """
        where = torch.ones_like(inputs[:, :1], dtype=torch.bool) if inside is None else inside
        looks = [
            over_subcases(
                image[None], torch.as_tensor(lungs[0]).cpu(), lambda part: network(part, *args, **kwargs), self.roi_size
            )
            for image, lungs in zip(inputs, where, strict=True)
        ]
        logits = torch.stack(looks)[:, None]
        return MetaTensor(logits).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else logits


class OutlinesFromProbabilityd(Transform):
    """The mask back on the CT's own grid: each connected part of a probability above a threshold is a nodule.

    Args:
        segment_settings: as in the bundle's config: `threshold`.
        key: of the probability (1, X, Y, Z), 0...1, a MetaTensor.
        image_key: of the CT, int16 HU (1, X, Y, Z), a MetaTensor.
        output_key: of the list of `monai_lung.model.Outline`.
        bundle_root: named in errors.

    >>> probability = torch.zeros(1, 12, 12, 12)
    >>> probability[0, 4:8, 4:8, 4:8] = 0.9
    >>> affine = torch.diag(torch.tensor([-1.0, -1, 1, 1]))
    >>> images = {"ct": 0 * probability, "pred": probability}
    >>> item = {key: MetaTensor(image, affine=affine) for key, image in images.items()}
    >>> values = {"spacing_mm": [1, 1, 1], "subcase": [16, 16, 16], "threshold": 0.5}
    >>> (outline,) = OutlinesFromProbabilityd(values)(item)["nodules"]
    >>> int(outline.mask.sum())
    64
    """

    def __init__(
        self,
        segment_settings: Mapping[str, Any],
        key: str = "pred",
        image_key: str = "ct",
        output_key: str = "nodules",
        bundle_root: Path | str = "",
    ) -> None:
        self.key, self.image_key, self.output_key = key, image_key, output_key
        self.settings = settings(SegmentSettings, segment_settings, Path(bundle_root))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the outlines."""
        ct = ct_of(data[self.image_key][0], data[self.image_key].affine)
        probability = data[self.key]
        found = outlines_on(ct, probability[0].cpu().numpy(), grid_of(probability), self.settings.threshold)
        return {**data, self.output_key: found}


class NoduleRoisd(Transform):
    """The region around each outline, by the middle of its mask: float32 (1, *region), the lung window.

    Args:
        classify_settings: as in the bundle's config: `spacing_mm`, `region`.
        key: of the list of outlines.
        image_key: of the CT, int16 HU (1, X, Y, Z), a MetaTensor.
        output_key: of the list of regions.
        bundle_root: named in errors.

    >>> from monai_lung.bundle.rating import SplitNodulesd
    >>> labels = torch.zeros(1, 20, 20, 20, dtype=torch.int64)
    >>> labels[0, 8:12, 8:12, 8:12] = 1
    >>> ct = MetaTensor(torch.full((1, 20, 20, 20), -800.0), affine=torch.eye(4))
    >>> item, = SplitNodulesd()({"ct": ct, "mask": labels})
    >>> values = {"spacing_mm": [1, 1, 2], "region": [8, 8, 4], "slope": 1, "offset": 0, "spread": 0, "min_nodule": 0}
    >>> roi, = NoduleRoisd(values)({"ct": ct, "nodules": [item["outline"]]})["rois"]
    >>> tuple(roi.shape)
    (1, 8, 8, 4)
    """

    def __init__(
        self,
        classify_settings: Mapping[str, Any],
        key: str = "nodules",
        image_key: str = "ct",
        output_key: str = "rois",
        bundle_root: Path | str = "",
    ) -> None:
        self.key, self.image_key, self.output_key = key, image_key, output_key
        self.settings = settings(RateSettings, classify_settings, Path(bundle_root))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the regions."""
        ct = ct_of(data[self.image_key][0], data[self.image_key].affine)
        return {**data, self.output_key: [nodule_roi(ct, outline, self.settings) for outline in data[self.key]]}


class ClassifyRoisd(MapTransform):
    """Benign or malignant: outlines and their regions to `monai_lung.advice.MeasuredNodules`.

    Args:
        keys: of lists of outlines; they are replaced.
        network: of regions.
        classify_settings: as in the bundle's config: the calibration and the operating points.
        rois_key: of the regions.
        source_key: of the CT (`LoadCTd`).
        lungs_key: of its lungs (`found_key` of `LungMaskd`).
        bundle_root: named in errors.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: nn.Module,
        classify_settings: Mapping[str, Any],
        rois_key: str = "rois",
        source_key: str = "source",
        lungs_key: str = "found_lungs",
        bundle_root: Path | str = "",
    ) -> None:
        super().__init__(keys)
        self.network = network
        self.rois_key, self.source_key, self.lungs_key = rois_key, source_key, lungs_key
        self.settings = settings(RateSettings, classify_settings, Path(bundle_root))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Outlines to nodules, rated and measured."""
        items = dict(data)
        ct = items[self.source_key]
        lungs = described(ct, items[self.lungs_key])
        logits = malignancy_of(items[self.rois_key], self.network, device_of(self.network))
        for key in self.key_iterator(items):
            ratings = ratings_of(items[key], logits, self.settings)
            items[key] = measured_nodules(ct, lungs, items[key], ratings, self.settings.least_nodule)
        return items


def paper_networks_of(
    segment: nn.Module,
    classify: nn.Module,
    segment_settings: Mapping[str, Any],
    classify_settings: Mapping[str, Any],
    bundle_root: Path | str,
) -> PaperNetworks:
    """The two networks of the config, on their device, with their settings, as the analysis takes them.

    Raises:
        ConfigError: settings are missing or out of range.
        WeightsError: the bundle's metadata are missing.
    """
    root = Path(bundle_root)
    return PaperNetworks(
        segment,
        classify,
        settings(SegmentSettings, segment_settings, root),
        settings(RateSettings, classify_settings, root),
        device_of(segment),
        declared_paper_weights(root),
    )
