from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from monai_lung.errors import MonaiLungError, UsageError
from research.study.fit import Schedule, fit, over_heads

CPU = torch.device("cpu")


class Points(Dataset[dict[str, Tensor]]):
    """y = 3 x; counts its epochs."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.tensor([index / 6])
        return {"image": x, "label": 3 * x}

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def test_takes_the_steps_that_it_is_given_over_as_many_epochs_as_needed() -> None:
    data = Points()
    history = fit(nn.Linear(1, 1), data, Schedule(8, 2, 1e-2, nn.functional.mse_loss), CPU)
    assert len(history.loss) == 8
    assert data.epochs == [0, 1, 2]


def test_items_are_drawn_by_their_shares() -> None:
    class Seen(Points):
        def __init__(self) -> None:
            super().__init__()
            self.drawn: list[int] = []

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            self.drawn.append(index)
            return super().__getitem__(index)

    data = Seen()
    fit(nn.Linear(1, 1), data, Schedule(300, 2, 1e-3, nn.functional.mse_loss), CPU, shares=[1, 0, 0, 0, 0, 3])
    assert set(data.drawn) == {0, 5}
    assert 0.68 < data.drawn.count(5) / len(data.drawn) < 0.82


def test_same_seed_same_losses_and_they_fall() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(1)
        network = nn.Linear(1, 1)
        runs.append(fit(network, Points(), Schedule(60, 2, 0.1, nn.functional.mse_loss), CPU, seed=3).loss)
    assert runs[0] == runs[1]
    assert sum(runs[0][-10:]) < 0.2 * sum(runs[0][:10])


def test_the_first_loss_is_used_for_the_first_steps() -> None:
    used: list[str] = []

    def named(name: str) -> object:
        def loss(output: Tensor, label: Tensor) -> Tensor:
            used.append(name)
            return nn.functional.mse_loss(output, label)

        return loss

    fit(nn.Linear(1, 1), Points(), Schedule(5, 2, 1e-2, named("dice"), named("bce"), 2), CPU)
    assert used == ["bce", "bce", "dice", "dice", "dice"]


def test_a_loss_that_is_no_number_ends_the_training_with_the_step() -> None:
    def broken(output: Tensor, label: Tensor) -> Tensor:
        return nn.functional.mse_loss(output, label) * float("nan")

    with pytest.raises(MonaiLungError, match="step 1"):
        fit(nn.Linear(1, 1), Points(), Schedule(5, 2, 1e-2, broken), CPU)


def test_fewer_items_than_a_batch_are_refused() -> None:
    with pytest.raises(UsageError, match="6 nodules don't fill a batch of 7"):
        fit(nn.Linear(1, 1), Points(), Schedule(5, 7, 1e-2, nn.functional.mse_loss), CPU)


def test_coarser_heads_weigh_half_each() -> None:
    output = torch.stack([torch.full((2, 1, 4, 4, 4), v) for v in (1.0, 3.0)], dim=1)

    def mean(head: Tensor, label: Tensor) -> Tensor:
        return head.mean()

    assert float(over_heads(mean, output, torch.zeros(1))) == pytest.approx((1 + 3 / 2) / 1.5)
