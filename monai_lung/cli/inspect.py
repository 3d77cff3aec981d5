"""`monai-lung inspect`: the series of a folder, and which would be analysed."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from monai_lung.cli.options import PATH, command, json_option
from monai_lung.cli.terminal import WIDTH

if TYPE_CHECKING:
    from monai_lung.model import Series


@command(short_help="List the series of a folder, and say which is analysed.")
@click.argument("folder", metavar="FOLDER", type=PATH)
@json_option
def inspect(folder: Path, as_json: bool) -> None:
    """List the DICOM series (or volume files) of a folder, and say which would be analysed, and why."""
    from monai_lung.errors import InputError
    from monai_lung.io import discover, find_cases
    from monai_lung.io.paths import check_exists
    from monai_lung.io.reader import refusal

    check_exists(folder)
    series = discover(folder) if folder.is_dir() else []
    try:
        cases = find_cases(folder)
    except InputError:
        if not series:
            raise
        cases = []
    chosen = {case.series.uid: refusal(case) for case in cases if case.series}
    if as_json:
        rows = [series_row(s, chosen.get(s.uid)) for s in series]
        volumes = [str(case.path) for case in cases if case.series is None]
        click.echo(json.dumps({"series": rows, "volumes": volumes}, indent=1))
        return
    shown = series or [case.series for case in cases if case.series]
    if shown:
        click.echo(series_text(shown, chosen))
    for case in cases:
        if case.series is None:
            click.echo(f"* volume file {case.path}")
    refused = " (! would be, but is refused)" if any(chosen.values()) else ""
    click.echo(f"* will be analysed{refused}" if cases else "nothing here can be analysed")


def series_row(series: Series, refused: str | None) -> dict[str, Any]:
    """A series of a folder as plain values.

    Args:
        series: the series.
        refused: None where another one is chosen, "" where it would be analysed, else why it's refused all the same.
    """
    return {
        "series_uid": series.uid,
        "study_uid": series.study_uid,
        "study_date": series.study_date and series.study_date.isoformat(),
        "modality": series.modality,
        "description": series.description,
        "kernel": series.kernel,
        "files": len(series.files),
        "thickness_mm": series.thickness_mm,
        "spacing_mm": series.spacing_mm,
        "suitable": series.suitable,
        "reason": series.reason,
        "region": series.region,
        "chosen": refused is not None,
        "refused": refused or "",
    }


def series_text(series: Sequence[Series], chosen: Mapping[str, str]) -> str:
    """The series of a folder, a block each, study by study.

    Those that would be analysed carry an asterisk, those that would be but are refused an exclamation mark: `chosen`
    has their UIDs, with the reason or "".
    """
    lines: list[str] = []
    study = None
    for one in sorted(series, key=lambda s: (str(s.study_date or ""), s.study_uid)):
        if one.study_uid != study:
            study = one.study_uid
            lines.append(f"Study of {one.study_date or 'unknown date'}")
        mark = " " if one.uid not in chosen else "!" if chosen[one.uid] else "*"
        spacing = " x ".join(f"{v:.2f}" for v in one.spacing_mm) + " mm" if one.spacing_mm else "no spacing"
        lines.append(f"{mark} {one.modality or '?':<4} {len(one.files):>4} files  {spacing}  {one.kernel}".rstrip())
        lines.append(f"       {one.description}"[:WIDTH].rstrip() if one.description else "")
        lines.append(f"       {one.uid}")
        lines.append(f"       {'' if one.suitable else 'not analysed: '}{one.reason}"[: 2 * WIDTH].rstrip())
        if chosen.get(one.uid):
            reason = f"refused: {chosen[one.uid].removeprefix(f'series {one.uid} ')}"
            lines += textwrap.wrap(reason, WIDTH, initial_indent=" " * 7, subsequent_indent=" " * 9)
    return "\n".join(line for line in lines if line)
