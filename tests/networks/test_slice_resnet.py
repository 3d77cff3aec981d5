from __future__ import annotations

import pytest
import torch

from monai_lung.networks import SliceResNet


@pytest.mark.parametrize("shape", [(48, 48, 5), (17, 20, 1), (1, 1, 1)])
def test_any_size_and_any_number_of_slices_give_one_row(shape: tuple[int, int, int]) -> None:
    network = SliceResNet(3, 8, width=4).eval()
    assert network(torch.rand(2, 3, *shape)).shape == (2, 8)


def test_slices_are_seen_alone_and_averaged() -> None:
    network = SliceResNet(3, 8, width=4).eval()
    slices = torch.rand(1, 3, 20, 20, 4)
    alone = torch.stack([network(slices[..., k : k + 1]) for k in range(4)]).mean(0)
    torch.testing.assert_close(network(slices), alone)


def test_an_ensemble_says_the_mean_of_its_members() -> None:
    network = SliceResNet(3, 8, width=4, members=3).eval()
    image = torch.rand(2, 3, 24, 24, 1)
    alone = torch.stack([member(image[..., 0]) for member in network.members]).mean(0)
    torch.testing.assert_close(network(image), alone)
    assert not torch.allclose(network.members[0](image[..., 0]), alone)


@pytest.mark.parametrize("members", [0, 65, 99999])
def test_an_ensemble_of_no_or_countless_members_is_refused(members: int) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        SliceResNet(members=members)
