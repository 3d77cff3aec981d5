"""The worth of a split: each reader's mark as a nodule of its own, dealt out by mark, by nodule and by patient."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from monai_lung.data.crops import Crop
from monai_lung.data.splits import Unit, crop_rows, keys, make_folds
from research.study.features import nodule_features
from research.study.malignancy import RATERS, SIMPLE, outline_of, rate, simple_scores, train_rater, trained_facts
from research.study.store import Predictions, Study, crop_ct

log = logging.getLogger(__name__)
UNITS: tuple[Unit, ...] = get_args(Unit)
MODELS = {"nodule-resnet-nll": RATERS["nodule-resnet-nll"].label, "boosting": SIMPLE["boosting"]}


@dataclass(frozen=True)
class Split:
    """Marks on both sides of one fold, and what stands on both.

    Attributes:
        train, held: marks, by key.
        nodules: held out, and how many of them (`shared_nodules`) have marks to train with.
        patients: held out, and how many of them (`shared_patients`) have marks to train with.
    """

    train: Mapping[str, Crop]
    held: Mapping[str, Crop]
    nodules: int
    shared_nodules: int
    patients: int
    shared_patients: int


def marks_of(crop: Crop) -> list[tuple[int, Crop]]:
    """A nodule's marks that say benign or malignant: the reader's number, and the crop with that reader alone."""
    result = []
    for bit, rating in enumerate(crop.row.ratings["malignancy"]):
        mine = (crop.readers >> bit) & 1
        if rating != 3 and mine.any():
            row = replace(crop.row, n_readers=1, ratings={"malignancy": (rating,)})
            result.append((bit, replace(crop, row=row, readers=mine.astype(np.uint8))))
    return result


def split(study: Study, unit: Unit, fold: int) -> Split:
    """Marks dealt out by `unit` into as many folds as the study has, those of `fold` held out."""
    table = {row["id"]: row for row in crop_rows(study.crop_folder)}
    fold_of = make_folds(list(table.values()), study.n_folds, study.seed, unit).fold_of
    sides: tuple[dict[str, Crop], dict[str, Crop]] = ({}, {})
    for crop in study.crops:
        row = table[crop.row.id]
        names = keys(row, "mark")
        for bit, mark in marks_of(crop):
            key = names[bit] if unit == "mark" else keys(row, unit)[0]
            sides[fold_of[key] == fold][names[bit]] = mark
    nodules = [{c.row.id for c in side.values()} for side in sides]
    patients = [{c.row.patient for c in side.values()} for side in sides]
    return Split(
        *sides,
        nodules=len(nodules[1]),
        shared_nodules=len(nodules[0] & nodules[1]),
        patients=len(patients[1]),
        shared_patients=len(patients[0] & patients[1]),
    )


def run(study: Study, model: str, unit: Unit, fold: int) -> None:
    """Train `model` on the marks of the other folds and rate those of `fold`, unless that's done already."""
    if load(study, model, unit, fold):
        return
    log.info("protocol: %s by %s, fold %d", model, unit, fold)
    parts = split(study, unit, fold)
    held, train = list(parts.held.values()), list(parts.train.values())
    losses: Sequence[float] = ()
    facts: dict[str, float] = {}
    if model == "boosting":
        x = np.array([_features(c) for c in train])
        scores = simple_scores(model, x, malignant(train), np.array([_features(c) for c in held]))
    else:
        network, losses, facts = train_rater(study, RATERS[model], train, fold)
        scores = rate(study, RATERS[model], network, held, [c.readers > 0 for c in held])
    counts = {"train": len(train), "held": len(held), "nodules": parts.nodules, "patients": parts.patients}
    shared = {"shared_nodules": parts.shared_nodules, "shared_patients": parts.shared_patients}
    who = np.array([c.row.patient for c in held])
    values = {"score": scores, "malignant": malignant(held), "patient": who}
    Predictions(list(parts.held), values, losses, facts | counts | shared).save(_path(study, model, unit, fold))


def load(study: Study, model: str, unit: Unit, fold: int) -> Predictions | None:
    """Scores of a fold's marks, None where the model, as this budget trains it, wasn't run on it."""
    facts = trained_facts(study, RATERS[model]) if model in RATERS else {}
    return Predictions.current(_path(study, model, unit, fold), facts)


def _path(study: Study, model: str, unit: Unit, fold: int) -> Path:
    return study.path(f"protocol-{unit}", model, fold)


def malignant(marks: Sequence[Crop]) -> NDArray[np.bool_]:
    """The readers' own labels (n,)."""
    return np.array([m.row.ratings["malignancy"][0] > 3 for m in marks])


def _features(mark: Crop) -> NDArray[np.float64]:
    ct = crop_ct(mark)
    return nodule_features(ct, outline_of(ct, mark.readers > 0))
