"""Several networks of one kind as one."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The mean of what several networks say, of any class.

    Args:
        member: one of them; the others are copies of it, until weights are loaded.
        count: how many.
    """

    def __init__(self, member: nn.Module, count: int) -> None:
        super().__init__()
        if not isinstance(member, nn.Module) or not 1 <= count <= 64:
            raise ValueError(f"an ensemble has 1 to 64 networks, got {count} of {type(member).__name__}")
        self.members = nn.ModuleList(copy.deepcopy(member) for _ in range(count))

    def forward(self, image: Tensor) -> Tensor:
        """The input of each member -> the mean of their outputs."""
        return torch.stack([member(image) for member in self.members]).mean(0)
