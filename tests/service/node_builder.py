"""Nodes, senders and archives on free ports of the loopback device."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import stub_analysis
from dicom_series import CT_STORAGE, SeriesBuilder, body_hu
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from monai_lung.service.config import Config, read_config
from monai_lung.service.node import Node

SENDER, NODE, ARCHIVE = "CT1", "MONAI_LUNG", "ARCHIVE"
WAIT_S = 180  # a busy machine; a good answer takes a second


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(what: Callable[[], Any], limit_s: float = WAIT_S) -> Any:
    """The first answer that isn't false."""
    deadline = time.monotonic() + limit_s
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: waited {limit_s} s")
        time.sleep(0.02)
    return found


class Archive:
    """Takes C-STORE and remembers what came, in which order; can be down, refuse, be slow to answer, or hang up."""

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.came: list[tuple[str, str]] = []
        self.status: Callable[[Dataset], int] = lambda _: 0x0000
        self.hang_up = ""
        """SOP class of objects over which it aborts the association."""
        self._server: Any = None

    def __enter__(self) -> Archive:
        ae = AE(ARCHIVE)
        for sop_class in stub_analysis.CLASSES.values():
            ae.add_supported_context(sop_class, ExplicitVRLittleEndian)
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._on)]
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _on(self, event: evt.Event) -> int:
        data = event.dataset
        if data.SOPClassUID == self.hang_up:
            event.assoc.abort()
        self.came.append((str(data.StudyInstanceUID), str(data.SOPInstanceUID)))
        return self.status(data)

    def objects(self) -> set[str]:
        return {uid for _, uid in self.came}


def write_config(folder: Path, archive: int, more: str = "", dicom: str = "", http: int = 0) -> Path:
    """A configuration with waits short enough for tests."""
    file = folder / "node.toml"
    file.write_text(f"""
storage = "store"
min_free_mb = 1
[dicom]
port = {free_port()}
quiet_s = 0.5
{dicom}
[http]
port = {http or free_port()}
[retry]
first_s = 0.2
longest_s = 0.4
[[sender]]
ae_title = "{SENDER}"
address = "127.0.0.1"
[[destination]]
name = "pacs"
ae_title = "{ARCHIVE}"
host = "127.0.0.1"
port = {archive}
{more}
""")
    return file


def config_of(folder: Path, archive: int, more: str = "", dicom: str = "") -> Config:
    return read_config(write_config(folder, archive, more, dicom))


@contextmanager
def running(config: Config, make_analysis: Any = stub_analysis.make_stub) -> Iterator[Node]:
    """A node in this process (its analysis in a child)."""
    node = Node(config, make_analysis)
    try:
        node.start()
        yield node
    finally:
        node.stop()


def series(seed: int = 0, how: str = "test", slices: int = 4, **elements: Any) -> SeriesBuilder:
    """A small CT; `how` tells the stub what to do."""
    return SeriesBuilder(body_hu(16, 12, slices, seed), seed=seed, SeriesDescription=how, **elements)


def datasets(builder: SeriesBuilder) -> list[Dataset]:
    for data in builder.datasets:
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return builder.datasets


def associate(port: int, title: str = SENDER, called: str = NODE, classes: tuple[str, ...] = (), **more: Any) -> Any:
    ae = AE(title)
    for sop_class in classes or (CT_STORAGE,):
        ae.add_requested_context(sop_class, ExplicitVRLittleEndian)
    ae.add_requested_context(Verification)
    return ae.associate("127.0.0.1", port, ae_title=called, **more)


def send(port: int, builder: SeriesBuilder, **more: Any) -> list[int]:
    """C-STORE a series; the statuses that came back, -1 for none."""
    association = associate(port, **more)
    assert association.is_established
    try:
        return [association.send_c_store(data).get("Status", -1) for data in datasets(builder)]
    finally:
        association.release()


def health(config: Config) -> dict[str, Any]:
    """What /health says, {} while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{config.http.port}/health", timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return json.loads(error.read())
    except OSError:
        return {}


class Process:
    """A node in a process of its own, to be killed."""

    def __init__(self, file: Path) -> None:
        self.config = read_config(file)
        self.log = file.parent / "log.jsonl"
        with self.log.open("ab") as log:
            call = [sys.executable, Path(__file__).with_name("node_process.py"), file]
            self.popen = subprocess.Popen([*map(str, call)], stderr=log, stdin=subprocess.DEVNULL)
        self.ended = threading.Event()

    def __enter__(self) -> Process:
        wait_for(lambda: health(self.config) or self.popen.poll() is not None)
        assert self.popen.poll() is None, self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait(WAIT_S)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]
