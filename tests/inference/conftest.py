from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from monai_lung.inference.networks import DelineateSettings, FindSettings, Networks, RateSettings
from monai_lung.model import CT, Lungs

sys.path.insert(0, str(Path(__file__).parent))  # for the builder beside this file
from lung_builder import two_lungs


class Bright(nn.Module):
    """Calls what is denser than -300 HU nodule: no training, but a result that can be computed by hand."""

    def forward(self, image: Tensor) -> Tensor:
        return (image[:, :1] - 0.5) * 30


class AnyNodule(nn.Module):
    """Calls everything a nodule."""

    def forward(self, region: Tensor) -> Tensor:
        return torch.eye(9)[:1].repeat(len(region), 1) * 4


class Bigger(nn.Module):
    """Rates malignancy by the share of the slices that the mask fills."""

    def forward(self, slices: Tensor) -> Tensor:
        filled = slices[:, 2].mean(dim=(1, 2, 3))
        return torch.stack([filled * 40 - 2, *[filled * 0] * 7], dim=1)


@pytest.fixture
def networks() -> Networks:
    return Networks(
        find=Bright(),
        delineate=Bright(),
        rate=AnyNodule(),
        malignancy=Bigger(),
        find_settings=FindSettings((1.0, 1.0, 2.0), (32, 32, 16), 0.25, 0.5, 0.5),
        delineate_settings=DelineateSettings((0.625, 0.625, 1.25), (48, 48, 24), 0.5),
        rate_settings=RateSettings((0.75, 0.75, 1.5), (32, 32, 16), 1.0, 0.0, 1.0, 0.5),
        device=torch.device("cpu"),
        weights={},
    )


@pytest.fixture
def ct_and_lungs() -> tuple[CT, Lungs]:
    return two_lungs()
