"""Nodules as rows: `nodules.csv` of one case, and tables and a page over the cases of a whole output folder."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_lung.errors import InputError, UsageError
from monai_lung.extras import require
from monai_lung.model import Report
from monai_lung.report import findings
from monai_lung.report.ranking import ranked_rows
from monai_lung.report.wording import GUIDELINE_TITLES

_log = logging.getLogger(__name__)

_ADVICE = ("category", "modifier", "rule", "probability")
_GROWTH = (
    "status",
    "prior_date",
    "interval_days",
    "prior_mean_diameter_mm",
    "prior_volume_mm3",
    "volume_change_percent",
    "doubling_days",
)
_MEASURED = (
    "volume_mm3",
    "long_axis_mm",
    "short_axis_mm",
    "mean_diameter_mm",
    "max_diameter_3d_mm",
    "equivalent_diameter_mm",
    "mean_hu",
    "texture",
    "solid_volume_mm3",
    "solid_diameter_mm",
    "solid_mean_diameter_mm",
    "side",
    "third",
    "pleura_distance_mm",
    "nodule_probability",
    "malignancy_probability",
)


@dataclass(frozen=True)
class CaseResult:
    """One case of an output folder: its findings, or why there are none (`error`, one line)."""

    name: str
    findings: Mapping[str, Any] | None
    error: str = ""
    folder: Path | None = None


@dataclass(frozen=True)
class Summary:
    """The result of `summarize`: the cases in order of their names, and the files."""

    cases: tuple[CaseResult, ...]
    files: tuple[Path, ...]

    @property
    def page(self) -> Path:
        """The page among the files."""
        return next(file for file in self.files if file.suffix == ".html")

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        """Cases without findings."""
        return tuple(case for case in self.cases if case.findings is None)

    @property
    def nodules(self) -> list[dict[str, Any]]:
        """A row (see `nodule_rows`) for each nodule of each case."""
        return [row for case in self.cases if case.findings is not None for row in nodule_rows(case.findings)]

    def as_dict(self) -> dict[str, Any]:
        """Counts, failures and files, for JSON."""
        return {
            "cases": len(self.cases),
            "analysed": len(self.cases) - len(self.failed),
            "failed": [{"case": case.name, "error": case.error} for case in self.failed],
            "nodules": len(self.nodules),
            "files": [str(file) for file in self.files],
        }

    def __str__(self) -> str:
        """The same as lines of text."""
        counts = self.as_dict()
        return "\n".join(
            [
                f"{_count(counts['cases'], 'case')}, {counts['analysed']} analysed, {len(self.failed)} failed, "
                f"{_count(counts['nodules'], 'nodule')}",
                *(f"failed: {case.name}: {case.error}" for case in self.failed),
                *(f"written: {file}" for file in self.files),
            ]
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def nodule_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A flat row for each nodule of a findings file (`findings.to_dict`), the deciding one and the most urgent first.

    Every row has the same columns.
    Positions become center_x_mm, center_y_mm, center_z_mm (LPS) and center_i, center_j, center_k; advice and growth get
    their guideline or "growth" in front. What isn't known is None.
    """
    return [_row(content, nodule) for nodule in ranked_rows(content)]


def write_csv(report: Report, path: Path) -> Path:
    """Write one case's nodules as CSV (UTF-8, header always there)."""
    content = findings.to_dict(report)
    return _write_rows(path, nodule_rows(content), list(_row(content, {})))


