"""The parts around the steps of every training: the handlers that the training configs share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ignite.engine import Engine
from ignite.handlers import EMAHandler, ProgressBar
from monai.handlers import CheckpointSaver, StatsHandler, TensorBoardStatsHandler, from_engine

from monai_lung.errors import UsageError
from monai_lung.training.checkpoints import BestCheckpoint, Resumable
from monai_lung.training.handlers import LossCurve, RampEma, SeedEpochs, StopAtNan, StopEarly, WaitShare


class _Handler(Protocol):
    def attach(self, engine: Engine) -> None: ...


def chosen(recipes: Mapping[str, Any], recipe: str) -> Any:
    """The settings of a recipe.

    Raises:
        UsageError: there is none of that name.
    """
    if recipe not in recipes:
        raise UsageError(f"recipe {recipe}: the config has only {', '.join(sorted(recipes))}")
    return recipes[recipe]


class Handlers:
    """Several Ignite handlers as one, attached in their order."""

    def __init__(self, *handlers: _Handler | None) -> None:
        self.handlers = [handler for handler in handlers if handler is not None]

    def attach(self, engine: Engine) -> None:
        """Attach all."""
        for handler in self.handlers:
            handler.attach(engine)


class BeforeSteps(Handlers):
    """The handlers before the learning rate and the validation.

    A running average of the weights, whose momentum rises to what the config says; the same draws in each epoch however
    often the training was interrupted; how long the steps wait for their data; an end where the loss is NaN.

    Args:
        ema: Ignite's `EMAHandler`.
        seed: of the run.
        dataset: that is drawn from.
    """

    def __init__(self, ema: EMAHandler, seed: int, dataset: object) -> None:
        super().__init__(ema, RampEma(ema.momentum), WaitShare(), SeedEpochs(seed, dataset), StopAtNan())


class AfterSteps(Handlers):
    """The handlers after the validation: an early end, the log, the loss as a curve, checkpoints, and resuming.

    Args:
        output_dir: where all of it goes.
        network: whose weights the checkpoints hold: the running average's.
        best: of the evaluator.
        objects: of `Resumable`.
        resume: continue from what `output_dir` holds.
        patience: epochs without a better metric after which the training ends; 0 for none.
        progress: show a bar.
        tensorboard: write events.
    """

    def __init__(
        self,
        output_dir: Path | str,
        network: Any,
        best: BestCheckpoint,
        objects: Mapping[str, Any],
        *,
        resume: bool = False,
        patience: int = 0,
        progress: bool = False,
        tensorboard: bool = False,
    ) -> None:
        loss = from_engine(["loss"], first=True)
        first = int(os.environ.get("RANK", "0")) == 0
        super().__init__(
            StopEarly(best, patience) if patience else None,
            StatsHandler(tag_name="loss", output_transform=loss, iteration_log=False),
            LossCurve(output_dir),
            TensorBoardStatsHandler(log_dir=str(output_dir), tag_name="loss", output_transform=loss, epoch_log=False)
            if tensorboard and first
            else None,
            CheckpointSaver(
                save_dir=str(output_dir),
                save_dict={"model": network},
                save_final=True,
                save_interval=4,
                n_saved=1,
                epoch_level=True,
            ),
            ProgressBar() if progress else None,
            Resumable(output_dir, objects, resume),
        )
