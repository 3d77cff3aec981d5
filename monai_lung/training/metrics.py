"""What MONAI's metrics need from labels that carry a trust map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.transforms import Transform


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

    `pred` (T,) becomes (1,), the malignancy logit; `label` (2, T) becomes (1,), 1 where the readers' mean is above 3.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of `data` with both keys replaced."""
        result = dict(data)
        result["pred"] = data["pred"][1:2].float()
        result["label"] = (data["label"][0, 1:2] > 0.5).float()
        return result
