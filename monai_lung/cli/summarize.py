"""`monai-lung summarize`: one table and one page of many results."""

from __future__ import annotations

import json
from pathlib import Path

import rich_click as click

from monai_lung.cli.options import PATH, command, json_option


@command(short_help="Make one table and one page of all results.")
@click.argument("out", metavar="OUT", type=PATH)
@click.option("-o", "--output", metavar="DIR", type=PATH, help="Write the tables into this folder. Default: OUT.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@json_option
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
