"""`monai-lung analyze`: the whole analysis of one CT or many."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click import get_current_context

from monai_lung.cli.case_display import CaseDisplay
from monai_lung.cli.options import (
    PATH,
    Session,
    bundle_options,
    command,
    device_option,
    engine_options,
    gaps_option,
    guideline_option,
    json_option,
    person_from,
    person_options,
    pipeline_options,
    sensitivity_option,
    series_option,
    show_patient_option,
)
from monai_lung.cli.terminal import error_message
from monai_lung.errors import UsageError
from monai_lung.report.formats import DEFAULT_FORMATS, FORMATS, require_formats

if TYPE_CHECKING:
    from monai_lung.io import Case

log = logging.getLogger(__name__)

_FORMATS_HELP = f"Write these formats: {', '.join(FORMATS)}, or all. Default: {', '.join(DEFAULT_FORMATS)}."


@command()
@click.argument("inputs", metavar="CT...", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT", type=PATH, required=True, help="Write results into OUT/<case>/.")
@click.option("--format", "formats", metavar="LIST", help=_FORMATS_HELP)
@series_option
@click.option(
    "--prior", metavar="PATH", type=PATH, help="Compare with this earlier CT, or its result, of the same patient."
)
@device_option
@gaps_option
@show_patient_option
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
    help="Skip cases that the same version has finished from the same files, or analyse all again.",
)
@json_option
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

    CT is a DICOM folder, file, DICOMDIR or zip, NIfTI, NRRD or MHA. In a folder each study is a case. Run the
    same command again after an interruption, and it continues where it stopped. With more than five cases, each is
    printed as one line.
    """
    from monai_lung.batch.options import Engine
    from monai_lung.batch.studies import Job, analyze_cases, settled

    where = Engine(engine, address)
    if not where.here:  # other processes may have another working directory
        inputs = tuple(path.absolute() for path in inputs)
        options["prior"] = options["prior"] and options["prior"].absolute()
    show_patient = options.pop("show_patient")
    wanted = require_formats(formats or DEFAULT_FORMATS)
    session = get_current_context().find_object(Session)
    display = CaseDisplay(as_json=as_json, debug=session is not None and session.debug)
    cases = settled(output, _cases(inputs, options["series_uid"], display))
    job = Job(output if where.here else output.absolute(), _options(**options), wanted, show_patient, resume)
    numbers = {case.name: n for n, case in enumerate(cases, start=1)}
    with display.running(len(cases)):
        results = analyze_cases(
            job, cases, where, watch=lambda c: display.watch(c.name, numbers[c.name]), progress=display.counted
        )
        with contextlib.closing(results):
            for case, result in results:
                if result.error or result.value is None:
                    _failed(display, case.name, result.error or RuntimeError("no result"))
                else:
                    display.done(output / case.name, result.value)
    if not display.end(output):
        get_current_context().exit(1)


def _cases(inputs: Sequence[Path], series_uid: str | None, display: CaseDisplay) -> list[Case]:
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
            _failed(display, str(path), error)
    return distinct(without_repeats(found))


def _options(**values: Any) -> Any:
    """`Options` from the command's options."""
    from monai_lung.pipeline import Options

    person = person_from(values)
    if values["prior"] is not None:
        from monai_lung.io.paths import check_exists

        check_exists(values["prior"])
    return Options(person=person, **values)


def _failed(display: CaseDisplay, name: str, error: Exception) -> None:
    """Note a case that failed; an error that would hit every case ends all."""
    from monai_lung.pipeline import FATAL_ERRORS

    if isinstance(error, FATAL_ERRORS):
        raise error
    log.debug("%s", name, exc_info=error)
    if display.debug:
        log.error("traceback", exc_info=error)
    display.fail(name, error_message(error))
