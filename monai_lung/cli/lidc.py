"""`monai-lung lidc ...`: LIDC-IDRI, from its index to training data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import rich_click as click

from monai_lung.cli.options import PATH, Decorator, Group, database_option, engine_options, json_option
from monai_lung.cli.terminal import count_progress


def _output(default: str, text: str) -> Decorator:
    """The option -o, with a default."""
    return click.option("-o", "--output", metavar="FILE", type=PATH, default=default, show_default=True, help=text)


@click.group(cls=Group, short_help="Get numbers, nodules and training data from LIDC-IDRI.")
def lidc() -> None:
    """Get numbers, nodules and training data of LIDC-IDRI, and its readers' contours as DICOM SEG."""


@lidc.command(short_help="Count patients, scans, marks and nodules.")
@_output("lidc_summary.json", "Save the numbers to this file.")
@json_option
@database_option
def summary(output: Path, as_json: bool, database: Path | None) -> None:
    """Count patients, scans, marks and nodules; print the numbers and save them as JSON."""
    from monai_lung.io.output import replacing
    from monai_lung.lidc.index import read_index
    from monai_lung.lidc.summary import summarize, table

    numbers = summarize(read_index(database))
    text = json.dumps(numbers, indent=1)
    with replacing(output) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    lines = table(numbers)
    width = max(len(name) for name, _ in lines)
    click.echo(text if as_json else "\n".join(f"{name:<{width}}  {value}" for name, value in lines))
    click.echo(f"saved to {output}", err=True)


@lidc.command(short_help="Write a table of all nodules with their ratings.")
@_output("lidc_nodules.csv", "Write the table to this file.")
@database_option
def index(output: Path, database: Path | None) -> None:
    """Write a table of all nodules, with ratings, size and place, from the index alone."""
    from monai_lung.lidc.index import read_index
    from monai_lung.lidc.nodules import index_rows
    from monai_lung.lidc.tables import write_table

    rows = index_rows(read_index(database))
    write_table(output, rows)
    click.echo(f"{len(rows)} nodules -> {output}")


@lidc.command(short_help="Make training data from a download.")
@click.argument("download", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Write the training data into this folder.")
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Run this many processes; each needs about 2 GB.",
)
@click.option(
    "--min-readers",
    metavar="N",
    type=click.IntRange(1, 8),
    default=3,
    show_default=True,
    help="Cut out nodules marked by at least this many readers.",
)
@engine_options
@database_option
@click.pass_context
def prepare(
    context: click.Context,
    download: Path,
    output: Path,
    workers: int,
    min_readers: int,
    engine: str,
    address: str | None,
    database: Path | None,
) -> None:
    """Make training data from a DOWNLOAD of LIDC-IDRI in either of TCIA's folder layouts.

    Finished scans are skipped, so an interrupted run continues where it stopped.
    """
    from monai_lung.batch.options import Engine
    from monai_lung.lidc.prepare import Settings
    from monai_lung.lidc.prepare import prepare as prepare_all

    where = Engine(engine, address, workers)
    if not where.here:  # other processes may have another working directory
        download, output = download.absolute(), output.absolute()
    with count_progress("scans") as progress:
        outcome = prepare_all(
            download,
            output,
            settings=Settings(min_readers),
            engine=where,
            database=database,
            progress=progress,
        )
    for name, reason in outcome.failed.items():
        click.echo(f"failed: {name}: {reason}", err=True)
    click.echo(
        f"{outcome.done} scans done, {len(outcome.failed)} failed, {outcome.missing} not in the download, "
        f"{outcome.crops} nodule crops -> {output / 'manifest.csv'}"
    )
    context.exit(1 if outcome.failed else 0)


@lidc.command(short_help="Divide patients into folds.")
@click.argument("sources", type=PATH, nargs=-1, required=True)
@_output("folds.json", "Write the folds to this file.")
@click.option(
    "--split",
    "unit",
    type=click.Choice(["patient", "nodule", "mark"]),
    default="patient",
    show_default=True,
    help="Keep all of one patient, nodule or mark in one fold.",
)
@click.option("-k", "--folds", "k", type=int, default=5, show_default=True, help="Make this many folds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draw the folds from this seed.")
def split(sources: tuple[Path, ...], output: Path, unit: str, k: int, seed: int) -> None:
    """Divide the patients of all SOURCES (folders of crops, slices or scans, tables of `index`) into one fold file.

    `--split nodule` and `--split mark` repeat protocols of published papers; both leak.
    """
    from monai_lung.data.splits import Unit, leak, make_folds, table_rows, write_folds

    (chosen,) = (known for known in get_args(Unit) if known == unit)
    rows = [row for source in sources for row in table_rows(source)]
    folds = make_folds(rows, k, seed, chosen)
    write_folds(folds, output)
    click.echo(f"{len(folds.fold_of)} {unit}s in {k} folds -> {output}")
    click.echo(str(leak(folds, rows)))


@lidc.command(short_help="Make whole lungs into which nodules are set for training.")
@click.argument("prepared", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default="backgrounds",
    show_default=True,
    help="Write the lungs into this folder; use one for each fold.",
)
@click.option(
    "--fold-file",
    type=PATH,
    default="folds.json",
    show_default=True,
    help="Read the folds from this file of `lidc split`, the one used for training.",
)
@click.option(
    "--fold",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Leave out the patients of this fold.",
)
@click.option(
    "--most", metavar="N", type=click.IntRange(1), default=40, show_default=True, help="Stop after this many scans."
)
def backgrounds(
    prepared: Path,
    output: Path,
    fold_file: Path,
    fold: int,
    most: int,
) -> None:
    """Make whole lungs, into which training sets nodules, from PREPARED scans of patients outside the fold."""
    from monai_lung.lidc.whole_lungs import make_backgrounds

    with count_progress("scans") as progress:
        count = make_backgrounds(prepared, output, fold_file=fold_file, fold=fold, most=most, progress=progress)
    click.echo(f"{count} {'background' if count == 1 else 'backgrounds'} -> {output}")


@lidc.command(short_help="Write the readers' contours as DICOM SEG.")
@click.argument("ct", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Write the DICOM SEG to this file.")
@click.option(
    "--at-least",
    metavar="N",
    type=click.IntRange(1, 8),
    help="Set how many readers must agree for the consensus. Default: half of the nodule's readers.",
)
@database_option
def seg(ct: Path, output: Path, at_least: int | None, database: Path | None) -> None:
    """Write the readers' contours of a CT (a DICOM folder of LIDC-IDRI) as DICOM SEG."""
    from monai_lung.errors import UsageError
    from monai_lung.io import read_ct
    from monai_lung.lidc.index import read_index
    from monai_lung.lidc.seg import write_seg

    volume = read_ct(ct)
    if volume.series is None:
        raise UsageError(f"{ct} is not a DICOM series: give the DICOM folder of a scan of LIDC-IDRI")
    (scan,) = read_index(database, [volume.series.uid])
    count = write_seg(volume, scan, output, at_least=at_least)
    click.echo(f"{count} segments -> {output}")
