"""The files of a training: its state, its best network, and the patients that it has learned from."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_lung.errors import UsageError, WeightsError
from monai_lung.io.output import replacing
from monai_lung.weights import read_checkpoint

log = logging.getLogger(__name__)


def patient_hash(patient: str) -> str:
    """Stands for a patient in a checkpoint: one has to have an ID to find it.

    That hides no ID which can be guessed: LIDC-IDRI's, which are public, can all be tried.
    """
    return hashlib.sha256(f"monai-lung {patient}".encode()).hexdigest()


def patients_of(checkpoint: Path | str) -> frozenset[str] | None:
    """Hashes of the patients whose nodules the weights of a checkpoint learned from, None where it doesn't say.

    Raises:
        WeightsError: the file is missing, damaged or no checkpoint.
    """
    hashes = read_checkpoint(checkpoint).get("trained_on")
    return frozenset(hashes) if isinstance(hashes, list) else None


class TrainedOn:
    """Whose nodules a training draws; part of its `Resumable`, so that it isn't resumed with those of others.

    Args:
        data: items that are drawn from, each with a `nodule`.
        start: checkpoint that the training starts from, whose patients its weights know as well; "" for none. Where
            that doesn't say whom it knows, neither does this.

    Raises:
        WeightsError: `start` is missing, damaged or no checkpoint.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], start: Path | str = "") -> None:
        earlier = patients_of(start) if start else frozenset()
        own = {patient_hash(nodule.row.patient) for nodule in (item["nodule"] for item in data)}
        self.hashes = None if earlier is None else sorted(own | earlier)

    def state_dict(self) -> dict[str, list[str] | None]:
        """Hashes in order, None where they aren't known."""
        return {"hashes": self.hashes}

    def load_state_dict(self, state: Mapping[str, list[str] | None]) -> None:
        """Nothing to load: what was drawn before has to be what is drawn from now on.

        Raises:
            ValueError: it isn't.
        """
        if state["hashes"] != self.hashes:
            raise ValueError("it learned from other patients: give the same data, folds, patients left out and start")


class WithPatients:
    """The content of a checkpoint: a network's weights (`model`), and the patients they learned from (`trained_on`)."""

    def __init__(self, network: torch.nn.Module, trained_on: TrainedOn) -> None:
        self.network, self.trained_on = network, trained_on

    def state_dict(self) -> dict[str, Any]:
        """Both, as `torch.save` takes them."""
        return {"model": self.network.state_dict(), "trained_on": self.trained_on.hashes}


class Resumable:
    """Saves after each epoch what a training needs to continue (`resume.pt`), and continues from it.

    Args:
        output_dir: where `resume.pt` is.
        objects: with `state_dict` and `load_state_dict`, by name.
        resume: continue from `resume.pt` if it's there; False starts over, where nothing would be overwritten.
    """

    def __init__(self, output_dir: Path | str, objects: Mapping[str, Any], resume: bool) -> None:
        self.path = Path(output_dir) / "resume.pt"
        self.objects = {name: getattr(o, "module", o) for name, o in objects.items()}  # out of DistributedDataParallel
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Load before the first epoch, save after each."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Go on where the file ends, if there is one and it's wanted.

        Raises:
            UsageError: there is one, and it isn't wanted: a new training would overwrite it.
            WeightsError: the file is damaged or of another training.
        """
        if not self.path.is_file():
            return
        if not self.resume:
            raise UsageError(f"{self.path.parent} holds a training: resume it, or give another output folder")
        plan = self._plan()
        try:
            state = read_checkpoint(self.path)
            for name, o in self.objects.items():
                o.load_state_dict(state[name])
            engine.state.iteration, engine.state.epoch = state["iteration"], state["epoch"]
            if self._plan() != plan:
                raise ValueError(f"its learning-rate schedule was {self._plan()}, and is now {plan}")
        except Exception as error:  # torch raises many kinds
            raise WeightsError(
                f"{self.path}: can't continue from it ({error}); start a new training from its last checkpoint, "
                "in another output folder"
            ) from error
        log.info("%s: continuing after epoch %d", self.path, engine.state.epoch)

    def _plan(self) -> list[str]:
        """How high the learning rate is, and when it changes as far as that depends on the training's length."""
        cycles = [f"{o.total_steps - 1} steps" for o in self.objects.values() if hasattr(o, "total_steps")]
        falls = [o.milestones for o in self.objects.values() if hasattr(o, "milestones")]
        groups = [g for o in self.objects.values() for g in getattr(o, "param_groups", []) if "initial_lr" in g]
        rates = [f"a rate of {group.get('max_lr', group['initial_lr']):g}" for group in groups]
        return cycles + [f"falls after steps {sorted(f)}" for f in falls if f] + rates

    def save(self, engine: Engine) -> None:
        """Save; of several processes the first does.

        Raises:
            OutputError: the file can't be written.
        """
        if idist.get_rank() == 0:
            counters = {"iteration": engine.state.iteration, "epoch": engine.state.epoch}
            with replacing(self.path) as temporary:
                torch.save(counters | {name: o.state_dict() for name, o in self.objects.items()}, temporary)


class BestCheckpoint:
    """Keeps the network with the highest key metric as `model_best.pt`, over a resumed training too.

    NaN is below every number; where all are NaN, the first network is kept.

    It attaches to the evaluator; a trainer's `Resumable` takes it among its objects.

    Args:
        output_dir: where the file goes.
        network: whose weights are kept, bare or `WithPatients`.
    """

    def __init__(self, output_dir: Path | str, network: torch.nn.Module | WithPatients) -> None:
        self.path = Path(output_dir) / "model_best.pt"
        self.network = network
        self.metric, self.epoch = -math.inf, 0

    def attach(self, engine: Engine) -> None:
        """Look after each validation."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Keep the network if it's better than all before; of several processes the first writes.

        Raises:
            OutputError: the file can't be written.
        """
        metric = float(engine.state.metrics[engine.state.key_metric_name])  # type: ignore[attr-defined]
        metric = -math.inf if math.isnan(metric) else metric  # of a fold of benign nodules alone there is no AUC
        if self.epoch and metric <= self.metric:
            return
        self.metric, self.epoch = metric, engine.state.epoch
        if idist.get_rank() == 0:
            with replacing(self.path) as temporary:
                torch.save(self.network.state_dict(), temporary)

    def state_dict(self) -> dict[str, float]:
        """The best metric and its epoch."""
        return {"metric": self.metric, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from `state_dict`."""
        self.metric, self.epoch = state["metric"], int(state["epoch"])
