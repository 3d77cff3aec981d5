"""Who may send what, and what success means."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="the service extra isn't installed")
pytest.importorskip("prometheus_client", reason="the service extra isn't installed")

from node_builder import associate, config_of, free_port, health, running, send, series, wait_for
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from monai_lung.service import folders, log, receive

MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_LS, MPEG4 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.102"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
OTHERS = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.88.67",  # X-Ray Radiation Dose SR
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
    "1.2.840.10008.5.1.4.1.1.6",  # an ultrasound class that was retired
    "1.3.12.2.1107.5.9.1",  # a private one
)


def files(node_folder: Path) -> list[Path]:
    return [p for name in ("received", "incoming") for p in (node_folder / name).rglob("*") if p.is_file()]


def test_only_known_pairs_of_title_and_address_come_in(tmp_path: Path) -> None:
    config = config_of(tmp_path, free_port(), '[[sender]]\nae_title = "FAR"\naddress = "10.9.9.9"')
    with running(config) as node:
        for title, called in (("STRANGER", "MONAI_LUNG"), ("FAR", "MONAI_LUNG"), ("CT1", "OTHER")):
            association = associate(node.receiver.port, title, called)
            assert association.is_rejected
        assert send(node.receiver.port, series()) == [0] * 4


def test_an_unknown_address_gets_no_answer(tmp_path: Path) -> None:
    config = config_of(tmp_path, free_port())
    object.__setattr__(config.sender[0], "address", "10.9.9.9")
    with running(config) as node, socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        assert connection.recv(1) == b""


def test_compressed_ct_is_taken_in_a_syntax_that_can_be_read(tmp_path: Path) -> None:
    with running(config_of(tmp_path, free_port())) as node:
        ae = AE("CT1")
        ae.add_requested_context(CT, [MPEG4, JPEG_LS])
        ae.add_requested_context(FIND, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", node.receiver.port, ae_title="MONAI_LUNG")
        assert [(c.abstract_syntax, c.transfer_syntax) for c in association.accepted_contexts] == [(CT, [JPEG_LS])]
        assert [c.abstract_syntax for c in association.rejected_contexts] == [FIND]
        association.release()


def test_a_whole_study_is_taken_and_its_ct_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object that is refused would make many senders give up the study: Orthanc answered 500 and sent no slice."""
    events: list[tuple[str, object]] = []
    monkeypatch.setattr(receive, "event", lambda name, *_, **more: events.append((name, more.get("objects"))))
    config, ct = config_of(tmp_path, free_port()), series().datasets
    others = [series().datasets[0] for _ in (MR, *OTHERS)]
    with running(config) as node:
        ae = AE("CT1")
        for sop_class in (MR, *OTHERS, CT):
            ae.add_requested_context(sop_class, ExplicitVRLittleEndian)
        ae.add_requested_context(OTHERS[0], MPEG4)  # a context for each transfer syntax, as Orthanc proposes them
        association = ae.associate("127.0.0.1", node.receiver.port, ae_title="MONAI_LUNG")
        assert association.rejected_contexts == []
        assert len(association.accepted_contexts) == len(OTHERS) + 3
        for sop_class, data in zip((MR, *OTHERS), others, strict=True):
            data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class
            assert association.send_c_store(data).Status == 0
        assert node.queue.studies() == []
        assert [association.send_c_store(data).Status for data in ct] == [0] * 4
        association.release()
        assert len(files(config.storage)) == 4
        wait_for(lambda: ("objects discarded", len(OTHERS) + 1) in events)
        text = node.metrics.show(node.state()).decode()
        assert f"monai_lung_instances_discarded_total {len(OTHERS) + 1}.0" in text
        assert "monai_lung_instances_received_total 4.0" in text


def test_what_lacks_a_uid_or_lies_about_it_is_refused(tmp_path: Path) -> None:
    builder = series()
    first, second, third, fourth = builder.datasets
    first.StudyInstanceUID = ""
    second.SeriesInstanceUID = "../../etc"
    with running(config_of(tmp_path, free_port())) as node:
        association = associate(node.receiver.port)
        for data in (first, second):
            assert association.send_c_store(data).Status == receive.NOT_UNDERSTOOD
        third.StudyInstanceUID = "1.2." + "3" * 70
        assert association.send_c_store(third).Status == receive.NOT_UNDERSTOOD
        assert association.send_c_store(fourth).Status == 0
        association.release()
        assert len(files(config_of(tmp_path, 1).storage)) == 1
        assert 'instances_refused_total{status="0xC000"} 3.0' in node.metrics.show(node.state()).decode()


