"""Killed at any moment, a node loses nothing and sends nothing twice over; SIGTERM is a clean end."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="the service extra isn't installed")
pytest.importorskip("prometheus_client", reason="the service extra isn't installed")

from node_builder import Archive, Process, associate, datasets, health, send, series, wait_for, write_config

from monai_lung.service.queue import Queue


@pytest.fixture
def archive() -> Archive:
    return Archive()


def finished(process: Process) -> bool:
    state = health(process.config)
    return bool(state) and state["studies"]["done"] == 1 and not state["pending"]["pacs"][0]


def test_killed_in_a_transfer(tmp_path: Path, archive: Archive) -> None:
    """What the sender was told to be safe is there after the restart; the rest follows; the study is whole."""
    file, builder = write_config(tmp_path, archive.port), series(slices=6)
    with archive:
        with Process(file) as process:
            association = associate(process.config.dicom.port)
            told = [association.send_c_store(data).Status for data in datasets(builder)[:3]]
            process.popen.kill()
            process.popen.wait()
            assert told == [0, 0, 0]
            association.abort()
        queue = Queue(process.config.storage / "queue.sqlite")
        (study,) = queue.studies()
        assert len(queue.instances(study)) == 3
        assert len(list((process.config.storage / "received" / study.key).iterdir())) == 3
        queue.close()
        with Process(file) as process:
            assert set(send(process.config.dicom.port, builder)) == {0}
            wait_for(lambda: finished(process))
        assert len(archive.objects()) == len(archive.came) == 3
        result = next((process.config.storage / "results").rglob("findings.json"))
        assert json.loads(result.read_text()) == {"slices": 6}


def test_killed_in_an_analysis(tmp_path: Path, archive: Archive) -> None:
    """Several times: that does not count as an attempt at the study, and its analysis ends with the node."""
    file = write_config(tmp_path, archive.port, "[analysis]\nattempts = 1")
    with archive:
        for _ in range(2):
            with Process(file) as process:
                if not process.events("analysis started"):
                    send(process.config.dicom.port, series(how="slow"))
                runs = len(process.events("analysis started"))
                wait_for(lambda: len(process.events("analysis started")) > runs)  # noqa: B023
                time.sleep(0.2)
                (child,) = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split()[-1:]
                process.popen.kill()
                process.popen.wait()
            wait_for(lambda: not alive(int(child)))  # noqa: B023
        with Process(file) as process:
            wait_for(lambda: finished(process))
        assert len(archive.objects()) == len(archive.came) == 3


def test_killed_in_sending(tmp_path: Path, archive: Archive) -> None:
    """The archive has taken an object when the node dies before it hears so: it comes again under the same UID."""
    file = write_config(tmp_path, archive.port)
    process = Process(file)

    def kill_at_the_second(_: object) -> int:
        if len(archive.came) == 2:
            process.popen.kill()
            process.popen.wait()
        return 0

    archive.status = kill_at_the_second
    with archive:
        with process:
            send(process.config.dicom.port, series())
            wait_for(lambda: process.popen.poll() is not None)
        assert len(archive.objects()) == 2
        with Process(file) as again:
            wait_for(lambda: finished(again))
        assert len(archive.came) == 4
        assert len(archive.objects()) == 3
        assert len(again.events("analysis started")) == 1


def test_sigterm_gives_the_study_back(tmp_path: Path, archive: Archive) -> None:
    file = write_config(tmp_path, archive.port)
    with archive:
        with Process(file) as process:
            send(process.config.dicom.port, series(how="slow"))
            wait_for(lambda: process.events("analysis started"))
            process.popen.send_signal(signal.SIGTERM)
            assert process.popen.wait(60) == 0
            assert process.events("node stopped")
            assert not process.events("analysis ended")
        queue = Queue(process.config.storage / "queue.sqlite")
        assert [(s.state, s.attempts) for s in queue.studies()] == [("receiving", 0)]
        queue.close()
        with Process(file) as process:
            wait_for(lambda: finished(process))
    assert len(archive.objects()) == len(archive.came) == 3


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent doesn't."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
