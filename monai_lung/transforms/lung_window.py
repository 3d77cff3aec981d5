"""The lung window as MONAI transforms."""

from __future__ import annotations

from monai.config import KeysCollection
from monai.transforms import ScaleIntensityRange, ScaleIntensityRanged

from monai_lung.transforms.window import LUNG_WINDOW_HU, SOFT_WINDOW_HU


class LungWindow(ScaleIntensityRange):
    """HU to the lung window: -1000...400 HU becomes 0...1, what lies outside is clipped; float32, any shape.

    >>> import torch
    >>> LungWindow()(torch.tensor([-2000.0, -300.0, 400.0])).tolist()
    [0.0, 0.5, 1.0]
    """

    def __init__(self) -> None:
        super().__init__(*LUNG_WINDOW_HU, 0.0, 1.0, clip=True)


class LungWindowd(ScaleIntensityRanged):
    """`LungWindow` of the items `keys`.

    >>> import torch
    >>> LungWindowd("ct")({"ct": torch.tensor([-1000.0, -300.0, 3000.0])})["ct"].tolist()
    [0.0, 0.5, 1.0]
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, *LUNG_WINDOW_HU, 0.0, 1.0, clip=True, allow_missing_keys=allow_missing_keys)


class SoftWindowd(ScaleIntensityRanged):
    """HU of the items `keys` to the soft-tissue window: -160...240 HU becomes 0...1, what lies outside is clipped.

    >>> import torch
    >>> SoftWindowd("ct")({"ct": torch.tensor([-1000.0, 40.0, 240.0])})["ct"].tolist()
    [0.0, 0.5, 1.0]
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, *SOFT_WINDOW_HU, 0.0, 1.0, clip=True, allow_missing_keys=allow_missing_keys)