def test_leading_zeros_in_uids_are_taken(tmp_path: Path) -> None:
    """They are against the standard, and old modalities write them."""
    (data, *_) = series().datasets
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(data, name, f"{data[name].value[:50]}.007")
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    with running(config_of(tmp_path, free_port())) as node:
        association = associate(node.receiver.port)
        assert association.send_c_store(data).Status == 0
        association.release()
        assert len(files(config_of(tmp_path, 1).storage)) == 1


@pytest.mark.parametrize("step", ["write", "fsync", "rename", "folder", "queue", "reserve"])
def test_a_full_disk_refuses_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whatever step fails: A700, nothing half-written, the instance unknown; later it is taken."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_: object) -> None:
        raise full if step != "queue" else sqlite3.OperationalError("database or disk is full")

    config = config_of(tmp_path, free_port())
    with running(config) as node:
        with monkeypatch.context() as patch:
            if step == "write":
                patch.setattr(node.folders, "new_file", fail)
            elif step == "fsync":
                patch.setattr(folders.os, "fsync", fail)
            elif step == "rename":
                patch.setattr(receive, "place", fail)
            elif step == "folder":  # the file has its name already
                patch.setattr(folders, "sync_folder", lambda f: fail() if f.parent.name == "received" else None)
            elif step == "queue":
                patch.setattr(node.queue, "add_instance", fail)
            else:
                patch.setattr(node.folders, "free_bytes", lambda: 1000)
            assert send(node.receiver.port, series()) == [0xA700] * 4
            assert files(config.storage) == []
            if step == "reserve":
                assert "min_free_mb" in " ".join(health(config)["problems"])
        assert node.queue.studies() == []
        assert send(node.receiver.port, series()) == [0] * 4
        assert len(files(config.storage)) == 4


def test_success_comes_after_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, its folder and the queue are forced to the disk, in this order, before the answer."""
    done: list[str] = []
    real_fsync, config = os.fsync, config_of(tmp_path, free_port())
    with running(config) as node:
        real_add = node.queue.add_instance

        def fsync(descriptor: int) -> None:
            done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
            real_fsync(descriptor)

        def add(*values: object) -> object:
            done.append("queue")
            return real_add(*values)  # type: ignore[arg-type]

        monkeypatch.setattr(folders.os, "fsync", fsync)
        monkeypatch.setattr(node.queue, "add_instance", add)
        association = associate(node.receiver.port)
        assert association.send_c_store(series().datasets[0]).Status == 0
        assert done == ["file", "folder", "folder", "queue"]
        association.release()
        (mode,) = node.queue._rows("PRAGMA synchronous")[0]
        assert mode == 2  # FULL


def test_garbage_and_idle_connections_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are not DICOM, a PDU that announces 4 GB and stops, and silence: closed and counted, nobody waits."""
    monkeypatch.setattr(receive, "_NETWORK_S", 2)
    with running(config_of(tmp_path, free_port())) as node:
        idle = socket.create_connection(("127.0.0.1", node.receiver.port), 10)
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\0\xff\xff\xff\xff" + b"\xff" * 999, b"\xee" * 4096):
            with socket.create_connection(("127.0.0.1", node.receiver.port), 30) as connection:
                connection.sendall(garbage)
                assert send(node.receiver.port, series()) == [0] * 4
                while connection.recv(100):
                    pass  # it is closed from the other side
        counted = 'associations_rejected_total{reason="no DICOM"}'
        wait_for(lambda: f"{counted} 3.0" in node.metrics.show(node.state()).decode())
        idle.close()


def test_the_log_names_no_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, ours = logging.getLogger(), logging.getLogger("monai_lung")
    before = root.handlers[:], root.level, ours.level
    log.set_up()
    try:
        config = config_of(tmp_path, free_port(), "[analysis]\nattempts = 1")
        builder = series(how="raise")
        with running(config) as node:
            send(node.receiver.port, builder)
            associate(node.receiver.port, "STRANGER")
            wait_for(lambda: node.queue.studies()[0].state == "failed")
            logging.getLogger("pynetdicom").error("Test^Patient")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        root.handlers[:], root.level = before[0], before[1]
        ours.setLevel(before[2])
        logging.getLogger("py.warnings").disabled = False
        logging.captureWarnings(False)
    events = [line["event"] for line in lines]
    assert {"node started", "association rejected", "analysis ended", "node stopped", "library"} <= set(events)
    text = json.dumps(lines)
    for secret in ("Test", "P-1", str(builder.datasets[0].StudyInstanceUID), builder.uid):
        assert secret not in text
