"""The 3D Res U-Net of Yu et al. 2021 (doi 10.1186/s12859-021-04234-0), to segment nodules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_lung.networks.layers import init_xavier, instance_norm


class ResidualUnit(nn.Module):
    """conv - instance norm - ReLU - conv - instance norm, added to the identity path, then ReLU.

    Where the channel count changes, the identity path is a 1x1x1 convolution (paper, Methods).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = instance_norm(out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = instance_norm(out_channels)
        self.act = nn.ReLU(inplace=True)
        self.identity: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.identity = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, X, Y, Z) -> (N, out_channels, X, Y, Z)."""
        y = self.act(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.act(y + self.identity(x))


class ResUNet3d(nn.Module):
    """Residual U-Net: `levels` times residual unit and max pooling by 2, a residual unit, and as many steps back.

    Each step back is a transposed convolution by 2, the concatenation with the encoder's features of that size, and
    a residual unit. A 1x1x1 convolution gives logits (a sigmoid makes them probabilities).

    Args:
        in_channels: of the image; 1 for a windowed CT.
        out_channels: of the logits.
        width: channels of the first residual unit; they double with each level. The paper doesn't state its own.
        levels: poolings; the paper has 4.
        stem: factors (x, y, z) by which the image is folded into channels before the first unit and the logits are
            unfolded after the last (space to depth). (1, 1, 1), the paper's network, doesn't fold; (2, 2, 1) looks at
            a fine grid at a quarter of the cost.

    Any input size of at least one voxel works: the input is padded to multiples of `stem * 2**levels` by repeating
    its border, and the output is cut back. With stem (2, 2, 1) and 3 levels a (90, 48, 20) image is padded to
    (96, 48, 24). The first axis is never padded to less than twice its multiple, 32 here: one voxel alone at the bottom
    could not be normalised.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 16,
        levels: int = 4,
        stem: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        if width < 1 or levels < 1 or min(stem) < 1:
            raise ValueError(f"width, levels and stem must be positive, got {width}, {levels}, {tuple(stem)}")
        self.stem = (int(stem[0]), int(stem[1]), int(stem[2]))
        self.multiple = [f * 2**levels for f in self.stem]
        folded = self.stem[0] * self.stem[1] * self.stem[2]
        channels = [width * 2**i for i in range(levels + 1)]
        self.encoder = nn.ModuleList(
            ResidualUnit(a, b) for a, b in zip([in_channels * folded, *channels[:-2]], channels[:-1], strict=True)
        )
        self.pool = nn.MaxPool3d(2)
        self.bottom = ResidualUnit(channels[-2], channels[-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.decoder = nn.ModuleList(ResidualUnit(2 * a, a) for a in channels[-2::-1])
        self.head = nn.Conv3d(width, out_channels * folded, 1)
        init_xavier(self)

    def forward(self, image: Tensor) -> Tensor:
        """float (N, in_channels, X, Y, Z) -> logits (N, out_channels, X, Y, Z)."""
        x_size, y_size, z_size = image.shape[2], image.shape[3], image.shape[4]
        # at least two voxels at the bottom, the fewest that can be normalised
        x_pad = max(-x_size % self.multiple[0], 2 * self.multiple[0] - x_size)
        pads = [0, -z_size % self.multiple[2], 0, -y_size % self.multiple[1], 0, x_pad]
        x = functional.pad(image, pads, mode="replicate")
        x = self._fold(x)
        skips: list[Tensor] = []
        for unit in self.encoder:
            x = unit(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for up, unit in zip(self.up, self.decoder):  # noqa: B905  TorchScript knows no strict=
            x = unit(torch.cat([up(x), skips.pop()], dim=1))
        x = self._unfold(self.head(x))
        return x[:, :, :x_size, :y_size, :z_size]

    def _fold(self, x: Tensor) -> Tensor:
        """Space to depth: (N, C, X, Y, Z) -> (N, C a b c, X/a, Y/b, Z/c) with `stem` (a, b, c)."""
        a, b, c = self.stem
        if a * b * c == 1:
            return x
        n, ch, sx, sy, sz = x.shape[0], x.shape[1], x.shape[2] // a, x.shape[3] // b, x.shape[4] // c
        x = x.reshape(n, ch, sx, a, sy, b, sz, c).permute(0, 1, 3, 5, 7, 2, 4, 6)
        return x.reshape(n, ch * a * b * c, sx, sy, sz)

    def _unfold(self, x: Tensor) -> Tensor:
        """Depth to space, the inverse of `_fold`."""
        a, b, c = self.stem
        if a * b * c == 1:
            return x
        n, ch, sx, sy, sz = x.shape[0], x.shape[1] // (a * b * c), x.shape[2], x.shape[3], x.shape[4]
        x = x.reshape(n, ch, a, b, c, sx, sy, sz).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return x.reshape(n, ch, sx * a, sy * b, sz * c)
