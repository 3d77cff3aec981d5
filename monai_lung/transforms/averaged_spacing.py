"""Resampling that averages where voxels get larger, as MONAI transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Spacingd
from monai.utils import ensure_tuple_rep

from monai_lung.errors import InputError
from monai_lung.grid import Box, Grid, Outside, resample
from monai_lung.model import LPS_RAS
from monai_lung.transforms.lung_grid import MARGIN_MM, lung_grid


class AveragedSpacingd(Spacingd):
    """MONAI's `Spacingd` that averages over all old voxels within a larger new one, and need not resample all.

    MONAI interpolates at the new voxels' centres: of a CT of 0.6 mm on a grid of 2 mm most voxels then count nothing,
    and the noise stays. A new voxel is here the mean over its extent (`monai_lung.grid.resample`); where voxels get
    smaller, that is linear interpolation. The image keeps its axes, its extent to within half a voxel, and its middle.

    With `mask_key` the grid goes over that mask alone, with a margin around it: what is far from the lungs isn't
    computed.

    Args:
        keys: images (C, X, Y, Z) of one grid, MetaTensors.
        pixdim: voxel size in mm along each axis.
        outside: for all keys or one each: what lies beyond the image, a value, "border" or "reflect".
        mask_key: a mask on the images' grid (it may be among `keys`), above 0 inside; "" for the whole image.
        margin_mm: around the mask, as far as the image goes.
        at_least: voxels of the new grid along each axis, such as the network's window; with `mask_key` alone.

    >>> import torch
    >>> from monai.data import MetaTensor
    >>> ct = MetaTensor(torch.rand(1, 40, 40, 20), affine=torch.diag(torch.tensor([-0.5, -0.5, 1.0, 1.0])))
    >>> to_grid = AveragedSpacingd("image", pixdim=(1, 1, 2))
    >>> coarse = to_grid({"image": ct})
    >>> tuple(coarse["image"].shape)
    (1, 20, 20, 10)
    >>> tuple(to_grid.inverse(coarse)["image"].shape)
    (1, 40, 40, 20)
    """

    def __init__(
        self,
        keys: KeysCollection,
        pixdim: Sequence[float],
        *,
        outside: Sequence[Outside] | Outside = "border",
        mask_key: str = "",
        margin_mm: float = MARGIN_MM,
        at_least: Sequence[int] = (1, 1, 1),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, pixdim, allow_missing_keys=allow_missing_keys)
        self.pixdim = tuple(float(size) for size in pixdim)
        self.outside = ensure_tuple_rep(outside, len(self.keys))
        self.mask_key, self.margin_mm, self.at_least = mask_key, margin_mm, tuple(at_least)

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Resample the items (C, X, Y, Z) to float32.

        Raises:
            InputError: an item has no affine, so its voxel size isn't known.
            LungsNotFoundError: the mask is empty.
        """
        items = dict(data)
        mask = items[self.mask_key] if self.mask_key else None
        for key, outside in self.key_iterator(items, self.outside):
            image, source = items[key], grid_of(items[key])
            target = self._target(source, mask)
            self._push(image := _moved(image, source, target, outside), source)
            items[key] = image
        return items

    def _target(self, source: Grid, mask: torch.Tensor | None) -> Grid:
        if mask is None:
            return source.covering(self.pixdim)
        labels = mask[0].cpu().numpy()
        return lung_grid(source, labels, self.pixdim, margin_mm=self.margin_mm, at_least=self.at_least)

    def _push(self, image: MetaTensor, source: Grid) -> None:
        self.push_transform(image, orig_size=source.shape, extra_info={"affine_lps": source.affine_lps.tolist()})

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Each item back on its image's grid, linear, 0 where nothing was resampled."""
        items = dict(data)
        for key in self.key_iterator(items):
            info = self.pop_transform(items[key])
            x, y, z = info["orig_size"]
            back = Grid((int(x), int(y), int(z)), np.asarray(info["extra_info"]["affine_lps"], float))
            source = grid_of(items[key])
            items[key] = _emptied(_moved(items[key], source, back, "border"), back.reach(source))
        return items


def _emptied(image: MetaTensor, box: Box) -> MetaTensor:
    """`image` (C, X, Y, Z) with 0 outside of a box."""
    inside = torch.zeros(image.shape[1:], dtype=torch.bool)
    inside[box] = True
    return image.masked_fill(~inside, 0)  # type: ignore[return-value]


def grid_of(image: torch.Tensor) -> Grid:
    """The grid of an image (C, X, Y, Z).

    Raises:
        InputError: it's no MetaTensor: without an affine there is no voxel size.
    """
    if not isinstance(image, MetaTensor):
        raise InputError("an image without an affine has no voxel size: load it as a MetaTensor")
    x, y, z = image.shape[-3:]
    return Grid((int(x), int(y), int(z)), LPS_RAS @ image.affine.cpu().numpy().astype(np.float64))


def _moved(image: MetaTensor, source: Grid, target: Grid, outside: Outside) -> MetaTensor:
    """`image` on another grid, its history with it."""
    values = resample(image.detach().cpu().numpy(), source, target, outside=outside)
    meta = {key: value for key, value in image.meta.items() if key != "affine"}
    affine = torch.from_numpy(LPS_RAS @ target.affine_lps)
    history = list(image.applied_operations)
    return MetaTensor(torch.from_numpy(values), affine=affine, meta=meta, applied_operations=history)
