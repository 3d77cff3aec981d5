"""The node: its parts put together, started, watched and stopped."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time

from monai_lung.errors import WeightsError
from monai_lung.service.analyst import Analyst, MakeAnalysis, Stopped, Unavailable
from monai_lung.service.commitment import Committer
from monai_lung.service.config import Config
from monai_lung.service.folders import Folders
from monai_lung.service.health import Health, State, Unfinished
from monai_lung.service.jobs import Jobs
from monai_lung.service.log import event
from monai_lung.service.metrics import Metrics
from monai_lung.service.queue import Queue
from monai_lung.service.receive import Receiver, server_context
from monai_lung.service.retention import Cleaner
from monai_lung.service.send import ResultSender, transport_to
from monai_lung.version import __version__

_MOST_UNFINISHED = 100


class Node:
    """A PACS node after a configuration.

    Args:
        config: see `read_config`.
        make_analysis: makes the function that analyses a study, in a process of its own; importable by name.

    Raises:
        UsageError: another node uses the storage, a certificate can't be read, a library is missing.
        OutputError: the storage can't be written.
    """

    def __init__(self, config: Config, make_analysis: MakeAnalysis) -> None:
        self.config = config
        self.metrics = Metrics()
        transports = [(d, transport_to(d, config.dicom.ae_title)) for d in config.destination]
        self.folders = Folders(config.storage)
        self.queue = Queue(self.folders.queue)
        self.receiver = Receiver(config, self.queue, self.folders, self.metrics)
        self.analyst = Analyst(make_analysis, config)
        self.jobs = Jobs(config, self.queue, self.folders, self.analyst, self.metrics)
        self.senders = [
            ResultSender(d, t, config, self.queue, self.folders.results, self.metrics) for d, t in transports
        ]
        self.committer = Committer(config, self.queue, self.receiver.associations)
        self.cleaner = Cleaner(config.retention, self.queue, self.folders)
        self.health: Health | None = None

    @property
    def _threads(self) -> list[Jobs | ResultSender | Committer | Cleaner]:
        return [self.jobs, *self.senders, self.committer, self.cleaner]

    def start(self) -> None:
        """Load the networks, then listen.

        Raises:
            WeightsError: they can't be loaded.
            UsageError: a port can't be had.
            Stopped: asked to stop meanwhile.
        """
        self.health = Health(self.config.http, self.state, self.metrics)
        try:
            self.analyst.start()
        except Unavailable as error:
            raise WeightsError(f"the analysis doesn't start: {error}") from error
        for warning in self.config.warnings:
            event("configuration", 30, warning=warning)
        self._take_stock()
        self.receiver.start()
        for thread in self._threads:
            thread.start()
        self.health.start()
        event("node started", version=__version__, port=self.receiver.port, ae_title=self.config.dicom.ae_title)

    def _take_stock(self) -> None:
        """After a stop of any kind: files that no study knows of go, and waiting begins again."""
        known = {study.key for study in self.queue.studies()}
        for folder, wanted in ((self.folders.received, self.queue.holding()), (self.folders.results, known)):
            for left in folder.iterdir():
                if left.name not in wanted:
                    shutil.rmtree(left, ignore_errors=True)
        waiting = self.queue.pending_deliveries()
        for name in waiting.keys() - {destination.name for destination in self.config.destination}:
            event("deliveries to an unknown destination wait", 30, destination=name, objects=waiting[name][0])
        self.queue.start_waiting_again(time.time())

    def stop(self) -> None:
        """End in order: no more associations, the study in hand given back, the object in hand sent."""
        started = self.receiver.alive
        if started:
            event("node stopping")
        for thread in self._threads:
            thread.stop()
        self.analyst.stop()
        self.receiver.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(30)
        if self.health is not None:
            self.health.stop()
        self.queue.close()
        self.folders.close()
        if started:
            event("node stopped")

    def state(self) -> State:
        """How it is now."""
        now = time.time()
        counts = self.queue.study_counts(now, self.config.dicom.quiet_s)
        pending = {d.name: (0, 0.0) for d in self.config.destination}
        for name, (count, oldest) in self.queue.pending_deliveries().items():
            pending[name] = count, max(0.0, round(now - oldest, 1))
        studies, stuck = self.queue.unfinished_studies(_MOST_UNFINISHED), self.queue.stuck_deliveries(_MOST_UNFINISHED)
        unfinished = [Unfinished(f"study {s.key}", s.state, s.reason, s.attempts) for s in studies]
        unfinished += [Unfinished(f"{d.file} to {d.destination}", d.state, d.reason, d.attempts) for d in stuck]
        return State(
            problems=tuple(self._problems()),
            studies={s: counts.get(s, 0) for s in ("receiving", "done", "skipped", "failed", "due")},
            pending=pending,
            free_bytes=self.folders.free_bytes(),
            unfinished=tuple(unfinished[:_MOST_UNFINISHED]),
        )

    def _problems(self) -> list[str]:
        found = [f"{thread.name} has ended" for thread in self._threads if not thread.is_alive()]
        if not self.receiver.alive:
            found.append("the DICOM service has ended")
        if self.jobs.trouble:
            found.append(f"no analysis: {self.jobs.trouble}")
        if self.folders.free_bytes() < self.config.min_free_mb * 1024**2:
            found.append("less than min_free_mb left: instances are refused")
        return found


def check(config: Config) -> None:
    """Read every certificate, password and token that a configuration names.

    Raises:
        UsageError: one can't be read, or a library is missing.
    """
    Metrics()
    if config.dicom.tls:
        server_context(config.dicom.tls)
    for destination in config.destination:
        transport_to(destination, config.dicom.ae_title)


def serve(config: Config, make_analysis: MakeAnalysis) -> None:
    """Run a node until SIGTERM or SIGINT.

    Raises:
        MonaiLungError: it can't start; see `Node` and `Node.start`.
    """
    os.umask(0o077)
    asked = threading.Event()
    node = Node(config, make_analysis)

    def stop(*_: object) -> None:
        asked.set()
        node.analyst.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        node.start()
        asked.wait()
    except Stopped:
        pass
    finally:
        node.stop()
