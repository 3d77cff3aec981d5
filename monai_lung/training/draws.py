"""Items that a training draws afresh in each epoch, the same whenever that epoch is trained."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import Dataset
from monai.transforms import MapTransform
from torch import Tensor

RNG = "rng"
"""Key of an item's own random numbers: a `numpy.random.Generator`."""
KEPT = ("image", "label", "id")


class DrawnDataset(Dataset):
    """MONAI's `Dataset` whose transforms draw from the item's own random numbers.

    These depend on the seed, the item's index and the epoch alone. So a training that was interrupted, or has other
    workers, draws the same. Random transforms of MONAI, which draw from their own, can stand among them.

    Args:
        data: items.
        transform: of an item, which holds its generator as `rng`.
        seed: of the run.
        keys: what stays of an item.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[Any], Any],
        *,
        seed: int = 0,
        keys: Sequence[str] = KEPT,
    ) -> None:
        super().__init__(data, transform)
        self.seed, self.keys = seed, tuple(keys)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw as in the epoch of this number, from 0."""
        self._epoch = epoch

    def __getitem__(self, index: Any) -> dict[str, Any]:
        """The item, drawn afresh."""
        if index >= len(self.data):
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, int(index), self._epoch))
        drawn = self.transform({**self.data[index], RNG: rng})
        return {key: plain(drawn[key]) for key in self.keys}


def rng_of(item: Mapping[Hashable, Any]) -> np.random.Generator:
    """The item's own random numbers; of one that has none, new ones."""
    rng = item.get(RNG)
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng()


def plain(value: Any) -> Any:
    """A tensor without what MONAI notes beside it: a batch needs none of that."""
    return value.as_tensor() if hasattr(value, "as_tensor") else value


class VaryHud(MapTransform):
    """Another scanner's noise, offset, contrast and sharpness.

    Args:
        keys: images (1, X, Y, Z) in HU.

    >>> item = {"image": torch.zeros(1, 8, 8, 8), "rng": np.random.default_rng(0)}
    >>> bool((VaryHud("image")(item)["image"] != 0).any())
    True
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Vary the items."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[key] = vary_hu(items[key][0], rng_of(items))[None]
        return items


def vary_hu(hu: Tensor, rng: np.random.Generator) -> Tensor:
    """`hu` (X, Y, Z) with another scanner's noise, offset, contrast and sharpness."""
    if rng.random() < 0.3:  # softer or sharper kernel, along one axis or all
        blurred = torch.nn.functional.avg_pool3d(hu[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
        hu = hu + rng.uniform(-0.4, 0.7) * (blurred - hu)
    if rng.random() < 0.2:  # thicker slices
        z = torch.nn.functional.pad(hu, (1, 1), mode="replicate")
        hu = hu + rng.uniform(0, 0.8) * ((z[..., :-2] + z[..., 2:]) / 2 - hu) * 0.66
    if rng.random() < 0.5:
        noise = torch.from_numpy(rng.standard_normal(hu.shape, np.float32))
        hu = hu + rng.uniform(0, 50) * noise
    return hu * rng.uniform(0.95, 1.05) + rng.uniform(-25, 25)
