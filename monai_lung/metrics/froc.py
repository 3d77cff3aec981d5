"""Sensitivity against false findings a scan (FROC), with intervals over scans.

The rates are those of LUNA16 (Setio et al., Med Image Anal 42:1, 2017): 1/8 to 8 false findings a scan, and their mean,
the competition performance metric (CPM).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monai_lung.extras import require

if TYPE_CHECKING:
    import pandas as pd

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False findings a scan."""
_DRAWS = 1000
COLUMNS = ("scan", "nodule", "patient", "diameter_mm", "texture", "found", "score")
"""Of a table of predictions: a row for each nodule (`nodule` is its ID) and for each false finding (`nodule` empty)."""


@dataclass(frozen=True)
class Froc:
    """Sensitivity at each of `RATES`, their mean, and the 95 % interval of each (low, high)."""

    sensitivity: NDArray[np.float64]
    interval: NDArray[np.float64]
    cpm: float
    cpm_interval: tuple[float, float]
    nodules: int
    scans: int


def froc(predictions: pd.DataFrame, *, seed: int = 0) -> Froc:
    """The curve of a table of predictions (`COLUMNS`).

    A nodule that wasn't found (`found` False) is missed at every rate. The interval is that of 1,000 bootstrap draws of
    scans, each with its nodules and its false findings.

    Raises:
        ValueError: no nodule, or no scan.
    """
    parts = [_scan(rows) for _, rows in predictions.groupby("scan", sort=True)]
    if not parts or not sum(len(hits) for hits, _ in parts):
        raise ValueError("no scan with a nodule: there is no sensitivity")
    rng = np.random.default_rng(seed)
    draws = [sensitivities([parts[n] for n in rng.integers(len(parts), size=len(parts))]) for _ in range(_DRAWS)]
    kept = np.array([d for d in draws if np.isfinite(d).all()])
    curve = sensitivities(parts)
    low, high = np.percentile(kept.mean(1), (2.5, 97.5))
    return Froc(
        curve,
        np.percentile(kept, (2.5, 97.5), axis=0).T,
        float(curve.mean()),
        (float(low), float(high)),
        sum(len(hits) for hits, _ in parts),
        len(parts),
    )


def _scan(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of a scan's nodules (-inf where one wasn't found) and of its false findings."""
    nodules = rows["nodule"].fillna("").astype(str) != ""
    hits = np.where(rows["found"].astype(bool), rows["score"], -np.inf)[nodules]
    return hits.astype(float), rows.loc[~nodules, "score"].to_numpy(float)


def threshold_at(false: NDArray[np.float64], scans: int, rate: float) -> float:
    """The lowest threshold at which at most `rate` false findings a scan have a score above it."""
    allowed = int(np.floor(rate * scans + 1e-9))
    ordered = np.sort(false)[::-1]
    return float(ordered[allowed]) if allowed < len(ordered) else -np.inf


def sensitivities(parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Share of nodules with a score above the threshold of each of `RATES`; NaN without nodules."""
    hits, false = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    if not len(hits):
        return np.full(len(RATES), np.nan)
    return np.array([(hits > threshold_at(false, len(parts), rate)).mean() for rate in RATES])


def write_predictions(rows: Iterable[Mapping[str, object]], path: Path) -> None:
    """Keep a table of predictions, small: `.csv.gz`, scores to four digits, always the same bytes."""
    table = _pandas().DataFrame(list(rows), columns=list(COLUMNS))
    text = table.to_csv(index=False, float_format="%.4f").encode()
    path.write_bytes(gzip.compress(text, mtime=0))


def read_predictions(path: Path) -> pd.DataFrame:
    """A table that `write_predictions` kept."""
    kinds = {"nodule": str, "patient": str, "scan": str}
    table: pd.DataFrame = _pandas().read_csv(path, keep_default_na=False, dtype=kinds)
    return table


def _pandas() -> Any:
    return require("pandas", "a table of predictions")
