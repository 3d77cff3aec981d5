"""`monai-lung lungs`: the lung mask of one CT."""

from __future__ import annotations

import json
from pathlib import Path

import rich_click as click

from monai_lung.cli.options import PATH, command, gaps_option, json_option, series_option
from monai_lung.cli.terminal import note, table
from monai_lung.errors import UsageError


@command()
@click.argument("ct", metavar="CT", type=PATH)
@click.option(
    "-o",
    "--output",
    metavar="MASK",
    type=PATH,
    required=True,
    help="Write the mask to this .nii.gz file: 1 right, 2 left lung.",
)
@series_option
@gaps_option
@json_option
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
