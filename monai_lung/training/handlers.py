"""Ignite handlers that MONAI lacks."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from monai_lung.errors import MonaiLungError, UsageError
from monai_lung.io.output import replacing
from monai_lung.training.checkpoints import BestCheckpoint

log = logging.getLogger(__name__)
_GO_ON = "the last checkpoint is sound: start a new training from it, in another output folder"
TELL_SECONDS = 60.0
"""How long a training is silent at most, but for one step."""


class SwitchLoss:
    """Gives the trainer another loss after some epochs: binary cross-entropy for three, then Dice, say.

    It looks at each epoch's start, so a resumed training has the right one.

    Args:
        loss_function: from epoch `after + 1` on.
        after: epochs with the trainer's own loss.
    """

    def __init__(self, loss_function: Callable[..., torch.Tensor], after: int) -> None:
        self.loss_function, self.after = loss_function, after

    def attach(self, engine: Engine) -> None:
        """Look at each epoch's start."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Switch if it's time."""
        if engine.state.epoch > self.after:
            engine.loss_function = self.loss_function  # type: ignore[attr-defined]


class RampEma:
    """Lets Ignite's `EMAHandler` forget the first weights soon: it averages over a ninth of the steps done so far.

    The momentum is 9 / (10 + step), down to what the handler has in the long run. It depends on the step alone, so a
    resumed training continues as one that wasn't interrupted (Ignite's own warm-up starts over).

    Args:
        momentum: of the `EMAHandler`.
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum

    def attach(self, engine: Engine) -> None:
        """Set it before each step."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the momentum of this step."""
        engine.state.ema_momentum = max(  # type: ignore[attr-defined]
            self.momentum, 9 / (10 + engine.state.iteration)
        )


class SeedEpochs:
    """Seeds torch again at each epoch, so that a resumed training draws the same as one that wasn't interrupted.

    Args:
        seed: of the run.
        dataset: with `set_epoch(epoch)`, from 0.
    """

    def __init__(self, seed: int, dataset: object = None) -> None:
        self.seed, self.dataset = seed, dataset

    def attach(self, engine: Engine) -> None:
        """Seed before each epoch's data are ordered."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed for the epoch that starts."""
        epoch = engine.state.epoch - 1
        torch.manual_seed(self.seed * 100_003 + epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)


class StopEarly:
    """Ends a training whose key metric hasn't risen for a number of epochs.

    Args:
        best: the evaluator's.
        patience: epochs without a better metric.
    """

    def __init__(self, best: BestCheckpoint, patience: int) -> None:
        self.best, self.patience = best, patience

    def attach(self, engine: Engine) -> None:
        """Look after each epoch's validation: attach it after the `ValidationHandler`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """End the training if it's time."""
        if self.best.epoch and engine.state.epoch - self.best.epoch >= self.patience:
            better = "better" if math.isfinite(self.best.metric) else "defined"
            log.info("no %s validation metric since epoch %d: stopped", better, self.best.epoch)
            engine.terminate()


