"""`monai-lung serve`: the PACS node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from monai_lung.cli.options import PATH, command
from monai_lung.cli.terminal import table
from monai_lung.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from monai_lung.service.config import Config
    from monai_lung.service.queue import Queue


@command(short_help="Run a PACS node: CT in, SEG, SR and report out.")
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=PATH,
    required=True,
    help="Read the configuration of the node from this TOML file.",
)
@click.option("--check", is_flag=True, help="Check the configuration, then exit.")
@click.option("--list", "listing", is_flag=True, help="List the studies in the queue, with their UIDs, then exit.")
@click.option("--retry", is_flag=True, help="Queue failed studies and abandoned deliveries again, then exit.")
def serve(file: Path, check: bool, listing: bool, retry: bool) -> None:
    """Run a PACS node: take CTs over DICOM, analyse them, send SEG, SR and report to archives.

    It ends on SIGTERM. --list and --retry also work while a node is running.
    """
    from monai_lung.extras import require

    for module in ("pydantic", "pynetdicom"):
        require(module, "monai-lung serve", extra="dicom,service")
    from monai_lung.service.config import read_config

    try:
        config = read_config(file)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if listing or retry:
        _look(config, retry)
    elif check:
        from monai_lung.service.node import check as check_files

        check_files(config)
        for warning in config.warnings:
            click.echo(f"{file}: {warning}", err=True)
        click.echo(f"{file}: fine")
    else:
        from monai_lung.service import log
        from monai_lung.service.node import serve as run
        from monai_lung.service.study import make_analysis

        log.set_up()
        run(config, make_analysis)


def _look(config: Config, retry: bool) -> None:
    """Show the queue, or make what failed due again."""
    from monai_lung.service.queue import Queue

    path = config.storage / "queue.sqlite"
    if not path.is_file():
        raise UsageError(f"no queue at {path}: the node hasn't run with this configuration yet")
    queue = Queue(path)
    try:
        if retry:
            now = time.time()
            click.echo(f"{queue.retry(now, None)} studies and {queue.send_again(now)} objects are tried again")
        else:
            click.echo(_listing(queue))
    finally:
        queue.close()


def _listing(queue: Queue) -> str:
    rows = []
    for study in queue.studies():
        deliveries = queue.deliveries(study)
        sent = sum(d.state == "sent" for d in deliveries)
        received = time.strftime("%Y-%m-%d %H:%M", time.localtime(study.received_at))
        rows.append((study.key, received, study.state, f"{sent}/{len(deliveries)}", study.uid, study.reason))
    return table(("study", "received", "state", "sent", "UID", "reason"), rows)
