"""Removal by age of files that have done their work, so that the disk doesn't fill; waiting ones stay."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from monai_lung.service.config import Retention
from monai_lung.service.folders import Folders
from monai_lung.service.log import event, reason_of
from monai_lung.service.queue import Queue, QueuedStudy

_POLL_S = 60.0
_HOUR_S, _DAY_S = 3600.0, 86400.0


class Cleaner(threading.Thread):
    """Looks once a minute for what can go, until `stop`."""

    def __init__(self, settings: Retention, queue: Queue, folders: Folders) -> None:
        super().__init__(name="retention", daemon=True)
        self._settings, self._queue, self._folders = settings, queue, folders
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End."""
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped."""
        while True:
            try:
                self.clean(time.time())
            except Exception as error:
                event("retention interrupted", 40, reason=reason_of(error))
            if self._stopping.wait(_POLL_S):
                return

    def clean(self, now: float) -> None:
        """Remove what is older than its limit: received objects, then results, then the study itself."""
        for study in self._queue.studies():
            deliveries = self._queue.deliveries(study)
            if study.finished < study.revision or any(d.state == "pending" for d in deliveries):
                continue
            age_s = now - max([study.changed_at, *(d.changed_at for d in deliveries)])
            failed = study.state == "failed"
            keep_s = self._settings.failed_days * _DAY_S if failed else self._settings.received_hours * _HOUR_S
            if age_s >= keep_s and self._queue.instances(study):
                self._remove_received(study)
            if age_s >= self._settings.results_days * _DAY_S or not deliveries:
                self._remove_results(study)

    def _remove_received(self, study: QueuedStudy) -> None:
        with self._queue.lock:  # an instance that comes now waits, and finds no folder
            gone = self._queue.drop_received(study)
            folder = self._folders.discard(self._folders.received / study.key) if gone else None
        _remove(folder)
        if gone:
            event("received objects removed", study=study.key)

    def _remove_results(self, study: QueuedStudy) -> None:
        with self._queue.lock:
            gone = self._queue.drop_results(study)
            folder = self._folders.discard(self._folders.results / study.key) if gone else None
        _remove(folder)


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
