"""A node at work: what comes in is analysed, and its results arrive once."""

from __future__ import annotations

import errno
import json
import multiprocessing
import sqlite3
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="the service extra isn't installed")
pytest.importorskip("prometheus_client", reason="the service extra isn't installed")

import stub_analysis
from node_builder import Archive, associate, config_of, free_port, health, running, send, series, wait_for

from monai_lung.errors import UsageError, WeightsError
from monai_lung.service.analyst import Analyst, Stopped
from monai_lung.service.folders import place
from monai_lung.service.node import Node
from monai_lung.service.queue import QueuedStudy


@pytest.fixture
def archive() -> Archive:
    return Archive()


def test_a_study_goes_all_the_way(tmp_path: Path, archive: Archive) -> None:
    config = config_of(tmp_path, archive.port)
    with archive, running(config) as node:
        association = associate(node.receiver.port)
        assert association.send_c_echo().Status == 0x0000
        association.release()
        assert send(node.receiver.port, series()) == [0x0000] * 4
        wait_for(lambda: health(config)["studies"]["done"] == 1 and health(config)["pending"]["pacs"][0] == 0)
        assert len(archive.came) == len(archive.objects()) == 3
        (study,) = node.queue.studies()
        assert {p.name for p in (node.folders.results / study.key / "4").iterdir()} == {
            *("seg.dcm", "sr.dcm", "report.dcm", "findings.json")
        }
        with urllib.request.urlopen(f"http://127.0.0.1:{config.http.port}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        assert "monai_lung_instances_received_total 4.0" in metrics
        assert 'monai_lung_analyses_total{outcome="done"} 1.0' in metrics
        assert 'monai_lung_deliveries_total{destination="pacs",outcome="sent"} 3.0' in metrics
        assert "monai_lung_healthy 1.0" in metrics


def test_bad_studies_never_block_the_next(tmp_path: Path, archive: Archive) -> None:
    """One kills its process, one hangs, one raises, one is not a chest CT; the fifth is delivered, all are listed."""
    config = config_of(tmp_path, archive.port, "[analysis]\nattempts = 2\ntimeout_s = 12")
    bad = {"killed": "failed", "hang": "failed", "raise": "failed", "skip": "skipped"}
    with archive, running(config) as node:
        for seed, how in enumerate([*bad, "killed once"]):
            assert set(send(node.receiver.port, series(seed, how, 1))) == {0}
        wait_for(lambda: sum(health(config)["studies"][s] for s in ("done", "failed", "skipped")) == 5)
        wait_for(lambda: len(archive.came) == 3)
        state = health(config)
        assert state["status"] == "ok"
        assert (state["studies"]["failed"], state["studies"]["skipped"], state["studies"]["done"]) == (3, 1, 1)
        reasons = " ".join(item["reason"] for item in state["unfinished"])
        for text in ("killed by signal 9", "longer than 12 s", "unexpected ValueError", "no lungs in it", "2 attempts"):
            assert text in reasons
        assert "Patient" not in reasons
        for study in node.queue.studies():
            if study.state == "failed":
                assert (config.storage / f"runs-{study.key}").read_text() == "xx"


def test_a_full_disk_counts_no_attempt(tmp_path: Path, archive: Archive) -> None:
    config = config_of(tmp_path, archive.port, "[analysis]\nattempts = 1")
    with archive, running(config) as node:
        send(node.receiver.port, series(how="disk full once"))
        wait_for(lambda: "no space left" in " ".join(health(config)["problems"]) or archive.came)
        wait_for(lambda: len(archive.came) == 3 and not health(config)["problems"])
        (study,) = node.queue.studies()
        assert (study.state, study.attempts) == ("done", 0)


def test_late_instances_lead_to_a_rerun_repeated_ones_do_not(tmp_path: Path, archive: Archive) -> None:
    config = config_of(tmp_path, archive.port)
    late = series(slices=6)
    early = series(slices=6)
    early.datasets = early.datasets[:4]
    with archive, running(config) as node:
        send(node.receiver.port, early)
        wait_for(lambda: len(archive.came) == 3)
        send(node.receiver.port, early)  # a sender that isn't sure sends again
        assert node.queue.studies()[0].state == "done"
        send(node.receiver.port, late)
        wait_for(lambda: len(archive.came) == 6)
        (study,) = node.queue.studies()
        assert (study.revision, study.finished) == (6, 6)
        found = json.loads((node.folders.results / study.key / "6" / "findings.json").read_text())
        assert found == {"slices": 6}


def test_what_was_given_up_is_tried_again_when_it_is_sent_again(tmp_path: Path, archive: Archive) -> None:
    config = config_of(tmp_path, archive.port, "[analysis]\nattempts = 1")
    with archive, running(config) as node:
        send(node.receiver.port, series(how="killed once"))
        wait_for(lambda: node.queue.studies()[0].state == "failed")
        assert [item["state"] for item in health(config)["unfinished"]] == ["failed"]
        assert send(node.receiver.port, series(how="killed once")) == [0] * 4
        wait_for(lambda: len(archive.came) == 3)


def test_an_archive_that_is_down_or_refuses_gets_the_same_objects_later(tmp_path: Path, archive: Archive) -> None:
    config = config_of(tmp_path, archive.port)
    with running(config) as node:
        send(node.receiver.port, series())
        wait_for(lambda: [d for d in node.queue.deliveries() if d.attempts >= 2])
        assert health(config)["status"] == "ok"
        assert health(config)["pending"]["pacs"][0] == 3
        assert {d.reason for d in node.queue.deliveries()} == {"no connection"}
        written = {p: p.read_bytes() for p in node.folders.results.rglob("*.dcm")}
        refusals = [0xA700, 0xC000]
        archive.status = lambda _: refusals.pop() if refusals else 0
        with archive:
            wait_for(lambda: all(d.state == "sent" for d in node.queue.deliveries()))
        assert len(archive.came) == 5
        assert len(archive.objects()) == 3
        assert {p: p.read_bytes() for p in node.folders.results.rglob("*.dcm")} == written


def test_an_object_that_makes_the_archive_hang_up_holds_up_no_other(tmp_path: Path, archive: Archive) -> None:
    """Nor does one whose file is damaged: the others go out on a new association."""
    config = config_of(tmp_path, archive.port)
    object.__setattr__(config.retry, "longest_s", 1.0)
    object.__setattr__(config.retry, "first_s", 1.0)
    archive.hang_up = stub_analysis.CLASSES["seg"]
    with running(config) as node:
        send(node.receiver.port, series())
        wait_for(lambda: [d for d in node.queue.deliveries() if d.attempts])
        with archive:
            wait_for(lambda: sorted(d.state for d in node.queue.deliveries()) == ["pending", "sent", "sent"], 60)
            send(node.receiver.port, series(1))
            wait_for(lambda: sum(d.state == "sent" for d in node.queue.deliveries()) == 4, 60)
        for damaged in (d for d in node.queue.deliveries() if d.state == "pending"):
            (node.folders.results / damaged.file).write_bytes(b"no DICOM")
        send(node.receiver.port, series(2))
        wait_for(lambda: len(node.queue.deliveries()) == 9)
        archive.hang_up = ""
        with archive:
            wait_for(lambda: sum(d.state == "sent" for d in node.queue.deliveries()) == 7, 60)


def test_given_up_deliveries_are_kept_and_can_be_tried_again(tmp_path: Path, archive: Archive) -> None:
    config = config_of(tmp_path, archive.port)
    object.__setattr__(config.retry, "give_up_days", 1e-6)
    with running(config) as node:
        send(node.receiver.port, series())
        wait_for(lambda: [d.state for d in node.queue.deliveries()] == ["given up"] * 3)
        with archive:
            assert node.queue.send_again(9e9) == 3
            wait_for(lambda: len(archive.objects()) == 3)


def test_a_result_that_can_not_be_kept_holds_up_no_other_study(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, archive.port)
    with archive, running(config) as node:
        keep, bad = node.jobs._keep, node.queue.key_of(str(series().datasets[0].StudyInstanceUID))

        def keep_or_fail(study: QueuedStudy, written: Path) -> list[tuple[str, str]]:
            if study.key == bad:
                raise PermissionError(errno.EACCES, "Permission denied")
            return keep(study, written)

        monkeypatch.setattr(node.jobs, "_keep", keep_or_fail)
        send(node.receiver.port, series())
        send(node.receiver.port, series(1))
        wait_for(lambda: len(archive.came) == 3, 60)
        assert {s.key for s in node.queue.studies() if s.state == "receiving"} == {bad}


def test_what_a_kill_left_of_removed_objects_goes_at_the_next_start(tmp_path: Path) -> None:
    """The queue forgets instances before their files go."""
    node = Node(config_of(tmp_path, free_port()), stub_analysis.make_stub)
    place(node.folders.new_file(b"ct"), node.folders.received / node.queue.key_of("1.1"), "a.dcm")
    study = node.queue.add_instance("1.1", "1.1.1", "digest", 0)
    node.queue.finish(study, "done", files=[("seg.dcm", "pacs")])
    node._take_stock()
    assert [f.name for f in node.folders.received.iterdir()] == [study.key]
    assert node.queue.drop_received(node.queue.study("1.1"))
    node._take_stock()
    assert [*node.folders.received.iterdir(), *node.folders.trash.iterdir()] == []
    node.stop()


def test_a_stop_while_the_analysis_starts_leaves_no_process(tmp_path: Path) -> None:
    """It ignores SIGTERM, and waits for its parent's end as its parent would for its own."""
    analyst = Analyst(stub_analysis.make_stub, config_of(tmp_path, free_port()))
    analyst.stop()
    before = multiprocessing.active_children()
    with pytest.raises(Stopped):
        analyst.start()
    assert multiprocessing.active_children() == before


def test_a_watchdog_hears_of_a_queue_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    config = config_of(tmp_path, free_port())
    with running(config) as node:
        monkeypatch.setattr(node.queue, "study_counts", lambda *_: fail())
        assert "OperationalError" in health(config)["problems"][0]


def test_nothing_starts_without_weights_or_a_port(tmp_path: Path) -> None:
    config = config_of(tmp_path, free_port())
    with (
        pytest.raises(WeightsError, match=r"find\.pt: no such file"),
        running(config, stub_analysis.make_without_weights),
    ):
        pass
    with pytest.raises(WeightsError, match="ended with code 3"), running(config, stub_analysis.make_dead):
        pass
    with running(config):
        with pytest.raises(UsageError, match="in use by another node"), running(config):
            pass
        (tmp_path / "b").mkdir()
        other = config_of(tmp_path / "b", free_port())
        object.__setattr__(other.dicom, "port", config.dicom.port)
        with pytest.raises(UsageError, match=f"port {config.dicom.port}: Address already in use"), running(other):
            pass
