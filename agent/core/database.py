"""SQLite as both of the agent's files use it: every commit on the disk, numbered migrations.

``synchronous=FULL`` with a write-ahead log: an order that was promised to a person is there after a power
cut. Several processes (one per Windows session) may use the machine's file at once.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agent.core.database_care import Damage, look_after, unusable
from agent.core.database_users import Users
from agent.core.errors import AgentError

BUSY_SECONDS = 15.0


class DatabaseTooNew(AgentError):
    """A newer agent wrote the file; an older one must not guess what its columns mean."""

    code = "database_too_new"
    title = "This agent is older than its data"


class DatabaseAway(AgentError):
    """It cannot be written just now: locked by another session for too long, or the disk is full or failing.
    Nothing of what was to be written is there."""

    code = "database_away"
    title = "The agent cannot write its own files"


def to_text(at: datetime | None) -> str | None:
    """A UTC time as stored; sorts as time does."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")


def from_text(text: str | None) -> datetime | None:
    """A stored time."""
    return None if text is None else datetime.fromisoformat(text)


class Database:
    """One SQLite file with a connection per thread."""

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        """Open it, and look after it first.

        Raises:
            agent.core.database_care.DatabaseUnusable: where it can be neither used nor set aside.
            DatabaseTooNew: where a newer agent wrote it.
        """
        self._path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._users = _come_in(path)
        try:
            self.damage: Damage | None = look_after(path, len(migrations), alone=self._users.alone)
            """What was wrong with the file when it was opened."""
            self._open(path, migrations)
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError):
                raise unusable(path, error) from error
            raise
        self._users.share()

    def _open(self, path: Path, migrations: Sequence[str]) -> None:
        # SQLite gives its log files the mode of the file itself, so it is made private before it is opened.
        # Never where it is there: to close any descriptor of a file drops the locks that this process has on
        # it, and another process would then take the database's log for nobody's.
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._migrate(migrations)

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            # Only close() touches it from another thread, when nothing runs any more.
            found = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            found.row_factory = sqlite3.Row
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=FULL")
            found.execute("PRAGMA foreign_keys=ON")
            self._local.connection = found
            with self._guard:
                self._all.append(found)
        return found

    def _migrate(self, migrations: Sequence[str]) -> None:
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(migrations):
                raise DatabaseTooNew(
                    f"{self._path.name} has version {version}, this agent knows {len(migrations)}.",
                    remedy="Install the newer agent again.",
                )
            for number in range(version, len(migrations)):
                for statement in migrations[number].split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing, and on the disk when this returns.

        Raises:
            DatabaseAway: where it cannot be written (locked, full, failing, damaged); nothing of it is there.
        """
        try:
            connection = self.connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite itself goes back where the disk is full or fails.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise DatabaseAway(
                f"{self._path.name}: {error}",
                remedy="Is the disk of this workstation full? Make room, then try again.",
            ) from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # a rule of a table: the caller's business
            raise DatabaseAway(
                f"{self._path.name}: {error}",
                remedy="Start the agent again: at its start it sets a damaged file aside and goes on.",
            ) from error

    def close(self) -> None:
        """Close every thread's connection; nothing may run any more."""
        with self._guard:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()
        self._users.leave()


def _come_in(path: Path) -> Users:
    """Be one of the file's users.

    Raises:
        agent.core.database_care.DatabaseUnusable: where that cannot be.
    """
    try:
        return Users(path)
    except OSError as error:
        raise unusable(path, error) from error
