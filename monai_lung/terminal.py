"""What the command line takes and shows: paths, errors, logs, progress and tables of at most 80 columns.

Results go to stdout, everything else to stderr; progress only where stderr is a terminal.
"""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monai_lung.report.formats import FORMATS

if TYPE_CHECKING:
    from monai_lung.model import Series

PROGRAM = "monai-lung"
WIDTH = 80
_STAGES = ("read", "lungs", "find", "delineate", "rate", "measure", "prior", "advise")
Progress = Callable[[str, float], None]


def show_error(message: str) -> None:
    """One line on stderr."""
    click.echo(f"{PROGRAM}: error: {' '.join(message.split())}", err=True)


def show_usage_error(error: click.ClickException) -> int:
    """One line on stderr; of a command without anything behind it the whole help. The exit code is 2."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
        click.echo(error.format_message(), err=True)
    else:
        show_error(error.format_message())
    return 2


class GivenPath(click.Path):
    """A path; an empty one, as of an unset variable of the shell, would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty path as wrong usage; else what `click.Path` does."""
        if value == "":
            self.fail("the path is empty; is a variable of the shell not set?", param, ctx)
        return super().convert(value, param, ctx)


def bundle_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for networks of one's own; the command gets them by the names that `pipeline.Options` has for them."""
    folder = GivenPath(path_type=Path, resolve_path=True)
    trust = click.option(
        "--trust-bundle", is_flag=True, help="Allow networks of any class in a bundle; their code is run."
    )
    for kind, what in (("classification", "networks that rate"), ("segmentation", "networks that find and delineate")):
        command = click.option(
            f"--{kind}-bundle",
            f"{kind}_dir",
            metavar="DIR",
            type=folder,
            callback=_checked_bundle,
            help=f"Use the {what} in this folder instead of the installed ones.",
        )(trust(command) if kind == "classification" else command)
    return command


def pipeline_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --pipeline and --paper-bundle, by the names that `pipeline.Options` has for them."""
    folder = GivenPath(path_type=Path, resolve_path=True)
    command = click.option(
        "--paper-bundle",
        "paper_dir",
        metavar="DIR",
        type=folder,
        callback=_checked_bundle,
        help="Folder with other networks for --pipeline paper than the installed.",
    )(command)
    return click.option(
        "--pipeline",
        type=click.Choice(["product", "paper"]),
        default="product",
        show_default=True,
        help="What finds and rates: this software, or the system of Yu et al. 2021.",
    )(command)


def _checked_bundle(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a folder that is no bundle as wrong usage."""
    if value is not None and not (value / "configs" / "inference.json").is_file():
        raise click.BadParameter(f"{value} is not a bundle: it has no configs/inference.json", context, parameter)
    return value


def set_up_logging(level: int) -> None:
    """Send the package's log to stderr, a line a record; of other libraries nothing, unless debugging."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    if level > logging.DEBUG:  # some libraries log an error with its traceback, and raise it too
        handler.addFilter(logging.Filter("monai_lung"))
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if level <= logging.DEBUG else logging.ERROR)
    logging.getLogger("monai_lung").setLevel(level)


class _Lines(logging.Formatter):
    """`monai-lung: warning: what`."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"{PROGRAM}: {record.levelname.lower()}: {text}"


@contextmanager
def case_progress(name: str, number: int, total: int) -> Iterator[Progress | None]:
    """Show the stages of one case as a bar while the block runs; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        prefix = f"{number}/{total} {name}" if total > 1 else name
        task = bar.add_task(prefix, total=len(_STAGES))

        def advance(stage: str, done: float) -> None:
            at = _STAGES.index(stage) if stage in _STAGES else 0
            bar.update(task, completed=at + done, description=f"{prefix}: {stage}")

        yield advance


@contextmanager
def count_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that counts on stderr while the block runs, where that's a terminal.

    Args:
        what: is counted, for example "scans".

    Yields:
        To be called with those behind us and those in all.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> str:
    """Rows in columns as wide as their content, two spaces apart.

    Args:
        header: names of the columns.
        rows: cells, as many as there are names.
        right: a letter a column, "r" where it's set to the right; missing ones are left.
    """
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    sides = right.ljust(len(header), "l")
    lines = [
        "  ".join(c.rjust(w) if s == "r" else c.ljust(w) for c, w, s in zip(row, widths, sides, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def note(warning: str) -> str:
    """A warning of a result, in lines as wide as the terminal is taken to be."""
    return textwrap.fill(f"Note: {warning}", WIDTH, subsequent_indent="  ")


def report_text(findings: Mapping[str, Any], folder: Path | None) -> str:
    """What an analysis found: lungs, what decides, advice, a row a nodule, warnings, and where the files are.

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
    """A row a nodule: volume and texture or, against a prior, the change."""
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
    """The category of one guideline; where it depends on what isn't known the possible ones, "-" where it has none."""
    if advice.get("label"):
        return str(advice["label"])
    category = advice.get("category")
    if category is None and advice.get("by_risk"):
        return "/".join(dict.fromkeys(advice["by_risk"].values()))
    return {None: "-", "not-applicable": "n/a"}.get(category, f"{category}{advice.get('modifier', '')}")


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
