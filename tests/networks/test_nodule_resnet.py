from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_lung.networks import NoduleResNet50


def test_the_papers_size() -> None:
    network = NoduleResNet50()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(46.1e6, rel=0.01)
    assert len(network.stages) == 16


@pytest.mark.parametrize("shape", [(48, 48, 16), (17, 20, 5), (1, 1, 1)])
def test_any_region_gives_one_row(shape: tuple[int, int, int]) -> None:
    network = NoduleResNet50(in_channels=3, out_channels=9, width=4).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, *shape)).shape == (2, 9)


def test_small_kernels_of_the_late_stages() -> None:
    network = NoduleResNet50(width=4, late_kernel=1)
    kernels = [block.conv2.kernel_size[0] for block in network.stages]
    assert kernels == [3] * 7 + [1] * 9


def test_reduced_strides_keep_a_small_nodules_voxels() -> None:
    network = NoduleResNet50(width=4, strides=(1, 1, 2, 2, 2)).eval()
    with torch.inference_mode():
        assert network.stages(network.stem(torch.randn(1, 1, 48, 48, 16))).shape[2:] == (6, 6, 2)


@pytest.mark.parametrize("bad", [{"late_kernel": 2}, {"blocks": (3, 4)}, {"strides": (1, 1)}])
def test_wrong_arguments_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|are needed"):
        NoduleResNet50(width=4, **bad)


def test_the_masks_size_reaches_the_head() -> None:
    network = NoduleResNet50(in_channels=3, out_channels=1, width=4, mask_channel=2).eval()
    assert network.head.in_features == 32 * 4 + 1
    torch.nn.init.zeros_(network.head.weight)
    network.head.weight.data[0, -1] = 1
    region = torch.zeros(2, 3, 16, 16, 8)
    region[1, 2, :8] = 1
    with torch.inference_mode():
        small, large = network(region)[:, 0].tolist()
    assert small == pytest.approx(-4)
    assert large == pytest.approx((np.log(1025) - 6) / 1.5, abs=1e-4)
