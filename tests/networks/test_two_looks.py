from __future__ import annotations

import pytest
import torch

from monai_lung.networks import TwoLooksResNet


@pytest.mark.parametrize("size", [(48, 48, 24), (20, 16, 8)])
def test_logits_of_any_region(size: tuple[int, int, int]) -> None:
    network = TwoLooksResNet(near_width=4, wide_width=4).eval()
    assert network(torch.rand(2, 9, *size)).shape == (2, 9)


def test_each_look_counts_by_itself() -> None:
    torch.manual_seed(0)
    network = TwoLooksResNet(near_width=4, wide_width=4).eval()
    image = torch.rand(1, 9, 24, 24, 12)
    other_near, other_wide = image.clone(), image.clone()
    other_near[:, :4] = 0
    other_wide[:, 4:] = 0
    both, near, wide = (network(x) for x in (image, other_near, other_wide))
    assert not torch.equal(both, near)
    torch.testing.assert_close(both - near, wide - network(torch.zeros_like(image)), atol=1e-4, rtol=1e-4)


def test_it_is_scripted() -> None:
    network = TwoLooksResNet(near_width=4, wide_width=4).eval()
    image = torch.rand(1, 9, 24, 24, 12)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))
