"""MONAI's metrics on labels that carry a trust map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Transform
from torch import Tensor

from monai_lung.transforms.rating import TARGETS


class TrustedMasksd(Transform):
    """Logits and (target, trust) labels to binary masks, so that any MONAI metric can compare them.

    `pred` (1, X, Y, Z) becomes logit >= 0 and `label` (2, X, Y, Z) becomes target >= 0.5, both 0 where the label isn't
    trusted.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of `data` with both keys replaced, float (1, X, Y, Z)."""
        result = dict(data)
        trust = data["label"][1:2] > 0
        result["pred"] = ((data["pred"] >= 0) & trust).float()
        result["label"] = ((data["label"][:1] >= 0.5) & trust).float()
        return result


class MalignancyScoresd(Transform):
    """Rating logits and labels to scores and classes of malignancy, so that `ROCAUC` can compare them.

    `pred` (T,) becomes (1,), the malignancy logit; `label` (2, T) becomes (1,), 1 where the readers' mean is above 3,
    NaN where it is 3 or the nodule isn't rated (`rated` leaves those out).

    Args:
        malignancy: its place among the network's outputs and the label's targets.
    """

    def __init__(self, malignancy: int = TARGETS.index("malignancy")) -> None:
        self.malignancy = malignancy

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of `data` with both keys replaced."""
        result = dict(data)
        result["pred"] = data["pred"][self.malignancy : self.malignancy + 1].float()
        target, weight = data["label"][:, self.malignancy : self.malignancy + 1].float()
        says = (weight > 0) & ((target - 0.5).abs() > 1e-6)
        result["label"] = torch.where(says, (target > 0.5).float(), torch.nan)
        return result


class NoduleScoresd(Transform):
    """Rating logits and labels to scores and classes of "is it a nodule?", so that `ROCAUC` can compare them.

    `pred` (T,) becomes (1,), the nodule's logit; `label` (2, T) becomes (1,), 1 for what any reader marked.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of `data` with both keys replaced."""
        nodule = TARGETS.index("nodule")
        label = (data["label"][0, nodule : nodule + 1] > 0).float()
        return {**data, "pred": data["pred"][nodule : nodule + 1].float(), "label": label}


def rated(output: Sequence[Mapping[str, Any]]) -> tuple[list[Tensor], list[Tensor]]:
    """`pred` and `label` of the items of an Ignite output whose label is a number, for a metric."""
    kept = [item for item in output if torch.isfinite(item["label"]).all()]
    return [item["pred"] for item in kept], [item["label"] for item in kept]
