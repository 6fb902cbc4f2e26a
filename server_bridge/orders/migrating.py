"""Bringing the schema to this program's revision, so that nothing can be lost on the way.

* Both databases change a schema inside a transaction. All missing revisions are one: a failure, a kill -9 or
  a power loss in the middle leaves the schema and the rows as they were, and the next start begins anew.
* SQLite's foreign keys are off meanwhile. Alembic's batch mode makes a table anew and drops the old one, and
  dropping a table with foreign keys on first deletes its rows, which cascades to whatever belongs to them:
  every file and receipt of every order would be gone. What must hold is checked before the commit.
* Before an existing SQLite file is touched, a copy of it is made, checked and on the disk. PostgreSQL is
  backed up by the site with PostgreSQL's own tools: the log says that a change is made.
* The lock is taken first and the revision is read under it: of two processes that start together, one
  migrates.
* A schema of a newer bridge is refused: an older program would write orders that the newer one misreads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command as alembic_command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from server_bridge.errors import ConfigurationError
from server_bridge.orders import snapshots
from server_bridge.orders.models import utcnow

MIGRATING_LOCK = 0x0F_E2_2F_01
"""Key of PostgreSQL's advisory lock for the time of a migration."""

_log = logging.getLogger(__name__)


class SchemaTooNew(ConfigurationError):
    """A newer bridge wrote this database; this program must not touch it."""

    code = "schema_too_new"
    title = "The orders belong to a newer bridge"


class MigrationFailed(ConfigurationError):
    """The schema is as it was before."""

    code = "migration_failed"
    title = "The orders could not be brought to this version"


def configuration() -> AlembicConfig:
    """Alembic's configuration of this program's own revisions."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(snapshots.MIGRATIONS))
    return config


def migrate(engine: Engine, backups: Path | None = None, *, config: AlembicConfig | None = None) -> None:
    """Bring the schema to the newest revision, creating it where it is empty.

    Args:
        engine: of `open_database`.
        backups: folder for the copy of an SQLite file that is about to change; None: no copy is made.
        config: other revisions than the program's own, for tests.

    Raises:
        SchemaTooNew: where a newer bridge was here.
        BackupFailed: where the copy cannot be made; the schema is untouched.
        MigrationFailed: where rows would have lost what they belong to; the schema is untouched.
    """
    config = config or configuration()
    head, known = snapshots.revisions(config)
    with _alone(engine) as connection:
        present = MigrationContext.configure(connection).get_current_revision()
        if present == head:
            return
        if present is not None:
            _require_known(present, head, known)
            _back_up(engine, backups, present, head)
        config.attributes["connection"] = connection
        alembic_command.upgrade(config, "head")
        _require_whole(connection)


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """One writing transaction that nobody shares; SQLite's foreign keys are off in it."""
    writer = engine.execution_options(ferry_write=True)
    with writer.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            # Past SQLAlchemy, which would begin a transaction first: inside one this does nothing.
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA foreign_keys=OFF")
            # Closed at the end, not kept: a connection without foreign keys must serve nobody else.
            connection.detach()
        with connection.begin():
            if not sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATING_LOCK})
            yield connection


def _require_known(present: str, head: str, known: tuple[str, ...]) -> None:
    if present not in known:
        raise SchemaTooNew(
            f"The database has schema {present!r}; this program knows up to {head!r}.",
            remedy="Install the newer version of the bridge again; or restore the backup that it made before "
            "it changed the schema (`before-…` in the state folder's backups), which loses what came later.",
        )


def _back_up(engine: Engine, backups: Path | None, present: str, head: str) -> None:
    if engine.dialect.name != "sqlite":
        _log.warning(
            "the schema goes from %s to %s in one transaction; its backup is the site's (pg_dump)",
            present,
            head,
        )
        return
    file = engine.url.database
    if backups is None or not file:
        return
    backups.mkdir(mode=0o700, exist_ok=True)
    # A reader beside our own lock: it sees what was committed before.
    while (target := backups / f"before-{head}-{utcnow():%Y%m%dT%H%M%SZ}.sqlite3").exists():
        time.sleep(0.1)  # names have a resolution of one second
    held = snapshots.save(Path(file), target)
    _log.warning(
        "the schema goes from %s to %s; %d orders are kept in %s", present, head, held.orders, target
    )


def _require_whole(connection: Connection) -> None:
    """Raises where a row points at nothing; the transaction then takes everything back."""
    if connection.dialect.name != "sqlite":
        return  # PostgreSQL checks each statement
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise MigrationFailed(
            f"Rows of {broken[0]} would have lost what they belong to in {broken[2]}. Nothing was changed.",
            remedy="Keep the version of the bridge that ran before, and report this.",
        )
