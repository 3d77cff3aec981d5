"""TLS on both sides, STOW-RS, storage commitment."""

from __future__ import annotations

import base64
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="the service extra isn't installed")
pytest.importorskip("prometheus_client", reason="the service extra isn't installed")

import stub_analysis
from node_builder import ARCHIVE, Archive, associate, config_of, free_port, running, send, series, wait_for
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from monai_lung.service import c_store, stow
from monai_lung.service.transport import NotSent

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem signs node.pem and peer.pem, both for 127.0.0.1; other.pem is nobody's."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    try:
        for name in ("ca", "other"):
            new = f"-newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key"
            openssl("req", "-x509", "-days", "2", *new.split(), "-out", f"{name}.pem")
    except FileNotFoundError:
        pytest.skip("openssl isn't installed")
    (folder / "san").write_text("subjectAltName = IP:127.0.0.1\n")
    for name in ("node", "peer"):
        openssl(*f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr".split())
        openssl(
            *f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -days 2".split(),
            "-out",
            f"{name}.pem",
        )
    return folder


def test_an_association_without_an_answer_is_over_even_if_it_has_not_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf:
        is_established = True
        asked = 0

        def send_c_store(self, dataset: Dataset) -> Dataset:
            self.asked += 1
            return Dataset()

        def abort(self) -> None:
            self.is_established = False

        def release(self) -> None:
            assert not self.is_established

    deaf = Deaf()
    monkeypatch.setattr(c_store, "associate", lambda *a, **k: deaf)
    files = [tmp_path / f"{n}.dcm" for n in range(3)]
    for file in files:
        stub_analysis.write_object(file, "seg", stub_analysis.CLASSES["seg"], series().datasets[0], 1)
    destination = config_of(tmp_path, free_port()).destination[0]
    attempts = c_store.CStore(destination, "NODE").send(files)
    with pytest.raises(NotSent, match="no answer"):
        next(attempts)()
    assert list(attempts) == []
    assert deaf.asked == 1


def client(folder: Path, name: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_tls_asks_senders_for_their_certificate(tmp_path: Path, certificates: Path) -> None:
    c = certificates
    tls = f'tls = {{certificate = "{c}/node.pem", key = "{c}/node.key", ca = "{c}/ca.pem"}}'
    with running(config_of(tmp_path, free_port(), dicom=tls)) as node:
        port = node.receiver.port
        assert send(port, series(), tls_args=(client(c, "peer"), "127.0.0.1")) == [0] * 4
        for context in (None, client(c), client(c, "other")):
            more: dict[str, Any] = {"tls_args": (context, "127.0.0.1")} if context else {}
            association = associate(port, **more)
            association.ae.dimse_timeout = 5
            assert not (association.is_established and association.send_c_echo().get("Status") == 0)
            association.abort()
        assert send(port, series(), tls_args=(client(c, "peer"), "127.0.0.1")) == [0] * 4


def test_results_go_out_by_tls_to_a_trusted_archive_alone(tmp_path: Path, certificates: Path) -> None:
    c, came = certificates, []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(c / "peer.pem", c / "peer.key")
    context.load_verify_locations(c / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    ae = AE(ARCHIVE)
    for sop_class in stub_analysis.CLASSES.values():
        ae.add_supported_context(sop_class, ExplicitVRLittleEndian)

    def store(event: evt.Event) -> int:
        came.append(event.dataset.SOPInstanceUID)
        return 0

    server = ae.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    port = server.server_address[1]
    own = f'tls = {{ca = "{c}/ca.pem", certificate = "{c}/node.pem", key = "{c}/node.key"}}'
    wrong = f'[[destination]]\nname = "wrong"\nae_title = "{ARCHIVE}"\nhost = "127.0.0.1"\nport = {port}\n'
    wrong += f'tls = {{ca = "{c}/other.pem", certificate = "{c}/node.pem", key = "{c}/node.key"}}'
    try:
        with running(config_of(tmp_path, port, f"{own}\n{wrong}")) as node:
            send(node.receiver.port, series())
            wait_for(lambda: len(came) == 3)
            wait_for(lambda: node.queue.due_deliveries("wrong", 9e9)[0].attempts >= 2)
            assert len(came) == len(set(came)) == 3
    finally:
        server.shutdown()


@contextmanager
def web(answers: list[int]) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A STOW-RS server that gives these answers first, then 200; and what it got: path, authorization, body."""
    got: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers.get("Authorization", ""), body))
            status = answers.pop(0) if answers else 200
            failed = b'{"00081198": {"vr": "SQ", "Value": [{}]}}' if status == 202 else b"{}"
            self.send_response(status)
            if status == 307:
                self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.send_header("Content-Length", str(len(failed)))
            self.end_headers()
            self.wfile.write(failed)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web", got
    finally:
        server.shutdown()
        server.server_close()


def test_stow(tmp_path: Path) -> None:
    """Refusals, a redirect and a partial failure are not success; the very same bytes come again, with the password."""
    (tmp_path / "password").write_text("secret\n")
    with web([503, 202, 307, 409]) as (url, got):
        more = f'[[destination]]\nname = "web"\nurl = "{url}"\nobjects = ["seg"]\nuser = "node"\n'
        more += f'password_file = "{tmp_path}/password"'
        with running(config_of(tmp_path, free_port(), more)) as node:
            send(node.receiver.port, series())
            wait_for(lambda: [d.state for d in node.queue.deliveries() if d.destination == "web"] == ["sent"])
            (study,) = node.queue.studies()
            file = (node.folders.results / study.key / "4" / "seg.dcm").read_bytes()
    assert [path for path, _, _ in got] == ["/dicom-web/studies"] * 5
    assert all(file in body for _, _, body in got)
    assert {authorization for _, authorization, _ in got} == {"Basic " + base64.b64encode(b"node:secret").decode()}


class Scanner:
    """Asks for storage commitment, and takes the answer on the same association or on a port of its own."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Dataset]] = []
        ae = AE("CT1")
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self.handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._on)]
        self.server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=self.handlers)
        self.port = self.server.server_address[1]

    def _on(self, event: evt.Event) -> tuple[int, None]:
        self.answers.append((event.event_type, event.event_information))
        return 0, None

    def ask(self, port: int, uids: list[str]) -> Any:
        association = associate(port, classes=(StorageCommitmentPushModel,), evt_handlers=self.handlers)
        wanted = Dataset()
        wanted.TransactionUID = generate_uid()
        wanted.ReferencedSOPSequence = [Dataset() for _ in uids]
        for item, uid in zip(wanted.ReferencedSOPSequence, uids, strict=True):
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
        model, instance = StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        status, _ = association.send_n_action(wanted, 1, model, instance)
        assert status.Status == 0
        return association


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (b"", False),
        (b"{}", False),
        (b'{"00081198": {"vr": "SQ"}}', False),
        (b'{"00081198": null}', False),
        (b'{"00081198": {"vr": "SQ", "Value": [{}]}}', True),
        (b'[{"00081198": {"vr": "SQ", "Value": [{}]}}]', True),
        (b'<NativeDicomModel><DicomAttribute tag="00081198" vr="SQ"/></NativeDicomModel>', True),
        (b"<NativeDicomModel/>", False),
    ],
)
def test_what_a_stow_answer_says_of_the_object(answer: bytes, failed: bool) -> None:
    assert stow._failed(answer) is failed


