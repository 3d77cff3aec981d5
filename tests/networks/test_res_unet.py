from __future__ import annotations

import pytest
import torch

from monai_lung.networks import ResUNet3d
from monai_lung.networks.layers import instance_norm


@pytest.mark.parametrize("shape", [(32, 32, 16), (45, 33, 20), (16, 16, 16), (7, 1, 3)])
@pytest.mark.parametrize("stem", [(1, 1, 1), (2, 2, 1)])
def test_any_size_keeps_its_shape(shape: tuple[int, int, int], stem: tuple[int, int, int]) -> None:
    network = ResUNet3d(width=4, levels=2, stem=stem, out_channels=2).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 1, *shape)).shape == (1, 2, *shape)


def test_the_papers_network_has_four_poolings_and_doubling_channels() -> None:
    network = ResUNet3d(width=8)
    assert [unit.conv1.out_channels for unit in network.encoder] == [8, 16, 32, 64]
    assert network.bottom.conv1.out_channels == 128
    assert [unit.conv1.in_channels for unit in network.decoder] == [128, 64, 32, 16]


def test_folding_is_undone_by_unfolding() -> None:
    network = ResUNet3d(width=2, levels=1, stem=(2, 3, 2))
    image = torch.randn(2, 3, 4, 6, 8)
    folded = network._fold(image)
    assert folded.shape == (2, 36, 2, 2, 4)
    assert torch.equal(network._unfold(folded), image)


def test_instance_norm_is_torchs() -> None:
    x = torch.randn(2, 5, 6, 7, 8)
    expected = torch.nn.InstanceNorm3d(5, affine=True)(x)
    torch.testing.assert_close(instance_norm(5)(x), expected, atol=1e-5, rtol=1e-4)


def test_xavier_and_no_bias_at_start() -> None:
    torch.manual_seed(0)
    network = ResUNet3d(width=16, levels=2)
    weight = network.encoder[1].conv1.weight.detach()
    bound = (6 / (weight[0].numel() + weight.shape[0] * 27)) ** 0.5
    assert weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert network.head.bias.abs().max() == 0


def test_channels_last_and_bfloat16_pass_through() -> None:
    network = ResUNet3d(width=4, levels=2, stem=(2, 2, 1)).eval()
    image = torch.rand(1, 1, 16, 16, 8)
    with torch.inference_mode():
        reference = network(image)
        last = network.to(memory_format=torch.channels_last_3d)(image.to(memory_format=torch.channels_last_3d))
        half = network.to(torch.bfloat16)(image.to(torch.bfloat16))
    torch.testing.assert_close(last, reference, atol=1e-4, rtol=1e-4)
    assert half.dtype == torch.bfloat16
    assert (half.float() - reference).abs().mean() < 0.1 * reference.abs().mean() + 0.05


@pytest.mark.parametrize("bad", [{"width": 0}, {"levels": 0}, {"stem": (0, 1, 1)}])
def test_wrong_arguments_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="positive"):
        ResUNet3d(**bad)
