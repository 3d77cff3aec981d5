"""`monai-lung bench`: this package beside its peers, from a checkout."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import rich_click as click
from click.exceptions import Exit

from monai_lung.cli.options import PATH, command
from monai_lung.errors import UsageError

_ROOT = Path(__file__).resolve().parents[2]
_FOLDER = Path("research", "benchmarks")


@command(short_help="Measure this package beside its peers, from a checkout.")
@click.option("--quick", is_flag=True, help="Try the benchmark itself: a phantom, two runs each, no peers.")
@click.option("--only", metavar="SECTION", multiple=True, help="Measure this section of the page again; repeatable.")
@click.option("--prepare", is_flag=True, help="Make phantoms and peers, and measure nothing.")
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
def bench(only: tuple[str, ...], **given: object) -> None:
    """Measure this package beside its peers on one scan, and write docs/benchmarks.md.

    It takes about 25 minutes on two quiet cores. What is measured already isn't measured again. It needs a checkout of
    the repository; tools/peers installs the peers there.
    """
    if not (_ROOT / _FOLDER / "__main__.py").is_file():
        raise UsageError(
            f"bench needs the repository's folder {_FOLDER.as_posix()}, which isn't installed: run it in a checkout"
        )
    sys.path.insert(0, str(_ROOT))
    words = ["--only", *only] if only else []
    for name, value in given.items():
        if value is True:
            words.append(f"--{name}")
        elif value not in (None, False):
            words += [f"--{name}", str(value)]
    raise Exit(importlib.import_module(".".join((*_FOLDER.parts, "__main__"))).main(words))
