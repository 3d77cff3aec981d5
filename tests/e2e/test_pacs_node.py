"""`monai-lung serve` between dcmtk's storescu and a real Orthanc, with the networks that ship, killed at any moment."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from orthanc_server import ARCHIVE, STORESCU, Orthanc, missing_packages

pytest.importorskip("highdicom", reason="the dicom extra isn't installed")
pytest.importorskip("pynetdicom", reason="the service extra isn't installed")
pytest.importorskip("prometheus_client", reason="the service extra isn't installed")
pydicom = pytest.importorskip("pydicom")

from monai_lung.pipeline import Analyzer, write  # noqa: E402
from monai_lung.service.document import find_chromium  # noqa: E402
from monai_lung.service.queue import Queue  # noqa: E402

MISSING = missing_packages()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed, Debian's packages: {', '.join(MISSING)}"),
]
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
PDF, PICTURE = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"
DOCUMENT = PDF if find_chromium() else PICTURE
RESULTS = {SEG, SR, DOCUMENT}
WAIT_S = 1800  # an analysis takes some 10 s on a quiet machine


def wait_for(what: Callable[[], Any], limit_s: float = WAIT_S) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited {limit_s} s"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class NodeProcess:
    """`monai-lung serve` as an administrator starts it; `with` waits until it listens, and kills it."""

    def __init__(self, folder: Path, archive: Orthanc, *, stow: bool = False) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port, self.http_port = free_port(), free_port()
        where = f'ae_title = "{ARCHIVE}"\nhost = "127.0.0.1"\nport = {archive.dicom_port}'
        if stow:
            where = f'url = "http://127.0.0.1:{archive.http_port}/dicom-web"'
        self.config = folder / "node.toml"
        self.config.write_text(f"""
storage = "store"
[dicom]
port = {self.port}
quiet_s = 5
[http]
port = {self.http_port}
[retry]
first_s = 0.5
longest_s = 1
[analysis]
device = "cpu"
[[sender]]
ae_title = "SCANNER"
address = "127.0.0.1"
[[sender]]
ae_title = "{ARCHIVE}"
address = "127.0.0.1"
port = {archive.dicom_port}
[[destination]]
name = "archive"
{where}
""")

    def __enter__(self) -> NodeProcess:
        with (self.folder / "log.jsonl").open("ab") as log:
            call = [sys.executable, "-m", "monai_lung", "serve", "--config", str(self.config)]
            self.process = subprocess.Popen(call, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(lambda: self.health() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/health", timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        except OSError:
            return {}

    def log(self) -> str:
        return (self.folder / "log.jsonl").read_text()

    def events(self, name: str) -> int:
        return self.log().count(f'"event": "{name}"')

    def settled(self) -> bool:
        """Whether all that came is done and delivered; a study that fails ends the test."""
        state = self.health()
        assert not state["studies"]["failed"], state
        return state["studies"]["done"] + state["studies"]["skipped"] > 0 and not (
            state["studies"]["receiving"] or state["pending"]["archive"][0]
        )

    def storescu(self, folder: Path, *, check: bool = True) -> subprocess.Popen[str]:
        # -xt proposes JPEG-LS beside the plain syntaxes; +r +sd: the folder and all below it
        call = [STORESCU, "-R", "-xt", "+sd", "+r", "-aet", "SCANNER", "-aec", "MONAI_LUNG"]
        call += ["127.0.0.1", str(self.port), folder]
        sender = subprocess.Popen([*map(str, call)], stderr=subprocess.PIPE, text=True)
        if check:
            assert sender.wait(WAIT_S) == 0, sender.stderr and sender.stderr.read()
        return sender


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Orthanc]:
    with Orthanc(tmp_path / "orthanc") as running:
        yield running


def uid_of(folder: Path) -> str:
    first = next(p for p in sorted(folder.rglob("*")) if p.is_file())
    return str(pydicom.dcmread(first, stop_before_pixels=True).StudyInstanceUID)


def results_of(archive: Orthanc, study: str) -> dict[str, str]:
    """SOP class to SOP Instance UID of what isn't CT; `qido` makes sure that nothing is there twice."""
    found = {sop: uid for uid, sop in archive.qido(StudyInstanceUID=study).items() if sop != CT}
    assert len(found) == len([s for s in archive.qido(StudyInstanceUID=study).values() if s != CT])
    return found


@pytest.mark.parametrize("stow", [False, True], ids=["C-STORE", "STOW-RS"])
def test_a_ct_from_storescu_comes_to_the_archive_as_seg_sr_and_report(
    tmp_path: Path, archive: Orthanc, phantom_dir: Path, stow: bool
) -> None:
    """The same objects as those of `monai-lung analyze`: their UIDs follow from their content."""
    with NodeProcess(tmp_path / "node", archive, stow=stow) as node:
        node.storescu(phantom_dir / "dicom")
        wait_for(node.settled)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(60) == 0
    assert node.events("node stopped") == 1
    found = results_of(archive, uid_of(phantom_dir / "dicom"))
    assert found.keys() == RESULTS
    folder = write(Analyzer().analyze(phantom_dir / "dicom"), tmp_path / "analyze", ("seg", "sr"))
    for sop_class, name in ((SEG, "seg.dcm"), (SR, "sr.dcm")):
        assert pydicom.dcmread(folder / name).SOPInstanceUID == found[sop_class]
    fetched = archive.wado(uid_of(phantom_dir / "dicom"), tmp_path / "fetched")
    assert {str(pydicom.dcmread(path).PatientID) for path in fetched} == {
        str(pydicom.dcmread(next((phantom_dir / "dicom").iterdir())).PatientID)
    }


