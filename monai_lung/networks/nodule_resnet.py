"""The 3D ResNet50 of Yu et al. 2021 (doi 10.1186/s12859-021-04234-0), to rate nodules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_lung.networks.layers import init_xavier


class Bottleneck(nn.Module):
    """1x1x1, k x k x k and 1x1x1 convolutions with batch norm, added to the identity path."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv3d(in_channels, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm2 = nn.BatchNorm3d(channels)
        self.conv3 = nn.Conv3d(channels, out_channels, 1, bias=False)
        self.norm3 = nn.BatchNorm3d(out_channels)
        self.act = nn.ReLU(inplace=True)
        self.identity: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.identity = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm3d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, X, Y, Z) -> (N, 4 channels, X', Y', Z')."""
        y = self.act(self.norm1(self.conv1(x)))
        y = self.act(self.norm2(self.conv2(y)))
        return self.act(self.norm3(self.conv3(y)) + self.identity(x))


class NoduleResNet50(nn.Module):
    """ResNet50 in 3D, fitted to a region of 48 x 48 x 16 voxels as the paper describes.

    Its changes to the plain ResNet50: the first convolution is 3 x 3 x 3 instead of 7, the pooling after it is dropped,
    and strides are reduced, so that a small nodule isn't gone after two layers. The paper also makes the kernels of the
    last two stages smaller, without their size: `late_kernel` (3 keeps them, 1 is its reading at the other end).

    Args:
        in_channels: of the region: windowed CT, and what else is given (mask, a second window).
        out_channels: of the result: class scores, or logits of several ratings.
        width: channels of the first convolution; 64 is the paper's 46 million weights.
        blocks: bottlenecks of the four stages; (3, 4, 6, 3) is ResNet50.
        strides: of the first convolution and the four stages.
        late_kernel: of the bottlenecks in stages 3 and 4, 1 or 3.
        dropout: before the last layer.
        mask_channel: index of the nodule's mask among the channels; the logarithm of the voxels that it fills then
            joins the averaged features, which can hardly count. None, the paper's network, leaves that out.

    Any input size of at least one voxel works; sizes are averaged away before the last layer.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        width: int = 64,
        blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
        strides: tuple[int, int, int, int, int] = (1, 1, 2, 2, 2),
        late_kernel: int = 3,
        dropout: float = 0.0,
        mask_channel: int | None = None,
    ) -> None:
        super().__init__()
        if late_kernel not in (1, 3):
            raise ValueError(f"late_kernel must be 1 or 3, got {late_kernel}")
        if len(blocks) != 4 or len(strides) != 5:
            raise ValueError(f"four stages and five strides are needed, got {tuple(blocks)} and {tuple(strides)}")
        self.stem = nn.Sequential(
            nn.Conv3d(in_channels, width, 3, stride=strides[0], padding=1, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        stages, channels = [], width
        for stage, (count, stride) in enumerate(zip(blocks, strides[1:], strict=True)):
            kernel = late_kernel if stage >= 2 else 3
            inner = width * 2**stage
            for n in range(count):
                stages.append(Bottleneck(channels, inner, stride if n == 0 else 1, kernel))
                channels = inner * Bottleneck.expansion
        self.stages = nn.Sequential(*stages)
        self.drop = nn.Dropout(dropout)
        self.mask_channel = -1 if mask_channel is None else mask_channel
        self.head = nn.Linear(channels + (self.mask_channel >= 0), out_channels)
        init_xavier(self)

    def features(self, region: Tensor) -> Tensor:
        """(N, in_channels, X, Y, Z) -> (N, 32 width), averaged over space."""
        return torch.flatten(self.stages(self.stem(region)).mean(dim=(2, 3, 4)), 1)

    def forward(self, region: Tensor) -> Tensor:
        """(N, in_channels, X, Y, Z) -> (N, out_channels)."""
        features = self.drop(self.features(region))
        if self.mask_channel >= 0:
            filled = region[:, self.mask_channel].float().sum(dim=(1, 2, 3))
            size = (torch.log(filled + 1) - 6) / 1.5  # a nodule of 9 mm fills e^6 voxels of 1 mm3; about -1...1
            features = torch.cat([features, size[:, None].to(features.dtype)], dim=1)
        return self.head(features)
