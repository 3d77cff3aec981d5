"""What the command line prints: errors, logs, progress and tables of at most 80 columns.

Results go to stdout, everything else to stderr; progress only where stderr is a terminal.
"""

from __future__ import annotations

import io
import logging
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import rich_click as click

from monai_lung.errors import MonaiLungError

PROGRAM = "monai-lung"
WIDTH = 80
_WIDEST = 1000
"""Columns of a table that is wider than the terminal: its lines are never broken."""
_STAGES = ("read", "lungs", "find", "delineate", "rate", "measure", "prior", "advise")
Progress = Callable[[str, float], None]


def show_error(message: str) -> None:
    """One line on stderr."""
    click.echo(f"{PROGRAM}: error: {' '.join(message.split())}", err=True)


def error_message(error: Exception) -> str:
    """An error as a sentence; those that aren't ours say that they are unexpected."""
    if isinstance(error, MonaiLungError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory: close other programs or analyse fewer slices"
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)"


def set_up_logging(level: int) -> None:
    """Send the package's log to stderr, a line a record; of other libraries nothing, unless debugging."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    if level > logging.DEBUG:  # some libraries log an error with its traceback, and raise it too
        handler.addFilter(logging.Filter("monai_lung"))
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if level <= logging.DEBUG else logging.ERROR)
    logging.getLogger("monai_lung").setLevel(level)


def show_progress_log(verbosity: int) -> None:
    """Log what a long run says of itself, each line with its time; only errors if it is negative."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = logging.ERROR if verbosity < 0 else logging.DEBUG if verbosity > 1 else logging.INFO
    root.setLevel(level)
    logging.getLogger("monai_lung").setLevel(level)


class _Lines(logging.Formatter):
    """`monai-lung: warning: what`."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"{PROGRAM}: {record.levelname.lower()}: {text}"


@contextmanager
def case_progress(name: str, number: int, total: int) -> Iterator[Progress | None]:
    """Show the stages of one case as a bar while the block runs; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        prefix = f"{number}/{total} {name}" if total > 1 else name
        task = bar.add_task(prefix, total=len(_STAGES))

        def advance(stage: str, done: float) -> None:
            at = _STAGES.index(stage) if stage in _STAGES else 0
            bar.update(task, completed=at + done, description=f"{prefix}: {stage}")

        yield advance


@contextmanager
def count_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that counts on stderr while the block runs, where that's a terminal.

    Args:
        what: is counted, for example "scans".

    Yields:
        To be called with those behind us and those in all.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> str:
    """Rows in columns as wide as their content, two spaces apart.

    Args:
        header: names of the columns.
        rows: cells, as many as there are names.
        right: a letter a column, "r" where it's set to the right; missing ones are left.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name, side in zip(header, right.ljust(len(header), "l"), strict=True):
        drawn.add_column(Text(name), justify="right" if side == "r" else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*[Text(str(cell)) for cell in row])
    console = Console(file=io.StringIO(), width=_WIDEST)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def note(warning: str) -> str:
    """A warning of a result, in lines as wide as the terminal is taken to be."""
    return textwrap.fill(f"Note: {warning}", WIDTH, subsequent_indent="  ")