def summarize(out_folder: Path, target: Path | None = None) -> Summary:
    """Gather the cases of an output folder.

    Writes into `target` (made where it's missing; default `out_folder`) `nodules.csv` and `nodules.parquet` with one
    row for each nodule, `cases.csv` with one row for each case, and `summary.html`. A case is a folder with a
    `findings.json` or an `error.json` (`case`, `error`); one with neither, or whose findings can't be read, counts as
    failed and never stops the others.

    Raises:
        UsageError: `out_folder` is not a folder or holds no case; pandas, pyarrow or jinja2 isn't installed.
    """
    from monai_lung.report.html.summary import summary_page

    folder, target = Path(out_folder), Path(target or out_folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder: give the output folder of an analysis")
    cases = tuple(_cases(folder, target))
    if not cases:
        raise UsageError(f"{folder}: holds no case: give the output folder of an analysis")
    target.mkdir(parents=True, exist_ok=True)
    files = tuple(target / name for name in ("nodules.csv", "nodules.parquet", "cases.csv", "summary.html"))
    summary = Summary(cases, files)
    columns = list(_row({}, {}))
    _write_rows(files[0], summary.nodules, columns)
    _write_parquet(files[1], summary.nodules, columns)
    case_rows = [_case_row(case) for case in cases]
    _write_rows(files[2], case_rows, list(case_rows[0]))
    files[3].write_text(summary_page(summary), encoding="utf-8")
    return summary


def _cases(folder: Path, target: Path) -> Iterator[CaseResult]:
    for place in sorted(folder.iterdir()):
        hidden = place.name.startswith(".")  # unfinished, under its temporary name
        if not place.is_dir() or hidden or place.resolve() == target.resolve():
            continue
        path = place / "findings.json"
        try:
            if path.exists():
                yield CaseResult(place.name, findings.read(path), folder=place)
            else:
                yield CaseResult(place.name, None, _error(place), place)
        except InputError as error:
            _log.warning("case %s: its findings can't be read", place.name)
            yield CaseResult(place.name, None, _one_line(error), place)


def _error(place: Path) -> str:
    """Why a case has no findings."""
    path = place / "error.json"
    if not path.exists():
        return "no findings.json: the analysis didn't finish; run it again"
    try:
        return _one_line(json.loads(path.read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return "failed; its error.json can't be read"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _row(content: Mapping[str, Any], nodule: Mapping[str, Any]) -> dict[str, Any]:
    source, growth = content.get("input", {}), nodule.get("growth") or {}
    row = {"case": source.get("case"), "study_date": source.get("study_date"), "nodule": nodule.get("id")}
    row["decides"] = nodule["id"] == content.get("deciding_nodule") if nodule else None
    row |= {name: nodule.get(name) for name in ("tracking_uid", "series_number", "image_number", "sop_instance_uid")}
    row |= dict(zip(("center_x_mm", "center_y_mm", "center_z_mm"), _three(nodule.get("center_mm")), strict=True))
    row |= dict(zip(("center_i", "center_j", "center_k"), _three(nodule.get("center_index")), strict=True))
    row |= {name: nodule.get(name) for name in _MEASURED}
    low, high = nodule.get("malignancy_interval") or (None, None)
    row |= {"malignancy_low": low, "malignancy_high": high}
    for name in GUIDELINE_TITLES:
        advice = (nodule.get("guidelines") or {}).get(name) or {}
        row |= {f"{name}_{part}": advice.get(part) for part in _ADVICE if part != "probability" or name == "brock"}
        if name == "brock":
            least, most = advice.get("probability_range") or (None, None)
            row |= {"brock_probability_low": least, "brock_probability_high": most}
        if name == "fleischner_2017":  # what isn't known decides between several categories
            by_risk = advice.get("by_risk") or {}
            row[f"{name}_by_risk"] = "; ".join(f"{k}: {v}" for k, v in by_risk.items()) or None
    return row | {f"growth_{name}": growth.get(name) for name in _GROWTH}


def _three(values: Sequence[Any] | None) -> Sequence[Any]:
    return values or (None, None, None)


def _case_row(case: CaseResult) -> dict[str, Any]:
    content = case.findings or {}
    source, advice = content.get("input", {}), content.get("guidelines", {})
    return {
        "case": case.name,
        "status": "done" if case.findings is not None else "failed",
        "error": case.error,
        "study_date": source.get("study_date"),
        "path": source.get("path"),
        "sha256": source.get("sha256"),
        "series_uid": source.get("series_uid"),
        "patient_key": source.get("patient_key"),
        "nodules": len(content["nodules"]) if content else None,
        "deciding_nodule": content.get("deciding_nodule"),
        **{f"{name}_category": advice.get(name, {}).get("category") for name in ("lung_rads_2022", "fleischner_2017")},
        "right_ml": content.get("lungs", {}).get("right_ml"),
        "left_ml": content.get("lungs", {}).get("left_ml"),
        "warnings": "; ".join(source.get("warnings", ())),
        "seconds": round(sum(content.get("timing_s", {}).values()), 1) if content else None,
    }


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    with Path(path).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Columns keep their types however many values are missing: text, whole numbers, or numbers, by their names."""
    pandas = require("pandas", "nodules.parquet")
    require("pyarrow", "nodules.parquet")
    frame = pandas.DataFrame(list(rows), columns=list(columns))
    frame.astype({name: _type(name) for name in columns}).to_parquet(path, engine="pyarrow", index=False)


def _type(column: str) -> str:
    if column == "decides":
        return "boolean"
    if column in (
        "nodule",
        "series_number",
        "image_number",
        "center_i",
        "center_j",
        "center_k",
        "growth_interval_days",
    ):
        return "Int64"
    measured = ("_mm", "_mm3", "_hu", "_percent", "_days", "_probability", "_low", "_high")
    return "Float64" if column.endswith(measured) else "string"
