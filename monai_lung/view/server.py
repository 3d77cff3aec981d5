"""A web server for one page, on this computer alone: loopback, a random port, and a random word in the address."""

from __future__ import annotations

import logging
import secrets
import socketserver
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from monai_lung.errors import UsageError
from monai_lung.view.content import Contents

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
_HEADERS = {
    "Content-Security-Policy": (  # nothing from outside; NiiVue has pictures of its own as data and workers as blobs
        "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class ViewServer(ThreadingHTTPServer):
    """Serves what it is given to whoever knows its address; `server_close` ends it.

    Other users of this computer can reach a loopback port, and other pages in the browser can ask for it: so the
    address holds a random word, and requests under another host's name are refused.
    """

    daemon_threads = True

    def __init__(self, files: Contents, port: int = 0) -> None:
        """Take a port.

        Args:
            files: see `content.contents`.
            port: 0 takes a free one.

        Raises:
            UsageError: the port isn't free.
        """
        self.files, self.word = files, secrets.token_urlsafe(16)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(f"port {port} can't be used ({error}): leave --port away for a free one") from error

    def server_bind(self) -> None:
        """Bind without asking a name server who this computer is, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{ADDRESS}:{self.server_port}/{self.word}/"

    def hosts(self) -> set[str]:
        """Names under which a browser on this computer asks."""
        return {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    server_version, sys_version = "monai-lung", ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        word, slash, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        known = secrets.compare_digest(word.encode(), self.server.word.encode())
        if self.headers.get("Host") not in self.server.hosts():
            return self._send(HTTPStatus.FORBIDDEN, "text/plain", b"ask by 127.0.0.1\n", body)
        if not known or not slash or name not in self.server.files:
            return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing here\n", body)
        kind, data = self.server.files[name]
        return self._send(HTTPStatus.OK, kind, data, body)

    def _send(self, status: HTTPStatus, kind: str, data: bytes, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            try:
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):  # the page was closed while it loaded
                self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Into the library's log, without the address."""
        log.debug("answered %s", args[1] if len(args) > 1 else "")
