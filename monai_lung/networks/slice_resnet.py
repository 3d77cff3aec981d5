"""A small residual network on slices of a nodule: the malignancy that ships."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

STAGES = (1, 2, 4, 4)
"""Channels of the four stages, in multiples of the first convolution's."""
_MOST_MEMBERS = 64


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to the identity path (He et al., CVPR 2016); halves the grid."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.identity = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride=2, bias=False), nn.BatchNorm2d(channels)
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, X, Y) -> (N, channels, X / 2, Y / 2), rounded up."""
        y = self.act(self.norm1(self.conv1(x)))
        return self.act(self.norm2(self.conv2(y)) + self.identity(x))


class SliceTrunk(nn.Module):
    """Slice -> logits: a convolution, four residual blocks, and the mean and the maximum over the plane."""

    def __init__(self, in_channels: int, out_channels: int, width: int, dropout: float) -> None:
        super().__init__()
        stem = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = [width, *(width * times for times in STAGES)]
        blocks = [Block(before, after) for before, after in itertools.pairwise(channels)]
        self.stages = nn.Sequential(*stem, *blocks)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * channels[-1], out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """(N, in_channels, X, Y) -> (N, out_channels)."""
        x = self.stages(image)
        return self.head(self.drop(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)))


class SliceResNet(nn.Module):
    """Rates a nodule by single slices of it, so that it can learn from nodules of which there is one slice.

    Every slice is seen alone; the logits are averaged over the slices, and over the members of an ensemble.

    Args:
        in_channels: of the region: windows and mask.
        out_channels: logits.
        width: channels of the first convolution.
        dropout: before the last layer.
        members: networks of the ensemble.

    Train it with contiguous weights: on the CPU, the backward pass of strided 1 x 1 convolutions of few channels in
    channels_last frees memory twice (torch 2.13). Any size of at least one voxel works, in training one with more
    than a value a channel.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 8, width: int = 32, dropout: float = 0.0, members: int = 1
    ) -> None:
        super().__init__()
        if not 1 <= members <= _MOST_MEMBERS:
            raise ValueError(f"an ensemble has 1 to {_MOST_MEMBERS} members, got {members}")
        self.members = nn.ModuleList(SliceTrunk(in_channels, out_channels, width, dropout) for _ in range(members))

    def forward(self, region: Tensor) -> Tensor:
        """(N, in_channels, X, Y, slices) -> (N, out_channels)."""
        n, slices = region.shape[0], region.shape[4]
        images = region.permute(0, 4, 1, 2, 3).flatten(0, 1)
        logits = torch.stack([member(images) for member in self.members]).mean(0)
        return logits.reshape(n, slices, logits.shape[1]).mean(1)
