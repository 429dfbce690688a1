"""The tables of a project file, and how files of earlier versions are brought up to date.

Masks are kept as *contents*, which never change: a mask points at its content, and undoing a stroke moves the
pointer back. A stroke therefore costs one new content, and history has no limit but the disk.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ultrasam.errors import DataError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x55534D50  # "USMP", by which `file` and SQLite's tools know a project

_VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE labels (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, color TEXT NOT NULL, key TEXT);
CREATE TABLE readers (name TEXT PRIMARY KEY, created TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    missing INTEGER NOT NULL DEFAULT 0, kind TEXT, width INTEGER, height INTEGER, frames INTEGER,
    frame_time REAL, problem TEXT, digest TEXT, uncertainty REAL);
CREATE TABLE readings (
    image INTEGER NOT NULL REFERENCES images, reader TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'new',
    empty INTEGER NOT NULL DEFAULT 0, flagged INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '',
    changed TEXT, PRIMARY KEY (image, reader)) WITHOUT ROWID;
CREATE TABLE objects (
    id TEXT PRIMARY KEY, image INTEGER NOT NULL REFERENCES images, reader TEXT NOT NULL,
    number INTEGER NOT NULL, label INTEGER REFERENCES labels, color TEXT NOT NULL, place INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX objects_of_image ON objects (image, reader);
CREATE TABLE contents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, object TEXT NOT NULL REFERENCES objects, frame INTEGER NOT NULL,
    state TEXT NOT NULL, source TEXT NOT NULL, confidence REAL, rle TEXT NOT NULL, added TEXT, removed TEXT,
    prompts TEXT NOT NULL DEFAULT '[]', candidates TEXT NOT NULL DEFAULT '[]',
    candidate INTEGER NOT NULL DEFAULT 0, logits BLOB, model TEXT, basis TEXT, saved TEXT NOT NULL);
CREATE TABLE masks (
    object TEXT NOT NULL REFERENCES objects, frame INTEGER NOT NULL,
    content INTEGER NOT NULL REFERENCES contents, PRIMARY KEY (object, frame)) WITHOUT ROWID;
CREATE TABLE strokes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, image INTEGER NOT NULL REFERENCES images, reader TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, object TEXT,
    frame INTEGER, action INTEGER NOT NULL, time TEXT NOT NULL, undone INTEGER,
    dropped INTEGER NOT NULL DEFAULT 0);
CREATE INDEX strokes_of_image ON strokes (image, reader, id);
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stroke INTEGER NOT NULL REFERENCES strokes, kind TEXT NOT NULL,
    target TEXT NOT NULL, frame INTEGER, before TEXT, after TEXT);
CREATE INDEX changes_of_stroke ON changes (stroke);
CREATE TABLE views (
    image INTEGER NOT NULL REFERENCES images, reader TEXT NOT NULL, view TEXT NOT NULL,
    PRIMARY KEY (image, reader)) WITHOUT ROWID;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, image INTEGER, reader TEXT NOT NULL,
    state TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0,
    sentence TEXT NOT NULL DEFAULT '', request TEXT NOT NULL, result TEXT, created TEXT NOT NULL);
CREATE TABLE adjudications (
    object TEXT PRIMARY KEY REFERENCES objects, source TEXT REFERENCES objects, source_reader TEXT,
    judge TEXT NOT NULL, time TEXT NOT NULL) WITHOUT ROWID;
"""
MIGRATIONS: dict[int, str] = {1: _VERSION_1}
"""By version, the statements that lead to it from the version before."""


def upgrade(connection: sqlite3.Connection, file: Path) -> None:
    """Bring a project file to `SCHEMA_VERSION`, all in one transaction; a new file is created by it.

    Args:
        connection: in autocommit mode.
        file: for messages.

    Raises:
        DataError: The file is no project, or a newer UltraSam wrote it.
    """
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        mark = int(connection.execute("PRAGMA application_id").fetchone()[0])
        tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    except sqlite3.DatabaseError as error:
        raise _not_a_project(file) from error
    if tables and mark != APPLICATION_ID:
        raise _not_a_project(file)
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{file} has project version {version}, but this UltraSam reads versions up to "
            f"{SCHEMA_VERSION}; install a newer one: pip install --upgrade ultrasam."
        )
    if version == SCHEMA_VERSION:
        return
    steps = "".join(MIGRATIONS[number] for number in range(version + 1, SCHEMA_VERSION + 1))
    connection.executescript(
        f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {steps}"
        f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def _not_a_project(file: Path) -> DataError:
    return DataError(
        f"{file} is not a project file of UltraSam, or is damaged; give another file with --project, or move "
        "it away to begin anew."
    )
