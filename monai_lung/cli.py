"""The command line: one thin function a command.

Exit codes: 0 done, 1 a case failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monai_lung.batch.options import engine_options
from monai_lung.cli_batch import Batch
from monai_lung.cli_options import guideline_option, person_from, person_options, sensitivity_option
from monai_lung.cli_revise import revise
from monai_lung.errors import MonaiLungError, UsageError
from monai_lung.lidc.cli import lidc
from monai_lung.pointed_cli import measure
from monai_lung.report.formats import DEFAULT_FORMATS, FORMATS, require_formats
from monai_lung.service.cli import serve
from monai_lung.terminal import (
    PROGRAM,
    GivenPath,
    bundle_options,
    note,
    pipeline_options,
    series_row,
    series_text,
    set_up_logging,
    show_error,
    show_usage_error,
    table,
)
from monai_lung.version import __version__
from monai_lung.view.cli import view

if TYPE_CHECKING:
    from monai_lung.io import Case

log = logging.getLogger(__name__)

_PATH = GivenPath(path_type=Path)
_FORMATS_HELP = f"Formats to write: {','.join(FORMATS)}, or all. Default: {','.join(DEFAULT_FORMATS)}."
_DEVICES = click.Choice(["auto", "cpu", "cuda"])


@dataclass
class _Session:
    """What the options that every command knows have set."""

    debug: bool = False
    verbosity: int = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    session = _Session()
    try:
        return cli.main(arguments, prog_name=PROGRAM, standalone_mode=False, obj=session) or 0
    except click.ClickException as error:
        return show_usage_error(error)
    except (KeyboardInterrupt, click.Abort):
        show_error("interrupted; finished cases are kept, run again for the rest")
        return 130
    except BrokenPipeError:  # the reader of a pipe left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if session.debug:
            log.error("traceback", exc_info=True)
        show_error(_message(error))
        return 2 if isinstance(error, UsageError) else 1


def _message(error: Exception) -> str:
    """An error as a sentence; those that aren't ours say that they are unexpected."""
    if isinstance(error, MonaiLungError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory: close other programs or analyse fewer slices"
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)"


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options -v, -q and --debug, for the program and for each command."""

    def noted(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        session = context.ensure_object(_Session)
        if parameter.name == "debug":
            session.debug = session.debug or value
        elif value:
            session.verbosity += value if parameter.name == "verbose" else -1
        level = logging.WARNING - 10 * min(max(session.verbosity, -1), 2)
        set_up_logging(logging.DEBUG if session.verbosity > 1 else level)

    how: dict[str, Any] = {"expose_value": False, "callback": noted}
    command = click.option("--debug", is_flag=True, help="Show the traceback of an error.", **how)(command)
    command = click.option("-q", "--quiet", is_flag=True, help="Print only errors to stderr.", **how)(command)
    return click.option("-v", "--verbose", count=True, help="Print more to stderr; -vv prints everything.", **how)(
        command
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=PROGRAM)
@_common
def cli() -> None:
    """Lungs, nodules and malignancy on chest CT. Research use; decision support, not a diagnosis."""


for _command in (lidc, measure, serve, revise, view):
    cli.add_command(_command)
for _command in (measure, serve, revise, view, *lidc.commands.values()):
    _common(_command)


@cli.command()
@click.argument("inputs", metavar="CT...", type=_PATH, nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT", type=_PATH, required=True, help="Write results to OUT/<case>/.")
@click.option("--format", "formats", metavar="LIST", help=_FORMATS_HELP)
@click.option("--series-uid", metavar="UID", help="Take this DICOM series rather than the best one.")
@click.option("--prior", metavar="PATH", type=_PATH, help="Earlier CT, or its result, of the same patient.")
@click.option("--device", type=_DEVICES, default="auto", show_default=True, help="Where the networks run.")
@click.option("--allow-gaps", is_flag=True, help="Interpolate missing slices rather than refuse them.")
@click.option("--show-patient", is_flag=True, help="Put the patient's name and ID into the results.")
@click.option("--allow-other-patient", is_flag=True, help="Compare even with a prior of another patient.")
@sensitivity_option
@guideline_option
@person_options
@bundle_options
@pipeline_options
@engine_options
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Skip cases that the same version has finished from the same files, or do all again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON rather than a table.")
@_common
def analyze(
    inputs: tuple[Path, ...],
    output: Path,
    formats: str | None,
    engine: str,
    address: str | None,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Find, measure and rate the nodules of each CT.

    CT is a DICOM folder, file, DICOMDIR or zip, NIfTI, NRRD or MHA. In a folder each study is a case. After an
    interruption the same command goes on where it was. Of more than a few cases each is printed as a line.
    """
    from monai_lung.batch.options import Engine
    from monai_lung.batch.studies import Job, analyze_cases, settled

    where = Engine(engine, address)
    if not where.here:  # other processes may have another working directory
        inputs = tuple(path.absolute() for path in inputs)
        options["prior"] = options["prior"] and options["prior"].absolute()
    show_patient = options.pop("show_patient")
    wanted = require_formats(formats or DEFAULT_FORMATS)
    session = click.get_current_context().find_object(_Session)
    batch = Batch(as_json=as_json, debug=session is not None and session.debug)
    cases = settled(output, _cases(inputs, options["series_uid"], batch))
    job = Job(output if where.here else output.absolute(), _options(**options), wanted, show_patient, resume)
    numbers = {case.name: n for n, case in enumerate(cases, start=1)}
    with batch.running(len(cases)):
        results = analyze_cases(
            job, cases, where, watch=lambda c: batch.watch(c.name, numbers[c.name]), progress=batch.counted
        )
        with contextlib.closing(results):
            for case, result in results:
                if result.error or result.value is None:
                    _failed(batch, case.name, result.error or RuntimeError("no result"))
                else:
                    batch.done(output / case.name, result.value)
    if not batch.end(output):
        click.get_current_context().exit(1)


