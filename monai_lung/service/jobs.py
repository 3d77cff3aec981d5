"""Which study is analysed next, and its outcome: results on their way, skipped, tried again, or given up."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

from monai_lung.service.analyst import Analyst, Outcome, Stopped, Unavailable
from monai_lung.service.config import Config
from monai_lung.service.folders import Folders, sync_folder
from monai_lung.service.log import event, reason_of
from monai_lung.service.metrics import Metrics
from monai_lung.service.queue import Queue, QueuedStudy
from monai_lung.service.study import FILES

_POLL_S = 0.2


class Jobs(threading.Thread):
    """Takes one complete study after the other, until `stop`.

    Attributes:
        trouble: why no study can be analysed at the moment, "" where one can.
    """

    def __init__(self, config: Config, queue: Queue, folders: Folders, analyst: Analyst, metrics: Metrics) -> None:
        super().__init__(name="jobs", daemon=True)
        self._config, self._queue, self._folders = config, queue, folders
        self._analyst, self._metrics = analyst, metrics
        self._stopping = threading.Event()
        self.trouble = ""

    def stop(self) -> None:
        """Give the study in hand back, and end."""
        self._stopping.set()
        self._analyst.stop()

    def run(self) -> None:
        """Work until stopped; nothing that goes wrong with one study ends the thread."""
        failures = 0
        while not self._stopping.is_set():
            try:
                study = self._queue.next_study(time.time(), self._config.dicom.quiet_s)
                if study is None:
                    self._stopping.wait(_POLL_S)
                    continue
                self._analyse(study)
                self.trouble, failures = "", 0
            except Stopped:
                return
            except Exception as error:  # none of the study's: it stays due
                failures += 1
                self.trouble = reason_of(error)
                event("analysis unavailable", 40, reason=self.trouble)
                self._stopping.wait(self._config.retry.delay_s(failures))

    def _analyse(self, study: QueuedStudy) -> None:
        event("analysis started", study=study.key, revision=study.revision, attempt=study.attempts + 1)
        start = time.monotonic()
        work = self._folders.work / f"{study.key}-{study.revision}"
        try:
            outcome = self._analyst.run(self._folders.received / study.key, work, study.fingerprint)
            self._settle(study, outcome)
        except (Unavailable, OSError) as error:  # others go first, in case it is this study after all
            delay_s = self._config.retry.first_s
            self._queue.postpone(study, reason_of(error), delay_s, attempts=study.attempts)
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        seconds = time.monotonic() - start
        self._metrics.analysed(outcome.state, seconds)
        values = {"study": study.key, "outcome": outcome.state, "seconds": round(seconds, 2)}
        event("analysis ended", **values, **({"reason": outcome.reason} if outcome.reason else {}))

    def _settle(self, study: QueuedStudy, outcome: Outcome) -> None:
        """Note what came of a study, its results in place before the queue knows of them."""
        if outcome.state == "crashed":
            attempts = study.attempts + 1
            if attempts < self._config.analysis.attempts:
                delay_s = self._config.retry.delay_s(attempts)
                self._queue.postpone(study, outcome.reason, delay_s, attempts=attempts)
                return
            reason = f"{outcome.reason}; given up after {attempts} attempts"
            self._queue.finish(study, "failed", reason=reason)
        elif outcome.state == "done" and outcome.folder is not None:
            self._queue.finish(study, "done", fingerprint=outcome.fingerprint, files=self._keep(study, outcome.folder))
        elif outcome.state == "unchanged":
            self._queue.finish(study, "done", fingerprint=outcome.fingerprint)
        else:
            self._queue.finish(study, outcome.state, reason=outcome.reason)

    def _keep(self, study: QueuedStudy, written: Path) -> list[tuple[str, str]]:
        """Move a result to where it stays; returns what goes where."""
        kept = self._folders.results / study.key / str(study.revision)
        if kept.exists():  # of a node that was killed before the queue knew
            shutil.rmtree(kept)
        kept.parent.mkdir(exist_ok=True)
        os.rename(written, kept)
        sync_folder(kept.parent)
        sync_folder(self._folders.results)
        return [
            (f"{study.key}/{study.revision}/{file}", destination.name)
            for destination in self._config.destination
            for name in destination.objects
            for file in _files(kept, FILES[name])
        ]


def _files(kept: Path, name: str) -> list[str]:
    """The files of one kind of object, relative to the result's folder: one, or those of its folder."""
    if (kept / name).is_dir():
        return sorted(f"{name}/{path.name}" for path in (kept / name).iterdir())
    return [name]
