"""A network that sees a place twice, from near and from afar, to say what it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_lung.networks.nodule_resnet import NoduleResNet50


class TwoLooksResNet(nn.Module):
    """Two 3D ResNets, one for each look, whose averaged features are weighed together.

    Both looks have the same number of voxels, the wide one larger voxels; their channels come behind each other in one
    image, so that the network is called as any other.

    Args:
        near_channels: of the near look; the first channels of the image.
        wide_channels: of the wide look; the channels behind them.
        out_channels: logits.
        near_width, wide_width: channels of the first convolution of each ResNet.
        wide_blocks: bottlenecks of the four stages of the wide look's ResNet.
        strides: of the first convolution and the four stages of both.
        dropout: before the last layer.
        mask_channel: index of the nodule's mask among the near channels (see `NoduleResNet50`).
    """

    def __init__(
        self,
        near_channels: int = 4,
        wide_channels: int = 5,
        out_channels: int = 9,
        near_width: int = 16,
        wide_width: int = 12,
        wide_blocks: tuple[int, int, int, int] = (2, 2, 3, 2),
        strides: tuple[int, int, int, int, int] = (2, 1, 2, 2, 1),
        dropout: float = 0.0,
        mask_channel: int | None = 2,
    ) -> None:
        super().__init__()
        self.near_channels = near_channels
        self.near = NoduleResNet50(
            near_channels, out_channels, near_width, strides=strides, dropout=dropout, mask_channel=mask_channel
        )
        self.wide = NoduleResNet50(
            wide_channels, out_channels, wide_width, wide_blocks, strides, dropout=dropout, mask_channel=2
        )

    def forward(self, image: Tensor) -> Tensor:
        """float (N, near + wide channels, X, Y, Z) -> logits (N, out_channels): the sum of what both looks say."""
        near, wide = torch.split(image, [self.near_channels, image.shape[1] - self.near_channels], dim=1)
        return self.near(near) + self.wide(wide)
