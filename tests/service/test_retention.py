"""The queue and what is kept: nothing that waits is ever removed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from monai_lung.errors import OutputError, UsageError
from monai_lung.service.config import Retention
from monai_lung.service.folders import Folders, place
from monai_lung.service.queue import Queue, QueuedStudy
from monai_lung.service.retention import Cleaner

DAY_S = 86400.0


class Store:
    def __init__(self, root: Path) -> None:
        self.folders = Folders(root)
        self.queue = Queue(self.folders.queue)
        self.cleaner = Cleaner(Retention(received_hours=24, failed_days=7, results_days=30), self.queue, self.folders)

    def study(self, uid: str, state: str = "", files: tuple[str, ...] = ()) -> QueuedStudy:
        place(self.folders.new_file(b"ct"), self.folders.received / self.queue.key_of(uid), "a.dcm")
        study = self.queue.add_instance(uid, uid + ".1", "digest", time.time())
        if state:
            results = self.folders.results / study.key / "1"
            results.mkdir(parents=True)
            (results / "seg.dcm").write_bytes(b"seg")
            self.queue.finish(study, state, files=[(f"{study.key}/1/{name}", "pacs") for name in files])
        return self.queue.study(uid)

    def held(self, study: QueuedStudy) -> tuple[bool, bool, bool]:
        """Whether what was received, the results, and the study itself are there."""
        in_queue = study.uid in [s.uid for s in self.queue.studies()]
        return (self.folders.received / study.key).exists(), (self.folders.results / study.key).exists(), in_queue


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_each_kind_goes_at_its_own_age(store: Store) -> None:
    done, failed = store.study("1.1", "done", ("seg.dcm",)), store.study("1.2", "failed")
    skipped, waiting = store.study("1.3", "skipped"), store.study("1.4")
    pending = store.study("1.5", "done", ("seg.dcm",))
    store.queue.sent(store.queue.deliveries(done)[0])
    now = time.time()
    store.cleaner.clean(now + 0.9 * DAY_S)
    assert [store.held(s)[0] for s in (done, failed, skipped, waiting, pending)] == [True] * 5
    store.cleaner.clean(now + 1.1 * DAY_S)
    assert store.held(done) == (False, True, True)
    assert store.held(skipped)[0] is False
    assert store.held(failed)[0] is True
    store.cleaner.clean(now + 8 * DAY_S)
    assert store.held(failed) == (False, False, False)
    store.cleaner.clean(now + 31 * DAY_S)
    assert store.held(done) == (False, False, False)
    assert store.held(waiting) == (True, False, True)
    assert store.held(pending) == (True, True, True)
    assert list(store.folders.trash.iterdir()) == []


def test_what_is_tried_again_meanwhile_keeps_its_file(store: Store) -> None:
    """Another process makes given up objects due again just as they are to be removed."""
    study = store.study("1.1", "done", ("seg.dcm",))
    store.queue.not_sent(store.queue.deliveries(study)[0], "down", None)
    store.queue.send_again(0)
    store.cleaner._remove_results(study)
    assert store.held(study) == (True, True, True)
    assert [d.state for d in store.queue.deliveries(study)] == ["pending"]


def test_a_study_that_comes_back_is_new(store: Store) -> None:
    study = store.study("1.1", "done")
    store.cleaner.clean(time.time() + 40 * DAY_S)
    assert store.queue.studies() == []
    again = store.study("1.1")
    assert (again.revision, again.finished, again.key) == (1, 0, study.key)


def test_a_study_that_grows_while_it_is_analysed_stays_due(store: Store) -> None:
    study = store.study("1.1")
    store.queue.add_instance("1.1", "1.1.2", "digest", 0)
    store.queue.finish(study, "done")
    grown = store.queue.study("1.1")
    assert (grown.state, grown.revision, grown.finished) == ("receiving", 2, 1)
    assert store.queue.next_study(time.time(), 1) == grown
    store.cleaner.clean(time.time() + 40 * DAY_S)
    assert store.held(grown)[0] is True


def test_counts_and_lists_of_what_is_not_done(store: Store) -> None:
    """A study that crashed once and then was analysed isn't listed; that what is looked for often needs no scan."""
    done, failed = store.study("1.1", "done", ("seg.dcm", "sr.dcm")), store.study("1.2", "failed")
    store.queue._execute("UPDATE studies SET attempts = 1 WHERE uid = '1.1'")
    waiting, now = store.study("1.3"), time.time()
    store.queue.postpone(waiting, "crashed", 60, attempts=1)
    store.queue.not_sent(store.queue.deliveries(done)[0], "down", 60)
    assert store.queue.study_counts(now + 9, 5) == {"done": 1, "failed": 1, "receiving": 1, "due": 1}
    assert store.queue.study_counts(now, 5)["due"] == 0
    assert [s.uid for s in store.queue.unfinished_studies(9)] == [waiting.uid, failed.uid]
    assert len(store.queue.unfinished_studies(1)) == 1
    ((count, oldest),) = store.queue.pending_deliveries().values()
    assert (count, oldest <= now) == (2, True)
    assert [d.reason for d in store.queue.stuck_deliveries(9)] == ["down"]
    asked: list[str] = []
    store.queue._db.set_trace_callback(asked.append)
    store.queue.next_study(now, 5)
    store.queue.due_deliveries("pacs", now)
    store.queue._db.set_trace_callback(None)
    for query in asked:
        plan = [str(row["detail"]) for row in store.queue._rows(f"EXPLAIN QUERY PLAN {query}")]
        assert any("studies_due" in step or "deliveries_pending" in step for step in plan), plan


def test_the_queue_refuses_what_it_can_not_read(tmp_path: Path) -> None:
    (tmp_path / "bad.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(OutputError, match=r"bad\.sqlite can't be opened: file is not a database"):
        Queue(tmp_path / "bad.sqlite")
    queue = Queue(tmp_path / "new.sqlite")
    queue._execute("PRAGMA user_version = 99")
    queue.close()
    with pytest.raises(UsageError, match="newer version"):
        Queue(tmp_path / "new.sqlite")


def test_two_nodes_can_not_share_a_storage(store: Store) -> None:
    with pytest.raises(UsageError, match="in use by another node"):
        Folders(store.folders.root)
    store.folders.close()
    Folders(store.folders.root).close()


def test_a_storage_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"storage .*file/store can't be used: Not a directory"):
        Folders(tmp_path / "file" / "store")
