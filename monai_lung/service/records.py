"""The tables of the queue, and what their rows are in Python. Times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1
SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE studies (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    committed INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'receiving',
    reason TEXT NOT NULL DEFAULT '',
    fingerprint TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    received_at REAL NOT NULL,
    changed_at REAL NOT NULL
);
CREATE TABLE instances (
    study INTEGER NOT NULL REFERENCES studies ON DELETE CASCADE,
    sop_uid TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (study, sop_uid)
);
CREATE INDEX instances_by_uid ON instances (sop_uid);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES studies ON DELETE CASCADE,
    file TEXT NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    reason TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    UNIQUE (file, destination)
);
CREATE INDEX deliveries_by_study ON deliveries (study);
CREATE TABLE commitments (
    id INTEGER PRIMARY KEY,
    sender TEXT NOT NULL,
    transaction_uid TEXT NOT NULL,
    objects TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    created_at REAL NOT NULL
);
"""
INDEXES = """
CREATE INDEX IF NOT EXISTS studies_due ON studies (next_at, received_at) WHERE revision > finished;
CREATE INDEX IF NOT EXISTS deliveries_pending ON deliveries (destination, id) WHERE state = 'pending'
"""
"""Indices for the queries that run five times a second; made at each start, for a queue of before."""


@dataclass(frozen=True)
class QueuedStudy:
    """A study of the queue. `state` is receiving, done, skipped or failed; the last one says what came of `finished`.

    `key` names it where nothing about the patient may show: in logs and folders. `committed` is the revision that its
    sender declared complete.
    """

    id: int
    uid: str
    key: str
    revision: int
    finished: int
    committed: int
    state: str
    reason: str
    fingerprint: str
    attempts: int
    next_at: float
    received_at: float
    changed_at: float


@dataclass(frozen=True)
class Delivery:
    """A file on its way to a destination: pending, sent, or given up. `file` is relative to the results' folder."""

    id: int
    study: int
    file: str
    destination: str
    state: str
    reason: str
    attempts: int
    next_at: float
    created_at: float
    changed_at: float


@dataclass(frozen=True)
class Commitment:
    """A storage commitment that its sender waits for; `objects` are pairs of SOP Class and SOP Instance UID."""

    id: int
    sender: str
    transaction_uid: str
    objects: tuple[tuple[str, str], ...]
    attempts: int
    created_at: float
