"""From kept predictions to scored nodules: what tables and pictures are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from monai_lung.bundle.segmentation_scores import Overlap, dice, overlap
from monai_lung.data.crops import Crop
from monai_lung.data.ratings import SIZE_CLASSES, LabelRule, malignancy_labels, size_class, texture_class
from monai_lung.metrics.figures import Statistic, auc_of, ece_by_chance, ece_of, figure, mean_of
from monai_lung.training.calibration import fit_platt
from research.study import malignancy, segmentation
from research.study.malignancy import ALL, SIMPLE, MaskKind, cross_fitted, features
from research.study.segmentation import load_masks
from research.study.store import Predictions, Study

TEXTURES = ("solid", "part-solid", "ground-glass")
Figure = Mapping[str, float | int | None]
"""What `metrics.figures.figure` gives: value, low, high, n, patients."""


@dataclass(frozen=True)
class Segmented:
    """A network's nodules with their overlap, and the predictions' facts and losses, by fold."""

    nodules: Sequence[tuple[Crop, Overlap]]
    folds: Mapping[int, Predictions]

    def figure(self, name: str, keep: Callable[[Crop], bool] = lambda crop: True) -> Figure | None:
        """Mean of a figure of `Overlap` over the nodules that `keep` wants; None without any."""
        kept = [(c, getattr(o, name)) for c, o in self.nodules if keep(c)]
        kept = [(c, v) for c, v in kept if not np.isnan(v)]
        if not kept:
            return None
        return figure(mean_of([v for _, v in kept]), [c.row.patient for c, _ in kept])

    def gain(self, name: str, other: Segmented) -> Figure:
        """Mean difference of a figure of `Overlap` to `other`, nodule by nodule."""
        theirs = {c.row.id: getattr(o, name) for c, o in other.nodules}
        pairs = [(c, getattr(o, name) - theirs[c.row.id]) for c, o in self.nodules if c.row.id in theirs]
        return figure(mean_of([v for _, v in pairs]), [c.row.patient for c, _ in pairs])

    def on(self, folds: Collection[int]) -> Segmented:
        """Of these folds alone."""
        held = {i for f in folds for i in self.folds[f].ids}
        return Segmented([n for n in self.nodules if n[0].row.id in held], {f: self.folds[f] for f in folds})


@lru_cache
def segmented(study: Study, name: str) -> Segmented | None:
    """All folds that a network was run on, None without any."""
    nodules: list[tuple[Crop, Overlap]] = []
    folds = {}
    for fold in range(study.n_folds):
        found, masks = segmentation.load(study, name, fold), load_masks(study, name, fold)
        if found is not None and masks is not None:
            folds[fold] = found
            nodules += [
                (c, overlap(masks[c.row.id], c.votes, c.row.n_readers, float(np.prod(c.spacing_mm))))
                for c in study.split(fold)[1]
            ]
    return Segmented(nodules, folds) if folds else None


def groups() -> dict[str, Callable[[Crop], bool]]:
    """Groups of nodules by size and texture."""
    sizes = {name: _sized(name) for name in SIZE_CLASSES}
    halves = {"<= 10 mm": lambda c: _mm(c) <= 10, "> 10 mm": lambda c: _mm(c) > 10}
    textures = {name: _textured(name) for name in TEXTURES}
    return {"all": lambda c: True, **halves, **sizes, **textures}


def _mm(crop: Crop) -> float:
    return crop.row.diameter_mm or 0.0


def _sized(name: str) -> Callable[[Crop], bool]:
    return lambda crop: size_class(_mm(crop)) == name


def _textured(name: str) -> Callable[[Crop], bool]:
    return lambda crop: texture_class(crop.row.ratings["texture"]) == name


def readers_overlap(crop: Crop) -> dict[str, float]:
    """Dice of the readers among themselves: the mean over pairs, over each against half of the others, and of all."""
    masks = [((crop.readers >> bit) & 1).astype(bool) for bit in range(crop.row.n_readers)]
    total = crop.votes.astype(int)
    others = crop.row.n_readers - 1
    return {
        "two readers": fmean(dice(a, b) for a, b in combinations(masks, 2)),
        "a reader against half of the others": fmean(dice(m, 2 * (total - m) >= others) for m in masks),
        "a reader against half of all": fmean(dice(m, crop.share >= 0.5) for m in masks),
    }


@dataclass(frozen=True)
class Judged:
    """Scored nodules (or readers' marks) with a label, all arrays (n,).

    Attributes:
        scores: higher is more malignant.
        probability: the scores calibrated on other patients (`calibrated`).
        ln_diameter: of the mask that was judged.
        folds: of the nodules.
        steps: of the training, 0 where nothing was trained by steps.
    """

    crops: Sequence[Crop]
    scores: NDArray[np.float64]
    malignant: NDArray[np.bool_]
    probability: NDArray[np.float64]
    ln_diameter: NDArray[np.float64]
    folds: NDArray[np.int64]
    steps: int = 0

    @property
    def patients(self) -> list[str]:
        """Patient of each."""
        return [c.row.patient for c in self.crops]

    @cached_property
    def figures(self) -> dict[str, Figure | None]:
        """AUC, gain over the diameter, accuracy, recall, specificity, Brier, ECE, with intervals; ECE by chance."""
        found: dict[str, Figure | None] = {name: figure(s, self.patients) for name, s in self._statistics().items()}
        apart = len({c.row.id for c in self.crops}) == len(self.crops)  # marks of one nodule aren't drawn apart
        return found | {"ECE by chance": ece_by_chance(self.probability, self.patients) if apart else None}

    def _statistics(self) -> dict[str, Statistic]:
        auc, alone = auc_of(self.scores, self.malignant), auc_of(self.ln_diameter, self.malignant)
        right = ((self.probability >= 0.5) == self.malignant).astype(float)
        return {
            "AUC": auc,
            "gain": lambda weights: auc(weights) - alone(weights),
            "accuracy": mean_of(right),
            "recall": mean_of(np.where(self.malignant, right, np.nan)),
            "specificity": mean_of(np.where(self.malignant, np.nan, right)),
            "Brier": mean_of((self.probability - self.malignant) ** 2),
            "ECE": ece_of(self.probability, self.malignant),
        }


@lru_cache(maxsize=64)
def judged(study: Study, name: str, rule: LabelRule, kind: MaskKind) -> Judged | None:
    """A model's scores with labels by `rule`, on the folds that have predictions with masks of `kind`."""
    crops = {c.row.id: c for c in study.crops}
    labels = {i: malignancy_labels(c.row.ratings["malignancy"], rule) for i, c in crops.items()}
    measured = {f: (features(study, "readers", f), features(study, kind, f)) for f in range(study.n_folds)}
    by_fold = {f: (a, b) for f, (a, b) in measured.items() if a is not None and b is not None}
    steps, scores = 0, {}
    if name in SIMPLE and len(by_fold) > 1:
        scores = cross_fitted(name, labels, by_fold)
    elif name in ALL:
        for one in [found for f in by_fold if (found := malignancy.load(study, name, f))]:
            scores |= dict(zip(one.ids, one.values[kind].tolist(), strict=True))
            steps = int(one.facts["steps"])
    ln_diameter = {i: v[0] for _, p in by_fold.values() for i, v in zip(p.ids, p.values["features"], strict=True)}
    rows = [(i, label) for i in scores for label in labels[i] if label is not None and not np.isnan(scores[i])]
    if len({label for _, label in rows}) < 2:
        return None
    who = [crops[i] for i, _ in rows]
    values, malignant = np.array([scores[i] for i, _ in rows]), np.array([bool(label) for _, label in rows])
    folds = np.array([study.fold_of(c) for c in who])
    probability = calibrated(values, malignant, folds, [c.row.patient for c in who])
    size = np.array([ln_diameter[i] for i, _ in rows])
    return Judged(who, values, malignant, probability, size, folds, steps)


def calibrated(
    scores: NDArray[np.float64], malignant: NDArray[np.bool_], folds: NDArray[np.int64], patients: Sequence[str]
) -> NDArray[np.float64]:
    """Probabilities (n,) by a slope and an offset (Platt 1999), those of each fold fitted on the other folds' scores.

    A single fold is halved by patients, and each half calibrated on the other.
    """
    parts = folds
    if len(np.unique(folds)) == 1:
        names = np.unique(patients)
        parts = np.isin(patients, np.random.default_rng(0).permutation(names)[: len(names) // 2]).astype(int)
    result = np.zeros(len(scores))
    for part in np.unique(parts):
        here = parts == part
        slope, offset = fit_platt(scores[~here], malignant[~here])
        result[here] = 1 / (1 + np.exp(-(slope * scores[here] + offset)))
    return result


def readers_malignancy(study: Study) -> dict[str, Figure]:
    """One reader's rating against the median of the others: AUC, and accuracy where the rating isn't 3."""
    rows = []
    for crop in study.crops:
        ratings = crop.row.ratings["malignancy"]
        for k, own in enumerate(ratings):
            (label,) = malignancy_labels([r for n, r in enumerate(ratings) if n != k] or [3], "median")
            if label is not None:
                rows.append((crop.row.patient, float(own), label))
    patients = [r[0] for r in rows]
    scores, malignant = np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
    right = np.where(scores == 3, np.nan, (scores > 3) == malignant)
    return {"AUC": figure(auc_of(scores, malignant), patients), "accuracy": figure(mean_of(right), patients)}


__all__ = ["Judged", "Segmented", "calibrated", "groups", "judged", "readers_malignancy",
           "readers_overlap", "segmented"]  # fmt: skip
