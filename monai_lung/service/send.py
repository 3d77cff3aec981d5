"""Results on their way: a thread a destination, so that one that is down keeps none of the others waiting.

The files that were written once are sent, never made again: an archive that gets one twice sees the same SOP Instance
UID and keeps one copy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from monai_lung.service.config import Config, Destination
from monai_lung.service.log import event, reason_of
from monai_lung.service.metrics import Metrics
from monai_lung.service.queue import Delivery, Queue
from monai_lung.service.transport import NotSent, Transport

_POLL_S = 0.2
_DAY_S = 86400.0


def transport_to(destination: Destination, ae_title: str) -> Transport:
    """The transport that a destination's keys ask for.

    Raises:
        UsageError: a certificate, a password or a token can't be read.
    """
    if destination.url is not None:
        from monai_lung.service.stow import Stow

        return Stow(destination)
    from monai_lung.service.c_store import CStore

    return CStore(destination, ae_title)


class ResultSender(threading.Thread):
    """Sends what is due to one destination, until `stop`."""

    def __init__(
        self,
        destination: Destination,
        transport: Transport,
        config: Config,
        queue: Queue,
        results: Path,
        metrics: Metrics,
    ) -> None:
        super().__init__(name=f"send-{destination.name}", daemon=True)
        self._destination, self._transport, self._retry = destination, transport, config.retry
        self._queue, self._results, self._metrics = queue, results, metrics
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the object in hand."""
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped."""
        while not self._stopping.is_set():
            try:
                due = self._queue.due_deliveries(self._destination.name, time.time())
                if due:
                    self._send(due)
                    continue
            except Exception as error:  # the queue's disk, for one: what wasn't noted is sent again
                event("sending interrupted", 40, destination=self._destination.name, reason=reason_of(error))
            self._stopping.wait(_POLL_S)

    def _send(self, due: Sequence[Delivery]) -> None:
        for gone in [d for d in due if not (self._results / d.file).is_file()]:
            self._failed(gone, "its file is gone")
        left = [d for d in due if (self._results / d.file).is_file()]
        if not left:
            return
        try:
            for attempt in self._transport.send([self._results / d.file for d in left]):
                self._attempt(left.pop(0), attempt)
                if self._stopping.is_set():
                    return
        except NotSent as error:  # no connection: all come again
            for delivery in left:
                self._failed(delivery, str(error))

    def _attempt(self, delivery: Delivery, attempt: Callable[[], None]) -> None:
        """Send one object. Whatever it fails of is put down to it alone, so that it can't hold up those behind it."""
        try:
            attempt()
        except Exception as error:
            self._failed(delivery, str(error) if isinstance(error, NotSent) else reason_of(error))
            return
        self._queue.sent(delivery)
        self._metrics.delivered(self._destination.name, "sent")
        event("object sent", object=delivery.file, destination=self._destination.name)

    def _failed(self, delivery: Delivery, reason: str) -> None:
        delay: float | None = self._retry.delay_s(delivery.attempts + 1)
        limit = self._retry.give_up_days
        if limit is not None and time.time() - delivery.created_at > limit * _DAY_S:
            delay = None
        self._queue.not_sent(delivery, reason, delay)
        self._metrics.delivered(self._destination.name, "failed" if delay is not None else "given up")
        then = {"retry_in_s": round(delay, 1)} if delay is not None else {"given_up": True}
        name = self._destination.name
        event("object not sent", 30, object=delivery.file, destination=name, reason=reason, **then)
