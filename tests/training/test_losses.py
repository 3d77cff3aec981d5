from __future__ import annotations

import pytest
import torch

from monai_lung.training.losses import TrustedBceDice, WeightedBce


def _label(target: torch.Tensor, trust: torch.Tensor) -> torch.Tensor:
    return torch.cat([target, trust], 1)


@pytest.mark.parametrize("batch", [True, False])
def test_what_is_not_trusted_does_not_count(batch: bool) -> None:
    torch.manual_seed(0)
    target = (torch.rand(2, 1, 4, 4, 4) > 0.5).float()
    trust = (torch.rand(2, 1, 4, 4, 4) > 0.3).float()
    logits = torch.randn(2, 1, 4, 4, 4)
    loss = TrustedBceDice(batch=batch)
    other = torch.where(trust > 0, logits, torch.randn_like(logits))
    torch.testing.assert_close(loss(logits, _label(target, trust)), loss(other, _label(target, trust)))


def test_soft_targets_are_learned_as_they_are() -> None:
    target = torch.full((1, 1, 4, 4, 4), 0.75)
    label = _label(target, torch.ones_like(target))
    logits = torch.zeros_like(target, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        TrustedBceDice()(logits, label).backward()
        optimizer.step()
    torch.testing.assert_close(torch.sigmoid(logits.detach()), target, atol=0.01, rtol=0)


def test_a_perfect_prediction_costs_nothing() -> None:
    target = torch.zeros(1, 1, 4, 4, 4)
    target[..., 1:3] = 1
    loss = TrustedBceDice()((target - 0.5) * 60, _label(target, torch.ones_like(target)))
    assert loss.item() == pytest.approx(0, abs=1e-4)


def test_weights_of_tasks() -> None:
    logits = torch.tensor([[0.0, 3.0]])
    label = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert WeightedBce()(logits, label).item() == pytest.approx(0.6931, abs=1e-3)
