"""What goes wrong around a command: run in a child of `cage.Cage` before it (its `setup`), told by the environment."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from monai_lung import pipeline
from monai_lung.model import CT, Lungs, Person, Report
from monai_lung.report import findings, html  # noqa: F401

FORMATS = ("json", "nifti", "html")
FILES = {"findings.json", "lungs.nii.gz", "nodules.nii.gz", "report.html"}
_OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.scandir", "os.listdir", "shutil.rmtree"}


def report(age: int) -> Report:
    """An examination without nodules; the age tells its results apart."""
    hu = np.random.default_rng(age).integers(-1024, 200, (48, 48, 40)).astype(np.int16)
    ct = CT(hu, np.diag([5.0, 5, 7.5, 1]), "case", Path("ct.nii.gz"))
    return Report(ct, Lungs((hu < -500).astype(np.uint8), 3000, 2800), (), {}, Person(age=age))


def warm_up() -> None:
    """Import what writing imports, once for all children."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline.write(report(1), folder, FORMATS)


def write() -> None:
    """Write the result of the age AGE to OUT."""
    pipeline.write(report(int(os.environ["AGE"])), os.environ["OUT"], FORMATS)


def write_and_die() -> None:
    """The same, and die at the operation number KILL_AT on a file of OUT: the audit hook sees it before it's done."""
    out, left = os.environ["OUT"], itertools.count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        names = (a for a in arguments if isinstance(a, str | bytes | os.PathLike))
        here = event in _OPERATIONS and any(os.fsdecode(n).startswith(out) for n in names)
        if here and next(left) == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    write()


def write_often() -> None:
    """Write the results of the ages AGE, AGE + 1, ... to OUT, twenty times."""
    for n in range(20):
        pipeline.write(report(int(os.environ["AGE"]) + n), os.environ["OUT"], FORMATS)


def small_files() -> None:
    """Let no file grow past LIMIT bytes, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = int(os.environ["LIMIT"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def vanish() -> None:
    """Delete, cut or exchange the file VICTIM once the headers have been read, by HOW."""
    from monai_lung.io import reader

    real = reader.lay_out

    def after(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        victim = Path(os.environ["VICTIM"])
        if os.environ["HOW"] == "delete":
            victim.unlink()
        elif os.environ["HOW"] == "cut":
            os.truncate(victim, 2000)
        else:
            victim.unlink()
            victim.mkdir()
        return result

    reader.lay_out = after


def clock_jumps() -> None:
    """A clock that runs backwards from 2100 to 1970, and back."""
    import time

    moments = itertools.cycle([4102444800.0, 86400.0, 1e9, 0.0])
    time.time = lambda: next(moments)  # type: ignore[assignment]
    time.time_ns = lambda: int(next(moments) * 1e9)  # type: ignore[assignment]
