"""In which order nodules and cases are shown: what is most urgent first.

A nodule counts by its own Lung-RADS category, then by the probability of malignancy, then by its size. The nodule that
decides the examination's category leads, whatever its rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_lung.model import Nodule, Report

CATEGORIES = ("1", "2", "3", "0", "4A", "4B", "4X")
"""Of Lung-RADS, the least urgent first; 0 (incomplete, or perhaps an infection) asks for a CT within three months."""

Rank = tuple[int, float, float]


def rank(category: str | None, probability: float | None, size: float | None) -> Rank:
    """A key that sorts the most urgent first.

    Args:
        category: of Lung-RADS; one that isn't known, or doesn't apply, comes last.
        probability: of malignancy, 0 ... 1.
        size: any measure of it.
    """
    level = CATEGORIES.index(category) if category in CATEGORIES else -1
    return -level, -(probability or 0.0), -(size or 0.0)


def ranked(report: Report) -> tuple[Nodule, ...]:
    """The nodules of a report, the deciding one first, then the most urgent first."""
    return tuple(sorted(report.nodules, key=lambda nodule: (nodule.id != deciding_id(report), _of(nodule))))


def deciding_id(report: Report) -> int | None:
    """The nodule that decides the examination's advice, None without nodules."""
    if report.deciding_nodule is not None:
        return report.deciding_nodule
    return min(report.nodules, key=_of).id if report.nodules else None


def ranked_rows(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """As `ranked`, for the nodules of a `findings.json`."""
    return sorted(content["nodules"], key=lambda row: (row["id"] != content.get("deciding_nodule"), _of_row(row)))


def case_rank(content: Mapping[str, Any]) -> Rank:
    """A key that sorts cases, the most urgent first: by the examination's category, then by its worst nodule."""
    nodules = content["nodules"]
    return rank(
        content["guidelines"].get("lung_rads_2022", {}).get("category"),
        max((row["malignancy_probability"] or 0.0 for row in nodules), default=0.0),
        max((row["mean_diameter_mm"] or 0.0 for row in nodules), default=0.0),
    )


def _of(nodule: Nodule) -> Rank:
    advice = nodule.guidelines.get("lung_rads_2022")
    return rank(
        advice.category if advice else None,
        nodule.rating.malignancy_probability,
        nodule.measurements.volume_mm3,
    )


def _of_row(row: Mapping[str, Any]) -> Rank:
    category = row["guidelines"].get("lung_rads_2022", {}).get("category")
    return rank(category, row["malignancy_probability"], row["volume_mm3"])
