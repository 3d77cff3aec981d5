"""Many cases, of which one that fails doesn't end the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.engines import SupervisedEvaluator

from monai_lung.errors import MonaiLungError
from monai_lung.pipeline import FATAL_ERRORS

log = logging.getLogger(__name__)


class CaseDataset(Dataset):
    """MONAI's `Dataset`; a case whose transforms fail is an item with its `case` and the `error`, for `CaseEvaluator`.

    Args:
        data: items with a name, `case`.
        transform: of an item.
    """

    def __getitem__(self, index: Any) -> Any:
        """The item, or what is wrong with it.

        Raises:
            UsageError, WeightsError, ConfigError: these would hit every case.
        """
        item = self.data[index]
        return _tried(str(item["case"]), lambda: super(CaseDataset, self).__getitem__(index))


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's `SupervisedEvaluator` for one case after the other, each as its dataset gives it, without a batch.

    Arguments are MONAI's. The inferer is called with the image and, as `inside`, the item of that name.

    A case that fails, wherever, is logged and skipped; when all are done, the run ends with an error that lists
    them. An error that would hit every case (weights, configs, the call itself) ends the run at once. Handlers of a
    case find what its transforms have made of it in `engine.state.output`, or None.

    Its data loader needs `batch_size` null and a `collate_fn` that gives its argument back.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Iterable[Any],
        network: torch.nn.Module,
        *,
        postprocessing: Callable[[Any], Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(device, val_data_loader, network, **{**kwargs, "decollate": False})
        self.post = postprocessing
        self.failed: list[str] = []
        self.add_event_handler(Events.STARTED, lambda: self.failed.clear())
        self.add_event_handler(Events.COMPLETED, self._check)

    def _iteration(self, engine: Engine, batchdata: Any) -> Any:
        """The result of the inferer and the transforms after it for a case; None where one fails."""
        case = str(batchdata["case"])
        return self.tried(case, lambda: batchdata if "error" in batchdata else self._infer(batchdata))

    def tried(self, case: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """The result of `run`; None where it fails, which is logged, and the case counts as failed."""
        done = _tried(case, run)
        if "error" in done:
            self.failed.append(case)
        return None if "error" in done else done

    def _infer(self, item: Mapping[str, Any]) -> dict[str, Any]:
        image = item["image"][None].to(self.state.device)
        pred = self.inferer(image, self.network, inside=item["inside"][None])[0]
        return dict(self.post({**item, "pred": pred}))

    def _check(self) -> None:
        """Raise an error that lists the cases that failed."""
        if self.failed:
            raise MonaiLungError(f"{len(self.failed)} cases failed ({', '.join(self.failed)}); the log says why")


def _tried(case: str, run: Callable[[], Any]) -> Any:
    """The result of `run`, or an item that says that it failed, which is logged."""
    try:
        return run()
    except Exception as error:
        own = _own(error)
        if isinstance(own, FATAL_ERRORS):
            raise own from error
        if own is not None:
            log.error("%s: %s", case, own)
        else:
            log.exception("%s: unexpected %s", case, type(error).__name__)
        return {"case": case, "error": str(own or error)}


def _own(error: BaseException | None) -> MonaiLungError | None:
    """The error of ours that MONAI wrapped in its own."""
    while error is not None and not isinstance(error, MonaiLungError):
        error = error.__cause__
    return error
