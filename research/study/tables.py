"""The study's tables, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast, get_args

import numpy as np

from monai_lung.data.ratings import LabelRule
from monai_lung.data.splits import Unit
from monai_lung.metrics.figures import auc_of, figure, mean_of
from research.study import malignancy as rating
from research.study import protocol
from research.study import segmentation as segmenting
from research.study.judged import (
    TEXTURES,
    Figure,
    Judged,
    calibrated,
    groups,
    judged,
    readers_malignancy,
    readers_overlap,
    segmented,
)
from research.study.malignancy import ALL, CHANGED, RATERS, SIMPLE, MaskKind
from research.study.segmentation import OURS, SEGMENTERS, SHIPPED
from research.study.store import Predictions, Study

NOT_RUN = "not run within this budget"
ON_SLICES = "slices"
_MODELS = {**SIMPLE, **{name: rater.label for name, rater in RATERS.items()}}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def cell(value: Figure | None) -> str:
    """value (low-high), or a dash."""
    if value is None or value["value"] is None:
        return "-"
    text = f"{value['value']:.3f}"
    return text if value["low"] is None else f"{text} ({value['low']:.3f}-{value['high']:.3f})"


def segmentation(study: Study) -> str:
    """Every network: Dice, precision and recall, beside the paper and the readers."""
    names = ["network", "steps", "width", "folds", "nodules / patients", "Dice", "Dice > 10 mm", "Dice <= 10 mm"]
    names += ["precision", "recall", "Dice, >= 3 readers", "ours less this (Dice)"]
    sized, ours = groups(), segmented(study, OURS)
    rows = []
    compared = {name: s.label for name, s in SEGMENTERS.items() if s.table}
    for name, label in {**compared, SHIPPED: "shipped weights (folds 1-4, trained longer)"}.items():
        result = segmented(study, name)
        if result is None:
            rows.append([label, NOT_RUN, *["-"] * (len(names) - 2)])
            continue
        facts = next(iter(result.folds.values())).facts
        values = [result.figure("dice", sized[g]) for g in ("all", "> 10 mm", "<= 10 mm")]
        values += [result.figure(n) for n in ("precision", "recall", "dice_three_readers")]
        trained = [f"{facts[k]:.0f}" if k in facts else "-" for k in ("steps", "width")]
        shared = set(result.folds) & set(ours.folds) if ours and name not in (OURS, SHIPPED) else ()
        values.append(ours.on(shared).gain("dice", result) if ours and shared else None)
        rows.append([label, *trained, str(len(result.folds)), counted(values[0]), *map(cell, values)])
    rows += _readers_rows(study, len(names))
    rows.append(["paper (other protocol)", "-", "-", "-", "-", "-", "0.81", *["-"] * (len(names) - 7)])
    return table(names, rows)


def _readers_rows(study: Study, columns: int) -> list[list[str]]:
    rows = []
    agreement = [(c, readers_overlap(c)) for c in study.crops if c.row.n_readers > 1]
    sized = groups()
    for name in agreement[0][1]:
        values = []
        for group in ("all", "> 10 mm", "<= 10 mm"):
            kept = [(c.row.patient, a[name]) for c, a in agreement if sized[group](c)]
            values.append(figure(mean_of([v for _, v in kept]), [p for p, _ in kept]) if kept else None)
        row = [f"readers: {name}", "-", "-", "-", counted(values[0]), *map(cell, values)]
        rows.append([*row, *["-"] * (columns - len(row))])
    return rows


def counted(value: Figure | None) -> str:
    """Nodules / patients of a figure."""
    return "-" if value is None else f"{value['n']} / {value['patients']}"


def by_group(study: Study) -> str:
    """Dice, precision and recall by size and texture, of every network and of the shipped one."""
    chosen = {n: s.label for n, s in SEGMENTERS.items() if s.table} | {SHIPPED: "shipped weights"}
    found = {label: segmented(study, name) for name, label in chosen.items()}
    present = {label: result for label, result in found.items() if result is not None}
    rows = []
    for group, keep in groups().items():
        for label, result in present.items():
            values = [result.figure(n, keep) for n in ("dice", "dice_largest_slice", "precision", "recall")]
            rows.append([group, label, counted(values[0]), *map(cell, values)])
    names = ["nodules", "network", "nodules / patients", "Dice", "Dice, largest slice", "precision", "recall"]
    return table(names, rows)


def ablation(study: Study) -> str:
    """Our network with one thing changed at a time, on the folds that all ablations have."""
    changed = {name: s.label for name, s in SEGMENTERS.items() if not s.table}
    whole = segmented(study, OURS)
    done = [set(result.folds) for name in changed if (result := segmented(study, name))]
    folds = sorted(set(whole.folds).intersection(*done)) if whole and done else []
    rows = []
    for name, label in {OURS: "as above: cross-entropy and Dice", **changed}.items():
        result = segmented(study, name)
        if result is None or whole is None or not folds:
            rows.append([label, NOT_RUN, *["-"] * 6])
            continue
        result, reference = result.on(folds), whole.on(folds)
        facts = next(iter(result.folds.values())).facts
        losses = np.mean([np.mean(p.loss[-len(p.loss) // 10 :]) for p in result.folds.values()])
        dice = result.figure("dice")
        steps, where = f"{facts['steps']:.0f}", ", ".join(map(str, folds))
        gain = "-" if name == OURS else cell(result.gain("dice", reference))
        end = f"{losses:.3f}" if SEGMENTERS[name].loss != "both" else "-"
        rows.append([label, steps, where, counted(dice), end, cell(dice), gain])
    names = ["changed", "steps", "folds", "nodules / patients", "Dice loss, last tenth of the steps", "Dice"]
    return table([*names, "difference"], rows)


def malignancy(study: Study, rule: LabelRule) -> str:
    """Every model with both kinds of mask, for one label rule."""
    names = ["model", "mask", "steps", "folds", "items / patients", "AUC", "gain over the diameter", "accuracy"]
    names += ["recall", "specificity", "Brier", "ECE", "ECE by chance"]
    rows = []
    for name, label in _MODELS.items():
        for kind in get_args(MaskKind):
            result = judged(study, name, rule, kind)
            if result is None:
                rows.append([label, kind, NOT_RUN, *["-"] * (len(names) - 3)])
                continue
            figures = result.figures
            steps = str(result.steps) if result.steps else "-"
            own = [cell(v) if k != "gain" or name != "diameter" else "-" for k, v in figures.items()]
            folds = str(len(np.unique(result.folds)))
            rows.append([label, kind, steps, folds, counted(figures["AUC"]), *own])
    if rule == "median":
        rater = readers_malignancy(study)
        rows.append(["one reader against the median of the others", "-", "-", "-", counted(rater["AUC"]),
                     cell(rater["AUC"]), "-", cell(rater["accuracy"]), *["-"] * 5])  # fmt: skip
        rows.append(["paper (other protocol, 400 marks)", "predicted", "-", "-", "400 / not stated", "0.907", "-",
                     "0.873", "0.804", "0.948", "-", "-", "-"])  # fmt: skip
        rows.append(["paper: plain 3D ResNet50", "predicted", *["-"] * 7, "0.817", "-", "-", "-"])
    return table(names, rows)


def slices_gain(study: Study) -> str:
    """AUC of a network like the four that ship less that of each other model, in the same bootstrap draws."""
    rules: tuple[LabelRule, ...] = ("median", "mean")
    columns = [(rule, kind) for rule in rules for kind in get_args(MaskKind)]
    rows = []
    for name, label in _MODELS.items():
        if name != ON_SLICES:
            gains = [_gain(judged(study, ON_SLICES, *c), judged(study, name, *c)) for c in columns]
            rows.append([label, *map(cell, gains)])
    return table(["small ResNet on slices less", *(f"{rule} label, mask {kind}" for rule, kind in columns)], rows)


def better_than_slices(study: Study, rule: LabelRule, kind: MaskKind) -> list[str]:
    """Labels of the models whose AUC is above that of a network like the four that ship, by the whole interval."""
    ours = judged(study, ON_SLICES, rule, kind)
    gains = {label: _gain(ours, judged(study, name, rule, kind)) for name, label in _MODELS.items()}
    return [label for label, gain in gains.items() if gain and gain["high"] is not None and gain["high"] < 0]


def rating_changes(study: Study) -> str:
    """AUC of the network on slices with one thing changed, by the readers' masks, and the difference in pairs."""
    rules: tuple[LabelRule, ...] = ("median", "mean")
    wholes = [judged(study, ON_SLICES, rule, "readers") for rule in rules]
    rows = []
    for name, label in {ON_SLICES: "as above", **{n: r.label for n, r in CHANGED.items()}}.items():
        found = [judged(study, name, rule, "readers") for rule in rules]
        if found[0] is None:
            rows.append([label, NOT_RUN, *["-"] * 7])
            continue
        cells = [str(found[0].steps), str(len(np.unique(found[0].folds)))]
        for own, whole in zip(found, wholes, strict=True):
            auc = own.figures["AUC"] if own else None
            cells += [counted(auc), cell(auc), "-" if name == ON_SLICES else cell(_gain(own, whole))]
        rows.append([label, *cells])
    names = ["changed", "steps", "folds"]
    for rule in rules:
        names += [f"nodules / patients, {rule}", f"AUC, {rule} label", "difference"]
    return table(names, rows)


