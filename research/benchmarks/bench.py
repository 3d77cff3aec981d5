"""What `monai-lung bench` does: measure and write docs/benchmarks.md. What is measured already isn't measured again."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from monai_lung.errors import UsageError
from research import DOCS, ROOT
from research.benchmarks import parent
from research.benchmarks.inputs import real_scan
from research.benchmarks.tasks import SECTIONS, chosen

log = logging.getLogger(__name__)


def bench(
    *,
    only: Collection[str],
    quick: bool,
    prepare: bool,
    page: bool,
    scan: Path | None,
    device: str,
    out: Path | None,
    docs: Path | None,
) -> None:
    """Make inputs, measure, write the page; the log says what is being done. Arguments are the command's options.

    Raises:
        UsageError: there is no such section or folder.
        InputError: an input can't be made.
    """
    unknown = sorted(set(only) - set(SECTIONS))
    if unknown:
        raise UsageError(f"--only {unknown[0]}: no such section; there are {', '.join(SECTIONS)}")
    if scan is not None and not scan.is_dir():
        raise UsageError(f"{scan}: no such folder; give a folder with one DICOM series")
    results = (out or ROOT / "runs" / "bench") / ("quick" if quick else "full")
    measured = None if quick else (scan.resolve() if scan else real_scan())
    settings = parent.Settings(results, ROOT / ".cache" / "bench", measured, device, quick)
    tasks = [t for t in chosen(device, quick=quick) if not only or t.section in only]
    if not page:
        parent.prepare(tasks, settings)
        if prepare:
            return
        parent.run(tasks, settings, again=bool(only))
    from research.benchmarks.page import write  # only now: a child inherits its parent's peak of memory

    folder = docs or (settings.out if quick else DOCS)
    log.info("wrote %s", write(settings, parent.read_results(settings), folder))
