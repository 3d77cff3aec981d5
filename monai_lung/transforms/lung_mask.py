"""The lungs as MONAI transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_dst_type, convert_to_tensor

from monai_lung.errors import InputError, MaskError
from monai_lung.lungs import segment_lungs
from monai_lung.model import LPS_RAS, Lungs
from monai_lung.transforms.lung_grid import near_lungs

AIR_HU = -1024


class LungMask(Transform):
    """Lungs of a CT: `segment_lungs` between MetaTensors.

    >>> from monai.data import MetaTensor
    >>> hu = torch.full((1, 140, 100, 60), -1000.0)
    >>> hu[:, 8:132, 8:92] = 40  # a body of soft tissue, with two rooms of lung in it
    >>> hu[:, 20:64, 22:78, 5:55] = hu[:, 76:120, 22:78, 5:55] = -850
    >>> ct = MetaTensor(hu, affine=torch.diag(torch.tensor([-2.5, -2.5, 5.0, 1.0])))
    >>> lungs = LungMask()(ct)
    >>> tuple(lungs.shape), int(lungs[0, 40, 50, 30]), int(lungs[0, 100, 50, 30])
    ((1, 140, 100, 60), 1, 2)
    """

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """Segment the lungs.

        Args:
            image: (1, X, Y, Z) HU, with its RAS affine.

        Returns:
            uint8 (1, X, Y, Z) on the same grid: 0 outside, 1 right lung, 2 left lung.

        Raises:
            InputError: the image is not a MetaTensor (the affine alone says which side is right), or has more channels.
            LungsNotFoundError: less than 200 ml of lung.
        """
        return self.on_grid(self.find(image), image)

    def find(self, image: MetaTensor) -> Lungs:
        """The lungs with their volumes and warnings; arguments and errors as a call."""
        if not isinstance(image, MetaTensor):
            raise InputError("an image without an affine has no right and left lung: load it as a MetaTensor")
        if image.ndim != 4 or image.shape[0] != 1:
            raise InputError(f"an image of shape {tuple(image.shape)} can't be segmented: give (1, X, Y, Z)")
        hu = np.rint(image[0].cpu().numpy()).astype(np.int16)
        return segment_lungs(hu, LPS_RAS @ image.affine.cpu().numpy())

    @staticmethod
    def on_grid(lungs: Lungs, image: MetaTensor) -> MetaTensor:
        """The labels uint8 (1, X, Y, Z) with the affine and the history of their image."""
        labels = torch.from_numpy(lungs.labels)[None]
        return MetaTensor(labels, affine=image.affine, applied_operations=list(image.applied_operations))


class LungMaskd(MapTransform):
    """Add the lungs of the image `keys` (one key) as the item `mask_key`.

    With `found_key` the item of that name is `monai_lung.model.Lungs`: volumes and warnings too.

    >>> from monai.data import MetaTensor
    >>> hu = torch.full((1, 140, 100, 60), -1000.0)
    >>> hu[:, 8:132, 8:92] = 40  # a body of soft tissue, with two rooms of lung in it
    >>> hu[:, 20:64, 22:78, 5:55] = hu[:, 76:120, 22:78, 5:55] = -850
    >>> ct = MetaTensor(hu, affine=torch.diag(torch.tensor([-2.5, -2.5, 5.0, 1.0])))
    >>> items = LungMaskd("ct", found_key="found")({"ct": ct})
    >>> sorted(items), items["found"].right_ml > 3000
    (['ct', 'found', 'lungs'], True)
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "lungs",
        allow_missing_keys: bool = False,
        found_key: str = "",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.found_key = found_key
        if len(self.keys) != 1:
            raise ValueError(f"lungs are found on one image: give one key, not {self.keys}")
        self.mask_key = mask_key
        self.mask = LungMask()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add uint8 (1, X, Y, Z) labels, see `LungMask`."""
        items = dict(data)
        for key in self.key_iterator(items):
            lungs = self.mask.find(items[key])
            items[self.mask_key] = self.mask.on_grid(lungs, items[key])
            if self.found_key:
                items[self.found_key] = lungs
        return items


class LungParenchyma(Transform):
    """The lungs alone: every voxel outside becomes -1024 HU.

    >>> lungs = torch.zeros(1, 2, 2, 2)
    >>> lungs[0, 0] = 1
    >>> LungParenchyma()(torch.full((1, 2, 2, 2), 40.0), lungs)[0, :, 0, 0].tolist()
    [40.0, -1024.0]
    """

    def __call__(self, image: torch.Tensor, lungs: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Empty everything outside.

        Args:
            image: (C, X, Y, Z) HU.
            lungs: (1, X, Y, Z), above 0 inside.

        Returns:
            (C, X, Y, Z) HU.

        Raises:
            MaskError: the mask has another shape.
        """
        if lungs.shape[1:] != image.shape[1:]:
            raise MaskError(f"lungs of shape {tuple(lungs.shape)} don't fit an image of shape {tuple(image.shape)}")
        return image.masked_fill(~(torch.as_tensor(lungs) > 0), AIR_HU)


class LungParenchymad(MapTransform):
    """`LungParenchyma` of the items `keys` with the lungs `mask_key`.

    >>> items = {"ct": torch.full((1, 2, 2, 2), 40.0), "lungs": torch.zeros(1, 2, 2, 2)}
    >>> float(LungParenchymad("ct")(items)["ct"].max())
    -1024.0
    """

    def __init__(self, keys: KeysCollection, mask_key: str = "lungs", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.parenchyma = LungParenchyma()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Empty everything outside the lungs."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[key] = self.parenchyma(items[key], items[self.mask_key])
        return items


class NearLungsd(MapTransform):
    """Where a network is asked: what is lung to a quarter or more, and a voxel around it.

    Takes shares 0...1, float (1, X, Y, Z), as a mask of the lungs has them on a coarser grid; gives bool.

    >>> share = torch.zeros(1, 5, 5, 5)
    >>> share[0, 2, 2, 2] = 0.3
    >>> int(NearLungsd("near")({"near": share})["near"].sum())
    27
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Shares to where a network is asked."""
        items = dict(data)
        for key in self.key_iterator(items):
            near = near_lungs(convert_to_tensor(items[key], track_meta=False)[0])[None]
            items[key] = convert_to_dst_type(near, items[key], dtype=torch.bool)[0]
        return items
