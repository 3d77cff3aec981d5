"""The outputs of two networks, joined and calibrated: in an evaluation on crops, with its figures, and in CTs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from monai_lung.bundle.cases import item_pairs, write_predictions
from monai_lung.data.crops import CropRow
from monai_lung.data.ratings import malignancy_labels
from monai_lung.definitions import settings
from monai_lung.inference.rate import calibrate, rating_as_probability
from monai_lung.metrics.figures import Statistic, auc_of, ece_by_chance, ece_of, figure, mean_of, write_metrics
from monai_lung.model import Rating
from monai_lung.stages import SLICE_TARGETS, TARGETS, RateSettings


@dataclass(frozen=True)
class Said:
    """The outputs of the two networks for one nodule: `nodule` logits (T,), and the logit of the malignancy."""

    item: Mapping[str, Any]
    nodule: NDArray[np.float64]
    malignancy: float


class NoduleLogits(ABC):
    """The outputs of two evaluators for the same nodules, one with the rating network, one with the malignancy's.

    `LogitsHandler` fills it in.
    """

    def __init__(self) -> None:
        self._items: dict[Hashable, Mapping[str, Any]] = {}
        self._logits: dict[str, dict[Hashable, NDArray[np.float64]]] = {"nodule": {}, "malignancy": {}}

    @abstractmethod
    def key(self, item: Mapping[str, Any]) -> Hashable:
        """The same for two items of one nodule, and for no other."""

    def clear(self, of: str) -> None:
        """Forget what a network said."""
        self._logits[of].clear()

    def add(self, of: str, item: Mapping[str, Any], logits: NDArray[np.float64]) -> None:
        """The output of the network `of` ("nodule" or "malignancy") for an item (T,)."""
        key = self.key(item)
        self._items[key] = {name: value for name, value in item.items() if not isinstance(value, torch.Tensor)}
        self._logits[of][key] = logits

    def said(self) -> list[Said]:
        """All nodules, in the order of the evaluators."""
        column, malignancy = SLICE_TARGETS.index("malignancy"), self._logits["malignancy"]
        return [
            Said(self._items[key], nodule, float(malignancy[key][column]))
            for key, nodule in self._logits["nodule"].items()
        ]


class LogitsHandler:
    """Ignite handler: hands an evaluator's `pred` of each item on.

    Args:
        scores: takes it.
        of: whose it is, "nodule" or "malignancy".
    """

    def __init__(self, scores: NoduleLogits, of: Literal["nodule", "malignancy"]) -> None:
        self.scores, self.of = scores, of

    def attach(self, engine: Engine) -> None:
        """Hand on after each iteration."""
        engine.add_event_handler(Events.STARTED, lambda: self.scores.clear(self.of))
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Hand the items of one iteration on."""
        for item, output in item_pairs(engine):
            self.scores.add(self.of, item, output["pred"].double().cpu().numpy())


class PredictionTable(NoduleLogits):
    """Calibrated ratings of nodules in CTs as `predictions.csv`: `case, nodule, malignancy_probability, low, high`.

    Args:
        rate_settings: as in the bundle's config.
        bundle_root: named in errors.
        output_dir: where to.
    """

    def __init__(self, rate_settings: Mapping[str, Any], bundle_root: Path | str, output_dir: Path | str) -> None:
        super().__init__()
        self.settings = settings(RateSettings, rate_settings, Path(bundle_root))
        self.path = Path(output_dir) / "predictions.csv"

    def key(self, item: Mapping[str, Any]) -> Hashable:
        """Case and number of the nodule."""
        return item["case"], item["nodule"]

    def write(self) -> None:
        """Write the table; without a nodule it has its header alone.

        Raises:
            OutputError: the file can't be written.
        """
        rows = [
            ((one.item["case"], one.item["nodule"]), calibrate(one.nodule, one.malignancy, self.settings))
            for one in self.said()
        ]
        write_predictions(self.path, ("case", "nodule"), rows)


@dataclass(frozen=True)
class _Rated:
    """A crop with its rating; `network` is the logit of the network's own malignancy."""

    row: CropRow
    rating: Rating
    network: float
    outlined: bool


