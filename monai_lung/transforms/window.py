"""The lung window."""

from __future__ import annotations

from monai.config import KeysCollection
from monai.transforms import ScaleIntensityRange, ScaleIntensityRanged

WINDOW_HU = (-1000.0, 400.0)


class LungWindow(ScaleIntensityRange):
    """HU to the lung window: -1000...400 HU becomes 0...1, what lies outside is clipped; float32, any shape."""

    def __init__(self) -> None:
        super().__init__(*WINDOW_HU, 0.0, 1.0, clip=True)


class LungWindowd(ScaleIntensityRanged):
    """`LungWindow` of the items `keys`."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, *WINDOW_HU, 0.0, 1.0, clip=True, allow_missing_keys=allow_missing_keys)
