"""The study's pictures: small PNGs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monai_lung.data.crops import Crop
from monai_lung.io.output import replacing
from research.study.detection_tables import pasted
from research.study.judged import segmented
from research.study.malignancy import RATERS, SIMPLE
from research.study.segmentation import OURS, SEGMENTERS, SHIPPED, load_masks
from research.study.store import Study
from research.study.tables import best_mask
from research.study.whole_ct import STAGES

_SMOOTHED = 10


def save(picture: Figure, path: Path) -> None:
    """Write a picture.

    Raises:
        OutputError: it can't be written.
    """
    with replacing(path) as temporary:
        picture.savefig(temporary, dpi=90, format="png")


def losses(study: Study, path: Path) -> bool:
    """Loss of each step with and without residual units and the start with cross-entropy; False without any."""
    drawn = {n: segmented(study, n) for n, s in SEGMENTERS.items() if not s.table and s.loss != "both"}
    present = {n: r for n, r in drawn.items() if r}
    if not present:
        return False
    picture = Figure(figsize=(7, 3.6), layout="constrained")
    axes = picture.subplots()
    for name, result in present.items():
        loss = np.mean([p.loss for p in result.folds.values()], axis=0)
        smooth = np.convolve(loss, np.ones(_SMOOTHED) / _SMOOTHED, "valid")
        style = "-" if name.startswith("residual") else "--"
        axes.plot(np.arange(len(smooth)) + _SMOOTHED, smooth, style, label=SEGMENTERS[name].label)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss, mean of {_SMOOTHED} steps")
    picture.legend(loc="outside upper center", ncols=2, frameon=False)
    save(picture, path)
    return True


def overlays(study: Study, path: Path) -> bool:
    """Good, median and bad cases of our network in their largest slice; False without predictions."""
    name = OURS
    result = segmented(study, name)
    if result is None:
        return False
    ranked = sorted(result.nodules, key=lambda pair: pair[1].dice)
    n = len(ranked)
    places = {"good": (0.97, 0.93, 0.9), "median": (0.52, 0.5, 0.48), "bad": (0.06, 0.03, 0.0)}
    picture = Figure(figsize=(6, 6.4), layout="constrained")
    grid = picture.subplots(3, 3)
    for row, (label, shares) in zip(grid, places.items(), strict=True):
        for axes, share in zip(row, shares, strict=True):
            crop, overlap = ranked[min(int(share * n), n - 1)]
            masks = load_masks(study, name, study.fold_of(crop))
            _overlay(axes, crop, masks[crop.row.id] if masks else np.zeros(crop.hu.shape, bool))
            axes.set_title(f"{label}: Dice {overlap.dice:.2f}, {crop.row.diameter_mm:.0f} mm", fontsize=9)
    picture.suptitle("readers (half of them) green, network orange dashed", fontsize=9)
    save(picture, path)
    return True


def _overlay(axes: Axes, crop: Crop, mask: NDArray[np.bool_]) -> None:
    truth = crop.share >= 0.5
    k = int((truth if truth.any() else crop.votes > 0).sum((0, 1)).argmax())
    sx, sy, _ = crop.spacing_mm
    extent = (0, crop.hu.shape[0] * sx, crop.hu.shape[1] * sy, 0)
    axes.imshow(crop.hu[..., k].T, cmap="gray", vmin=-1000, vmax=400, extent=extent, interpolation="bilinear")
    x, y = (np.arange(crop.hu.shape[0]) + 0.5) * sx, (np.arange(crop.hu.shape[1]) + 0.5) * sy
    for shape, colour, style in ((truth, "lime", "solid"), (mask, "orange", "dashed")):
        if shape[..., k].any():
            axes.contour(x, y, shape[..., k].T, [0.5], colors=colour, linestyles=style, linewidths=1.2)
    axes.set_xticks([])
    axes.set_yticks([])


def dice_by_size(study: Study, path: Path) -> bool:
    """Dice of each nodule over its diameter, for ours, the 3D U-Net and the shipped one; False without predictions."""
    chosen = {n: SEGMENTERS[n].label for n in (OURS, "unet")} | {SHIPPED: "shipped weights"}
    present = {label: r for label, r in ((label, segmented(study, n)) for n, label in chosen.items()) if r}
    if not present:
        return False
    picture = Figure(figsize=(3.2 * len(present), 3), layout="constrained")
    row = np.ravel(picture.subplots(1, len(present), sharey=True))
    for axes, (label, result) in zip(row, present.items(), strict=True):
        diameter = np.array([c.row.diameter_mm for c, _ in result.nodules], float)
        dice = np.array([o.dice for _, o in result.nodules])
        axes.scatter(diameter, dice, s=5, alpha=0.4)
        edges = np.quantile(diameter, np.linspace(0, 1, 7))
        inner = [(diameter >= a) & (diameter <= b) for a, b in pairwise(edges)]
        axes.plot([np.median(diameter[i]) for i in inner], [np.median(dice[i]) for i in inner], "k.-", label="median")
        axes.set_xscale("log")
        axes.set_xticks([3, 5, 10, 20, 30], ["3", "5", "10", "20", "30"])
        axes.minorticks_off()
        axes.set_ylim(0, 1)
        axes.set_xlabel("diameter, mm")
        axes.set_title(label, fontsize=9)
    picture.axes[0].set_ylabel("Dice")
    picture.axes[0].legend(frameon=False)
    save(picture, path)
    return True


def roc(study: Study, path: Path) -> bool:
    """ROC curves and calibration for the median label; False without predictions."""
    labels = {**SIMPLE, **{n: r.label for n, r in RATERS.items()}}
    found = {n: best_mask(study, n) for n in labels}
    present = {n: (kind, r) for n, (kind, r) in found.items() if r}
    if not present:
        return False
    picture = Figure(figsize=(9, 5), layout="constrained")
    left, right = picture.subplots(1, 2)
    for name, (kind, result) in present.items():
        order = np.argsort(-result.scores, kind="stable")
        hit = np.r_[0, np.cumsum(result.malignant[order])] / result.malignant.sum()
        false = np.r_[0, np.cumsum(~result.malignant[order])] / (~result.malignant).sum()
        left.plot(false, hit, lw=1.2, label=f"{labels[name]}; mask {kind}")
        bins = np.minimum((result.probability * 5).astype(int), 4)
        used = [b for b in range(5) if (bins == b).sum() >= 5]
        means = [(result.probability[bins == b].mean(), result.malignant[bins == b].mean()) for b in used]
        right.plot(*zip(*means, strict=True), marker=".", lw=1.2)
    left.plot(1 - 0.948, 0.804, "k*", label="paper's operating point (other protocol)")
    for axes, x, y in ((left, "1 - specificity", "recall"), (right, "probability", "share of malignant")):
        axes.plot([0, 1], [0, 1], ":", color="gray", lw=0.8)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
    picture.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    save(picture, path)
    return True


def confusion(study: Study, path: Path) -> bool:
    """Confusion matrices at a probability of 0.5 for the median label; False without predictions."""
    labels = {**SIMPLE, **{n: r.label for n, r in RATERS.items()}}
    present = {labels[n]: r for n, r in ((n, best_mask(study, n)[1]) for n in labels) if r}
    if not present:
        return False
    columns = min(5, len(present))
    rows = -(-len(present) // columns)
    picture = Figure(figsize=(2.1 * columns, 2.7 * rows), layout="constrained")
    panels = np.ravel(picture.subplots(rows, columns))
    for axes in panels[len(present) :]:
        axes.axis("off")
    for axes, (label, result) in zip(panels, present.items(), strict=False):
        said = result.probability >= 0.5
        counts = np.array([[(~result.malignant & ~said).sum(), (~result.malignant & said).sum()],
                           [(result.malignant & ~said).sum(), (result.malignant & said).sum()]])  # fmt: skip
        axes.imshow(counts / counts.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1.3)
        for (i, j), count in np.ndenumerate(counts):
            axes.text(j, i, str(count), ha="center", va="center")
        axes.set_xticks([0, 1], ["benign", "malignant"], fontsize=7)
        axes.set_yticks([0, 1], ["benign", "malignant"], fontsize=7, rotation=90, va="center")
        axes.set_title(_wrapped(label), fontsize=7)
        axes.set_xlabel("said", fontsize=7)
    picture.axes[0].set_ylabel("readers' median", fontsize=7)
    save(picture, path)
    return True


def _wrapped(label: str) -> str:
    return textwrap.fill(label, 24)


def froc(study: Study, path: Path) -> bool:
    """Sensitivity over false positives a scan for the pasted nodules; False without any."""
    scans = pasted(study)
    if not scans:
        return False
    picture = Figure(figsize=(5, 3.4), layout="constrained")
    axes = picture.subplots()
    for stage, label in STAGES.items():
        hits = np.concatenate([s.values[f"{stage}_hit"] for s in scans])
        false = np.concatenate([s.values[f"{stage}_false"] for s in scans])
        scores: Sequence[float] = sorted({*hits[hits > 0].tolist(), *false.tolist()}, reverse=True)
        x = [(false >= s).sum() / len(scans) for s in scores]
        axes.step(x, [(hits >= s).mean() for s in scores], where="post", label=label)
    axes.set_xscale("symlog", base=2, linthresh=0.125)
    axes.set_xticks([0, 0.125, 0.5, 1, 2, 4, 8, 16, 32, 64], ["0", "1/8", "1/2", "1", "2", "4", "8", "16", "32", "64"])
    axes.set_xlim(0, 64)
    axes.set_ylim(0, 1)
    axes.set_xlabel("false positives a scan")
    axes.set_ylabel("sensitivity, pasted nodules")
    axes.legend(frameon=False)
    save(picture, path)
    return True


PICTURES = {
    "loss": losses,
    "overlays": overlays,
    "dice": dice_by_size,
    "roc": roc,
    "confusion": confusion,
    "froc": froc,
}
"""Picture by name; each writes a file and says whether there was something to draw."""