@pytest.mark.parametrize("own_association", [True, False])
def test_storage_commitment(tmp_path: Path, own_association: bool) -> None:
    """What is held and what isn't is told apart; a study that was asked for whole doesn't wait to be quiet."""
    scanner, archive, builder = Scanner(), Archive(), series()
    uids = [str(data.SOPInstanceUID) for data in builder.datasets]
    config = config_of(tmp_path, archive.port)
    object.__setattr__(config.dicom, "quiet_s", 3600.0)
    if own_association:
        object.__setattr__(config.sender[0], "port", scanner.port)
    try:
        with archive, running(config) as node:
            send(node.receiver.port, builder)
            storing = associate(node.receiver.port)  # scanners keep one open that takes no answer
            association = scanner.ask(node.receiver.port, [uids[0], "1.2.3"])
            if own_association:
                association.release()
            wait_for(lambda: len(scanner.answers) == 1)
            kind, content = scanner.answers[0]
            assert kind == 2
            assert [i.ReferencedSOPInstanceUID for i in content.ReferencedSOPSequence] == uids[:1]
            assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in content.FailedSOPSequence] == [
                ("1.2.3", 0x0112)
            ]
            assert node.queue.next_study(0, 3600) is None
            if association.is_established:
                association.release()
            association = scanner.ask(node.receiver.port, uids)
            wait_for(lambda: len(scanner.answers) == 2)
            kind, content = scanner.answers[1]
            assert (kind, len(content.ReferencedSOPSequence), "FailedSOPSequence" in content) == (1, 4, False)
            association.release()
            storing.release()
            wait_for(lambda: len(archive.came) == 3)
            assert node.queue.due_commitments(9e9) == []
    finally:
        scanner.server.shutdown()
