"""`monai-lung revise`: a reader's decisions on a result."""

from __future__ import annotations

import json
from pathlib import Path

import rich_click as click

from monai_lung.cli.options import PATH, command, ct_option, json_option
from monai_lung.cli.report_text import report_text
from monai_lung.errors import UsageError


class Numbers(click.ParamType):
    """Numbers of nodules with commas between, as 3,5."""

    name = "numbers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers; anything else is wrong usage."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() for part in parts):
            self.fail(f"{value!r}: give the numbers of nodules, for example 3,5", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


@command(short_help="Accept or reject nodules of a result, and write it again.")
@click.argument("case", metavar="OUT/CASE", type=PATH)
@click.option("--reject", type=Numbers(), default=(), metavar="3,5", help="Reject these numbers: they are not nodules.")
@click.option(
    "--accept", type=Numbers(), default=(), metavar="1", help="Accept these numbers; this also undoes a rejection."
)
@ct_option
@json_option
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
