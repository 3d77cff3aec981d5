"""OHIF (the app of the package registry) in a headless Chromium, in front of an archive's DICOMweb."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PACKAGE = "@ohif/app@3.12.0"
CHROMIUM = (
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
)
_FETCH_S = 600


def fetch(folder: Path) -> Path | None:
    """The app's files from the package registry, in `folder`; None where npm or the registry isn't there."""
    pages = folder / "package" / "dist"
    if (pages / "index.html").is_file():
        return pages
    if shutil.which("npm") is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    call = ["npm", "pack", "--silent", PACKAGE]
    try:
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=_FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    with tarfile.open(folder / done.stdout.split()[-1]) as packed:
        packed.extractall(folder, filter="data")
    return pages


def _config() -> str:
    """OHIF's configuration: one archive behind the page's own address."""
    source: dict[str, Any] = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "archive",
        "configuration": {
            "friendlyName": "archive",
            "name": "archive",
            "wadoUriRoot": "/dicom-web",
            "qidoRoot": "/dicom-web",
            "wadoRoot": "/dicom-web",
            "qidoSupportsIncludeField": False,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "enableStudyLazyLoad": True,
            "supportsFuzzyMatching": False,
            "supportsWildcard": True,
            "omitQuotationForMultipartRequest": True,
            "bulkDataURI": {"enabled": True},
        },
    }
    config = {
        "routerBasename": "/",
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "maxNumberOfWebWorkers": 1,
        "showCPUFallbackMessage": False,
        "investigationalUseDialog": {"option": "never"},
        "defaultDataSourceName": "archive",
        "dataSources": [source],
    }
    return f"window.config = {json.dumps(config)};"


class Viewer:
    """OHIF's pages and the archive under one address of the loopback device; `with` starts and stops it."""

    def __init__(self, pages: Path, archive_port: int) -> None:
        handler = functools.partial(_Handler, pages=pages, archive_port=archive_port)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        """Of the first page."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Viewer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """A file of the app, its index page for what is none, what the archive answers under /dicom-web."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, pages: Path, archive_port: int) -> None:
        self.pages, self.archive_port = pages, archive_port
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.split("?")[0].lstrip("/")
        if path.startswith("dicom-web"):
            return self._from_archive()
        if path == "app-config.js":
            return self._send(200, "text/javascript", _config().encode())
        file = self.pages / path
        if not path or not file.is_file():
            file = self.pages / "index.html"
        kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".wasm": "application/wasm"}
        kinds |= {".svg": "image/svg+xml", ".json": "application/json", ".mjs": "text/javascript"}
        return self._send(200, kinds.get(file.suffix, "application/octet-stream"), file.read_bytes())

    def _from_archive(self) -> None:
        accept = {"Accept": self.headers.get("Accept", "*/*"), "Host": self.headers["Host"]}
        request = urllib.request.Request(f"http://127.0.0.1:{self.archive_port}{self.path}", headers=accept)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
                self._send(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            self._send(error.code, "text/plain", error.read())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        # a page with these may share memory between threads, which the volume viewports need
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(body)
