"""The sandbox's state: one SQLite file, one connection, one lock.

Everything the protocol shows is a row here, so a restart (or a killed process) loses nothing but the open
sessions, as with a real server. Callers take a :meth:`Store.transaction` for what belongs together;
transactions nest and only the outermost commits. Long work (hashing, reading images) must happen outside of
it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server_bridge.sandbox.model import Entity, entity, schema
from server_bridge.sandbox.security import Caller

PASSWORD_ROUNDS = 60_000


def now_ms() -> int:
    """Milliseconds since the epoch, UTC: what omero.RTime carries."""
    return time.time_ns() // 1_000_000


class Store:
    """Rows of the model, with the few statements that all services need."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        # As PostgreSQL compares: LIKE tells capitals apart.
        self._connection.execute("PRAGMA case_sensitive_like=ON")
        self._connection.create_function("lower", 1, _lower, deterministic=True)
        self._connection.create_function("upper", 1, _upper, deterministic=True)
        with self.transaction():
            for statement in schema():
                self._connection.execute(statement)
            self.set_default("database.uuid", str(uuid.uuid4()))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing for what happens inside; other threads wait."""
        with self._lock:
            if self._depth:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            else:
                self._connection.execute("COMMIT")
            finally:
                self._depth = 0

    # -- statements

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, tuple(parameters)).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Row | None:
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        found = self.row(sql, parameters)
        return None if found is None else found[0]

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        with self.transaction():
            return int(self._connection.execute(sql, tuple(parameters)).lastrowid or 0)

    # -- rows of the model

    def insert(self, of: str, caller: Caller | None = None, **values: Any) -> int:
        """Add one row and return its id.  With a caller, rows that have details get hers and a new event."""
        described = entity(of)
        assert described is not None, of
        if described.polymorphic:
            values["kind"] = described.name
        with self.transaction():
            if described.details and "details_owner" not in values:
                assert caller is not None, of
                event = values.get("details_creation") or self.event(caller)
                values |= {
                    "details_owner": caller.user_id,
                    "details_group": caller.writing_group,
                    "details_creation": event,
                    "details_update": event,
                }
            names = ", ".join(f'"{name}"' for name in values)
            marks = ", ".join("?" for _ in values)
            if not values:
                return self.execute(f'INSERT INTO "{described.table}" DEFAULT VALUES')
            return self.execute(
                f'INSERT INTO "{described.table}" ({names}) VALUES ({marks})', list(values.values())
            )

    def update(self, of: Entity, row_id: int, values: Mapping[str, Any]) -> None:
        if values:
            sets = ", ".join(f'"{name}" = ?' for name in values)
            self.execute(f'UPDATE "{of.table}" SET {sets} WHERE id = ?', [*values.values(), row_id])

    def by_ids(self, of: Entity, ids: Iterable[int]) -> list[sqlite3.Row]:
        wanted = ", ".join(str(int(one)) for one in ids)
        return self.rows(f'SELECT * FROM "{of.table}" WHERE id IN ({wanted})') if wanted else []

    def enumeration(self, of: str, value: str) -> int:
        """The id of an enumeration's value, which is added if it is new."""
        with self.transaction():
            found = self.value(f'SELECT id FROM "{of.lower()}" WHERE value = ?', [value])
            return int(found) if found is not None else self.insert(of, value=value)

    def event(self, caller: Caller) -> int:
        return self.insert(
            "Event",
            time=now_ms(),
            experimenter=caller.user_id,
            experimenterGroup=caller.writing_group,
            session=caller.session_id,
            type=self.enumeration("EventType", caller.event_type),
        )

    def named_values(self, of: Entity, parent: int, name: str) -> list[tuple[str, str]]:
        rows = self.rows(
            "SELECT name, value FROM named_value WHERE entity = ? AND parent = ? AND property = ?"
            " ORDER BY position",
            [of.table, parent, name],
        )
        return [(row["name"], row["value"]) for row in rows]

    def set_named_values(self, of: Entity, parent: int, name: str, pairs: Iterable[tuple[str, str]]) -> None:
        with self.transaction():
            key = [of.table, parent, name]
            self.execute("DELETE FROM named_value WHERE entity = ? AND parent = ? AND property = ?", key)
            for position, (left, right) in enumerate(pairs):
                self.execute(
                    "INSERT INTO named_value VALUES (?, ?, ?, ?, ?, ?)", [*key, position, left, right]
                )

    # -- settings and passwords

    def setting(self, key: str) -> str | None:
        found: str | None = self.value("SELECT value FROM setting WHERE key = ?", [key])
        return found

    def set_setting(self, key: str, value: str) -> None:
        self.execute("INSERT OR REPLACE INTO setting (key, value) VALUES (?, ?)", [key, value])

    def set_default(self, key: str, value: str) -> None:
        self.execute("INSERT OR IGNORE INTO setting (key, value) VALUES (?, ?)", [key, value])

    def set_password(self, experimenter: int, password: str) -> None:
        salt = os.urandom(16)
        digest = _digest(password, salt, PASSWORD_ROUNDS)
        self.execute(
            "INSERT OR REPLACE INTO credential (experimenter, salt, rounds, digest) VALUES (?, ?, ?, ?)",
            [experimenter, salt, PASSWORD_ROUNDS, digest],
        )

    def check_password(self, experimenter: int, password: str) -> bool:
        found = self.row("SELECT * FROM credential WHERE experimenter = ?", [experimenter])
        if found is None:
            return False
        given = _digest(password, found["salt"], found["rounds"])
        return bool(given == found["digest"])


def _digest(password: str, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)


def _lower(text: str | None) -> str | None:
    return None if text is None else str(text).lower()


def _upper(text: str | None) -> str | None:
    return None if text is None else str(text).upper()