def _cases(inputs: Sequence[Path], series_uid: str | None, batch: Batch) -> list[Case]:
    """The cases of all inputs, each once; what holds none is noted as failed. A path that isn't there ends the run."""
    from monai_lung.io import distinct, find_cases
    from monai_lung.io.cases import slice_of, without_repeats
    from monai_lung.io.paths import check_exists, forget_unzipped

    for path in inputs:
        check_exists(path)
    found: list[Case] = []
    slices: set[tuple[Path, str]] = set()
    for path in inputs:
        if len(inputs) > 1 and (one := slice_of(path)):
            if one in slices:
                continue
            slices.add(one)
        try:
            found += (here := find_cases(path, series_uid))
            if len(inputs) > 1 and all(case.series for case in here):  # a disk may not hold all archives of a batch
                forget_unzipped(path)
        except UsageError:
            raise
        except Exception as error:
            _failed(batch, str(path), error)
    return distinct(without_repeats(found))


def _options(**values: Any) -> Any:
    """`pipeline.Options` from the command's options."""
    from monai_lung.pipeline import Options

    person = person_from(values)
    if values["prior"] is not None:
        from monai_lung.io.paths import check_exists

        check_exists(values["prior"])
    return Options(person=person, **values)


def _failed(batch: Batch, name: str, error: Exception) -> None:
    """Note a case that failed; an error that would hit every case ends all."""
    from monai_lung.pipeline import STOPPING

    if isinstance(error, STOPPING):
        raise error
    log.debug("%s", name, exc_info=error)
    if batch.debug:
        log.error("traceback", exc_info=error)
    batch.fail(name, _message(error))


@cli.command()
@click.argument("ct", metavar="CT", type=_PATH)
@click.option(
    "-o",
    "--output",
    metavar="MASK",
    type=_PATH,
    required=True,
    help="Mask to write, a .nii.gz file: 1 right, 2 left lung.",
)
@click.option("--series-uid", metavar="UID", help="Take this DICOM series rather than the best one.")
@click.option("--allow-gaps", is_flag=True, help="Interpolate missing slices rather than refuse them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON rather than a table.")
@_common
def lungs(ct: Path, output: Path, series_uid: str | None, allow_gaps: bool, as_json: bool) -> None:
    """Write the lung mask of one CT."""
    from monai_lung.chest import read_chest
    from monai_lung.io import find_cases, write_nifti
    from monai_lung.io.output import check_folder

    if not output.name.lower().endswith((".nii", ".nii.gz")):
        raise UsageError(f"{output}: the mask is NIfTI, give a name that ends with .nii.gz")
    cases = find_cases(ct, series_uid)
    if len(cases) > 1:
        raise UsageError(f"{ct} holds {len(cases)} cases: give the folder or file of one, or --series-uid")
    check_folder(output.parent)
    volume, found = read_chest(cases[0], allow_gaps=allow_gaps)
    write_nifti(output, found.labels, volume.affine_lps)
    warnings = (*volume.warnings, *found.warnings)
    if as_json:
        result = {"mask": str(output), "right_ml": found.right_ml, "left_ml": found.left_ml, "warnings": warnings}
        click.echo(json.dumps(result, indent=1))
        return
    click.echo(table(("lung", "ml"), [("right", f"{found.right_ml:.0f}"), ("left", f"{found.left_ml:.0f}")], "lr"))
    click.echo("\n".join([*map(note, warnings), f"-> {output}"]))


