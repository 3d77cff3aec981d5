"""Ignite handlers that calibrate ratings: of an evaluation on crops, with its figures, and of nodules in CTs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_lung.data.crops import CropRow
from monai_lung.data.lidc.labels import malignancy_labels
from monai_lung.inference.networks import RateSettings, load_rater, settings
from monai_lung.inference.rate import calibrate, mirrored_logits
from monai_lung.model import Rating
from monai_lung.transforms.rating import SLICE_TARGETS, TARGETS
from monai_lung.workflow.cases import item_pairs, write_predictions
from monai_lung.workflow.figures import Statistic, auc_of, ece_by_chance, ece_of, figure, mean_of, write_metrics


class PredictionTable:
    """Ignite handler: calibrates each nodule's logits and writes `predictions.csv` when all are rated.

    Its rows are `case, nodule, malignancy_probability, low, high`.

    Args:
        rate_settings: as in the bundle's config.
        bundle_root: with the network that gives the malignancy.
        output_dir: where to.
        device: to run that network on.
    """

    def __init__(
        self,
        rate_settings: Mapping[str, Any],
        bundle_root: Path | str,
        output_dir: Path | str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings = settings(RateSettings, rate_settings, Path(bundle_root))
        self.device = torch.device(device)
        self.malignancy = load_rater(self.device, Path(bundle_root)).malignancy
        self.path = Path(output_dir) / "predictions.csv"
        self._rows: list[tuple[tuple[str, ...], Rating]] = []

    def attach(self, engine: Engine) -> None:
        """Rate after each iteration, write when the run is complete."""
        engine.add_event_handler(Events.STARTED, lambda: self._rows.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Engine) -> None:
        """Calibrate the items of one iteration."""
        for item, output in item_pairs(engine):
            rating = _rating(output, item, self.malignancy, self.settings, self.device)
            self._rows.append(((item["case"], item["nodule"]), rating))

    def write(self) -> None:
        """Write `predictions.csv`; without a nodule it has its header alone.

        Raises:
            OutputError: the file can't be written.
        """
        write_predictions(self.path, ("case", "nodule"), self._rows)


@dataclass(frozen=True)
class _Rated:
    """A crop with its rating; `network` is the logit of the network's own malignancy."""

    row: CropRow
    rating: Rating
    network: float
    outlined: bool


class MalignancyScores:
    """Ignite handler: calibrates each crop's logits, writes `predictions.csv` and `metrics.json` at the end.

    Args:
        rows: of the crops, in the order that items name.
        rate_settings: as in the bundle's config.
        bundle_root: with the network that gives the malignancy.
        output_dir: where to.
        mask: "predicted" or "readers", for the record.
        weights: file name to sha256 of what was evaluated.
        seed: of the bootstrap.
        device: to run the network on that gives the malignancy.
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
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.output_dir, self.mask = rows, Path(output_dir), mask
        self.settings = settings(RateSettings, rate_settings, Path(bundle_root))
        self.device = torch.device(device)
        self.malignancy = load_rater(self.device, Path(bundle_root)).malignancy
        self.weights, self.seed = dict(weights), seed
        self._rated: list[_Rated] = []

    def attach(self, engine: Engine) -> None:
        """Rate after each iteration, write when the run is complete."""
        engine.add_event_handler(Events.STARTED, lambda: self._rated.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Engine) -> None:
        """Calibrate the items of one iteration."""
        for item, output in item_pairs(engine):
            rating = _rating(output, item, self.malignancy, self.settings, self.device)
            own = float(output["pred"][TARGETS.index("malignancy")])
            self._rated.append(_Rated(self.rows[int(item["row"])], rating, own, bool(item["outlined"])))

    def write(self) -> None:
        """Write `predictions.csv` and `metrics.json`.

        Raises:
            OutputError: a file can't be written.
        """
        table = [((r.row.id,), r.rating) for r in self._rated]
        write_predictions(self.output_dir / "predictions.csv", ("id",), table)
        protocol = {
            "mask": self.mask,
            "not_outlined": sum(not r.outlined for r in self._rated),
            "labels": "median or mean of the readers' malignancy above 3 is malignant, 3 left out",
            "threshold": 0.5,
            "auc_of_network_alone": "the malignancy of the 3D network, which what ships doesn't use",
            "ece_by_chance": "that of a perfectly calibrated model on as many nodules: mean, and 95 % of draws",
            "kept": f"share of the nodules that are taken for one, at {self.settings.min_nodule}",
            "coverage": "share of nodules whose readers' mean rating, on 0...1, lies in the interval",
        }
        content = {"task": "classification", "protocol": protocol, "weights": self.weights, "seed": self.seed}
        write_metrics(self.output_dir / "metrics.json", {**content, "figures": self.figures()})

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
            inside = [float(_covers(r.rating, r.row)) for r in rated]
            patients = [r.row.patient for r in rated]
            result["interval_coverage"] = {"all": figure(mean_of(inside), patients, seed=self.seed)}
        if self._rated:
            nodules = [float(r.rating.nodule_probability >= self.settings.min_nodule) for r in self._rated]
            patients = [r.row.patient for r in self._rated]
            result["kept"] = {"all": figure(mean_of(nodules), patients, seed=self.seed)}
        return result


def _rating(
    output: Mapping[str, Any], item: Mapping[str, Any], malignancy: nn.Module, rates: RateSettings, device: torch.device
) -> Rating:
    (logits,) = mirrored_logits(item["slices"][None].to(device), malignancy)
    return calibrate(output["pred"].double().cpu().numpy(), float(logits[SLICE_TARGETS.index("malignancy")]), rates)


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


def _covers(rating: Rating, row: CropRow) -> bool:
    low, high = rating.malignancy_interval
    return low <= (float(np.mean(row.ratings["malignancy"])) - 1) / 4 <= high