class StopAtNan:
    """Ends a training whose loss or weights aren't finite, before the weights are saved.

    It attaches to a trainer, before what validates and saves.
    """

    def attach(self, engine: Engine) -> None:
        """Look at each iteration's loss, and at the weights after each epoch."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_weights)

    def __call__(self, engine: Engine) -> None:
        """Look at the loss.

        Raises:
            MonaiLungError: it's infinite or no number.
        """
        loss = _loss(engine)
        if not math.isfinite(loss):
            state = engine.state
            batch: list[Any] = state.batch if isinstance(state.batch, list) else []  # decollated: one item per nodule
            ids = [str(item["id"]) for item in batch if "id" in item]
            named = f" ({', '.join(ids)})" if ids else ""
            raise MonaiLungError(
                f"the loss is {loss} in epoch {state.epoch}, iteration {state.iteration}{named}: "
                f"lower the learning rate, or look for damaged crops; {_GO_ON}"
            )

    def check_weights(self, engine: Engine) -> None:
        """Look at the weights: a step can break them whose loss was sound.

        Raises:
            MonaiLungError: some are infinite or no numbers.
        """
        weights = engine.network.state_dict()  # type: ignore[attr-defined]
        wrong = [name for name, values in weights.items() if not values.isfinite().all()]
        if wrong:
            when = f"after epoch {engine.state.epoch}"
            raise MonaiLungError(f"{when} weights ({wrong[0]}) are NaN or infinite: lower the learning rate; {_GO_ON}")


class WaitShare:
    """Logs after each epoch how many patches a second were learned from, and the share of the time spent on the wait.

    A share above some percent says that the device idles: raise `num_workers`. Attached before what runs after an epoch
    (validation, checkpoints), it leaves that out. Of several processes the first tells, as if all were as quick.
    """

    def __init__(self) -> None:
        self._began = self._waited = self._asked = 0.0
        self._items = 0

    def attach(self, engine: Engine) -> None:
        """Take the time around each batch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._ask)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._got)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _begin(self, engine: Engine) -> None:
        self._began, self._waited, self._items = time.perf_counter(), 0.0, 0

    def _ask(self, engine: Engine) -> None:
        self._asked = time.perf_counter()

    def _got(self, engine: Engine) -> None:
        self._waited += time.perf_counter() - self._asked
        batch: Any = engine.state.batch
        self._items += len(batch["image"])

    def __call__(self, engine: Engine) -> None:
        """Log the epoch's figures."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        speed, share = idist.get_world_size() * self._items / seconds, 100 * self._waited / seconds
        if idist.get_rank() == 0:
            log.info("%.1f patches/s, %.0f %% of the time waiting for data", speed, share)


class LossCurve:
    """Writes `loss.csv` (epoch, mean loss) after each epoch, and its picture `loss.png` where matplotlib is installed.

    It logs the loss after each epoch, and within one about once a minute. Of several processes the first writes the
    mean of all.

    Args:
        output_dir: where to; a table that is there is continued.
    """

    def __init__(self, output_dir: Path | str) -> None:
        self.output_dir = Path(output_dir)
        self._sum, self._count = 0.0, 0
        self._told = 0.0

    def attach(self, engine: Engine) -> None:
        """Sum up iterations, write after epochs."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _start(self, engine: Engine) -> None:
        self._told = time.monotonic()
        if idist.get_rank() == 0:
            log.info("%d epochs of %d steps", engine.state.max_epochs or 0, engine.state.epoch_length or 0)

    def _add(self, engine: Engine) -> None:
        self._sum, self._count = self._sum + _loss(engine), self._count + 1
        if idist.get_rank() == 0 and time.monotonic() - self._told > TELL_SECONDS:
            self._told, steps = time.monotonic(), engine.state.epoch_length or 0
            mean = self._sum / self._count
            log.info("epoch %d, step %d of %d: loss %.4f", engine.state.epoch, self._count, steps, mean)

    def __call__(self, engine: Engine) -> None:
        """Write table and picture.

        Raises:
            OutputError: they can't be written.
        """
        mean = float(idist.all_reduce(self._sum / max(self._count, 1))) / idist.get_world_size()
        self._sum, self._count = 0.0, 0
        if idist.get_rank() > 0:
            return
        self._told = time.monotonic()
        log.info("epoch %d: loss %.4f", engine.state.epoch, mean)
        path = self.output_dir / "loss.csv"
        rows = []
        if path.is_file():
            with path.open(newline="") as file:
                rows = [(int(r["epoch"]), float(r["loss"])) for r in csv.DictReader(file)]
        rows = [r for r in rows if r[0] < engine.state.epoch]
        rows.append((engine.state.epoch, mean))
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerows([("epoch", "loss"), *rows])
        _draw(rows, self.output_dir / "loss.png")


def lr_schedule(optimizer: Optimizer, kind: str, rate: float, steps: int) -> LRScheduler:
    """The learning rate over `steps` iterations.

    Args:
        optimizer: whose rate it is.
        kind: "one-cycle" rises to `rate` and falls (Smith 2019); "thirds" starts at `rate` and divides it by ten after
            each third, as in Yu 2021 (which doesn't say when); "constant" is `rate` throughout.
        rate: the highest.
        steps: iterations of the whole training.

    Raises:
        UsageError: another kind, or no step at all.
    """
    if steps < 1:
        raise UsageError("an epoch has no full batch to learn from: lower the recipe's batch, or give more nodules")
    if kind == "one-cycle":
        return OneCycleLR(optimizer, max_lr=rate, total_steps=steps + 1, pct_start=0.08)
    if kind == "thirds":
        return MultiStepLR(optimizer, [max(1, steps // 3), max(2, 2 * steps // 3)], gamma=0.1)
    if kind == "constant":
        return MultiStepLR(optimizer, [])
    raise UsageError(f"learning-rate schedule {kind!r}: must be one-cycle, thirds or constant")


def _loss(engine: Engine) -> float:
    """Mean loss of the iteration's items."""
    output = engine.state.output
    losses = [item["loss"] for item in output] if isinstance(output, list) else [output["loss"]]  # type: ignore[index]
    return sum(float(loss) for loss in losses) / len(losses)


def _draw(rows: list[tuple[int, float]], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    picture = Figure(figsize=(5, 3.2), layout="constrained")
    axes = picture.subplots()
    axes.plot(*zip(*rows, strict=True), marker=".")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    with replacing(path) as temporary:
        picture.savefig(temporary, dpi=120)
