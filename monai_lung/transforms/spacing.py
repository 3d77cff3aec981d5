"""Resampling to the grid of the networks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Spacingd
from numpy.typing import NDArray

from monai_lung.errors import InputError

SPACING_MM = (1.5, 1.5, 3.0)
"""Voxels of Yu et al. (BMC Bioinformatics 22:314, 2021)."""


class LungSpacingd(Spacingd):
    """MONAI's `Spacingd` to (1.5, 1.5, 3.0) mm that never guesses an affine.

    MONAI takes a plain array, as servers such as MONAI Label hand it on with the metadata beside it, for one of 1 mm
    voxels, silently. Here its affine is read from the item `<key>_meta_dict`, and a missing one is an error.

    >>> ct = MetaTensor(torch.zeros(1, 31, 31, 31), affine=torch.diag(torch.tensor([-0.75, -0.75, 1.5, 1.0])))
    >>> tuple(LungSpacingd("ct")({"ct": ct})["ct"].shape)
    (1, 16, 16, 16)
    """

    def __init__(
        self,
        keys: KeysCollection,
        pixdim: Sequence[float] = SPACING_MM,
        mode: Sequence[str] | str = "bilinear",
        **kwargs: Any,
    ) -> None:
        """As `monai.transforms.Spacingd`; use mode "nearest" for masks."""
        super().__init__(keys, pixdim, mode=mode, **kwargs)

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Resample the items (C, X, Y, Z).

        Raises:
            InputError: an item has no affine.
        """
        items = dict(data)
        for key in self.key_iterator(items):
            if not isinstance(items[key], MetaTensor):
                items[key] = MetaTensor(items[key], affine=torch.as_tensor(_affine_beside(items, key)))
        return super().__call__(items, lazy=lazy)


def _affine_beside(items: Mapping[Hashable, Any], key: Hashable) -> NDArray[np.float64]:
    """The RAS affine in the metadata that travel beside an array."""
    metadata = items.get(f"{key}_meta_dict") or {}
    affine = metadata.get("affine")
    if affine is None:
        raise InputError(f"'{key}' has no affine, so its voxel size is unknown: load it as a MetaTensor")
    return np.asarray(affine, np.float64)
