"""The lungs cut into sub-cases, the volumes that the first network sees, and put together again."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Transform
from monai.utils import ensure_tuple_rep

from monai_lung.model import Index
from monai_lung.transforms.boxes import OUTSIDE_HU, BoxCrop, box_of

SUBCASE_SIZE = (192, 192, 48)
"""288 x 288 x 144 mm at (1.5, 1.5, 3.0) mm (Yu et al., BMC Bioinformatics 22:314, 2021)."""
FEWEST = (1, 1, 2)
"""The paper cuts each CT along z into two."""


class CropToLungs(Transform):
    """Crop an image to the lungs and a margin, within its borders.

    >>> from monai.data import MetaTensor
    >>> lungs = torch.zeros(1, 40, 40, 20)
    >>> lungs[0, 15:25, 15:25, 8:12] = 1
    >>> lungs = MetaTensor(lungs, affine=torch.diag(torch.tensor([-1.0, -1.0, 2.0, 1.0])))
    >>> crop = CropToLungs(margin_mm=4)
    >>> small = crop(torch.ones_like(lungs), lungs)
    >>> tuple(small.shape), tuple(crop.inverse(small).shape)
    ((1, 18, 18, 8), (1, 40, 40, 20))
    """

    def __init__(self, margin_mm: float = 10.0) -> None:
        self.margin_mm, self.crop = margin_mm, BoxCrop()

    def __call__(self, image: torch.Tensor, lungs: MetaTensor) -> torch.Tensor:  # type: ignore[override]
        """Crop.

        Args:
            image: (C, X, Y, Z), a MetaTensor.
            lungs: (1, X, Y, Z), a MetaTensor of the same grid, above 0 inside.

        Raises:
            MaskError: the mask is empty.
        """
        start, end = box_of(lungs)
        margin = [math.ceil(self.margin_mm / float(size)) for size in lungs.pixdim]
        first = [max(0, int(a) - m) for a, m in zip(start, margin, strict=True)]
        last = [min(n, int(b) + m) for b, m, n in zip(end, margin, lungs.shape[1:], strict=True)]
        return self.crop.cut(image, first, [b - a for a, b in zip(first, last, strict=True)])

    def inverse(self, image: MetaTensor) -> torch.Tensor:
        """Put a cropped image back on its grid, 0 around."""
        return self.crop.inverse(image)


class CropToLungsd(MapTransform, InvertibleTransform):
    """`CropToLungs` of the items `keys` with the lungs `mask_key` (which may be among them).

    >>> from monai.data import MetaTensor
    >>> lungs = torch.zeros(1, 40, 40, 20)
    >>> lungs[0, 15:25, 15:25, 8:12] = 1
    >>> lungs = MetaTensor(lungs, affine=torch.diag(torch.tensor([-1.0, -1.0, 2.0, 1.0])))
    >>> items = CropToLungsd(["ct", "lungs"], margin_mm=4)({"ct": torch.ones_like(lungs), "lungs": lungs})
    >>> tuple(items["ct"].shape), tuple(items["lungs"].shape)
    ((1, 18, 18, 8), (1, 18, 18, 8))
    """

    def __init__(
        self, keys: KeysCollection, mask_key: str = "lungs", margin_mm: float = 10.0, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.crop = CropToLungs(margin_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop each item (C, X, Y, Z)."""
        items = dict(data)
        lungs = items[self.mask_key]
        for key in self.key_iterator(items):
            items[key] = self.crop(items[key], lungs)
        return items

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put each item back on its grid."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[key] = self.crop.inverse(items[key])
        return items


