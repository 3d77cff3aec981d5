"""A real Orthanc (Debian's, with its DICOMweb plugin) in a folder of its own, for this machine alone."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

ORTHANC = Path("/usr/sbin/Orthanc")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STORESCU = Path("/usr/bin/storescu")  # by its full path: pynetdicom installs a command of the same name
PACKAGES = {"orthanc": ORTHANC, "orthanc-dicomweb": DICOMWEB, "dcmtk": STORESCU}
SENDER, ARCHIVE = "MONAI_LUNG", "ARCHIVE"
READY_S = STOP_S = 120  # it takes one or two; a busy machine may need more


def missing_packages() -> list[str]:
    """Debian's packages that aren't installed."""
    return [name for name, file in PACKAGES.items() if not file.exists()]


class Orthanc:
    """An archive on two free ports of the loopback device; `with` starts and stops it. What it stores stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http_port, self.dicom_port = _free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps(self._config(), indent=1))

    def _config(self) -> dict[str, object]:
        return {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [str(DICOMWEB)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomPort": self.dicom_port,
            "DicomAet": ARCHIVE,
            "DicomCheckCalledAet": True,
            "DicomModalities": {"sender": [SENDER, "127.0.0.1", 104]},  # it listens everywhere: none but this machine
            "DicomCheckModalityHost": True,
            "DicomAlwaysAllowStore": False,
        }

    def __enter__(self) -> Orthanc:
        with (self.folder / "orthanc.log").open("ab") as log:
            command = [ORTHANC, self.folder / "orthanc.json"]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)
        deadline = time.monotonic() + READY_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"Orthanc doesn't start:\n{self.log()}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """Ask it to end, wait until it has (its database is locked until then), and return its exit code."""
        if self.process is None:
            raise RuntimeError("Orthanc was never started")
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def log(self) -> str:
        """What it has written so far."""
        return (self.folder / "orthanc.log").read_text(errors="replace")

    def c_store(self, paths: Sequence[Path]) -> None:
        """Send files as a scanner does, with dcmtk's storescu."""
        # -R proposes the files' SOP classes, of which dcmtk lists no Comprehensive 3D SR; -xt JPEG-LS as well as plain
        call = [STORESCU, "-R", "-xt", "-aet", SENDER, "-aec", ARCHIVE, "127.0.0.1", str(self.dicom_port)]
        done = subprocess.run([*map(str, (*call, *paths))], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"storescu: {done.stdout}{done.stderr}\n{self.log()}")

    def stow(self, paths: Sequence[Path]) -> None:
        """Send files by STOW-RS (PS3.18 10.5), all in one request; every one of them must be taken."""
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + path.read_bytes() + b"\r\n" for path in paths) + f"--{boundary}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        answer = json.loads(self.http("dicom-web/studies", body, headers)[1])
        taken, failed = (len(answer.get(tag, {}).get("Value", [])) for tag in ("00081199", "00081198"))
        if (taken, failed) != (len(paths), 0):
            raise RuntimeError(f"STOW-RS: {taken} of {len(paths)} taken, {failed} failed: {answer}")

    def wado(self, study_uid: str, folder: Path) -> list[Path]:
        """Write all instances of a study, as WADO-RS (PS3.18 10.4) hands them out in the transfer syntax stored."""
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        headers, body = self.http(f"dicom-web/studies/{study_uid}", headers={"Accept": accept})
        boundary = re.search(r'boundary="?([^";]+)', headers["Content-Type"])
        if boundary is None:
            raise RuntimeError(f"WADO-RS: no boundary in {headers['Content-Type']}")
        folder.mkdir()
        paths = []
        for n, part in enumerate(body.split(f"--{boundary[1]}".encode())[1:-1]):
            paths.append(folder / f"{n:04d}.dcm")
            paths[-1].write_bytes(part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n"))
        return paths

    def qido(self, **match: str) -> dict[str, str]:
        """SOP Instance UID to SOP Class UID of what matches, by QIDO-RS (PS3.18 10.6); a copy more is an error."""
        query = "&".join(f"{keyword}={value}" for keyword, value in match.items())
        found = json.loads(self.http(f"dicom-web/instances?{query}", headers={"Accept": "application/dicom+json"})[1])
        pairs = [(item["00080018"]["Value"][0], item["00080016"]["Value"][0]) for item in found]
        if len(dict(pairs)) != len(pairs):
            raise RuntimeError(f"QIDO-RS: {len(pairs)} instances of {len(dict(pairs))} SOP Instance UIDs")
        return dict(pairs)

    def count(self) -> int:
        """Instances in the archive."""
        return int(json.loads(self.http("statistics")[1])["CountInstances"])

    def http(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of the answer to a GET, with `body` a POST."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}/{path}", body, headers or {})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
            return dict(answer.headers), answer.read()

    def _answers(self) -> bool:
        try:
            self.http("system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
