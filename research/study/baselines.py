"""The networks that the study compares with: from MONAI where it has them, else short 3D versions of published ones.

All take float (N, C, X, Y, Z). Those that segment give logits (N, 1, X, Y, Z), and those with deep supervision
(N, heads, 1, X, Y, Z) while they're trained, the finest first. `width` is the channels of the first layer.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from monai.networks.nets import DynUNet, UNet
from monai.networks.nets.vnet import DownTransition, InputTransition, OutputTransition, UpTransition
from torch import Tensor, nn
from torch.nn import functional

from monai_lung.networks.layers import init_xavier, instance_norm
from monai_lung.networks.res_unet import ResidualUnit


def unet(width: int = 16, levels: int = 3) -> nn.Module:
    """The 3D U-Net (Çiçek et al., MICCAI 2016) as MONAI builds it: strided convolutions, no residual units.

    Sizes must be divisible by 2**levels.
    """
    return UNet(3, 1, 1, [width * 2**n for n in range(levels + 1)], [2] * levels)


def dyn_unet(width: int = 16, levels: int = 3) -> nn.Module:
    """MONAI's DynUNet after nnU-Net (Isensee et al., Nature Methods 2021) with deep supervision.

    Sizes must be divisible by 2**levels.
    """
    return DynUNet(
        3,
        1,
        1,
        kernel_size=[3] * (levels + 1),
        strides=[1] + [2] * levels,
        upsample_kernel_size=[2] * levels,
        filters=[width * 2**n for n in range(levels + 1)],
        deep_supervision=True,
        deep_supr_num=levels - 1,
    )


class VNet3d(nn.Module):
    """V-Net (Milletari et al., 3DV 2016) from MONAI's blocks, with a width; 16 is MONAI's own `VNet`.

    The image is padded to multiples of 16 by repeating its border, and the logits are cut back.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        act, w = "elu", width
        self.first = InputTransition(3, 1, w, act)
        self.down = nn.ModuleList(
            DownTransition(3, w * 2**n, convs, act, dropout_prob=0.5 if n > 1 else None)
            for n, convs in enumerate((1, 2, 3, 2))
        )
        self.up = nn.ModuleList(
            UpTransition(3, w * 2 ** min(n + 1, 4), w * 2**n, convs, act, dropout_prob=(0.5 if n > 2 else None, 0.5))
            for n, convs in ((4, 2), (3, 2), (2, 1), (1, 1))
        )
        self.last = OutputTransition(3, 2 * w, 1, act)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, X, Y, Z) -> logits of that shape."""
        size = image.shape[2:]
        pads = [p for n in reversed(size) for p in (0, -n % 16)]
        skips = [self.first(functional.pad(image, pads, mode="replicate"))]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.up:
            x = up(x, skips.pop())
        return self.last(x)[..., : size[0], : size[1], : size[2]]


class Fcn3d(nn.Module):
    """Fully convolutional network (Long et al., CVPR 2015) in 3D.

    A VGG-like encoder; scores from its three coarsest scales, a factor 2, 4 and 8 below the image, are enlarged and
    summed. The original has 8, 16 and 32: a nodule's patch is too small for that.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        channels = [1, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList(_block(a, b) for a, b in pairwise(channels))
        self.scores = nn.ModuleList(nn.Conv3d(c, 1, 1) for c in channels[2:])
        init_xavier(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, X, Y, Z) -> logits of that shape."""
        x = self.stages[0](image)
        total = image.new_zeros(())
        for stage, score in zip(list(self.stages)[1:], self.scores, strict=True):
            x = stage(functional.max_pool3d(x, 2))
            total = total + _enlarge(score(x), image)
        return total


class PspNet3d(nn.Module):
    """Pyramid scene parsing network (Zhao et al., CVPR 2017) in 3D.

    Residual units a factor 4 below the image, the last two dilated; their features averaged over 1, 2, 3 and 6 bins an
    axis join them before the last convolution, whose scores are enlarged.
    """

    BINS = (1, 2, 3, 6)

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = 4 * width
        self.encoder = nn.Sequential(
            nn.Conv3d(1, width, 3, stride=2, padding=1, bias=False),
            instance_norm(width),
            nn.ReLU(inplace=True),
            ResidualUnit(width, 2 * width),
            nn.MaxPool3d(2),
            ResidualUnit(2 * width, w),
            _dilated(ResidualUnit(w, w), 2),
            _dilated(ResidualUnit(w, w), 4),
        )
        self.reduce = nn.ModuleList(nn.Conv3d(w, w // 4, 1) for _ in self.BINS)
        self.last = nn.Sequential(
            nn.Conv3d(2 * w, w, 3, padding=1, bias=False), instance_norm(w), nn.ReLU(inplace=True), nn.Conv3d(w, 1, 1)
        )
        init_xavier(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, X, Y, Z) -> logits of that shape."""
        x = self.encoder(image)
        pooled = [
            _enlarge(reduce(functional.adaptive_avg_pool3d(x, n)), x)
            for n, reduce in zip(self.BINS, self.reduce, strict=True)
        ]
        return _enlarge(self.last(torch.cat([x, *pooled], dim=1)), image)


class MssUNet3d(nn.Module):
    """MSS U-Net (Zhao et al., Informatics in Medicine Unlocked 2020): a 3D U-Net supervised at each scale.

    Each step of the decoder has a head; in training all heads come out, enlarged to the image.
    """

    def __init__(self, width: int = 16, levels: int = 3) -> None:
        super().__init__()
        channels = [width * 2**n for n in range(levels + 1)]
        self.encoder = nn.ModuleList(_block(a, b) for a, b in zip([1, *channels[:-1]], channels, strict=True))
        self.decoder = nn.ModuleList(_block(a + b, a) for a, b in zip(channels[-2::-1], channels[:0:-1], strict=True))
        self.heads = nn.ModuleList(nn.Conv3d(c, 1, 1) for c in channels[-2::-1])
        init_xavier(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, X, Y, Z) -> logits of that shape, in training (N, levels, 1, X, Y, Z)."""
        x, skips = image, []
        for n, block in enumerate(self.encoder):
            x = block(functional.max_pool3d(x, 2) if n else x)
            skips.append(x)
        x = skips.pop()
        scores = []
        for block, head in zip(self.decoder, self.heads, strict=True):
            skip = skips.pop()
            x = block(torch.cat([_enlarge(x, skip), skip], dim=1))
            scores.append(head(x))
        if not self.training:
            return scores[-1]
        return torch.stack([_enlarge(s, image) for s in reversed(scores)], dim=1)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Twice convolution, instance norm and ReLU."""
    layers: list[nn.Module] = []
    for a in (in_channels, out_channels):
        layers += [nn.Conv3d(a, out_channels, 3, padding=1, bias=False), instance_norm(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


def _dilated(unit: ResidualUnit, dilation: int) -> ResidualUnit:
    for conv in (unit.conv1, unit.conv2):
        conv.dilation, conv.padding = (dilation,) * 3, (dilation,) * 3
    return unit


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Trilinear to the size of `like`."""
    return functional.interpolate(x, like.shape[2:], mode="trilinear", align_corners=False)