class SubCases(Transform):
    """Volumes of (192, 192, 48) voxels that cover the lungs: two along z as in the paper, more where lungs are longer.

    Along each axis the volumes lie centred on the lungs, side by side where the lungs are shorter than all of them
    together, overlapping evenly where they are longer. Lungs wider than one volume take several there too, so that
    nothing of them is lost. What reaches beyond the image is `fill`.

    >>> lungs = torch.zeros(1, 20, 20, 40)
    >>> lungs[0, 4:16, 4:16, 2:38] = 1
    >>> cut = SubCases(size=(16, 16, 16))
    >>> parts = cut(lungs, lungs)
    >>> starts = cut.starts(lungs)
    >>> starts, tuple(cut.merge(parts, starts, lungs.shape[1:]).shape)
    ([(2, 2, 2), (2, 2, 12), (2, 2, 22)], (1, 20, 20, 40))
    """

    def __init__(
        self, size: Sequence[int] = SUBCASE_SIZE, fewest: Sequence[int] = FEWEST, fill: float = OUTSIDE_HU
    ) -> None:
        self.size, self.fewest, self.crop = tuple(size), tuple(fewest), BoxCrop(fill)

    def starts(self, lungs: torch.Tensor) -> list[Index]:
        """First voxel of each sub-case, z slowest; may be negative.

        Raises:
            MaskError: the mask `lungs` (1, X, Y, Z) is empty.
        """
        first, last = box_of(lungs)
        x, y, z = (
            _starts(int(a), int(b), size, fewest)
            for a, b, size, fewest in zip(first, last, self.size, self.fewest, strict=True)
        )
        return [(i, j, k) for k in z for j in y for i in x]

    def __call__(  # type: ignore[override]
        self, image: torch.Tensor, lungs: torch.Tensor
    ) -> list[torch.Tensor]:
        """Cut an image (C, X, Y, Z) with its lungs (1, X, Y, Z) into sub-cases (C, *size).

        Raises:
            MaskError: the mask is empty.
        """
        return [self.crop.cut(image, start, self.size) for start in self.starts(lungs)]

    def merge(self, parts: Sequence[torch.Tensor], starts: Sequence[Index], shape: Sequence[int]) -> torch.Tensor:
        """Put sub-cases together again.

        Args:
            parts: (C, *size) each, such as a network's output for each sub-case.
            starts: of `starts`, in the same order.
            shape: (X, Y, Z) of the image.

        Returns:
            float32 (C, X, Y, Z): the mean where sub-cases overlap, 0 where none is.
        """
        total = torch.zeros((parts[0].shape[0], *shape), dtype=torch.float32, device=parts[0].device)
        count = torch.zeros((1, *shape), dtype=torch.float32, device=parts[0].device)
        for part, start in zip(parts, starts, strict=True):
            there = [slice(max(0, a), max(0, min(n, a + s))) for a, s, n in zip(start, self.size, shape, strict=True)]
            here = [slice(t.start - a, t.stop - a) for t, a in zip(there, start, strict=True)]
            total[(slice(None), *there)] += torch.as_tensor(part)[(slice(None), *here)].float()
            count[(slice(None), *there)] += 1
        return total / count.clamp(min=1)


class SubCasesd(MapTransform):
    """`SubCases` of the items `keys`: one item in, a list of items out, each with its place.

    `fill` is a value for all items or one for each: -1024 for an image in HU, 0 for a mask or a windowed image. Each
    item of the list holds `subcase_start` (first voxel) and `subcase_shape` (X, Y, Z of the image) for `merge`.

    >>> lungs = torch.zeros(1, 20, 20, 40)
    >>> lungs[0, 4:16, 4:16, 2:38] = 1
    >>> cut = SubCasesd("ct", size=(16, 16, 16))
    >>> parts = cut({"ct": torch.ones(1, 20, 20, 40), "lungs": lungs})
    >>> len(parts), tuple(parts[0]["ct"].shape), tuple(cut.merge(parts, "ct").shape)
    (3, (1, 16, 16, 16), (1, 20, 20, 40))
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "lungs",
        size: Sequence[int] = SUBCASE_SIZE,
        fill: Sequence[float] | float = OUTSIDE_HU,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.cuts = [SubCases(size, fill=value) for value in ensure_tuple_rep(fill, len(self.keys))]

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Cut each item (C, X, Y, Z) at the same places."""
        lungs = data[self.mask_key]
        starts = self.cuts[0].starts(lungs)
        subcases: list[dict[Hashable, Any]] = [
            {**data, "subcase_start": start, "subcase_shape": tuple(lungs.shape[1:])} for start in starts
        ]
        for key, cut in self.key_iterator(dict(data), self.cuts):
            for subcase, part in zip(subcases, cut(data[key], lungs), strict=True):
                subcase[key] = part
        return subcases

    def merge(self, subcases: Sequence[Mapping[Hashable, Any]], key: str) -> torch.Tensor:
        """The item `key` of all `subcases` of one image put together: float32 (C, X, Y, Z)."""
        starts = [subcase["subcase_start"] for subcase in subcases]
        return self.cuts[0].merge([subcase[key] for subcase in subcases], starts, subcases[0]["subcase_shape"])


def _starts(first: int, last: int, size: int, fewest: int) -> list[int]:
    """First voxels of the volumes that cover [first, last) along one axis."""
    length = max(last - first, size * fewest)
    number = math.ceil(length / size)
    begin = (first + last - length) // 2
    step = (length - size) / max(1, number - 1)
    return [begin + round(n * step) for n in range(number)]
