"""`monai-lung view`: a result in the browser."""

from __future__ import annotations

import contextlib
import signal
import webbrowser
from pathlib import Path

import rich_click as click

from monai_lung.cli.options import PATH, command, ct_option
from monai_lung.errors import UsageError


@command(short_help="Show the CT and findings of a result in the browser.")
@click.argument("case", metavar="OUT/CASE", type=PATH)
@ct_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Listen on this port. Default: a free one.")
@click.option("--open", "opens", is_flag=True, help="Open the browser too.")
def view(case: Path, ct: Path | None, port: int, opens: bool) -> None:
    """Show the whole CT with masks and findings in three planes.

    A page on this computer alone (127.0.0.1): nothing leaves it, and nothing is fetched from elsewhere. Whoever has the
    address that is printed sees the page; Ctrl-C ends it.
    """
    from monai_lung.io.paths import check_exists
    from monai_lung.restore import restore
    from monai_lung.view.content import contents, niivue_file
    from monai_lung.view.server import ViewServer

    if not (case / "findings.json").is_file():
        raise UsageError(f"{case}: no result; give the folder of a case, with its findings.json")
    if ct is not None:
        check_exists(ct)
    niivue_file()  # before the CT is read
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell's background job has Ctrl-C switched off
        signal.signal(ending, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), ViewServer(contents(restore(case, ct)), port) as server:
        click.echo(f"{server.url}\nCtrl-C ends it.")
        if opens:
            webbrowser.open(server.url)
        server.serve_forever()
