"""The page's charts: small PNGs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_lung.io.output import replacing
from research.benchmarks.figures import Results, part, typical
from research.benchmarks.tables import STAGES
from research.benchmarks.tasks import TASKS

_OWN, _PEER = "#1f6f8b", "#b9b9b9"


def peers(results: Results, path: Path) -> bool:
    """Seconds of this package and its peers, on a logarithmic axis; False without any."""
    groups = [(s, [t for t in TASKS if t.section == s and typical(results, t.name)]) for s in _SIDE_BY_SIDE]
    groups = [(section, tasks) for section, tasks in groups if tasks]
    if not groups:
        return False
    heights = [len(tasks) for _, tasks in groups]
    picture = Figure(figsize=(7, 0.27 * sum(heights) + 0.5 * len(groups) + 0.4), layout="constrained")
    grid = picture.subplots(len(groups), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (_, tasks) in zip(grid, groups, strict=True):
        seconds = [typical(results, t.name) or 0.0 for t in tasks]
        colours = [_OWN if "**" in t.label else _PEER for t in tasks]
        bars = axes.barh([t.label.replace("*", "").replace("`", "") for t in tasks], seconds, color=colours)
        axes.bar_label(bars, [f" {s:.3g} s" for s in seconds], fontsize=8)
        axes.set_xscale("log")
        axes.invert_yaxis()
        axes.tick_params(labelsize=8)
        axes.margins(x=0.15)
    grid[-1].set_xlabel("seconds, logarithmic", fontsize=8)
    _save(picture, path)
    return True


_SIDE_BY_SIDE = ("read", "lungs", "networks")


def stages(results: Results, path: Path) -> bool:
    """The whole way in its stages, first and further runs; False without."""
    if typical(results, "whole") is None:
        return False
    picture = Figure(figsize=(7, 1.9), layout="constrained")
    axes = picture.subplots()
    left = np.zeros(2)
    for n, stage in enumerate(STAGES):
        pair = np.array([part(results, "whole", f"{stage}_s", cold=cold) or 0.0 for cold in (True, False)])
        axes.barh(["first run", "warm"], pair, left=left, label=stage, color=f"C{n}")
        left += pair
    axes.invert_yaxis()
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(ncols=len(STAGES), fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.25))
    _save(picture, path)
    return True


def scaling(results: Results, path: Path) -> bool:
    """Time and memory over slices, nodules, threads and studies; False without any."""
    picture = Figure(figsize=(7.5, 4.6), layout="constrained")
    grid = picture.subplots(2, 2).ravel()
    drawn = [
        _curve(grid[0], *_points(results, "slices-"), "slices of 512 x 512 over 300 mm"),
        _curve(grid[1], *_points(results, "nodules-"), "nodules in the phantom"),
        _curve(grid[2], *_points(results, "threads-"), "threads"),
        _curve(grid[3], *_studies(results), "study, one after the other"),
    ]
    if any(drawn):
        _save(picture, path)
    return any(drawn)


def _points(results: Results, start: str) -> tuple[list[int], list[float], list[float]]:
    names = [t.name for t in TASKS if t.name.startswith(start) and typical(results, t.name)]
    size = [int(name.removeprefix(start)) for name in names]
    return size, [typical(results, n) or 0.0 for n in names], [results[n]["peak_mb"] / 1000 for n in names]


def _studies(results: Results) -> tuple[list[int], list[float], list[float]]:
    found = [n for n in range(1, 100) if part(results, "studies", f"study_{n}_s")]
    seconds = [part(results, "studies", f"study_{n}_s") or 0.0 for n in found]
    return found, seconds, [(part(results, "studies", f"study_{n}_mb") or 0.0) / 1000 for n in found]


def _curve(axes: Axes, size: Sequence[int], seconds: Sequence[float], memory_gb: Sequence[float], label: str) -> bool:
    """Seconds on the left axis, memory on the right, both from 0; an empty frame without points."""
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    if not size:
        return False
    axes.plot(size, seconds, "o-", color=_OWN)
    axes.set_ylabel("seconds", color=_OWN, fontsize=8)
    axes.set_ylim(bottom=0)
    other = axes.twinx()
    other.plot(size, memory_gb, "s--", color="C1", markersize=4)
    other.set_ylabel("peak, GB", color="C1", fontsize=8)
    other.set_ylim(bottom=0, top=1.15 * max(memory_gb))
    other.tick_params(labelsize=8)
    if len(size) <= 4:
        axes.set_xticks(list(size))
    return True


def _save(picture: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        picture.savefig(temporary, dpi=110, format="png")


CHARTS: dict[str, Callable[[Results, Path], bool]] = {"peers": peers, "stages": stages, "scaling": scaling}
