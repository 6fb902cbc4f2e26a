"""Opening the database so that a committed order survives power loss (SQLite) or is as safe as PostgreSQL is.

SQLite: WAL (readers never wait for the one writer), ``synchronous=FULL`` (a commit is on the disk), and every
writing transaction begins IMMEDIATE, so that compare-and-set never fails half-way with "database is locked".
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url

from server_bridge.errors import ConfigurationError

BUSY_TIMEOUT_MS = 30_000
POOL_SIZE, POOL_OVERFLOW = 10, 60
"""Together more than all threads (forty of the API's, the pipeline's), so that two hundred agents that come
back at once wait for the database and not for each other's connections."""
MINIMUM_SQLITE = (3, 35, 0)
"""RETURNING came with it, and the engine needs it too."""


def open_database(url: str) -> Engine:
    """Open (and for SQLite create) the database behind ``url``.

    Raises:
        ConfigurationError: where the SQLite library is too old or the file's folder is missing.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, pool_size=POOL_SIZE, max_overflow=POOL_OVERFLOW)
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        raise ConfigurationError(
            f"SQLite {sqlite3.sqlite_version} is older than 3.35.",
            title="SQLite is too old",
            remedy="Use PostgreSQL (database_url) or a newer system.",
        )
    if parsed.database and not Path(parsed.database).parent.is_dir():
        raise ConfigurationError(
            f"{Path(parsed.database).parent} is not a folder.", title="No place for the database"
        )
    engine = create_engine(
        parsed,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we emit BEGIN ourselves, below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        immediate = connection.get_execution_options().get("ferry_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
