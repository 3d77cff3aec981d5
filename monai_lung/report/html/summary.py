"""The page over many cases: distributions of sizes and categories, and what failed."""

from __future__ import annotations

import base64
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from monai_lung.extras import require
from monai_lung.report.findings import NOTICE
from monai_lung.report.html.render import render
from monai_lung.report.ranking import CATEGORIES, case_rank, ranked_rows
from monai_lung.report.wording import GUIDELINE_TITLES, number, percent

if TYPE_CHECKING:
    from monai_lung.report.table import CaseResult, Summary

_log = logging.getLogger(__name__)

SIZE_LIMITS_MM = (4.0, 6.0, 8.0, 15.0, 30.0)
"""Where the guidelines' size classes begin."""

Bars = list[tuple[str, int]]

THUMBNAIL = (96, 96)
"""Pixels of a case's picture, at most."""

_SLICE = rb'<img src="data:image/jpeg;base64,([^"]+)" alt="Axial slice of nodule %d"'
_OVERVIEW = rb'<image href="data:image/jpeg;base64,([^"]+)"'
"""Pictures in a case's page (card.html, report.html)."""

COLUMNS = (
    ("Case", False),
    ("Examination", True),
    ("Lung-RADS", True),
    ("Fleischner", True),
    ("Nodule that decides", True),
    ("Change", False),
    ("Highest malignancy", True),
    ("Nodules", True),
    ("Warnings", True),
)
"""Names of the table's columns, and whether a first click on one puts the highest at the top."""


def summary_page(summary: Summary) -> str:
    """The page as text.

    Raises:
        UsageError: jinja2 isn't installed.
    """
    nodules = summary.nodules
    done = [case for case in summary.cases if case.findings is not None]
    charts = {
        "Nodules by mean diameter": _by_limits((n["mean_diameter_mm"] for n in nodules), SIZE_LIMITS_MM, "mm"),
        "Nodules by texture": _count(n["texture"] for n in nodules),
        "Nodules by malignancy probability": _by_limits(
            (_percent(n["malignancy_probability"]) for n in nodules), (5.0, 10.0, 30.0, 65.0), "%"
        ),
        "Cases by number of nodules": _by_number(len(case.findings["nodules"]) for case in done if case.findings),
    }
    for key in ("lung_rads_2022", "fleischner_2017"):
        advices = [case.findings["guidelines"].get(key) for case in done if case.findings]
        charts[f"Examinations by {GUIDELINE_TITLES[key]}"] = _count(_category(a) for a in advices if a)
    if any(n["growth_status"] for n in nodules):
        charts["Nodules by growth"] = _count(n["growth_status"] for n in nodules if n["growth_status"])
    warnings = Counter(w for case in done if case.findings for w in case.findings["input"]["warnings"])
    rows = [_row(case, summary.page) for case in sorted(done, key=_urgency)]
    counts = Counter(row.category for row in rows)
    return render(
        "summary.html",
        scripts=("summary.js",),
        summary=summary,
        done=done,
        nodules=nodules,
        charts={title: _with_shares(bars) for title, bars in charts.items()},
        rows=rows,
        columns=COLUMNS,
        categories=[(name, counts[name]) for name in (*reversed(CATEGORIES), "not applicable", "") if counts[name]],
        warnings=warnings.most_common(),
        notice=NOTICE,
    )


Cell = tuple[str, float | str | None]
"""The text of a cell, and its sort key where that is something else."""


@dataclass(frozen=True)
class Row:
    """A case in the table.

    Attributes:
        name: of the case.
        report: its page, relative to this one; "" where there is none.
        category: of Lung-RADS without a modifier, "" where there is none: what the filter goes by.
        picture: a small picture of the case, as a data address; "" where it has no page.
        cells: from the second column on.
    """

    name: str
    report: str
    category: str
    picture: str
    cells: tuple[Cell, ...]


def _urgency(case: CaseResult) -> tuple[Any, ...]:
    return (*case_rank(case.findings or {}), case.name)


def _in_short(nodule: Mapping[str, Any]) -> str:
    """Place, size and texture."""
    place = f"{nodule['side']} {nodule['third']}" if nodule["side"] else "place unknown"
    return f"{place}, {number(nodule['mean_diameter_mm'])} mm {nodule['texture']}"


