"""The durable engine behind attempts: the only module that imports dbos.

DBOS runs attempts and keeps its own tables; the orders table stays the truth. What was measured about it
decides everything here:

* its default version is a hash of sources: every edit would strand what is in flight. Ours is a constant;
* its default executor id is shared by everybody: two processes would run one attempt twice. Ours is our own,
  and a lock in the state folder keeps a second dispatcher away;
* a repeated workflow id silently attaches to the first: the id is ``<order>:<attempt>``, which the orders
  table hands out once;
* cancelling a workflow frees its slot at once while its child still runs: we never cancel one, an attempt
  ends itself when it has lost its order;
* its queues are polled, ten times a second for a start within a tenth of one: 5 % of a core while nothing
  happens. The dispatcher hands over an attempt only when a slot is free, so attempts start at once, without
  a queue;
* it keeps every row for ever: :meth:`Engine.sweep` deletes finished ones;
* it prints an advertisement at INFO and would talk to a vendor's service if its environment says so: the log
  level is WARNING and those variables are dropped before the import.

An attempt that the engine recovers after a crash finds that the order has a newer number, or waits in its
queue again, and ends without a word; so nothing depends on the engine's tables, and where they are damaged
they are thrown away.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

for _name in [name for name in os.environ if name.startswith("DBOS_")]:
    del os.environ[_name]

from dbos import DBOS, DBOSConfig, SetWorkflowID  # noqa: E402
from sqlalchemy import create_engine, text  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from server_bridge.errors import ConfigurationError  # noqa: E402

APPLICATION_VERSION = "bridge-wf-1"
SCHEMA = "dbos"
KEEP_FINISHED = timedelta(hours=1)
SWEEP_AT_ONCE = 500
_TABLES = ("workflow_status", "operation_outputs", "queues", "application_versions")

_log = logging.getLogger(__name__)

RunAttempt = Callable[[str, str, int], str]
"""``run(phase, order id, attempt number)`` → one word about how it ended. It never raises for a failed
order."""


class Engine:
    """DBOS as this bridge uses it. At most one is started in a process at a time.

    Args:
        database_url: SQLAlchemy URL; for SQLite the file is the engine's own.
        run: what an attempt does. Whoever submits sees to it that not too many run.
    """

    def __init__(self, database_url: str, run: RunAttempt) -> None:
        self._url = database_url
        self._run = run
        self._workflow: Callable[[str, str, int], str] | None = None

    def start(self) -> None:
        """Launch. Damaged tables are replaced by empty ones.

        Raises:
            ConfigurationError: where this Python and SQLite do not go together, or nothing can be launched.
        """
        _require_usable_sqlite(self._url)
        try:
            _prepare(self._url)
            self._launch()
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with tables that hold no truth
            _log.warning("the engine's tables cannot be used (%s); starting with empty ones", error)
            self.stop()
            try:
                _discard(self._url)
                _prepare(self._url)
                self._launch()
            except Exception as again:
                self.stop()
                raise ConfigurationError(
                    f"{type(again).__name__}: {again}",
                    title="The engine does not start",
                    remedy="Check the state folder (or the database and its rights) and the free space.",
                ) from again

    def _launch(self) -> None:
        config: DBOSConfig = {
            "name": "omero-ferry",
            "system_database_url": self._url,
            "application_version": APPLICATION_VERSION,
            # One dispatcher per state folder (it holds a lock), hence one executor per host and schema.
            "executor_id": f"bridge-{socket.gethostname()}",
            "log_level": "WARNING",
            "enable_otlp": False,
            "scheduler_polling_interval_sec": 3600.0,
        }
        DBOS(config=config)
        run = self._run

        # Its body is frozen with the version: what an attempt does is in the step.
        @DBOS.workflow(name="attempt")
        def attempt(phase: str, order_id: str, number: int) -> str:
            return DBOS.run_step({"name": phase}, run, phase, order_id, number)

        self._workflow = attempt
        DBOS.launch()

    def submit(self, phase: str, order_id: str, number: int) -> None:
        """Start an attempt. Whatever DBOS raises comes out: the caller puts the order back."""
        if self._workflow is None:
            raise RuntimeError("the engine is not started")
        with SetWorkflowID(f"{order_id}:{number}"):
            DBOS.start_workflow(self._workflow, phase, order_id, number)

    def sweep(self, now: datetime) -> int:
        """Delete rows of attempts that ended a while ago; returns how many."""
        finished = DBOS.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            end_time=(now - KEEP_FINISHED).astimezone(UTC).isoformat(),
            limit=SWEEP_AT_ONCE,
            load_input=False,
            load_output=False,
        )
        if finished:
            DBOS.delete_workflows([status.workflow_id for status in finished])
        return len(finished)

    def stop(self) -> None:
        """End the engine's threads. Attempts must have ended before: they are not waited for here."""
        self._workflow = None
        DBOS.destroy(destroy_registry=True)


def engine_url(database_url: str, state_dir: Path) -> str:
    """The engine's database: beside the bridge's SQLite, or in the bridge's PostgreSQL (schema ``dbos``)."""
    if database_url.startswith("postgresql"):
        return "postgresql://" + database_url.split("://", 1)[1]
    return f"sqlite:///{state_dir / 'engine.sqlite3'}"


def _file_of(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _require_usable_sqlite(url: str) -> None:
    if _file_of(url) is not None and sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        raise ConfigurationError(
            f"Python {sys.version_info.major}.{sys.version_info.minor} with SQLite {sqlite3.sqlite_version}.",
            title="This Python needs a newer SQLite",
            remedy="Use Python 3.11, or a Python built with SQLite 3.42 or later, or PostgreSQL "
            "(database_url).",
        )


def _prepare(url: str) -> None:
    """Set WAL (it stays with the file; DBOS would leave the slow default), and look at what is there.

    Raises:
        sqlite3.Error, SQLAlchemyError: where the tables are damaged: some there, some missing.
    """
    path = _file_of(url)
    if path is not None:
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("quick_check failed")
            there = {
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
    else:
        engine = create_engine(_psycopg(url))
        try:
            with engine.connect() as connection:
                there = set(
                    connection.scalars(
                        text("SELECT table_name FROM information_schema.tables WHERE table_schema = :schema"),
                        {"schema": SCHEMA},
                    )
                )
        finally:
            engine.dispose()
    missing = [table for table in _TABLES if table not in there]
    if there and missing:
        # Its migrations count what they did: with that count left, missing tables are never made again.
        raise SQLAlchemyError(f"tables are missing: {', '.join(missing)}")


def _discard(url: str) -> None:
    path = _file_of(url)
    if path is not None:
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            name.unlink(missing_ok=True)
        return
    engine = create_engine(_psycopg(url))
    try:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
    finally:
        engine.dispose()


def _psycopg(url: str) -> Any:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)
