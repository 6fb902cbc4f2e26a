"""One bridge for one database, also where two state folders name the same one.

Two pipelines over the same orders would each take what the other runs for left over from a crash. The lock
is the kernel's or PostgreSQL's own, so it ends with its holder however that ends: for SQLite a lock file
beside the database, for PostgreSQL an advisory lock on a connection that does nothing else. That connection
can be lost (a restart of PostgreSQL, `pg_terminate_backend`); :meth:`SoleUse.held` notices, takes the lock
again, and says no while another bridge has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from server_bridge.errors import ConfigurationError

BRIDGE_LOCK = 0x0F_E2_2F_02
"""Key of PostgreSQL's advisory lock, per database."""

_log = logging.getLogger(__name__)


class InUse(ConfigurationError):
    """Another bridge works on the same orders."""

    code = "orders_in_use"
    title = "Another bridge works on these orders"


class SoleUse:
    """Held from its making until :meth:`release`. Thread-safe.

    Raises:
        InUse: where another process holds it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._descriptor: int | None = None
        self._connection: Connection | None = None
        self._refused = False
        if engine.dialect.name == "sqlite":
            self._descriptor = _lock_file(Path(f"{Path(engine.url.database or '').resolve()}.lock"))
        elif not self._take():
            raise _in_use(f"database {engine.url.database!r}")

    def held(self) -> bool:
        """Whether orders may be worked on now. False while another bridge has them.

        Raises:
            SQLAlchemyError: where PostgreSQL does not answer.
        """
        if self._descriptor is not None:
            return True
        with self._guard:
            if self._connection is not None:
                try:
                    self._connection.execute(text("SELECT 1"))
                    return True
                except SQLAlchemyError:
                    _log.warning("the connection that holds the bridge's lock was lost; taking it again")
                    self._drop()
            taken = self._take()
            if not taken and not self._refused:
                _log.error("another bridge has taken these orders; this one starts nothing until it ends")
            self._refused = not taken
            return taken

    def release(self) -> None:
        """Let go; a repeat does nothing."""
        with self._guard:
            self._drop()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self) -> bool:
        # Autocommit: an open transaction would keep PostgreSQL from cleaning up behind everybody.
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            # Ours alone for as long as the lock is held: the pool must never hand it to a request.
            connection.detach()
            taken = connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": BRIDGE_LOCK})
        except BaseException:
            connection.close()
            raise
        if taken:
            self._connection = connection
        else:
            connection.close()
        return bool(taken)

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None


def _lock_file(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise _in_use(f"{path} is held by another process") from error
    return descriptor


def _in_use(detail: str) -> InUse:
    return InUse(
        f"{detail}.",
        remedy="End the other bridge, or give this one a database of its own (database_url).",
    )
