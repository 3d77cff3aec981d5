"""Figures of an evaluation, each with a bootstrap interval over patients."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.errors import ConfigError
from monai_lung.io import replacing

SCHEMA = "monai-lung/metrics/1"
SAMPLES = 1000
INTERVAL = 0.95
_TAILS = (50 - 50 * INTERVAL, 50 + 50 * INTERVAL)
ECE_BINS = 10
FEWEST = 5
"""Below so many patients a bootstrap says nothing: it draws the same few over and over."""

Statistic = Callable[[NDArray[np.float64]], float]
"""Takes a weight for each nodule (n,), gives a figure; NaN where it isn't defined."""


def figure(statistic: Statistic, patients: Sequence[str], *, seed: int = 0) -> dict[str, float | int | None]:
    """A figure and its 95 % interval: patients are resampled 1000 times, with all their nodules.

    Args:
        statistic: of the nodules' weights.
        patients: of each nodule, (n,).
        seed: of the draws.

    Returns:
        `value`, `low`, `high` (None where not defined, or of fewer than `FEWEST` patients), `n` nodules, `patients`.
    """
    names, which = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=SAMPLES)
    values = np.array([statistic(counts[which].astype(np.float64)) for counts in draws])
    defined = values[~np.isnan(values)]
    enough = len(defined) > 0 and len(names) >= FEWEST
    low, high = np.percentile(defined, _TAILS) if enough else (np.nan, np.nan)
    value = statistic(np.ones(len(which)))
    found = {"value": value, "low": low, "high": high}
    rounded = {k: None if np.isnan(v) else round(float(v), 4) for k, v in found.items()}
    return {**rounded, "n": len(which), "patients": len(names)}


def mean_of(values: Sequence[float] | NDArray[np.floating[Any]]) -> Statistic:
    """The weighted mean of `values` (n,); those that are NaN are left out."""
    array = np.asarray(values, float)
    known = ~np.isnan(array)

    def statistic(weights: NDArray[np.float64]) -> float:
        total = weights[known].sum()
        return float((weights[known] * array[known]).sum() / total) if total else float("nan")

    return statistic


def auc_of(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Statistic:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half."""
    _, rank = np.unique(scores, return_inverse=True)

    def statistic(weights: NDArray[np.float64]) -> float:
        negatives = np.bincount(rank, weights * ~positive)
        positives = np.bincount(rank, weights * positive)
        below = np.cumsum(negatives) - negatives / 2
        pairs = positives.sum() * negatives.sum()
        return float((positives * below).sum() / pairs) if pairs else float("nan")

    return statistic


def ece_of(probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> Statistic:
    """Expected calibration error over `ECE_BINS` bins of equal width (Naeini et al., AAAI 2015)."""
    bins = np.minimum((probability * ECE_BINS).astype(int), ECE_BINS - 1)

    def statistic(weights: NDArray[np.float64]) -> float:
        gap = np.bincount(bins, weights * (probability - positive), minlength=ECE_BINS)
        return float(np.abs(gap).sum() / weights.sum()) if weights.sum() else float("nan")

    return statistic


def ece_by_chance(probability: NDArray[np.float64], patients: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """The ECE of a perfectly calibrated model with these probabilities: what so few nodules leave to chance.

    Labels are drawn by the probabilities 1000 times, each nodule's by itself.

    Args:
        probability: (n,), one a nodule.
        patients: of each nodule, (n,).
        seed: of the draws.

    Returns:
        As `figure`: the mean, and where 95 % of the draws lie.
    """
    rng = np.random.default_rng(seed)
    every = np.ones(len(probability))
    draws = [ece_of(probability, rng.random(len(probability)) < probability)(every) for _ in range(SAMPLES)]
    low, high = np.percentile(draws, _TAILS)
    found = {"value": float(np.mean(draws)), "low": float(low), "high": float(high)}
    return {**{k: round(v, 4) for k, v in found.items()}, "n": len(probability), "patients": len(set(patients))}


def write_metrics(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write `metrics.json`: `content` with the schema and how the intervals were made.

    Raises:
        OutputError: the file can't be written.
    """
    intervals = {"interval": INTERVAL, "bootstrap_samples": SAMPLES, "bootstrap_unit": "patient"}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"schema": SCHEMA, **intervals, **content}, indent=2) + "\n")


def markdown_table(metrics: Mapping[str, Any]) -> str:
    """The figures of a `metrics.json` as a Markdown table: one row for each group, one column for each figure.

    A cell is a value with its interval; the last two columns are the nodules and patients of the group.
    """
    figures: Mapping[str, Mapping[str, Mapping[str, Any]]] = metrics["figures"]
    names = list(figures)
    groups = list(dict.fromkeys(group for name in names for group in figures[name]))
    lines = ["| | " + " | ".join(n.replace("_", " ") for n in names) + " | nodules | patients |"]
    lines.append("|---" * (len(names) + 3) + "|")
    for group in groups:
        cells = [figures[name].get(group) for name in names]
        largest = max((c for c in cells if c), key=lambda c: c["n"])
        texts = [*map(_cell, cells), str(largest["n"]), str(largest["patients"])]
        lines.append(f"| {group} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def update_card(card: Path | str, metrics_file: Path | str) -> bool:
    """Put the table of a `metrics.json` between the marks of a model card, so that no figure is typed by hand.

    Args:
        card: Markdown with `<!-- table: NAME -->` and `<!-- /table -->`, NAME being the file name of the metrics.
        metrics_file: what `write_metrics` wrote.

    Returns:
        Whether the card has these marks; one without them stays as it is.

    Raises:
        ConfigError: the metrics can't be read.
        OutputError: the card can't be written.
    """
    try:
        table = markdown_table(json.loads(Path(metrics_file).read_text()))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{metrics_file}: no metrics ({error}); run evaluate.json first") from error
    start, end = f"<!-- table: {Path(metrics_file).name} -->\n", "<!-- /table -->"
    text = Path(card).read_text()
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        return False
    with replacing(card) as temporary:
        temporary.write_text(before + start + table + end + after)
    return True


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None or cell["value"] is None:
        return "-"
    value = f"{cell['value']:.3f}"
    return value if cell["low"] is None else f"{value} ({cell['low']:.3f}-{cell['high']:.3f})"
