"""What `analyze` shows of its cases: of a few each report, of many a line each and a table that lives meanwhile."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from monai_lung.cli.report_text import report_text
from monai_lung.cli.terminal import PROGRAM, Progress, case_progress, show_error

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

FEW = 5
"""Up to so many cases each is printed whole."""


@dataclass
class Counts:
    """How far a run is.

    Attributes:
        total: cases in all.
        done: those behind us, finished or failed, in this run or before it.
        before: those of them that an earlier run had finished.
        failed: those of them that failed.
        unread: those of them that hold no case; they took no time.
        nodules: of the cases that are done.
        started: on the clock of `time.monotonic`.
        at_work: what is done now, in words.
    """

    total: int
    done: int = 0
    before: int = 0
    failed: int = 0
    unread: int = 0
    nodules: int = 0
    started: float = field(default_factory=time.monotonic)
    at_work: str = ""

    def pace(self, now: float) -> tuple[float | None, float | None]:
        """Cases an hour in this run, and seconds until all are done; None before the first one is."""
        done, passed = self.done - self.before - self.unread, now - self.started
        if done <= 0 or passed <= 0:
            return None, None
        return 3600 * done / passed, (self.total - self.done) * passed / done

    def line(self, now: float) -> str:
        """All of it in a line, for the end."""
        earlier = f" ({self.before} before)" if self.before else ""
        text = f"{self.total} cases: {self.done - self.failed} done{earlier}, {self.failed} failed, "
        return f"{text}{self.nodules} nodules, {duration(now - self.started)}"


def duration(seconds: float) -> str:
    """Hours and minutes, minutes and seconds, or seconds."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


class CaseDisplay:
    """Shows the cases of one run as they come, and how the run stands.

    Args:
        as_json: print all at the end, as JSON.
        debug: log tracebacks.
    """

    def __init__(self, *, as_json: bool, debug: bool) -> None:
        self.as_json, self.debug = as_json, debug
        self.counts = Counts(0)
        self.printed: list[dict[str, Any]] = []
        self.failed: list[tuple[str, str]] = []
        self._live: Live | None = None
        self._told = False

    @property
    def many(self) -> bool:
        """Whether there are more cases than would be printed whole."""
        return self.counts.total > FEW

    @contextmanager
    def running(self, total: int) -> Iterator[None]:
        """While the block runs the table stands below what is printed, where stderr is a terminal."""
        bad = len(self.failed)  # inputs without a case
        self.counts = Counts(total + bad, done=bad, failed=bad, unread=bad)
        if not (self.many and sys.stderr.isatty()):
            yield
            return
        from rich.console import Console
        from rich.live import Live

        with Live(
            get_renderable=self._table,
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=True,
        ) as self._live:
            try:
                yield
            finally:
                self._live = None

    def counted(self, done: int, total: int) -> None:
        """What the engine says: cases behind us and in all. Those of its first word were finished before."""
        if not self._told:
            self.counts.before, self._told = done, True
        self.counts.done = max(self.counts.done, done + self.counts.total - total)

    @contextmanager
    def watch(self, name: str, number: int) -> Iterator[Progress | None]:
        """Show the stages of one case: in the table, or as a bar of its own."""
        if self._live is None:
            if self.many:
                yield None
                return
            with case_progress(name, number, self.counts.total) as progress:
                yield progress
            return
        self.counts.at_work = name

        def advance(stage: str, done: float) -> None:
            self.counts.at_work = f"{name}: {stage}"

        yield advance

    def done(self, folder: Path, findings: Mapping[str, Any]) -> None:
        """Print the findings of a case; as JSON they are kept for the end."""
        self.counts.nodules += len(findings["nodules"])
        number = len(self.printed) + len(self.failed) + 1
        self.printed.append({"case": folder.name, "folder": str(folder), "findings": findings} if self.as_json else {})
        if not self.as_json:
            text = case_line(findings, folder, number, self.counts.total)
            self._print(text if self.many else ("\n" if number > 1 else "") + report_text(findings, folder))

    def fail(self, name: str, message: str) -> None:
        """Note a case that failed; of many it's told at once, and all again at the end."""
        self.failed.append((name, message))
        self.counts.failed = len(self.failed)
        if self.many:
            self._print(f"{len(self.printed) + len(self.failed)}/{self.counts.total} {_named(name, message)}", err=True)

    def _print(self, text: str, *, err: bool = False) -> None:
        """Print above the table."""
        if self._live is None:
            click.echo(text, err=err)
            return
        live = self._live
        live.stop()
        click.echo(text, err=err)
        live.start(refresh=True)

    def end(self, out: Path) -> bool:
        """Print JSON if asked, list what failed, and say how it went; True if nothing failed."""
        total = len(self.printed) + len(self.failed)
        if self.as_json:
            failures = [{"case": name, "error": reason} for name, reason in self.failed]
            click.echo(json.dumps({"cases": self.printed, "failed": failures}, indent=1))
        elif self.many:
            click.echo(f"{self.counts.line(time.monotonic())}\nOne page of all: {PROGRAM} summarize {out}")
        if self.failed and total > 1:
            show_error(f"{len(self.failed)} of {total} cases failed:")
        for name, reason in self.failed:
            show_error(_named(name, reason))
        return not self.failed

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table

        now, counts = time.monotonic(), self.counts
        rate, left = counts.pace(now)
        table = Table(box=box.SIMPLE, expand=False, caption=counts.at_work or None, caption_justify="left")
        for name in ("of", "done", "before", "failed", "nodules", "an hour", "so far", "left"):
            table.add_column(name, justify="right")
        table.add_row(
            str(counts.total),
            str(counts.done - counts.failed),
            str(counts.before),
            f"[red]{counts.failed}[/red]" if counts.failed else "0",
            str(counts.nodules),
            "" if rate is None else f"{rate:.0f}",
            duration(now - counts.started),
            "" if left is None else duration(left),
        )
        return table


def case_line(findings: Mapping[str, Any], folder: Path, number: int, total: int) -> str:
    """A case in a line: its number, name, nodules, category, and where its files are."""
    nodules = len(findings["nodules"])
    advice = findings["guidelines"].get("lung_rads_2022", {})
    category = advice.get("category")
    parts = [f"{nodules} nodule{'' if nodules == 1 else 's'}" if nodules else "no nodules"]
    if category and category != "not-applicable":
        parts.append(f"Lung-RADS {category}{advice.get('modifier', '')}")
    return f"{number}/{total} {folder.name}: {', '.join(parts)} -> {folder}"


def _named(name: str, reason: str) -> str:
    """A reason with its case before it, once."""
    return reason if reason.startswith(name) else f"{name}: {reason}"