def test_orthanc_sends_asks_for_commitment_and_gets_the_results(
    tmp_path: Path, archive: Orthanc, phantom_dir: Path
) -> None:
    """Both directions: the archive routes its study to the node, and finds the results in that study."""
    files = sorted((phantom_dir / "dicom").iterdir())
    archive.c_store(files)
    study = uid_of(phantom_dir / "dicom")
    held = archive.qido(StudyInstanceUID=study)
    with NodeProcess(tmp_path / "node", archive) as node:
        modality = {"AET": "MONAI_LUNG", "Host": "127.0.0.1", "Port": node.port}
        put = urllib.request.Request(
            f"http://127.0.0.1:{archive.http_port}/modalities/node", json.dumps(modality).encode(), method="PUT"
        )
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(put, timeout=60).close()
        archive.http("modalities/node/echo", b"{}")
        (identifier,) = json.loads(archive.http("studies")[1])
        archive.http("modalities/node/store", json.dumps([identifier]).encode())
        wanted = {"DicomInstances": [[sop_class, uid] for uid, sop_class in held.items()]}
        asked = json.loads(archive.http("modalities/node/storage-commitment", json.dumps(wanted).encode())[1])

        def answer() -> Any:
            told = json.loads(archive.http(asked["Path"].lstrip("/"))[1])
            return told if told["Status"] != "Pending" else None

        told = wait_for(answer, 60)
        assert (told["Status"], len(told["Success"]), told["Failures"]) == ("Success", len(files), [])
        wait_for(node.settled)
        assert results_of(archive, study).keys() == RESULTS
        assert archive.count() == len(files) + 3
        # the study holds the node's own SEG, SR and report now: it's taken as a whole, and nothing is done twice
        sent = json.loads(archive.http("modalities/node/store", json.dumps([identifier]).encode())[1])
        assert (sent["FailedInstancesCount"], sent["InstancesCount"]) == (0, len(files) + 3)
        wait_for(lambda: node.events("objects discarded") == 1)
        wait_for(node.settled)
        assert node.events("analysis started") == 1


def test_killed_in_a_transfer_in_an_analysis_and_in_sending(
    tmp_path: Path, archive: Orthanc, phantom_dir: Path
) -> None:
    """Three kills in the life of one study; the scanner sends again what it wasn't told to be safe."""
    source = phantom_dir / "dicom"
    count = len(list(source.iterdir()))
    node = NodeProcess(tmp_path / "node", archive)
    with node:
        sender = node.storescu(source, check=False)
        received = tmp_path / "node" / "store" / "received"
        wait_for(lambda: len(list(received.rglob("*.dcm"))) > 3)
        node.kill()
        assert sender.wait(60) != 0
    queue = Queue(tmp_path / "node" / "store" / "queue.sqlite")
    known = len(queue.instances(queue.studies()[0]))
    queue.close()
    on_disk = len(list(received.rglob("*.dcm")))
    assert 3 <= known <= on_disk <= known + 1 < count
    with node:
        node.storescu(source)
        before = node.events("analysis started")  # of a study that isn't whole, where the sender took its time
        wait_for(lambda: node.events("analysis started") > before)
        time.sleep(1)
        node.kill()
    assert archive.count() == 0
    with node:
        wait_for(archive.count)
        node.kill()
    in_time = archive.count()
    print(f"killed when the archive had {in_time} of 3", file=sys.stderr)
    with node:
        wait_for(node.settled)
    assert results_of(archive, uid_of(source)).keys() == RESULTS
    assert archive.count() == 3
    found = json.loads(next((tmp_path / "node" / "store" / "results").rglob("findings.json")).read_text())
    assert found["input"]["slices"] == count


def test_an_archive_that_is_down_gets_everything_once_it_is_up(tmp_path: Path, phantom_dir: Path) -> None:
    archive = Orthanc(tmp_path / "orthanc")
    with NodeProcess(tmp_path / "node", archive) as node:
        node.storescu(phantom_dir / "dicom")
        wait_for(lambda: node.events("object not sent") >= 6)
        assert node.health()["pending"]["archive"][0] == 3
        with archive:
            wait_for(node.settled)
            assert results_of(archive, uid_of(phantom_dir / "dicom")).keys() == RESULTS


def test_a_real_scan_as_jpeg_ls(
    tmp_path: Path, archive: Orthanc, data_dir: Path, record_property: Callable[[str, object], None]
) -> None:
    source = data_dir / "ct" / "LIDC-IDRI-0001" / "dicom"
    with NodeProcess(tmp_path / "node", archive) as node:
        start = time.monotonic()
        node.storescu(source)
        sent = time.monotonic()
        wait_for(node.settled)
        record_property("transfer_s", round(sent - start, 1))
        record_property("answer_s", round(time.monotonic() - sent, 1))
        stored = next((tmp_path / "node" / "store" / "received").rglob("*.dcm"))
        original = pydicom.dcmread(next(source.iterdir())).file_meta.TransferSyntaxUID
        assert pydicom.dcmread(stored, stop_before_pixels=True).file_meta.TransferSyntaxUID == original
    assert results_of(archive, uid_of(source)).keys() == RESULTS
    for path in archive.wado(uid_of(source), tmp_path / "fetched"):
        dciodvfy = Path("/usr/bin/dciodvfy")
        if dciodvfy.exists():
            done = subprocess.run([dciodvfy, "-new", path], capture_output=True, text=True, timeout=120, check=False)
            assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