def _gain(ours: Judged | None, other: Judged | None) -> Figure | None:
    """Difference of two AUCs; None where they aren't of the same nodules."""
    if ours is None or other is None or [c.row.id for c in ours.crops] != [c.row.id for c in other.crops]:
        return None
    first, second = auc_of(ours.scores, ours.malignant), auc_of(other.scores, other.malignant)
    return figure(lambda weights: first(weights) - second(weights), ours.patients)


def misses(study: Study) -> str:
    """Malignant nodules called benign, by texture, with predicted masks where there are any."""
    rows = []
    for name, label in _MODELS.items():
        kind, result = best_mask(study, name)
        if result is None:
            rows.append([label, "-", NOT_RUN, *["-"] * len(TEXTURES)])
            continue
        missed = result.malignant & (result.probability < 0.5)
        counts = []
        for group in TEXTURES:
            mine = np.array([groups()[group](c) for c in result.crops])
            share = f" ({(missed & mine).sum() / missed.sum():.0%} of the misses)" if missed.any() else ""
            counts.append(f"{(missed & mine).sum()} of {(result.malignant & mine).sum()}{share}")
        rows.append([label, kind, f"{missed.sum()} of {result.malignant.sum()}", *counts])
    rows.append(["paper", "predicted", "41 of 209", "-", "-", "18 (44% of the misses)"])
    return table(["model", "mask", "missed", *TEXTURES], rows)


