"""The process that analyses: it holds the networks, and may crash, run out of memory or hang without harm to the node.

The parent asks for one study at a time and gets an outcome. When the process dies the next study gets a new one.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal

from monai_lung.errors import MonaiLungError, OutputError
from monai_lung.service import log
from monai_lung.service.config import Config
from monai_lung.service.folders import FULL

READY_S = 600.0
"""Loading the networks may take so long."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a study.

    Attributes:
        state: done (results are written), unchanged (it was analysed before), skipped (no chest CT in
            it), failed (it can't be analysed as it is: another attempt wouldn't help), crashed (another might).
        reason: why, for the last three; safe to log.
        fingerprint: of the series that may be analysed.
        folder: of the results.
    """

    state: Literal["done", "unchanged", "skipped", "failed", "crashed"]
    reason: str = ""
    fingerprint: str = ""
    folder: Path | None = None


Analysis = Callable[[Path, Path, str], Outcome]
"""Takes the folder of a study, one for the results, and the fingerprint of what was analysed before."""
MakeAnalysis = Callable[[Config], Analysis]
"""Loads what an analysis needs; runs in the process. It must be importable by name."""


class Unavailable(MonaiLungError):
    """Studies can't be analysed at the moment, whatever they hold: the disk is full, the process doesn't start."""


class Stopped(Exception):
    """The node ends: the study in hand is given back."""


class Analyst:
    """Runs one analysis after the other in a process of its own."""

    def __init__(self, make: MakeAnalysis, config: Config) -> None:
        self._make, self._config = make, config
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the process, unless it runs, and wait until its networks are loaded.

        Raises:
            Unavailable: they can't be.
            Stopped: the node ends.
        """
        if self._process is not None and self._process.is_alive():
            return
        self._end()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        level = logging.getLogger("monai_lung").level
        arguments = (theirs, self._make, self._config, level)
        self._process = context.Process(target=_work, args=arguments, name="analysis", daemon=True)
        self._process.start()
        theirs.close()
        answer = self._answer(READY_S)
        if answer is not None:
            self._end()
            raise Unavailable(str(answer))

    def run(self, source: Path, out: Path, fingerprint: str) -> Outcome:
        """Analyse the study in the folder `source` into the folder `out`.

        Raises:
            Unavailable: no study can be analysed.
            Stopped: the node ends.
        """
        self.start()
        try:
            if self._connection is None:
                raise EOFError
            self._connection.send((source, out, fingerprint))
            answer = self._answer(self._config.analysis.timeout_s)
        except (EOFError, OSError):
            answer = self._death()
        if isinstance(answer, Unavailable):
            raise answer
        if isinstance(answer, Outcome):
            if answer.state == "crashed":
                self._end()  # what it holds after that is anyone's guess
            return answer
        self._end()
        return Outcome("crashed", str(answer))

    def stop(self) -> None:
        """End the process at once; a study in hand is given back."""
        self._stopping.set()
        process = self._process
        if process is not None and process.is_alive():
            process.kill()

    def _answer(self, limit_s: float) -> object:
        """The next message of the process; text where it died or took too long.

        Raises:
            Stopped: the node ends.
        """
        deadline = time.monotonic() + limit_s
        connection = self._connection
        while connection is not None and not self._stopping.is_set():
            try:
                if connection.poll(0.2):
                    return connection.recv()
            except (EOFError, OSError):
                return self._death()
            if time.monotonic() > deadline:
                return f"the analysis took longer than {limit_s:.0f} s"
        self._end()  # `stop` may have come before the process was there to be killed
        raise Stopped

    def _death(self) -> str:
        if self._stopping.is_set():
            raise Stopped
        if self._process is None:
            return "the analysis process ended"
        self._process.join(10)
        code = self._process.exitcode
        if code is not None and code < 0:
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            return f"the analysis process was killed by signal {-code}{hint}"
        return f"the analysis process ended with code {code}"

    def _end(self) -> None:
        if self._process is not None:
            with suppress(ValueError):
                self._process.kill()
                self._process.join(10)
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _work(connection: Connection, make: MakeAnalysis, config: Config, level: int) -> None:
    """The process: load, say so (None, or why not), then an outcome for each study until the parent is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd sends it to all of the service: the parent decides
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError):  # where memory ends, this process goes first
        Path("/proc/self/oom_score_adj").write_text("800")
    log.set_up(level)
    try:
        analysis = make(config)
    except Exception as error:
        connection.send(log.reason_of(error))
        return
    connection.send(None)
    while True:
        try:
            source, out, fingerprint = connection.recv()
        except EOFError:
            return
        try:
            answer: object = analysis(source, out, fingerprint)
        except Exception as error:
            full = isinstance(error, OutputError) or (isinstance(error, OSError) and error.errno in FULL)
            answer = Unavailable(log.reason_of(error)) if full else Outcome("crashed", log.reason_of(error))
        connection.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
