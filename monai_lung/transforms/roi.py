"""The surroundings of one nodule, as the third network sees them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Transform
from monai.utils import ensure_tuple_rep

from monai_lung.transforms.boxes import OUTSIDE_HU, BoxCrop, box_of

ROI_SIZE = (48, 48, 16)
"""72 x 72 x 48 mm at (1.5, 1.5, 3.0) mm (Yu et al., BMC Bioinformatics 22:314, 2021)."""


class NoduleRoi(Transform):
    """A box of (48, 48, 16) voxels, the nodule's bounding box in its middle, padded beyond the image's border.

    >>> nodule = torch.zeros(1, 60, 60, 20)
    >>> nodule[0, 50:54, 30:34, 9:11] = 1
    >>> roi = NoduleRoi()(torch.zeros(1, 60, 60, 20), nodule)  # beyond the border it is padded with -1024 HU
    >>> tuple(roi.shape), float(roi[0, -1, 24, 8])
    ((1, 48, 48, 16), -1024.0)
    """

    def __init__(self, size: Sequence[int] = ROI_SIZE, fill: float = OUTSIDE_HU) -> None:
        self.size, self.crop = tuple(size), BoxCrop(fill)

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Cut the box out.

        Args:
            image: (C, X, Y, Z).
            mask: (1, X, Y, Z) of the same grid, above 0 in the nodule.

        Returns:
            (C, *size); of a MetaTensor with its own affine.

        Raises:
            MaskError: the mask is empty.
        """
        start, end = box_of(mask)
        first = [(int(a) + int(b) - size) // 2 for a, b, size in zip(start, end, self.size, strict=True)]
        return self.crop.cut(image, first, self.size)

    def inverse(self, box: MetaTensor) -> torch.Tensor:
        """Put a box (C, *size) of a MetaTensor back on its image's grid (C, X, Y, Z), 0 around."""
        return self.crop.inverse(box)


class NoduleRoid(MapTransform, InvertibleTransform):
    """`NoduleRoi` of the items `keys` around the nodule `mask_key` (which may be among them).

    `fill` is a value for all items or one for each: -1024 for an image in HU, 0 for a mask or a windowed image.

    >>> nodule = torch.zeros(1, 60, 60, 20)
    >>> nodule[0, 50:54, 30:34, 9:11] = 1
    >>> cut = NoduleRoid(["ct", "nodule"], fill=[-1024, 0])({"ct": torch.zeros(1, 60, 60, 20), "nodule": nodule})
    >>> tuple(cut["ct"].shape), int(cut["nodule"].sum())
    ((1, 48, 48, 16), 32)
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "nodule",
        size: Sequence[int] = ROI_SIZE,
        fill: Sequence[float] | float = OUTSIDE_HU,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.rois = [NoduleRoi(size, value) for value in ensure_tuple_rep(fill, len(self.keys))]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut the box out of each item (C, X, Y, Z)."""
        items = dict(data)
        mask = items[self.mask_key]
        for key, roi in self.key_iterator(items, self.rois):
            items[key] = roi(items[key], mask)
        return items

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put each box back on its image's grid."""
        items = dict(data)
        for key, roi in self.key_iterator(items, self.rois):
            items[key] = roi.inverse(items[key])
        return items
