from __future__ import annotations

import pytest
import torch
from monai.networks.nets import VNet
from torch import nn

from monai_lung.networks import ResUNet3d
from monai_lung.networks.plain import PlainResUNet3d, resnet50
from research.study import baselines

SEGMENT = {
    "unet": lambda: baselines.unet(4),
    "dyn_unet": lambda: baselines.dyn_unet(4),
    "v-net": lambda: baselines.VNet3d(2),
    "fcn": lambda: baselines.Fcn3d(4),
    "pspnet": lambda: baselines.PspNet3d(4),
    "mss": lambda: baselines.MssUNet3d(4),
    "plain": lambda: PlainResUNet3d(4, levels=2),
}
HEADS = {"dyn_unet": 3, "mss": 3}


def weights(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", SEGMENT)
def test_logits_have_the_shape_of_the_image_and_heads_come_out_in_training_alone(name: str) -> None:
    torch.manual_seed(0)
    network, image = SEGMENT[name](), torch.rand(2, 1, 16, 16, 8)
    trained = network.train()(image)
    heads = HEADS.get(name)
    assert trained.shape == ((2, heads, 1, 16, 16, 8) if heads else image.shape)
    with torch.no_grad():
        assert network.eval()(image).shape == image.shape


@pytest.mark.parametrize("name", SEGMENT)
def test_learns_a_bright_ball(name: str) -> None:
    torch.manual_seed(0)
    network = SEGMENT[name]().train()
    grid = torch.stack(torch.meshgrid(*[torch.arange(n) - n / 2 for n in (16, 16, 8)], indexing="ij"))
    truth = (grid.norm(dim=0) < 4).float().expand(2, 1, -1, -1, -1)
    image = truth * 0.7 + 0.1 * torch.rand(truth.shape)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        output = network(image)
        heads = output.unbind(1) if output.dim() == 6 else [output]
        loss = sum(nn.functional.binary_cross_entropy_with_logits(h, truth) for h in heads) / len(heads)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is not None for p in network.parameters())  # nothing is built in vain


@pytest.mark.parametrize("build", [baselines.VNet3d, baselines.Fcn3d, baselines.PspNet3d, baselines.MssUNet3d])
def test_any_size_works(build: type[nn.Module]) -> None:
    image = torch.rand(1, 1, 19, 17, 9)
    with torch.no_grad():
        assert build(2).eval()(image).shape == image.shape


def test_a_v_net_of_width_16_is_monais() -> None:
    assert weights(baselines.VNet3d(16)) == weights(VNet())


def test_without_the_identity_path_only_its_convolutions_are_gone() -> None:
    residual, plain = ResUNet3d(width=4, levels=2), PlainResUNet3d(4, levels=2)
    identity = [p.numel() for n, p in residual.named_parameters() if "identity" in n]
    assert identity
    assert weights(plain) == weights(residual) - sum(identity)
    plain.load_state_dict({n: p for n, p in residual.state_dict().items() if "identity" not in n})
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert not torch.allclose(plain.eval()(image), residual.eval()(image))


def test_the_plain_resnet50_has_the_weights_of_resnet50_in_3d() -> None:
    network = resnet50(1, 2, 4)
    assert sum(isinstance(m, nn.Conv3d) for m in network.modules()) == 53  # 1 + 3 * 16 + 4 shortcuts
    assert network(torch.rand(2, 1, 32, 32, 16)).shape == (2, 2)
