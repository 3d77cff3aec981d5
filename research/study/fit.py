"""Training for a fixed number of steps: the same loop for every network, so that they can be compared.

The bundles train by Ignite's loop, by epochs, with validation, checkpoints and a moving average of the weights. Here
networks of other packages with other losses and several heads get the same number of steps, with nothing validated on
the way, so that none has an advantage; that is the loop below, and Ignite's would need each of its parts switched off.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, WeightedRandomSampler

from monai_lung.errors import MonaiLungError, UsageError
from monai_lung.training.handlers import lr_schedule

log = logging.getLogger(__name__)
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Schedule:
    """A loss for the first `first_steps` steps, another for the rest, over `steps` steps at a highest `rate`."""

    steps: int
    batch: int
    rate: float
    loss: Loss
    first_loss: Loss | None = None
    first_steps: int = 0


@dataclass(frozen=True)
class History:
    """Loss of each step, and the seconds that the training took."""

    loss: tuple[float, ...]
    seconds: float


def fit(
    network: nn.Module,
    dataset: Any,
    schedule: Schedule,
    device: torch.device,
    seed: int = 0,
    shares: Sequence[float] | None = None,
) -> History:
    """Train `network` in place: AdamW, one-cycle learning rate.

    Args:
        network: on `device`; several heads (N, heads, ...) in training weigh 1, 1/2, 1/4 ...
        dataset: of items with `image` and `label`, with `set_epoch`.
        schedule: losses, steps, batch.
        device: to train on.
        seed: of the order and of dropout.
        shares: how often each item is drawn, with replacement; None for each once an epoch.

    Raises:
        UsageError: the data don't fill a batch.
        MonaiLungError: the loss isn't finite.
    """
    if len(dataset) < schedule.batch:
        raise UsageError(f"{len(dataset)} nodules don't fill a batch of {schedule.batch}: give more")
    torch.manual_seed(seed)
    workers = 8 if device.type == "cuda" else 0
    drawn = WeightedRandomSampler(shares, len(dataset)) if shares is not None else RandomSampler(dataset)
    loader = DataLoader(dataset, schedule.batch, sampler=drawn, drop_last=True, num_workers=workers)
    optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.rate, weight_decay=0.01)
    rates = lr_schedule(optimizer, "one-cycle", schedule.rate, schedule.steps)
    network.train()
    losses: list[float] = []
    start = time.perf_counter()
    for epoch in itertools.count():
        dataset.set_epoch(epoch)
        for item in itertools.islice(loader, schedule.steps - len(losses)):
            early = schedule.first_loss if len(losses) < schedule.first_steps else None
            loss = over_heads(early or schedule.loss, network(item["image"].to(device)), item["label"].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rates.step()
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                raise MonaiLungError(f"the loss is {losses[-1]} in step {len(losses)}: lower the learning rate")
            if len(losses) % 100 == 0:
                log.info("step %d of %d, loss %.3f", len(losses), schedule.steps, sum(losses[-100:]) / 100)
        if len(losses) >= schedule.steps:
            break
    network.eval()
    return History(tuple(losses), time.perf_counter() - start)


def over_heads(loss: Loss, output: Tensor, label: Tensor) -> Tensor:
    """The loss of `output`, which has one head as its label does, or several in its second axis."""
    if output.dim() != 6:
        return loss(output, label)
    weights = [0.5**n for n in range(output.shape[1])]
    heads = zip(weights, output.unbind(1), strict=True)
    return torch.stack([w * loss(head, label) for w, head in heads]).sum() / sum(weights)
