"""The command `measure`: nodules at given points, or given outlines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monai_lung.cli_options import person_from, person_options
from monai_lung.errors import UsageError
from monai_lung.report.formats import DEFAULT_FORMATS, FORMATS, require_formats
from monai_lung.terminal import GivenPath, bundle_options, report_text

if TYPE_CHECKING:
    from monai_lung.model import Report

_PATH = GivenPath(path_type=Path)


@click.command(short_help="Measure and rate nodules at given points, or given outlines.")
@click.argument("ct", metavar="CT", type=_PATH)
@click.option("--points", metavar="POINTS", help='Points to measure: a file, or "x,y,z;x,y,z;..." in LPS mm.')
@click.option("--index", is_flag=True, help="Read the points as voxel indices i,j,k rather than mm.")
@click.option(
    "--mask",
    metavar="FILE",
    type=_PATH,
    help="Measure these outlines instead of points: NIfTI, NRRD, DICOM SEG or RTSTRUCT.",
)
@click.option("-o", "--output", metavar="OUT", type=_PATH, help="Write results to OUT/<case>/. Default: no files.")
@click.option("--format", "formats", metavar="LIST", help=f"Formats to write with -o: {','.join(FORMATS)}, or all.")
@click.option("--series-uid", metavar="UID", help="Take this DICOM series rather than the best one.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--allow-gaps", is_flag=True, help="Interpolate missing slices rather than refuse them.")
@click.option("--show-patient", is_flag=True, help="Put the patient's name and ID into the results.")
@person_options
@bundle_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON rather than a table.")
def measure(
    ct: Path,
    points: str | None,
    index: bool,
    mask: Path | None,
    output: Path | None,
    formats: str | None,
    show_patient: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure and rate nodules that you point at, with the reports of an analysis.

    POINTS is "x,y,z;x,y,z;..." in LPS mm, LUNA16's candidates.csv or another table with columns x, y, z, 3D Slicer's
    markups (.mrk.json), or a DICOM SR or presentation state with points. A point anywhere in a nodule will do.
    Works without lungs too: a phantom, a crop, a scan that was cut.
    """
    from monai_lung.pipeline import Options, write
    from monai_lung.pointed import Pointing

    if (points is None) == (mask is None):
        raise UsageError("measure needs either --points or --mask")
    if index and mask is not None:
        raise UsageError("--index is about --points")
    if formats and output is None:
        raise UsageError("--format says which files are written: add -o OUT")
    wanted = require_formats(formats or DEFAULT_FORMATS)
    pointing = Pointing(Options(person=person_from(options), **options))
    report = pointing.inside(ct, mask) if mask is not None else _at(pointing, ct, str(points), index)
    folder = write(report, output, wanted, show_patient=show_patient) if output is not None else None
    _show(report, folder, as_json, show_patient)


def _at(pointing: Any, ct: Path, points: str, index: bool) -> Report:
    from monai_lung.io.points import read_points

    read = pointing.analyzer.read(ct)
    report: Report = pointing.at(read, read_points(points, read, index=index))
    return report


def _show(report: Report, folder: Path | None, as_json: bool, show_patient: bool) -> None:
    from monai_lung.report.findings import to_dict

    findings = to_dict(report, show_patient)
    if as_json:
        click.echo(json.dumps({"folder": folder and str(folder), "findings": findings}, indent=1))
    else:
        click.echo(report_text(findings, folder))
