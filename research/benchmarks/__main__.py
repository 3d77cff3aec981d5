"""Measure this package beside its peers and write docs/benchmarks.md. What is measured already isn't measured again."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from monai_lung.errors import MonaiLungError, UsageError
from research.benchmarks.inputs import ROOT, real_scan
from research.benchmarks.parent import Settings, prepare, read_results, run
from research.benchmarks.tasks import SECTIONS, chosen

log = logging.getLogger("bench")


def main(arguments: list[str] | None = None) -> int:
    """Run what is wanted; 0 done, 1 failed, 2 wrong usage."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    quick = "quick" if given.quick else "full"
    try:
        if given.device not in ("cpu", "cuda"):
            raise UsageError(f"--device {given.device}: must be cpu or cuda")
        scan = None if given.quick else (given.scan.resolve() if given.scan else real_scan())
        if given.scan and not given.scan.is_dir():
            raise UsageError(f"{given.scan}: no such folder; give a folder with one DICOM series")
        settings = Settings(given.out / quick, ROOT / ".cache" / "bench", scan, given.device, given.quick)
        tasks = [t for t in chosen(given.device, quick=given.quick) if not given.only or t.section in given.only]
        if not given.page:
            prepare(tasks, settings)
            if given.prepare:
                return 0
            run(tasks, settings, again=bool(given.only))
        from research.benchmarks import (
            page,  # only now: a child inherits the peak of the memory of the process that starts it
        )

        docs = given.docs or (settings.out if given.quick else ROOT / "docs")
        log.info("wrote %s", page.write(settings, read_results(settings), docs))
    except MonaiLungError as error:
        log.error("error: %s", error)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="phantom, two runs each, no peers: tries the tool itself")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, metavar="SECTION", help="Measure these sections again: %(choices)s."
    )
    parser.add_argument("--prepare", action="store_true", help="make phantoms and peers, measure nothing")
    parser.add_argument("--page", action="store_true", help="write the page of what is measured, measure nothing")
    parser.add_argument("--scan", type=Path, help="DICOM folder (default: LIDC-IDRI-0001 in MONAI_LUNG_DATA)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench", help="results (default: runs/bench)")
    parser.add_argument("--docs", type=Path, help="where benchmarks.md goes (default: docs; with --quick the results)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
