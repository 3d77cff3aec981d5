"""`docs/study.md` with its pictures, from what has been predicted."""

from __future__ import annotations

import logging
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from monai_lung.data.ratings import LabelRule
from monai_lung.io.output import replacing
from research.study import detection_tables, tables
from research.study.judged import Figure, groups, judged, segmented
from research.study.malignancy import RATERS
from research.study.pictures import PICTURES
from research.study.segmentation import OURS, SEGMENTERS, SHIPPED, THRESHOLDS
from research.study.store import Study

log = logging.getLogger(__name__)

CAPTIONS = {
    "dice": "Dice of each held-out nodule over its diameter, and the median of each sixth.",
    "loss": "Loss of our network with and without identity paths and the start by cross-entropy (as Fig. 6).",
    "overlays": "Good, median and bad cases of our network among all held-out nodules (as Figs. 7, 10).",
    "roc": "ROC curves and calibration, median label, predicted masks (as Fig. 9).",
    "confusion": "Confusion matrices at a probability of 0.5, median label, predicted masks (as Fig. 9).",
    "froc": "Sensitivity over false positives a scan, pasted nodules.",
}
"""The captions of `PICTURES`."""


def write(study: Study, docs: Path) -> Path:
    """Write `docs/study.md` and `docs/images/study-*.png`.

    Raises:
        OutputError: they can't be written.
    """
    (docs / "images").mkdir(parents=True, exist_ok=True)
    pictures = {}
    for name, draw in PICTURES.items():
        path = docs / "images" / f"study-{name}.png"
        drawn = draw(study, path)
        pictures[f"picture_{name}"] = (
            f"![{CAPTIONS[name]}](images/{path.name})\n\n*{CAPTIONS[name]}*\n" if drawn else ""
        )
    path = docs / "study.md"
    with replacing(path) as temporary:
        temporary.write_text(_template().render(**_facts(study), **_tables(study), **pictures), encoding="utf-8")
    log.info("wrote %s", path)
    return path


def _template() -> Template:
    """The page; a value that it asks for and doesn't get is an error."""
    text = Path(__file__).with_name("template.md").read_text(encoding="utf-8")
    return Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(text)


def _facts(study: Study) -> dict[str, object]:
    seg, rate, slices = study.budget.segmentation, study.budget.rating, study.budget.slices
    slow = (
        "This is what two CPU cores do in some hours. The networks are far from converged: the tables say how fast\n"
        "they learn, not the figures they reach; `tools/research study --data DATA --budget full --device cuda`\n"
        "trains them at length."
    )
    return {
        "budget": study.budget.name,
        "budget_text": slow if study.budget.name == "cpu" else "",
        "folds": study.n_folds,
        "ablation_folds": study.budget.ablation_folds,
        "seg_steps": seg.steps,
        "rate_steps": rate.steps,
        "nodules": len(study.crops),
        "patients": len({c.row.patient for c in study.crops}),
        "not_run": tables.NOT_RUN,
        "seg_patch": _times(seg.patch),
        "seg_spacing": _times(seg.spacing_mm),
        "seg_batch": seg.batch,
        "rate_patch": _times(rate.patch),
        "rate_spacing": _times(rate.spacing_mm),
        "rate_batch": rate.batch,
        "slice_patch": _times(slices.patch[:2]),
        "slice_mm": f"{slices.spacing_mm[0]:g}",
        "slice_steps": slices.steps,
        "slice_batch": slices.batch,
        "low": THRESHOLDS[0],
        "high": THRESHOLDS[-1],
    }


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:g}" for v in values)


def _tables(study: Study) -> dict[str, str]:
    return {
        "goals": goals(study),
        "segmentation": tables.segmentation(study),
        "by_group": tables.by_group(study),
        "ablation": tables.ablation(study),
        "median": tables.malignancy(study, "median"),
        "mean": tables.malignancy(study, "mean"),
        "reader": tables.malignancy(study, "reader"),
        "slices_gain": tables.slices_gain(study),
        "rating_changes": tables.rating_changes(study),
        "misses": tables.misses(study),
        "protocols": tables.protocols(study),
        "weights": detection_tables.weights(study),
        "real": detection_tables.real_nodules(study),
        "froc": detection_tables.froc(study),
        "froc_groups": detection_tables.froc_groups(study),
        "state": tables.state(study),
    }


LONGER = "not known; readers differ, and [more epochs](how-to/train.md#3-train) gave little"
TRIED = "section 2 has the attempts"
LUNGS = "three scans' lungs to train on; [tried](how-to/train.md#3-train): other nodules, hard negatives at both looks"


def goals(study: Study) -> str:
    """The goals beside the shipped networks, or a network like it, with predicted masks where there are any."""
    name = SHIPPED if segmented(study, SHIPPED) else OURS
    overlaps = segmented(study, name)
    label = "shipped weights, fold 0" if name == SHIPPED else SEGMENTERS[name].label
    rows = []
    for group, paper, least in (("> 10 mm", "0.81", 0.89), ("all", "-", 0.88)):
        value = overlaps.figure("dice", groups()[group]) if overlaps else None
        cells = _beside(value, label, least, LONGER if name == SHIPPED else "-")
        rows.append([f"Dice given the nodule, {group}", paper, f">= {least}", *cells])
    aims: list[tuple[str, LabelRule, str, str]] = [
        ("AUC", "median", "0.907", ">= 0.97"),
        ("AUC", "mean", "-", ">= 0.945"),
        ("accuracy", "median", "0.873", ">= 0.92"),
        ("ECE", "median", "-", "<= 0.04"),
    ]
    for figure, rule, paper, goal in aims:
        rows.append([f"{figure}, {rule} label", paper, goal, *_of_slices(study, figure, rule, float(goal.split()[1]))])
    whole = ((False, ">= 3 readers", "all, at <= 1 false positive a scan"), (True, "1-2 readers", ">= 0.7 at <= 4"))
    for few, readers, goal in whole:
        found_of = detection_tables.whole_ct_summary(study, few=few)
        rows.append([f"whole CT: nodules of {readers}", "-", goal, found_of, "-", "shipped networks, two scans", LUNGS])
    names = ["figure", "paper", "goal", "here", "nodules / patients", "by", "why not more, and attempts"]
    return tables.table(names, rows)


def _of_slices(study: Study, figure: str, rule: LabelRule, goal: float) -> list[str]:
    """A figure of a network like the four that ship, not of the best of all: that would be best by chance, too."""
    kind, _ = tables.best_mask(study, tables.ON_SLICES)
    result = judged(study, tables.ON_SLICES, rule, kind)
    by = f"{RATERS[tables.ON_SLICES].label}; mask {kind}"
    why = TRIED
    if figure == "AUC":
        better = tables.better_than_slices(study, rule, kind)
        why += f": better is {', '.join(better)}" if better else ": nothing is shown to be better"
    cells = _beside(result.figures[figure] if result else None, by, goal, why, least=figure == "ECE")
    if result and figure == "ECE":
        cells[-1] += f"; by chance alone {tables.cell(result.figures['ECE by chance'])}"
    return cells


def _beside(value: Figure | None, by: str, goal: float, why: str, *, least: bool = False) -> list[str]:
    """The figure, of how many and by what it is, and whether it reaches the goal, or `why` not."""
    if value is None or value["value"] is None:
        return [tables.NOT_RUN, "-", "-", "-"]
    sign = -1 if least else 1
    bound = value["high" if least else "low"]
    if sign * value["value"] >= sign * goal:
        why = "reached" if bound is not None and sign * bound >= sign * goal else "reached; not beyond chance"
    return [tables.cell(value), tables.counted(value), by, why]
