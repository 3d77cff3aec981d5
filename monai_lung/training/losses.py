"""Losses that MONAI lacks: with a trust map, of several ratings, and the paper's of one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class TrustedBceDice(nn.Module):
    """Binary cross-entropy plus soft Dice, both counted as far as the label is trusted: 0 not at all, above 1 more.

    Args:
        bce_weight: factor of the cross-entropy.
        dice_weight: factor of Dice.
        positive_weight: factor of nodule voxels within the cross-entropy.
        batch: one Dice over the batch (True), where patches without a nodule are common, or one a patch.
    """

    def __init__(
        self,
        bce_weight: float = 1.0,
        positive_weight: float = 1.0,
        *,
        dice_weight: float = 1.0,
        batch: bool = False,
    ) -> None:
        super().__init__()
        self.bce_weight, self.positive_weight, self.batch = bce_weight, positive_weight, batch
        self.dice_weight = dice_weight

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Logits (N, 1, X, Y, Z), label (N, 2, X, Y, Z) of target in 0...1 and trust, a weight >= 0, -> a scalar."""
        target, trust = label[:, :1], label[:, 1:2]
        logits = logits.float()
        weight = trust * (1 + (self.positive_weight - 1) * target)
        bce = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum") / trust.sum().clamp(
            min=1
        )
        axes = (0, 1, 2, 3, 4) if self.batch else (1, 2, 3, 4)
        p = torch.sigmoid(logits) * trust
        t = target * trust
        overlap = (p * t).sum(axes)
        # squares keep soft targets unbiased: the minimum is at p == t
        dice = 1 - (2 * overlap + 1) / ((p * p).sum(axes) + (t * t).sum(axes) + 1)
        return self.bce_weight * bce + self.dice_weight * dice.mean()


class WeightedBce(nn.Module):
    """Binary cross-entropy with soft targets, a weight for each, for several tasks at once."""

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Logits (N, T), label (N, 2, T) of target in 0...1 and weight >= 0 -> a scalar, the weighted mean."""
        target, weight = label[:, 0], label[:, 1]
        bce = functional.binary_cross_entropy_with_logits(logits.float(), target, weight, reduction="sum")
        return bce / weight.sum().clamp(min=1e-6)
