"""Medians, spreads and ratios of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
"""By task, as `parent.run` keeps them."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one task.

    Attributes:
        cold_s: the first run, with its input out of the page cache.
        warm_s: the further runs, () where there were none.
    """

    cold_s: float
    warm_s: tuple[float, ...]

    @property
    def typical_s(self) -> float:
        """Median of the warm runs, the first run where it is the only one."""
        return median(self.warm_s) if self.warm_s else self.cold_s


def timing(results: Results, task: str) -> Timing | None:
    """Seconds of a task, None where it has no result."""
    runs = results.get(task, {}).get("run_s")
    return Timing(runs[0], tuple(runs[1:])) if runs else None


def typical(results: Results, task: str) -> float | None:
    """`Timing.typical_s` of a task."""
    found = timing(results, task)
    return found.typical_s if found else None


def part(results: Results, task: str, name: str, *, cold: bool = False) -> float | None:
    """Median of a part over the warm runs (the first where it is the only one, or with `cold`)."""
    runs = results.get(task, {}).get("parts") or []
    chosen = runs[:1] if cold or len(runs) == 1 else runs[1:]
    values = [run[name] for run in chosen if name in run]
    return float(median(values)) if values else None


def ratio(upper: float | None, lower: float | None) -> float | None:
    """`upper` over `lower`, None where either is missing or the lower is 0."""
    return None if upper is None or not lower else upper / lower


def conv_peak(results: Results) -> float | None:
    """GFLOP/s of the best convolution in the precision that the networks use here."""
    task = "conv-bf16" if part(results, "conv-bf16", "hardware") else "conv-fp32"
    return part(results, task, "peak_gflops")


def network_rate(results: Results, names: tuple[str, ...], task: str = "whole") -> float | None:
    """GFLOP/s that networks reached together, in their forward passes."""
    work = [part(results, task, f"{name}_gflop") for name in names]
    seconds = [part(results, task, f"{name}_net_s") for name in names]
    return ratio(sum(w or 0.0 for w in work), sum(s or 0.0 for s in seconds))
