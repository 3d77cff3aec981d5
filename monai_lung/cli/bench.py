"""`monai-lung bench`: this package beside its peers, from a checkout."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context

from monai_lung.cli.options import PATH, Session, command
from monai_lung.cli.terminal import show_progress_log
from monai_lung.errors import UsageError

_ROOT = Path(__file__).resolve().parents[2]
_MODULE = Path("research", "benchmarks", "bench.py")


@command(short_help="Measure this package beside its peers, from a checkout.")
@click.option("--quick", is_flag=True, help="Try the benchmark itself: a phantom, two runs each, no peers.")
@click.option("--only", metavar="SECTION", multiple=True, help="Measure this section of the page again; repeatable.")
@click.option("--prepare", is_flag=True, help="Make the phantoms, and measure nothing.")
@click.option("--page", is_flag=True, help="Write the page of what is measured already, and measure nothing.")
@click.option(
    "--scan", metavar="DIR", type=PATH, help="Measure on this DICOM folder. Default: LIDC-IDRI-0001 in MONAI_LUNG_DATA."
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Run the networks on this device.",
)
@click.option("--out", metavar="DIR", type=PATH, help="Keep the results in this folder. Default: runs/bench.")
@click.option("--docs", metavar="DIR", type=PATH, help="Write benchmarks.md into this folder. Default: docs.")
def bench(**given: Any) -> None:
    """Measure this package beside its peers on one scan, and write docs/benchmarks.md.

    It takes about 25 minutes on two quiet cores. What is measured already isn't measured again. It needs a checkout of
    the repository; tools/peers installs the peers there.
    """
    if not (_ROOT / _MODULE).is_file():
        folder = _MODULE.parent.as_posix()
        raise UsageError(f"bench needs the repository's folder {folder}, which isn't installed: run it in a checkout")
    session = get_current_context().find_object(Session) or Session()
    show_progress_log(session.verbosity)
    sys.path.insert(0, str(_ROOT))
    importlib.import_module(".".join(_MODULE.with_suffix("").parts)).bench(**given)
