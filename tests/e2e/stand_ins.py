"""Stand-ins for the trained networks: what they answer can be told from the image, so that the way can be checked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d

from monai_lung.inference.networks import DelineateSettings, FindSettings, Networks, RateSettings


class BrightBalls(nn.Module):
    """Calls nodule what is denser than -300 HU and thicker than a vessel: a morphological opening."""

    def __init__(self, size: tuple[int, int, int]) -> None:
        super().__init__()
        self.size, self.pad = size, tuple(n // 2 for n in size)

    def forward(self, image: Tensor) -> Tensor:
        eroded = -max_pool3d(-image[:, :1], self.size, 1, self.pad)
        return (max_pool3d(eroded, self.size, 1, self.pad) - 0.5) * 30


class Likely(nn.Module):
    """Takes every seed for a nodule."""

    def forward(self, region: Tensor) -> Tensor:
        answer = torch.zeros(len(region), 9)
        answer[:, 0] = 4
        return answer


class Even(nn.Module):
    """Malignant with even odds."""

    def forward(self, slices: Tensor) -> Tensor:
        return torch.zeros(len(slices), 8)


def networks() -> Networks:
    """All of them with their settings."""
    return Networks(
        find=BrightBalls((3, 3, 1)),
        delineate=BrightBalls((5, 5, 3)),
        rate=Likely(),
        malignancy=Even(),
        find_settings=FindSettings((1.5, 1.5, 3.0), (64, 64, 32), 0.25, 0.5, 0.5),
        delineate_settings=DelineateSettings((0.75, 0.75, 1.5), (48, 48, 24), 0.5),
        rate_settings=RateSettings((0.75, 0.75, 1.5), (32, 32, 16), 1.0, 0.0, 1.0, 0.5),
        device=torch.device("cpu"),
        weights={},
    )
