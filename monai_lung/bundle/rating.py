"""The inputs of the networks that rate, as MONAI transforms, and how they are run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.inferers import SimpleInferer
from monai.transforms import Transform
from torch import Tensor

from monai_lung.bundle.cases import ct_of, image_of, read_mask
from monai_lung.bundle.delineating import lungs_of
from monai_lung.data.crops import CropRow, read_crop
from monai_lung.definitions import settings
from monai_lung.errors import MaskError, UsageError
from monai_lung.inference.delineate import delineate_each
from monai_lung.inference.looks import region
from monai_lung.inference.networks import Delineator
from monai_lung.inference.rate import mirrored_logits
from monai_lung.inference.slices import nodule_slices
from monai_lung.labels import center_seed, outlines_of
from monai_lung.model import CT, Outline
from monai_lung.stages import RateSettings

SMALLEST_BALL_MM = 4.0
"""Diameter of what is rated at a seed where the network outlines nothing."""


class MirrorInferer(SimpleInferer):
    """MONAI's `SimpleInferer`, averaged over four mirrors of the image, as the networks that rate are used.

    >>> tuple(MirrorInferer()(torch.rand(2, 3, 8, 8, 4), lambda image: image.mean((2, 3, 4))).shape)
    (2, 3)
    """

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Images (N, 3, X, Y, Z) to logits (N, T)."""
        return mirrored_logits(inputs, network)


class SplitNodulesd(Transform):
    """A CT and its label map to a list, one item for each nodule: what follows in a `Compose` is done for each.

    Args:
        key: of the map on the CT's grid, k where nodule k is: the path of a file, or an array (1, X, Y, Z).
        image_key: of the CT, int16 HU (1, X, Y, Z), a MetaTensor.
        output_key: of the nodule, a `monai_lung.model.Outline`; its label is the item `nodule`.

    >>> from monai.data import MetaTensor
    >>> labels = torch.zeros(1, 9, 9, 9, dtype=torch.int64)
    >>> labels[0, 2:4, 2:4, 2:4], labels[0, 6:8, 6:8, 6:8] = 1, 5
    >>> ct = MetaTensor(torch.zeros(1, 9, 9, 9), affine=torch.eye(4))
    >>> [item["nodule"] for item in SplitNodulesd()({"ct": ct, "mask": labels})]
    ['1', '5']
    """

    def __init__(self, key: str = "mask", image_key: str = "ct", output_key: str = "outline") -> None:
        self.key, self.image_key, self.output_key = key, image_key, output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """The items, by label.

        Raises:
            MaskError: the map can't be read, or doesn't lie on the CT's grid.
        """
        ct = ct_of(data[self.image_key][0], data[self.image_key].affine)
        given = data[self.key]
        labels = read_mask(Path(given), ct) if isinstance(given, str | Path) else np.asarray(given[0]).astype(np.int64)
        if labels.shape != ct.hu.shape:
            raise MaskError(f"labels of shape {labels.shape} don't fit a CT of shape {ct.hu.shape}")
        outlines = outlines_of(labels, ct)
        rest = {key: value for key, value in data.items() if key != self.key}
        return [{**rest, self.output_key: outline, "nodule": str(label)} for label, outline in outlines.items()]


