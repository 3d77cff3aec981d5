"""A real MONAI Label server, started by tools/monai_label/start on a free port of the loopback device."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

START = Path(__file__).resolve().parents[2] / "tools" / "monai_label" / "start"
BUILD_S, READY_S, ANSWER_S, STOP_S = 3600, 600, 1800, 60  # seconds on a quiet machine; tests run beside others


def build() -> str:
    """Build the server's environment where it's missing; why it can't be, "" if all is well."""
    try:
        done = subprocess.run([START, "--help"], capture_output=True, text=True, timeout=BUILD_S, check=False)
    except subprocess.TimeoutExpired:
        return f"not built in {BUILD_S} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["?"])[-1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class LabelServer:
    """`with` starts and stops it; `source` is what follows the command: a folder, or --dicomweb and a URL."""

    def __init__(self, work: Path, *source: str | Path) -> None:
        self.work, self.source, self.port = work, source, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = work.with_suffix(".log")

    def __enter__(self) -> LabelServer:
        command = [START, *self.source, "--port", str(self.port), "--work", self.work]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_for(self._answers, READY_S, lambda: f"MONAI Label doesn't start:\n{self.tail()}")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is None:
            return
        os.killpg(self.process.pid, signal.SIGTERM)  # with the processes that train and analyse
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def tail(self) -> str:
        """The end of what it has written."""
        return self.log.read_text(errors="replace")[-4000:]

    def get(self, path: str, **query: str) -> Any:
        """JSON of a GET."""
        return json.loads(self.request("GET", path, query)[1])

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        """JSON of a POST of JSON."""
        body = json.dumps(content).encode()
        return json.loads(self.request("POST", path, {}, body, {"Content-Type": "application/json"})[1])

    def infer(self, model: str, image: str, output: str = "image", **params: Any) -> bytes:
        """What POST /infer answers: a label map, DICOM SEG or JSON."""
        body, kind = multipart({"params": json.dumps(params).encode()})
        return self.request("POST", f"infer/{model}", {"image": image, "output": output}, body, kind)[1]

    def put_label(self, image: str, label: Path, **params: Any) -> Any:
        """Submit a label, as 3D Slicer does."""
        body, kind = multipart({"params": json.dumps(params).encode()}, {"label": label})
        return json.loads(self.request("PUT", "datastore/label", {"image": image}, body, kind)[1])

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body; an error's too."""
        url = f"http://127.0.0.1:{self.port}/{path}?{urllib.parse.urlencode(query or {})}"
        request = urllib.request.Request(url, body, dict(headers or {}), method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=ANSWER_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def finished(self, method: str) -> dict[str, Any]:
        """Wait for the latest background task ("train" or "scoring") to end and return it."""

        def ended() -> bool:
            status, body = self.request("GET", f"{method}/")
            return status == 200 and json.loads(body)["status"] not in ("SUBMITTED", "RUNNING")

        wait_for(ended, ANSWER_S, lambda: f"{method} doesn't end:\n{self.tail()}")
        task: dict[str, Any] = self.get(f"{method}/")
        assert task["status"] == "DONE", (task, self.tail())
        return task

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"MONAI Label ended:\n{self.tail()}")
        try:
            return self.request("GET", "info/")[0] == 200
        except OSError:
            return False


def multipart(fields: Mapping[str, bytes], files: Mapping[str, Path] | None = None) -> tuple[bytes, dict[str, str]]:
    """Body and header of multipart/form-data (RFC 7578)."""
    boundary = uuid.uuid4().hex
    parts = [(f'name="{name}"', content) for name, content in fields.items()]
    parts += [(f'name="{name}"; filename="{path.name}"', path.read_bytes()) for name, path in (files or {}).items()]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + content + b"\r\n"
        for name, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def wait_for(true: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    """Ask every half second; RuntimeError with `otherwise()` where it doesn't become true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise())
        time.sleep(0.5)
