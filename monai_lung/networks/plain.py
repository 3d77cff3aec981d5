"""The paper's two networks without the paper's changes, which its training compares them with.

They take float (N, C, X, Y, Z).
"""

from __future__ import annotations

from monai.networks.nets import ResNet
from torch import Tensor, nn

from monai_lung.networks.res_unet import ResidualUnit, ResUNet3d


def resnet50(in_channels: int = 3, out_channels: int = 2, width: int = 64) -> nn.Module:
    """The plain ResNet50 (He et al., CVPR 2016) with all 2D layers made 3D: 7 x 7 x 7 with stride 2, then pooling.

    (N, in_channels, X, Y, Z) -> (N, out_channels).
    """
    planes = [width * 2**n for n in range(4)]
    return ResNet("bottleneck", [3, 4, 6, 3], planes, 3, in_channels, conv1_t_stride=2, num_classes=out_channels)


class PlainResUNet3d(ResUNet3d):
    """A `ResUNet3d` whose units have no identity path: what the residual connections alone are worth."""

    def __init__(self, width: int = 16, levels: int = 4, stem: tuple[int, int, int] = (1, 1, 1)) -> None:
        super().__init__(width=width, levels=levels, stem=stem)
        for unit in self.modules():
            if isinstance(unit, ResidualUnit):
                unit.identity = _Nothing()


class _Nothing(nn.Module):
    """In the identity path's place: nothing is added."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())
