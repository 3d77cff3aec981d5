"""The findings of a result as text of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai_lung.cli.terminal import WIDTH, note, table
from monai_lung.report.formats import FORMATS


def report_text(findings: Mapping[str, Any], folder: Path | None) -> str:
    """The findings of an analysis: lungs, deciding nodule, advice, one row for each nodule, warnings, and the folder.

    Args:
        findings: the content of a `findings.json`.
        folder: of the result, None where no files were written.
    """
    from monai_lung.report.ranking import ranked_rows
    from monai_lung.report.wording import GUIDELINE_TITLES

    lungs, rows = findings["lungs"], ranked_rows(findings)
    said = f"{findings['input']['case']}: lungs {lungs['right_ml']:.0f} ml right, {lungs['left_ml']:.0f} ml left; "
    lines = [said + (f"{len(rows)} nodule{'s' if len(rows) > 1 else ''}" if rows else "no nodules")]
    lines += [note(text) for text in findings["notes"]]
    lines += [_deciding(rows[0])] if rows else []
    for key, advice in findings["guidelines"].items():
        if key != "brock":
            text = f"{GUIDELINE_TITLES[key]} {_category(advice)}: {advice['advice']}"
            lines += textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    if rows:
        lines += ["", _nodule_table(rows, with_change="prior" in findings), ""]
    if findings["candidates"]:
        lines.append(f"{len(findings['candidates'])} more below the operating point, not counted")
    if findings.get("rejected"):
        lines.append(f"rejected by a reader: {', '.join(str(row['id']) for row in findings['rejected'])}")
    for warning in findings["input"]["warnings"]:
        lines.append(note(warning))
    if folder is not None:
        page = folder / FORMATS["html"].files[0]
        lines.append(f"-> {page if page.exists() else folder}")
    return "\n".join(lines)


def _deciding(row: Mapping[str, Any]) -> str:
    """The nodule that decides, in a line or two."""
    size = f"{row['long_axis_mm']:.1f} x {row['short_axis_mm']:.1f} mm"
    place = f"{row['side']} lung, {row['third']} third" if row["side"] else "place in the lungs unknown"
    parts = [f"Nodule {row['id']} decides: {row['texture']}, {place}", size]
    if row["image_number"] is not None:
        parts.append(f"image {row['image_number']}")
    if change := _change(row):
        parts.append(change)
    return textwrap.fill(", ".join(parts), WIDTH, subsequent_indent="  ")


def _nodule_table(nodules: Iterable[Mapping[str, Any]], with_change: bool) -> str:
    """One row for each nodule: volume and texture or, against a prior, the change."""
    middle = ("change",) if with_change else ("mm3", "texture")
    rows = []
    for nodule in nodules:
        low, high = nodule["malignancy_interval"]
        told = (_change(nodule),) if with_change else (f"{nodule['volume_mm3']:.0f}", nodule["texture"])
        rows.append(
            (
                nodule["id"],
                f"{nodule['side']} {nodule['third']}" if nodule["side"] else "unknown",
                "" if nodule["image_number"] is None else nodule["image_number"],
                f"{nodule['long_axis_mm']:.1f} x {nodule['short_axis_mm']:.1f}",
                *told,
                _category(nodule["guidelines"].get("lung_rads_2022", {})),
                f"{_percent(nodule['malignancy_probability'])} ({_span(low, high)})",
            )
        )
    header = ("#", "lung, third", "img", "size mm", *middle, "L-RADS", "malig. %")
    return table(header, rows, "rlrr" + ("llr" if with_change else "rllr"))


def _percent(probability: float) -> str:
    """Whole per cent without the sign; "95+" above 95, "<1" below 1: no network is surer than that."""
    return "95+" if probability > 0.95 else "<1" if probability < 0.01 else f"{100 * probability:.0f}"


def _span(low: float, high: float) -> str:
    """An interval of probabilities: "8-57"; one figure where both ends are shown the same."""
    first, last = _percent(low), _percent(high)
    return first if first == last else f"{first}-{last}"


def _change(row: Mapping[str, Any]) -> str:
    """Against the prior, as "growing +60 %"; "" without one."""
    growth = row.get("growth")
    if not growth:
        return ""
    percent = growth["volume_change_percent"]
    return growth["status"] + ("" if percent is None else f" {percent:+.0f} %")


def _category(advice: Mapping[str, Any]) -> str:
    """The category of one guideline, or all possible ones where facts are missing; "-" where it has none."""
    if advice.get("label"):
        return str(advice["label"])
    category = advice.get("category")
    if category is None and advice.get("by_risk"):
        return "/".join(dict.fromkeys(advice["by_risk"].values()))
    return {None: "-", "not-applicable": "n/a"}.get(category, f"{category}{advice.get('modifier', '')}")
