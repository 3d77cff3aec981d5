"""The node's state over HTTP: /health for people and watchdogs, /metrics for Prometheus. Nothing of a patient."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from monai_lung.errors import UsageError
from monai_lung.service.config import Http
from monai_lung.service.log import reason_of
from monai_lung.service.metrics import Metrics
from monai_lung.version import __version__


@dataclass(frozen=True)
class Unfinished:
    """A study that ended without a result, by its key, or a delivery that waits or was given up, by its file."""

    what: str
    state: str
    reason: str
    attempts: int


@dataclass(frozen=True)
class State:
    """How the node is.

    Attributes:
        problems: what keeps it from its work; () is healthy. A study that failed or an archive that is down is none.
        studies: state to count; "due" are those that are complete and wait.
        pending: destination to the number of objects not yet delivered, and the age of the oldest in s.
        free_bytes: space left for the storage.
        unfinished: studies without a result, and deliveries that failed, the newest first; at most 100.
    """

    problems: tuple[str, ...]
    studies: dict[str, int]
    pending: dict[str, tuple[int, float]]
    free_bytes: int
    unfinished: tuple[Unfinished, ...]


class Health:
    """The HTTP server.

    Raises:
        UsageError: the port can't be had.
    """

    def __init__(self, settings: Http, state: Callable[[], State], metrics: Metrics) -> None:
        handler = type("_Handler", (_Answers,), {"state": staticmethod(state), "metrics": metrics})
        try:
            self._server = _Server((settings.address, settings.port), handler)
        except OSError as error:
            where = f"{settings.address} port {settings.port}"
            raise UsageError(f"can't listen on {where}: {error.strerror}; change http.address or http.port") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away: nothing to say."""


class _Answers(BaseHTTPRequestHandler):
    state: Callable[[], State]
    metrics: Metrics
    timeout = 10
    server_version, sys_version = "monai-lung", ""

    def do_GET(self) -> None:
        """/health: 200, or 503 with what is wrong; /metrics."""
        path = self.path.split("?")[0]
        if path not in ("/health", "/metrics"):
            self.send_error(404)
            return
        try:
            state = self.state()
        except Exception as error:  # the queue's disk, for one: a watchdog has to hear of it
            body = json.dumps({"status": "failing", "problems": [f"no state: {reason_of(error)}"]}).encode()
            self._send(503, "application/json", body)
            return
        if path == "/metrics":
            self._send(200, "text/plain; version=0.0.4; charset=utf-8", self.metrics.show(state))
            return
        content = {"status": "failing" if state.problems else "ok", "version": __version__, **asdict(state)}
        body = json.dumps(content, indent=1).encode() + b"\n"
        self._send(503 if state.problems else 200, "application/json", body)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Scrapes aren't logged."""
