"""Windows: the range of HU that a network sees as 0...1."""

from __future__ import annotations

from monai.config import KeysCollection
from monai.transforms import ScaleIntensityRange, ScaleIntensityRanged
from torch import Tensor

LUNG_WINDOW_HU = (-1000.0, 400.0)
SOFT_WINDOW_HU = (-160.0, 240.0)


def windowed(hu: Tensor, window_hu: tuple[float, float] = LUNG_WINDOW_HU) -> Tensor:
    """`hu` (any shape) over the window: its ends become 0 and 1, what lies outside is clipped."""
    low, high = window_hu
    return ((hu - low) / (high - low)).clamp_(0, 1)


class LungWindow(ScaleIntensityRange):
    """HU to the lung window: -1000...400 HU becomes 0...1, what lies outside is clipped; float32, any shape."""

    def __init__(self) -> None:
        super().__init__(*LUNG_WINDOW_HU, 0.0, 1.0, clip=True)


class LungWindowd(ScaleIntensityRanged):
    """`LungWindow` of the items `keys`."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, *LUNG_WINDOW_HU, 0.0, 1.0, clip=True, allow_missing_keys=allow_missing_keys)
