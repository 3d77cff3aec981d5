"""Parts that the networks share: the norm and the initialisation."""

from __future__ import annotations

from torch import nn


def instance_norm(channels: int) -> nn.GroupNorm:
    """Instance norm with a learned scale and shift, as a group norm of one channel a group.

    The same arithmetic as `torch.nn.InstanceNorm3d(channels, affine=True)`, but its kernels keep channels_last_3d
    (the other copies to the default layout and back) and it accepts a single voxel.
    """
    return nn.GroupNorm(channels, channels)


def init_xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every convolution and linear layer of `module` (paper, Methods)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