class OutlineCropd(Transform):
    """A crop of `data.crops` with the nodule in it, outlined by its readers or by a network from the crop's centre.

    Takes the item `row`, the crop's place in `rows`. Adds `ct` int16 HU (1, X, Y, Z), `outline`, and `outlined`: False
    where nothing was, and a small ball stands for the nodule.

    Args:
        folder: of the crops.
        rows: its rows.
        mask: "predicted" by `delineator`, or that of half of the "readers".
        delineator: needed for "predicted".

    Raises:
        UsageError: another `mask`.
    """

    def __init__(
        self,
        folder: Path | str,
        rows: list[CropRow],
        mask: Literal["predicted", "readers"] = "predicted",
        delineator: Delineator | None = None,
    ) -> None:
        if mask not in ("predicted", "readers") or (mask == "predicted" and delineator is None):
            raise UsageError(f"mask {mask!r}: must be predicted (with a segmentation bundle) or readers")
        self.folder, self.rows = Path(folder), rows
        self.delineator = delineator if mask == "predicted" else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read and outline.

        Raises:
            InputError: a file is missing or damaged.
        """
        crop = read_crop(self.folder, self.rows[data["row"]])
        ct = ct_of(torch.from_numpy(crop.hu), torch.from_numpy(crop.affine_ras))
        if self.delineator is not None:
            (outline,) = delineate_each(ct, [center_seed(ct)], self.delineator)
        else:
            outline = outlines_of((crop.share >= 0.5).astype(np.int64), ct).get(1)
        return {**data, "ct": image_of(ct), "outline": outline or ball(ct), "outlined": outline is not None}


class NoduleLooksd(Transform):
    """The input of the network that says whether an outline is a nodule: its surroundings on the network's own grid.

    The grid runs along the patient's axes, the outline's middle in its middle; where its voxels are larger than the
    CT's, they are means. Channels are the lung window, the soft-tissue window and the mask; with `wide_spacing_mm` in
    the settings also a slab, and a look from afar with the lungs (`inference.looks`).

    Args:
        rate_settings: as in the bundle's config.
        image_key: of the CT, int16 HU (1, X, Y, Z), a MetaTensor.
        outline_key: of the nodule, a `monai_lung.model.Outline`.
        lungs_key: of the lungs (1, X, Y, Z), for the look from afar; where there are none it is empty.
        output_key: of float32 (channels, *region).
        bundle_root: named in errors.

    >>> from monai.data import MetaTensor
    >>> labels = torch.zeros(1, 20, 20, 20, dtype=torch.int64)
    >>> labels[0, 8:12, 8:12, 8:12] = 1
    >>> ct = MetaTensor(torch.full((1, 20, 20, 20), -800.0), affine=torch.eye(4))
    >>> item, = SplitNodulesd()({"ct": ct, "mask": labels})
    >>> settings = {"spacing_mm": [1, 1, 2], "region": [8, 8, 4], "slope": 1, "offset": 0, "spread": 0, "min_nodule": 0}
    >>> near = NoduleLooksd(settings)(item)["image"]
    >>> tuple(near.shape), round(float(near[2].sum()))
    ((3, 8, 8, 4), 32)
    """

    def __init__(
        self,
        rate_settings: Mapping[str, Any],
        image_key: str = "ct",
        outline_key: str = "outline",
        lungs_key: str = "lungs",
        output_key: str = "image",
        bundle_root: Path | str = "",
    ) -> None:
        self.settings = settings(RateSettings, rate_settings, Path(bundle_root))
        self.image_key, self.outline_key, self.lungs_key = image_key, outline_key, lungs_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add what the network sees."""
        ct = ct_of(data[self.image_key][0], data[self.image_key].affine)
        lungs = lungs_of(data[self.lungs_key], ct.voxel_mm3) if self.lungs_key in data else None
        return {**data, self.output_key: region(ct, data[self.outline_key], self.settings, lungs)}


class NoduleSlicesd(Transform):
    """The central slices of an outlined nodule, as the network that gives the malignancy sees them.

    Args:
        rate_settings: as in the bundle's config.
        image_key, outline_key: as `NoduleLooksd`.
        output_key: of float32 (3, pixels, pixels, slices): lung window, soft-tissue window, mask.
        bundle_root: named in errors.

    >>> from monai.data import MetaTensor
    >>> labels = torch.zeros(1, 20, 20, 20, dtype=torch.int64)
    >>> labels[0, 8:12, 8:12, 8:12] = 1
    >>> item, = SplitNodulesd()({"ct": MetaTensor(torch.zeros(1, 20, 20, 20), affine=torch.eye(4)), "mask": labels})
    >>> settings = {"spacing_mm": [1, 1, 2], "region": [8, 8, 4], "slope": 1, "offset": 0, "spread": 0, "min_nodule": 0}
    >>> tuple(NoduleSlicesd(settings | {"slice_pixels": 16, "slices": 3})(item)["slices"].shape)
    (3, 16, 16, 3)
    """

    def __init__(
        self,
        rate_settings: Mapping[str, Any],
        image_key: str = "ct",
        outline_key: str = "outline",
        output_key: str = "slices",
        bundle_root: Path | str = "",
    ) -> None:
        self.settings = settings(RateSettings, rate_settings, Path(bundle_root))
        self.image_key, self.outline_key, self.output_key = image_key, outline_key, output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the slices."""
        ct = ct_of(data[self.image_key][0], data[self.image_key].affine)
        return {**data, self.output_key: nodule_slices(ct, data[self.outline_key], self.settings)}


def ball(ct: CT) -> Outline:
    """A ball of `SMALLEST_BALL_MM` in the middle of `ct`, at least its middle voxel."""
    middle = (np.array(ct.hu.shape) - 1) / 2
    index = np.stack(np.meshgrid(*[np.arange(n) for n in ct.hu.shape], indexing="ij"), axis=-1)
    distance = np.linalg.norm((index - middle) * ct.spacing_mm, axis=-1)
    mask = distance <= max(SMALLEST_BALL_MM / 2, float(distance.min()))
    return outlines_of(mask.astype(np.int64), ct)[1]
