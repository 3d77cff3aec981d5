"""The command `revise`: a reader's decisions on a result."""

from __future__ import annotations

import json
from pathlib import Path

import click

from monai_lung.errors import UsageError
from monai_lung.terminal import GivenPath, report_text

_PATH = GivenPath(path_type=Path)


class Numbers(click.ParamType):
    """Numbers of nodules with commas between, as 3,5."""

    name = "numbers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers; anything else is wrong usage."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() for part in parts):
            self.fail(f"{value!r}: give numbers of nodules, as 3,5", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


@click.command(short_help="Accept or reject nodules of a result, and write it again.")
@click.argument("case", metavar="OUT/CASE", type=_PATH)
@click.option("--reject", type=Numbers(), default=(), metavar="3,5", help="Reject these: they are not nodules.")
@click.option(
    "--accept", type=Numbers(), default=(), metavar="1", help="Accept these nodules; this also undoes a rejection."
)
@click.option("--ct", metavar="CT", type=_PATH, help="Path of the CT, if it was moved since.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON rather than a table.")
def revise(case: Path, reject: tuple[int, ...], accept: tuple[int, ...], ct: Path | None, as_json: bool) -> None:
    """Write a result again with a reader's decisions.

    Rejected findings no longer count: guidelines, tables, page, masks, SEG and SR are written again together. The
    decisions stay in findings.json.
    """
    from monai_lung.io.paths import check_exists
    from monai_lung.report.findings import to_dict
    from monai_lung.revise import revise as write_revised

    if not (case / "findings.json").is_file():
        raise UsageError(f"{case}: no result; give the folder of a case, with its findings.json")
    if ct is not None:
        check_exists(ct)
    findings = to_dict(write_revised(case, reject, accept, ct=ct))
    click.echo(json.dumps(findings, indent=1) if as_json else report_text(findings, case))
