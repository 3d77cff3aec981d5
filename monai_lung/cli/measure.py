"""`monai-lung measure`: nodules at given points, or given outlines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from monai_lung.cli.options import (
    PATH,
    bundle_options,
    command,
    device_option,
    gaps_option,
    json_option,
    person_from,
    person_options,
    series_option,
    show_patient_option,
)
from monai_lung.cli.report_text import report_text
from monai_lung.errors import UsageError
from monai_lung.report.formats import DEFAULT_FORMATS, FORMATS, require_formats

if TYPE_CHECKING:
    from monai_lung.model import Report


@command(short_help="Measure and rate nodules at given points, or given outlines.")
@click.argument("ct", metavar="CT", type=PATH)
@click.option("--points", metavar="POINTS", help='Measure at these points: a file, or "x,y,z;x,y,z;..." in LPS mm.')
@click.option("--index", is_flag=True, help="Read all points as voxel indices i,j,k rather than mm.")
@click.option(
    "--mask",
    metavar="FILE",
    type=PATH,
    help="Measure these outlines instead of points: NIfTI, NRRD, DICOM SEG or RTSTRUCT.",
)
@click.option(
    "--add", metavar="POINTS", help="Correct the nearest outline: these points belong to it. Points as of --points."
)
@click.option(
    "--cut", metavar="POINTS", help="Correct the nearest outline: these points don't belong to it, such as a vessel."
)
@click.option("-o", "--output", metavar="OUT", type=PATH, help="Write results into OUT/<case>/. Default: no files.")
@click.option("--format", "formats", metavar="LIST", help=f"Write these formats with -o: {', '.join(FORMATS)}, or all.")
@series_option
@gaps_option
@device_option
@show_patient_option
@person_options
@bundle_options
@json_option
def measure(
    ct: Path,
    points: str | None,
    index: bool,
    mask: Path | None,
    add: str | None,
    cut: str | None,
    output: Path | None,
    formats: str | None,
    show_patient: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure and rate nodules that you point at, with the reports of an analysis.

    POINTS is "x,y,z;x,y,z;..." in LPS mm, LUNA16's candidates.csv or another table with columns x, y, z, 3D Slicer's
    markups (.mrk.json), or a DICOM SR or presentation state with points. A point anywhere in a nodule will do. Where an
    outline is wrong, --add and --cut correct it; a line or a curve among markups is a stroke of many points.
    Works without lungs too: a phantom, a crop, a scan that was cut.
    """
    from monai_lung.io.points import read_points
    from monai_lung.pipeline import Options, write
    from monai_lung.pointed import Pointing

    if (points is None) == (mask is None):
        raise UsageError("measure needs either --points or --mask")
    if index and points is None and add is None and cut is None:
        raise UsageError("--index needs --points, --add or --cut: it says that they are voxel indices")
    if formats and output is None:
        raise UsageError("--format needs -o OUT: it says which files are written there")
    wanted = require_formats(formats or DEFAULT_FORMATS)
    pointing = Pointing(Options(person=person_from(options), **options))
    read = pointing.analyzer.read(ct)
    clicks = {
        name: read_points(given, read, index=index, option=f"--{name}", whole=True)
        for name, given in (("add", add), ("cut", cut))
        if given is not None
    }
    if mask is not None:
        report = pointing.inside(read, mask, **clicks)
    else:
        report = pointing.at(read, read_points(str(points), read, index=index), **clicks)
    folder = write(report, output, wanted, show_patient=show_patient) if output is not None else None
    _show(report, folder, as_json, show_patient)


def _show(report: Report, folder: Path | None, as_json: bool, show_patient: bool) -> None:
    from monai_lung.report.findings import to_dict

    findings = to_dict(report, show_patient)
    if as_json:
        click.echo(json.dumps({"folder": folder and str(folder), "findings": findings}, indent=1))
    else:
        click.echo(report_text(findings, folder))