def _row(case: CaseResult, page: Path) -> Row:
    """Date, categories, the nodule that decides, its change, the highest probability, nodules, warnings."""
    content = case.findings or {}
    nodules, source = ranked_rows(content), content["input"]
    first = nodules[0] if nodules else None
    highest = max((n["malignancy_probability"] or 0.0 for n in nodules), default=None)
    category = (content["guidelines"].get("lung_rads_2022") or {}).get("category")
    cells: tuple[Cell, ...] = (
        (source["study_date"] or "", None),
        (_given(content, "lung_rads_2022"), CATEGORIES.index(category) if category in CATEGORIES else ""),
        (_given(content, "fleischner_2017"), None),
        (_in_short(first), first["mean_diameter_mm"] or 0.0) if first else ("", ""),
        (((first or {}).get("growth") or {}).get("status", ""), None),
        ("", "") if highest is None else (percent(highest), highest),
        (str(len(nodules)), None),
        (str(len(source["warnings"]) or ""), None),
    )
    own = None if case.folder is None else case.folder / "report.html"
    report, picture = "", ""
    if own is not None and own.is_file():
        report, picture = _link(own, page), _picture(own, first["id"] if first else None)
    return Row(case.name, report, (category or "").replace("-", " "), picture, cells)


def _picture(page: Path, nodule: int | None) -> str:
    """A small picture from a case's page, as a data address: the slice of a nodule, else of the lungs; "" without."""
    image = require("PIL.Image", "summary.html")
    try:
        text = page.read_bytes()
        found = nodule is not None and re.search(_SLICE % nodule, text)
        if not (found := found or re.search(_OVERVIEW, text)):
            return ""
        with image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
            small = picture.convert("L")
            small.thumbnail(THUMBNAIL)
    except (OSError, ValueError) as error:
        _log.warning("%s: no picture (%s)", page, error)
        return ""
    data = io.BytesIO()
    small.save(data, "JPEG", quality=60)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _link(target: Path, page: Path) -> str:
    """From the page's folder to a file, as a relative address; "" where there is none (another drive)."""
    try:
        return quote(Path(os.path.relpath(target, page.parent)).as_posix())
    except ValueError:
        return ""


def _given(content: Mapping[str, Any], key: str) -> str:
    advice = content["guidelines"].get(key)
    return _category(advice) if advice else ""


def _with_shares(bars: Bars) -> list[tuple[str, int, float]]:
    """Each bar with its length, the longest 1."""
    longest = max((count for _, count in bars), default=0)
    return [(name, count, count / longest if longest else 0.0) for name, count in bars]


def _category(advice: Mapping[str, Any]) -> str:
    if advice.get("label"):
        return str(advice["label"])
    if advice["category"] is None:
        return " / ".join(dict.fromkeys(advice["by_risk"].values())) or "not known"
    return str(advice["category"]).replace("-", " ") + str(advice["modifier"])


def _percent(probability: float | None) -> float | None:
    return None if probability is None else 100 * probability


def _count(values: Iterable[str | None]) -> Bars:
    """How often each value occurs, in the order of the values ("F2" before "F10")."""
    counts = Counter(value or "not known" for value in values)
    return sorted(counts.items(), key=lambda item: (len(item[0].split(" ")[0]), item[0]))


def _by_limits(values: Iterable[float | None], limits: tuple[float, ...], unit: str) -> Bars:
    """How many values lie in each class; a limit belongs to the class above it. Empty classes are kept."""
    known = [value for value in values if value is not None]
    edges = (float("-inf"), *limits, float("inf"))
    names = [
        f"< {limits[0]:g} {unit}",
        *(f"{low:g} to < {high:g} {unit}" for low, high in pairwise(limits)),
        f"≥ {limits[-1]:g} {unit}",
    ]
    return [
        (name, sum(low <= value < high for value in known))
        for name, (low, high) in zip(names, pairwise(edges), strict=True)
    ]


def _by_number(values: Iterable[int]) -> Bars:
    counts = Counter("5 or more" if value >= 5 else str(value) for value in values)
    return [(name, counts[name]) for name in ("0", "1", "2", "3", "4", "5 or more")]
