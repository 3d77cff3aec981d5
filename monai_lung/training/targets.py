"""What the rating networks learn from the readers' ratings of a nodule."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from monai_lung.data.crops import CropRow
from monai_lung.stages import TARGETS
from monai_lung.transforms.rating import SURE


def rating_targets(row: CropRow) -> tuple[Tensor, Tensor]:
    """Soft targets and weights, each (T,), in the order of `TARGETS`: nodule, then the ratings on 0...1.

    Calcification (6 is absent) becomes its presence; internal structure isn't learned (nearly always soft tissue).
    """
    target, weight = torch.zeros(len(TARGETS)), torch.zeros(len(TARGETS))
    target[0], weight[0] = 1.0, 1.0
    for k, name in enumerate(TARGETS[1:], start=1):
        values = np.array(row.ratings.get(name, ()), float)
        if not len(values):
            continue
        soft = (values < 6).mean() if name == "calcification" else ((values - 1) / 4).mean()
        target[k] = float(np.clip(soft, SURE, 1 - SURE))
        weight[k] = 1.0 if name == "malignancy" else 0.25
    return target, weight