def best_mask(study: Study, name: str) -> tuple[MaskKind, Judged | None]:
    """A model with predicted masks if it has them, else with the readers'; labels by the median."""
    predicted = judged(study, name, "median", "predicted")
    return ("predicted", predicted) if predicted else ("readers", judged(study, name, "median", "readers"))


def protocols(study: Study) -> str:
    """The same model under splits by mark, by nodule and by patient, and what stands on both sides."""
    names = ["model", "split by", "steps", "folds", "marks", "nodules (also trained on)", "patients (also trained on)"]
    names += ["AUC", "accuracy", "recall", "specificity"]
    rows = []
    for model, label in protocol.MODELS.items():
        for unit in protocol.UNITS:
            folds = [protocol.load(study, model, unit, f) for f in range(study.n_folds)]
            done = [found for found in folds if found]
            if done:
                rows.append([label, unit, *_protocol_row(done)])
            else:
                rows.append([label, unit, NOT_RUN, *["-"] * (len(names) - 3)])
    rows.append(["paper", "at random over marks, very likely", "-", "-", "400", "-", "-", "0.907", "0.873", "0.804",
                 "0.948"])  # fmt: skip
    return table(names, rows)


def _protocol_row(done: Sequence[Predictions]) -> list[str]:
    scores = np.concatenate([p.values["score"] for p in done])
    malignant = np.concatenate([p.values["malignant"] for p in done])
    patients = np.concatenate([p.values["patient"] for p in done]).tolist()
    folds = np.repeat(np.arange(len(done)), [len(p.ids) for p in done])
    right = ((calibrated(scores, malignant, folds, patients) >= 0.5) == malignant).astype(float)
    statistics = [auc_of(scores, malignant), mean_of(right), mean_of(np.where(malignant, right, np.nan))]
    statistics.append(mean_of(np.where(malignant, np.nan, right)))
    names = ("nodules", "shared_nodules", "patients", "shared_patients")
    facts = {k: sum(int(p.facts[k]) for p in done) for k in names}
    sides = [f"{facts[k]} ({facts[f'shared_{k}']})" for k in ("nodules", "patients")]
    steps = f"{done[0].facts['steps']:.0f}" if "steps" in done[0].facts else "-"
    return [steps, str(len(done)), str(len(scores)), *sides, *(cell(figure(s, patients)) for s in statistics)]


def state(study: Study) -> str:
    """Which folds of which network are there."""
    runs: list[tuple[str, str, Callable[[int], Predictions | None]]] = []
    runs += [("segmentation", n, partial(segmenting.load, study, n)) for n in [*SEGMENTERS, SHIPPED]]
    runs += [("malignancy", n, partial(rating.load, study, n)) for n in ALL]
    for unit in cast(tuple[Unit, ...], protocol.UNITS):
        runs += [(f"protocol-{unit}", n, partial(protocol.load, study, n, unit)) for n in protocol.MODELS]
    rows = []
    for section, name, load in runs:
        done = [str(fold) for fold in range(study.n_folds) if load(fold)]
        rows.append([section, name, ", ".join(done) or NOT_RUN])
    return table(["section", "network", "folds done"], rows)