class MalignancyScores(NoduleLogits):
    """The calibrated ratings of crops and how good they are: `predictions.csv` and `metrics.json`.

    Args:
        rows: of the crops, in the order that items name.
        rate_settings: as in the bundle's config.
        bundle_root: named in errors.
        output_dir: where to.
        mask: "predicted" or "readers", for the record.
        weights: file name to sha256 of what was evaluated.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        rows: Sequence[CropRow],
        rate_settings: Mapping[str, Any],
        bundle_root: Path | str,
        output_dir: Path | str,
        mask: str,
        weights: Mapping[str, str],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.rows, self.output_dir, self.mask = rows, Path(output_dir), mask
        self.settings = settings(RateSettings, rate_settings, Path(bundle_root))
        self.weights, self.seed = dict(weights), seed
        self._rated: list[_Rated] = []

    def key(self, item: Mapping[str, Any]) -> Hashable:
        """Place of the crop in `rows`."""
        return int(item["row"])

    def write(self) -> None:
        """Write `predictions.csv` and `metrics.json`.

        Raises:
            OutputError: a file can't be written.
        """
        self._rated = [self._rate(one) for one in self.said()]
        table = [((r.row.id,), r.rating) for r in self._rated]
        write_predictions(self.output_dir / "predictions.csv", ("id",), table)
        protocol = {
            "mask": self.mask,
            "not_outlined": sum(not r.outlined for r in self._rated),
            "labels": "median or mean of the readers' malignancy above 3 is malignant, 3 left out",
            "threshold": 0.5,
            "auc_of_network_alone": "the malignancy of the 3D network, which the shipped networks don't use",
            "ece_by_chance": "that of a perfectly calibrated model on as many nodules: mean, and 95 % of draws",
            "kept": f"share of the nodules that rating keeps, at a probability of {self.settings.min_nodule}",
            "coverage": "share of nodules whose readers' mean rating, on the probability's scale, lies in the interval",
        }
        content = {"task": "classification", "protocol": protocol, "weights": self.weights, "seed": self.seed}
        write_metrics(self.output_dir / "metrics.json", {**content, "figures": self.figures()})

    def _rate(self, said: Said) -> _Rated:
        rating = calibrate(said.nodule, said.malignancy, self.settings)
        own = float(said.nodule[TARGETS.index("malignancy")])
        return _Rated(self.rows[int(said.item["row"])], rating, own, bool(said.item["outlined"]))

    def figures(self) -> dict[str, dict[str, Any]]:
        """Figure -> group of nodules -> value with interval."""
        result: dict[str, dict[str, Any]] = {}
        rated = [r for r in self._rated if r.row.ratings.get("malignancy")]
        for rule in ("median", "mean"):
            labels = [malignancy_labels(r.row.ratings["malignancy"], rule)[0] for r in rated]
            kept = [(r, bool(label)) for r, label in zip(rated, labels, strict=True) if label is not None]
            patients = [r.row.patient for r, _ in kept]
            for name, statistic in _class_statistics(kept).items() if kept else ():
                result.setdefault(name, {})[f"{rule} label"] = figure(statistic, patients, seed=self.seed)
            if kept:
                probability = np.array([r.rating.malignancy_probability for r, _ in kept])
                chance = ece_by_chance(probability, patients, seed=self.seed)
                result.setdefault("ece_by_chance", {})[f"{rule} label"] = chance
        if rated:
            inside = [float(_covers(r.rating, r.row, self.settings)) for r in rated]
            patients = [r.row.patient for r in rated]
            result["interval_coverage"] = {"all": figure(mean_of(inside), patients, seed=self.seed)}
        if self._rated:
            nodules = [float(r.rating.nodule_probability >= self.settings.min_nodule) for r in self._rated]
            patients = [r.row.patient for r in self._rated]
            result["kept"] = {"all": figure(mean_of(nodules), patients, seed=self.seed)}
        return result


def _class_statistics(kept: Sequence[tuple[_Rated, bool]]) -> dict[str, Statistic]:
    probability = np.array([r.rating.malignancy_probability for r, _ in kept])
    malignant = np.array([label for _, label in kept])
    right = ((probability >= 0.5) == malignant).astype(float)
    auc = auc_of(probability, malignant)
    statistics: dict[str, Statistic] = {"auc": auc}
    if all(r.row.diameter_mm is not None for r, _ in kept):
        alone = auc_of(np.array([float(r.row.diameter_mm or 0) for r, _ in kept]), malignant)
        statistics["auc_of_diameter_alone"] = alone
        statistics["auc_gain_over_diameter"] = lambda weights: auc(weights) - alone(weights)
    return statistics | {
        "auc_of_network_alone": auc_of(np.array([r.network for r, _ in kept]), malignant),
        "accuracy": mean_of(right),
        "recall": mean_of(np.where(malignant, right, np.nan)),
        "specificity": mean_of(np.where(malignant, np.nan, right)),
        "ece": ece_of(probability, malignant),
        "brier": mean_of((probability - malignant) ** 2),
    }


def _covers(rating: Rating, row: CropRow, settings: RateSettings) -> bool:
    low, high = rating.malignancy_interval
    return low <= rating_as_probability(float(np.mean(row.ratings["malignancy"])), settings) <= high