@cli.command(short_help="List the series of a folder, and which is analysed.")
@click.argument("folder", metavar="FOLDER", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON rather than a table.")
@_common
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
    refused = " (! is what would be, but is refused)" if any(chosen.values()) else ""
    click.echo(f"* is what gets analysed{refused}" if cases else "nothing here can be analysed")


@cli.command()
@click.argument("out", metavar="OUT", type=_PATH)
@click.option("-o", "--output", metavar="DIR", type=_PATH, help="Folder to write the tables to. Default: OUT.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON rather than text.")
@_common
def summarize(out: Path, output: Path | None, opens: bool, as_json: bool) -> None:
    """Make one table and one page of all results in OUT.

    The page is sorted by a click on a column, and filtered by category and words; each case has a small picture and
    leads to its report.
    """
    import webbrowser

    from monai_lung.report import table as tables

    summary = tables.summarize(out, output)
    click.echo(json.dumps(summary.as_dict(), indent=1) if as_json else str(summary))
    if opens:
        webbrowser.open(summary.page.resolve().as_uri())


@cli.command(short_help="Write a synthetic chest CT as DICOM, with its truth.")
@click.option(
    "-o", "--output", metavar="DIR", type=_PATH, required=True, help="Write the folders dicom/ and truth/ to DIR."
)
@click.option("--size", type=int, default=256, show_default=True, help="Number of columns and of rows.")
@click.option("--slices", type=int, default=60, show_default=True, help="Number of slices.")
@click.option("--pixel-mm", type=float, help="Distance of pixels. Default: 384 mm over the image.")
@click.option("--spacing-mm", type=float, help="Distance of slices. Default: 300 mm over the scan.")
@click.option("--thickness-mm", type=float, help="Thickness of a slice. Default: the distance of slices.")
@click.option("--noise-hu", type=float, default=15, show_default=True, help="Standard deviation of the noise.")
@click.option("--kernel", type=click.Choice(["smooth", "standard", "sharp"]), default="standard", show_default=True)
@click.option("--contrast", is_flag=True, help="Add contrast medium: blood of 250 HU.")
@click.option("--position", type=click.Choice(["HFS", "FFS", "HFP", "FFP"]), default="HFS", show_default=True)
@click.option("--tilt-deg", type=float, default=0, show_default=True, help="Tilt of the gantry in degrees.")
@click.option(
    "--padding-hu",
    type=click.IntRange(-3100, -1024),
    help="Cut a round field of view, and store this value outside it.",
)
@click.option(
    "--nodule",
    "nodules",
    metavar="SPEC",
    multiple=True,
    help="Nodule as X,Y,Z,MM[,WORD...], see above; may be given several times.",
)
@click.option(
    "--crops",
    metavar="FOLDER",
    type=_PATH,
    help="Folder of readers' contours; MM of a nodule may then be an id of its table.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random branches and noise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON rather than a table.")
@_common
def phantom(
    output: Path, nodules: tuple[str, ...], crops: Path | None, contrast: bool, as_json: bool, **grid: Any
) -> None:
    """Write a synthetic chest CT as DICOM, with the truth about its nodules beside it.

    A nodule is X,Y,Z (LPS mm from a point between the lungs), its diameter in mm, and words: solid, part-solid or
    ground-glass; sphere, ellipsoid or lobulated; pleural. Example: --nodule 80,40,10,8,ground-glass. Without any there
    is one of each kind. A phantom is good for trying and testing; it measures no accuracy.
    """
    from monai_lung.phantom import PhantomSpec, make_phantom, parse_nodule, write_phantom

    chosen: dict[str, Any] = {name: value for name, value in grid.items() if value is not None}
    chosen.setdefault("pixel_mm", 384 / max(chosen["size"], 1))
    chosen.setdefault("spacing_mm", 300 / max(chosen["slices"], 1))
    if nodules:
        chosen["nodules"] = tuple(parse_nodule(text, crops) for text in nodules)
    made = make_phantom(PhantomSpec(blood_hu=250.0 if contrast else 45.0, **chosen))
    folder = write_phantom(made, output)
    if as_json:
        click.echo((output / "truth" / "nodules.json").read_text(encoding="utf-8").strip())
        return
    rows = [
        (
            t.id,
            " ".join(f"{v:.0f}" for v in t.center_mm),
            f"{t.diameter_mm:.1f}",
            f"{t.volume_mm3:.0f}",
            t.nodule.texture,
            t.nodule.shape + (", pleural" if t.nodule.pleural else ""),
        )
        for t in made.nodules
    ]
    click.echo(table(("#", "centre LPS mm", "mm", "mm3", "texture", "shape"), rows, "rlrrll"))
    click.echo(f"-> {folder}, the truth in {output / 'truth'}")
