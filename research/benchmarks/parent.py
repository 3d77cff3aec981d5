"""Runs tasks one after the other, each in a process of its own, and keeps each result as soon as it's there."""

from __future__ import annotations

import datetime
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_lung.errors import InputError
from research import ROOT
from research.benchmarks.inputs import find_input
from research.benchmarks.machine import busy_cores
from research.benchmarks.tasks import Task

log = logging.getLogger(__name__)

PEERS = ROOT / ".venv-peers" / "bin" / "python"
_NO_PEERS = "the peers aren't installed: tools/peers does that"
TIMEOUT_S = 900
"""For one task."""


@dataclass(frozen=True)
class Settings:
    """Of one run.

    Attributes:
        out: folder of results.
        cache: folder of inputs that are made.
        scan: DICOM folder of the real scan, None for the phantom.
        device: cpu or cuda.
        quick: one warm run, no peers, no large phantoms.
    """

    out: Path
    cache: Path
    scan: Path | None
    device: str = "cpu"
    quick: bool = False

    @property
    def results(self) -> Path:
        """The file of all results of this device."""
        return self.out / f"results-{self.device}.json"


Result = dict[str, Any]
"""The result of `child.measure`, or `error`: why there is none; with `when` and `others_busy_cores`."""


def read_results(settings: Settings) -> dict[str, Result]:
    """The measurements that exist already, by task."""
    if not settings.results.is_file():
        return {}
    found: dict[str, Result] = json.loads(settings.results.read_text(encoding="utf-8"))
    return found


def prepare(tasks: list[Task], settings: Settings) -> None:
    """Make the inputs that aren't there yet, and say so where peers are missing; nothing of it is timed.

    Raises:
        InputError: one can't be made.
    """
    if any(t.peer for t in tasks) and not PEERS.is_file():
        log.warning(_NO_PEERS)
    for name in dict.fromkeys(t.given for t in tasks if t.given):
        target = find_input(name, settings.cache, settings.scan)
        if target is not None and not target.exists():
            log.info("making %s", name)
            command = [sys.executable, "-m", "research.benchmarks.inputs", name, str(target)]
            scan = ["--scan", str(settings.scan)] if settings.scan else []
            if subprocess.run([*command, *scan], cwd=ROOT, check=False).returncode:
                raise InputError(f"{target}: {name} can't be made (see above); mend that and start again")


def run(tasks: list[Task], settings: Settings, *, again: bool = False) -> None:
    """Do the tasks that have no result yet, or with `again` all; each result is written at once."""
    from monai_lung.io.output import replacing

    settings.out.mkdir(parents=True, exist_ok=True)
    done = read_results(settings)
    for task in tasks:
        if not again and "run_s" in done.get(task.name, {}):
            continue
        log.info("%s: %s", task.section, task.name)
        done[task.name] = run_one(task, settings)
        with replacing(settings.results) as temporary:
            temporary.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")


def run_one(task: Task, settings: Settings) -> Result:
    """One task in a process of its own."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    noted: Result = {"when": when, "others_busy_cores": busy_cores(), "section": task.section, "threads": task.threads}
    if task.peer and not PEERS.is_file():
        return {**noted, "error": _NO_PEERS}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        given = {
            **{k: v for k, v in asdict(task).items() if k in ("call", "limit_s")},
            "options": {**task.options, "quick": settings.quick},
            "path": str(find_input(task.given, settings.cache, settings.scan)),
            "device": settings.device,
            "repeats": min(task.repeats, 1) if settings.quick else task.repeats,
            "result": str(result),
        }
        error = _start(PEERS if task.peer else Path(sys.executable), given, _environment(task.threads))
        found: Mapping[str, Any] = json.loads(result.read_text(encoding="utf-8")) if not error else {"error": error}
    if "error" in found:
        log.warning("%s: %s", task.name, found["error"])
    return {**noted, **found}


def _start(python: Path, given: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Run a child; why it failed, "" if it didn't."""
    command = [str(python), "-W", "ignore", "-m", "research.benchmarks.child", json.dumps(given)]
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {TIMEOUT_S} s"
    if ended.returncode < 0:
        return f"ended by signal {-ended.returncode}" + (" (memory?)" if ended.returncode == -9 else "")
    lines = ended.stderr.strip().splitlines() or ["no message"]
    return " ".join(lines[-1].split())[:200] if ended.returncode else ""


def _environment(threads: int | None) -> dict[str, str]:
    """This process' environment with a number of threads for all libraries, or none set."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    kept = {k: v for k, v in os.environ.items() if k not in names}
    return kept if threads is None else {**kept, **dict.fromkeys(names, str(threads))}
