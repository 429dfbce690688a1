"""Project: the open project file; connections, transactions and the project's own settings.

Every write is on disk (WAL, ``synchronous=FULL``) when its block ends. One process has a project open at a
time: a small lock file beside it, held by SQLite, goes with the process, however that ends.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ultrasam.annotate.problems import StorageError
from ultrasam.annotate.project.schema import upgrade
from ultrasam.errors import DataError, DiskFullError, UltraSamError, one_line
from ultrasam.files import is_disk_full, no_space

FILE_NAME = "ultrasam.project.sqlite"
_BUSY_S = 10.0
DEFAULT_SETTINGS: dict[str, Any] = {"views": False, "key_stride": 5, "shortcuts": {}}


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Project:
    """A folder of images and what readers have labeled in them.

    Threads share a project; each has a connection of its own, and writes wait for each other.

    Args:
        folder: the images'.
        file: the project file; by default ``ultrasam.project.sqlite`` in the folder.

    Attributes:
        folder, file: as given, resolved.

    Raises:
        DataError: The folder is missing, the file is no project or is newer, or another process has it open.
        DiskFullError, StorageError: The file cannot be written.
    """

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        self.folder = folder.expanduser().resolve()
        if not self.folder.is_dir():
            raise DataError(f"{folder} is not a folder; give the folder that holds the images.")
        self.file = (file or self.folder / FILE_NAME).expanduser().resolve()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writing = threading.RLock()
        self._lock = self._locked()
        try:
            upgrade(self.connection, self.file)
            with self.write() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO meta VALUES ('created', ?), ('secret', ?)",
                    (now(), secrets.token_hex(32)),
                )
        except BaseException:
            self.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode; rows are `sqlite3.Row`."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._connect()
        return found

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on disk when the block ends, or none of it if the block raises.

        Blocks may be nested; the outermost one commits.

        Raises:
            DiskFullError: The disk is full.
            StorageError: The file cannot be written.
        """
        connection = self.connection
        with self._writing:
            if connection.in_transaction:
                yield connection
                return
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if isinstance(error, (sqlite3.OperationalError, OSError)):
                    raise self._unwritable(error) from error
                raise

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        return self.connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        found: sqlite3.Row | None = self.connection.execute(sql, values).fetchone()
        return found

    @property
    def secret(self) -> str:
        """A random text of this project, which signs the cookies of its readers."""
        return self._meta("secret") or ""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the page; see `DEFAULT_SETTINGS`."""
        return {**DEFAULT_SETTINGS, **json.loads(self._meta("settings") or "{}")}

    def change_settings(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some settings; returns all."""
        with self.write() as connection:
            merged = {**self.settings, **changes}
            connection.execute(
                "INSERT OR REPLACE INTO meta VALUES ('settings', ?)", (json.dumps(merged),)
            )
        return merged

    def close(self) -> None:
        """Close all connections, which also folds the write-ahead log into the file."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._local = threading.local()
        self._lock.close()

    def _meta(self, key: str) -> str | None:
        row = self.row("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row["value"])

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self.file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.OperationalError as error:
            raise self._unwritable(error) from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self.file} is not a project file of UltraSam, or is damaged; give another file with "
                "--project, or move it away to begin anew."
            ) from error
        self._connections.append(connection)
        return connection

    def _locked(self) -> sqlite3.Connection:
        """Hold the project for this process."""
        file = self.file.with_name(f".{self.file.name}.lock")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lock = sqlite3.connect(file, timeout=0.2, isolation_level=None, check_same_thread=False)
            lock.execute("PRAGMA journal_mode = MEMORY")
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise DataError(
                    f"{self.file} is open in another 'ultrasam annotate'; use its page, or stop it first."
                ) from error
            raise self._unwritable(error) from error
        except OSError as error:
            raise self._unwritable(error) from error
        return lock

    def _unwritable(self, error: Exception) -> UltraSamError:
        if is_disk_full(error) or "disk is full" in str(error):
            full = no_space(self.file, error)
            return full if isinstance(full, DiskFullError) else DiskFullError(str(full))
        return StorageError(
            f"Cannot write {self.file}: {one_line(error)}; check the disk, its quota and the file's "
            "permissions, then try again."
        )
