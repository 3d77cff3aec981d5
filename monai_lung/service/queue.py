"""The node's work, in an SQLite file that survives a kill or a power cut at any moment.

Every change is one transaction, forced to the disk before the call returns (WAL, synchronous=FULL). A study carries a
revision that each new instance raises; it is due while its last finished revision is smaller. So nothing needs to be
undone after a kill: what was in hand is due again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai_lung.errors import OutputError, UsageError
from monai_lung.service.records import INDEXES, SCHEMA, VERSION, Commitment, Delivery, QueuedStudy

_COMPLETE = "revision > finished AND (received_at + ? <= ? OR committed = revision)"
"""Takes the quiet time and the time."""


class Queue:
    """The queue of one node; all methods may be called from any thread.

    Raises:
        OutputError: the file can't be opened or made.
        UsageError: it was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        """Held by a caller who changes files and the queue together."""
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._set_up(path)
        except sqlite3.DatabaseError as error:
            raise OutputError(f"the queue {path} can't be opened: {error}; restore it, or move it away") from error

    def _set_up(self, path: Path) -> None:
        with self._change() as db:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise UsageError(f"the queue {path} was written by a newer version: update monai-lung")
            if found == 0:
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
            for statement in INDEXES.split(";\n"):
                db.execute(statement)
            if found == 0:
                db.execute("INSERT INTO settings VALUES ('salt', ?)", (secrets.token_hex(32),))
                db.execute(f"PRAGMA user_version = {VERSION}")
        self._salt = bytes.fromhex(self._rows("SELECT value FROM settings WHERE name = 'salt'")[0]["value"])

    def close(self) -> None:
        """Write everything back into the one file."""
        with self.lock:
            self._db.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it or nothing."""
        with self.lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self.lock:
            return self._db.execute(query, values).fetchall()

    def _execute(self, query: str, *values: Any) -> int:
        with self._change() as db:
            return db.execute(query, values).rowcount

    # Receiving

    def key_of(self, study_uid: str) -> str:
        """Sixteen hex digits that name a study in logs and folders, and say nothing without this queue's salt."""
        return hmac.new(self._salt, study_uid.encode(), hashlib.sha256).hexdigest()[:16]

    def digest_of(self, study_uid: str, sop_uid: str) -> str | None:
        """Digest of an instance that was received, None where it wasn't."""
        rows = self._rows(
            "SELECT digest FROM instances JOIN studies ON studies.id = study WHERE uid = ? AND sop_uid = ?",
            *(study_uid, sop_uid),
        )
        return rows[0]["digest"] if rows else None

    def add_instance(self, study_uid: str, sop_uid: str, digest: str, now: float) -> QueuedStudy:
        """Note an instance that lies on the disk, new or changed; its study becomes due again."""
        with self._change() as db:
            db.execute(
                "INSERT INTO studies (uid, key, received_at, changed_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (study_uid, self.key_of(study_uid), now, now),
            )
            db.execute(
                "UPDATE studies SET revision = revision + 1, state = 'receiving', received_at = ?, changed_at = ?,"
                " attempts = 0, next_at = 0 WHERE uid = ?",
                (now, now, study_uid),
            )
            db.execute(
                "INSERT OR REPLACE INTO instances SELECT id, ?, ? FROM studies WHERE uid = ?",
                (sop_uid, digest, study_uid),
            )
        return self.study(study_uid)

    def seen_again(self, study_uid: str, now: float) -> None:
        """An instance came again unchanged: the study isn't quiet, and one that was given up is tried again."""
        self._execute("UPDATE studies SET received_at = ? WHERE uid = ? AND revision > finished", *(now, study_uid))
        self.retry(now, study_uid, ("failed", "skipped"))

    def retry(self, now: float, study_uid: str | None, states: Sequence[str] = ("failed",)) -> int:
        """Make finished studies (one, or all) in these states due again; returns how many."""
        marks = ", ".join("?" * len(states))
        return self._execute(
            "UPDATE studies SET finished = revision - 1, state = 'receiving', received_at = ?,"
            f" attempts = 0, next_at = 0 WHERE finished = revision AND state IN ({marks}) AND uid = coalesce(?, uid)"
            " AND EXISTS (SELECT 1 FROM instances WHERE study = studies.id)",
            *(now, *states, study_uid),
        )

    def held(self, sop_uids: Sequence[str]) -> dict[str, list[str]]:
        """Of these instances those that are held, with the UIDs of their studies."""
        found: dict[str, list[str]] = {}
        for uid in sop_uids:
            rows = self._rows("SELECT uid FROM instances JOIN studies ON id = study WHERE sop_uid = ?", uid)
            if rows:
                found[uid] = [row["uid"] for row in rows]
        return found

    # Studies

    def study(self, uid: str) -> QueuedStudy:
        """A study by its StudyInstanceUID.

        Raises:
            UsageError: it isn't there.
        """
        rows = self._rows("SELECT * FROM studies WHERE uid = ?", uid)
        if not rows:
            raise UsageError(f"no study {uid} in the queue: monai-lung serve --list shows what is there")
        return QueuedStudy(**rows[0])

    def studies(self) -> list[QueuedStudy]:
        """All, the oldest first."""
        return [QueuedStudy(**row) for row in self._rows("SELECT * FROM studies ORDER BY id")]

    def instances(self, study: QueuedStudy) -> dict[str, str]:
        """SOP Instance UID to digest of what was received of a study."""
        rows = self._rows("SELECT sop_uid, digest FROM instances WHERE study = ?", study.id)
        return {row["sop_uid"]: row["digest"] for row in rows}

    def next_study(self, now: float, quiet_s: float) -> QueuedStudy | None:
        """The study that is complete and waits longest; None where there is none."""
        rows = self._rows(
            f"SELECT * FROM studies WHERE {_COMPLETE} AND next_at <= ? ORDER BY next_at, received_at LIMIT 1",
            *(quiet_s, now, now),
        )
        return QueuedStudy(**rows[0]) if rows else None

    def study_counts(self, now: float, quiet_s: float) -> dict[str, int]:
        """How many studies are in each state (those of none are left out), and "due": complete, and to be analysed."""
        counts = {row[0]: row[1] for row in self._rows("SELECT state, count(*) FROM studies GROUP BY state")}
        due = self._rows(f"SELECT count(*) FROM studies WHERE {_COMPLETE}", quiet_s, now)
        return {**counts, "due": due[0][0]}

    def unfinished_studies(self, limit: int) -> list[QueuedStudy]:
        """Those without a result, or whose analysis has crashed and is tried again, the newest first."""
        rows = self._rows(
            "SELECT * FROM studies WHERE state IN ('failed', 'skipped') OR (revision > finished AND attempts > 0)"
            " ORDER BY id DESC LIMIT ?",
            limit,
        )
        return [QueuedStudy(**row) for row in rows]

    def start_waiting_again(self, now: float) -> None:
        """After a start: a sender that was cut off gets the whole quiet time to come back."""
        self._execute("UPDATE studies SET received_at = ? WHERE revision > finished AND attempts = 0", now)

    def postpone(self, study: QueuedStudy, reason: str, delay_s: float, *, attempts: int) -> None:
        """Note how many attempts crashed; another follows. Instances that came meanwhile reset the count."""
        self._execute(
            "UPDATE studies SET attempts = ?, reason = ?, next_at = ? WHERE id = ? AND revision = ?",
            *(attempts, reason, time.time() + delay_s, study.id, study.revision),
        )

    def finish(
        self,
        study: QueuedStudy,
        state: str,
        *,
        reason: str = "",
        fingerprint: str = "",
        files: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Note what came of a study's revision, and queue the deliveries of its results, all at once.

        Args:
            study: as `next_study` gave it.
            state: done, skipped or failed. A study that has grown meanwhile continues receiving.
            reason: why it was skipped or failed.
            fingerprint: of the series that may be analysed.
            files: pairs of a file, relative to the results' folder, and the destination that gets it.
        """
        now = time.time()
        with self._change() as db:
            db.execute(
                "UPDATE studies SET finished = ?, changed_at = ?, reason = ?, fingerprint = ?,"
                " state = CASE revision WHEN ? THEN ? ELSE state END WHERE id = ?",
                (study.revision, now, reason, fingerprint, study.revision, state, study.id),
            )
            db.executemany(
                "INSERT INTO deliveries (study, file, destination, created_at, changed_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                [(study.id, file, destination, now, now) for file, destination in files],
            )

    # Deliveries

    def due_deliveries(self, destination: str, now: float, limit: int = 50) -> list[Delivery]:
        """The deliveries that are due to a destination, the oldest first."""
        rows = self._rows(
            "SELECT * FROM deliveries WHERE destination = ? AND state = 'pending' AND next_at <= ? ORDER BY id LIMIT ?",
            *(destination, now, limit),
        )
        return [Delivery(**row) for row in rows]

    def deliveries(self, study: QueuedStudy | None = None) -> list[Delivery]:
        """All, or those of a study, the oldest first."""
        rows = self._rows("SELECT * FROM deliveries WHERE study = coalesce(?, study) ORDER BY id", study and study.id)
        return [Delivery(**row) for row in rows]

    def pending_deliveries(self) -> dict[str, tuple[int, float]]:
        """Destination to the number of objects that wait for it, and when the oldest was queued."""
        rows = self._rows(
            "SELECT destination, count(*), min(created_at) FROM deliveries WHERE state = 'pending' GROUP BY destination"
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    def stuck_deliveries(self, limit: int) -> list[Delivery]:
        """Those that failed and come again, or were given up, the newest first."""
        rows = self._rows("SELECT * FROM deliveries WHERE reason != '' ORDER BY id DESC LIMIT ?", limit)
        return [Delivery(**row) for row in rows]

    def sent(self, delivery: Delivery) -> None:
        """The destination has it."""
        change = "UPDATE deliveries SET state = 'sent', reason = '', changed_at = ? WHERE id = ?"
        self._execute(change, time.time(), delivery.id)

    def not_sent(self, delivery: Delivery, reason: str, delay_s: float | None) -> None:
        """An attempt failed; the next follows after `delay_s`, none if that is None."""
        state, wait = ("given up", 0.0) if delay_s is None else ("pending", delay_s)
        now = time.time()
        self._execute(
            "UPDATE deliveries SET attempts = attempts + 1, state = ?, reason = ?, next_at = ?, changed_at = ?"
            " WHERE id = ?",
            *(state, reason, now + wait, now, delivery.id),
        )

    def send_again(self, now: float) -> int:
        """Queue again all deliveries that were given up, and try waiting ones at once; returns how many."""
        return self._execute(
            "UPDATE deliveries SET state = 'pending', next_at = 0, created_at = ? WHERE state != 'sent'", now
        )

    # Storage commitment

    def add_commitment(self, sender: str, transaction_uid: str, objects: Sequence[tuple[str, str]]) -> None:
        """Note a request, before its sender is told that it was taken."""
        now = time.time()
        self._execute(
            "INSERT INTO commitments (sender, transaction_uid, objects, created_at) VALUES (?, ?, ?, ?)",
            *(sender, transaction_uid, json.dumps(list(objects)), now),
        )

    def due_commitments(self, now: float) -> list[Commitment]:
        """The commitments that are due for an answer."""
        rows = self._rows("SELECT * FROM commitments WHERE next_at <= ? ORDER BY id LIMIT 50", now)
        return [
            Commitment(
                row["id"],
                row["sender"],
                row["transaction_uid"],
                tuple((c, i) for c, i in json.loads(row["objects"])),
                row["attempts"],
                row["created_at"],
            )
            for row in rows
        ]

    def answered(self, commitment: Commitment) -> None:
        """Its sender knows, or can't be told."""
        self._execute("DELETE FROM commitments WHERE id = ?", commitment.id)

    def not_answered(self, commitment: Commitment, delay_s: float) -> None:
        """Its sender couldn't be reached; the next attempt follows."""
        self._execute(
            "UPDATE commitments SET attempts = attempts + 1, next_at = ? WHERE id = ?",
            *(time.time() + delay_s, commitment.id),
        )

    def declare_complete(self, sop_uids: Sequence[str]) -> None:
        """The sender asked for these instances: studies all of whose instances are among them are complete."""
        asked = set(sop_uids)
        with self.lock:
            for uid in {uid for uids in self.held(sop_uids).values() for uid in uids}:
                study = self.study(uid)
                if self.instances(study).keys() <= asked:
                    self._execute("UPDATE studies SET committed = revision WHERE id = ?", study.id)

    # Retention

    def drop_received(self, study: QueuedStudy) -> bool:
        """Forget a study's instances, unless it has changed or is due; returns whether its files are to go too."""
        with self._change() as db:
            dropped = db.execute(
                "UPDATE studies SET fingerprint = '', committed = 0 WHERE id = ? AND revision = ? AND finished = ?",
                (study.id, study.revision, study.revision),
            ).rowcount
            if dropped:
                db.execute("DELETE FROM instances WHERE study = ?", (study.id,))
        return bool(dropped)

    def drop_results(self, study: QueuedStudy) -> bool:
        """Forget a study's deliveries, unless one waits, and the study itself where none of its instances are kept.

        Returns:
            Whether its files are to go too.
        """
        with self._change() as db:
            if db.execute(
                "SELECT 1 FROM deliveries WHERE study = ? AND state = 'pending' UNION"
                " SELECT 1 FROM studies WHERE id = ? AND revision > finished",
                (study.id, study.id),
            ).fetchone():
                return False
            db.execute("DELETE FROM deliveries WHERE study = ?", (study.id,))
            db.execute(
                "DELETE FROM studies WHERE id = ? AND NOT EXISTS (SELECT 1 FROM instances WHERE study = studies.id)",
                (study.id,),
            )
        return True

    def holding(self) -> set[str]:
        """Keys of the studies of which instances are kept."""
        rows = self._rows("SELECT key FROM studies WHERE EXISTS (SELECT 1 FROM instances WHERE study = studies.id)")
        return {row["key"] for row in rows}
