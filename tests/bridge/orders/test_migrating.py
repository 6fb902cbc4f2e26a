"""A change of the schema loses no row, leaves everything as it was where it fails, and keeps a copy first."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, MetaData, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from server_bridge.context import open_store
from server_bridge.orders import migrating, snapshots
from server_bridge.orders.database import open_database
from server_bridge.orders.migrating import MigrationFailed, SchemaTooNew, migrate
from server_bridge.orders.models import Base, ImportUnit, Order, OrderEvent, OrderFile, utcnow
from tests.bridge.bridge_site import make_site
from tests.databases import on_postgresql

ORDERS, FILES = 3, 4
LONG_SECONDS = 60.0

BATCH = """
revision, down_revision, branch_labels, depends_on = "9001", "{head}", None, None
import sqlalchemy as sa
from alembic import op

def upgrade():
    anew = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("orders", recreate=anew) as batch:
        batch.add_column(sa.Column("colour", sa.String(8), nullable=False, server_default="blue"))
"""
"""The dangerous kind: on SQLite the table of the orders is made anew and the old one is dropped."""
BREAKS = BATCH + '    raise RuntimeError("half-way")\n'
LOSES = BATCH + "    op.execute(\"DELETE FROM orders WHERE path = 'alice/run 1'\")\n"
HANGS = BATCH + (
    "    import pathlib, time\n"
    "    pathlib.Path(op.get_context().config.get_main_option('ready')).touch()\n"
    "    time.sleep(300)\n"
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(make_site(tmp_path).url)
    yield opened
    opened.dispose()


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


def upgrade_to(engine: Engine, revision: str) -> None:
    """As an older bridge left it."""
    config = migrating.configuration()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def fill(engine: Engine) -> None:
    """Orders with files, units and history, by the columns that every revision has."""
    now = utcnow().replace(tzinfo=None)
    tables = MetaData()
    tables.reflect(engine)
    with engine.execution_options(ferry_write=True).begin() as connection:
        for number in range(ORDERS):
            order_id = str(uuid.uuid4())
            values = {
                "id": order_id,
                "person": "alice",
                "ordered_by": "alice",
                "share": "conf",
                "path": f"alice/run {number}",
                "kind": "folder",
                "label": "",
                "target": {"group_id": 3},
                "import_again": False,
                "request_digest": "0" * 64,
                "stage": "importing",
                "condition": "queued",
                "stage_since": now,
                "attempt": 1,
                "idle_tries": 0,
                "revision": 1,
                "change": number + 1,
                "manifest_revision": 1,
                "manifest_digest": "",
                "sealed": True,
                "file_count": FILES,
                "size_bytes": 10,
                "asks_left_out": False,
                "created_at": now,
                "updated_at": now,
            }
            connection.execute(tables.tables["orders"].insert().values(values))
            rows: dict[str, list[dict[str, object]]] = {
                "order_files": [
                    {"path": f"f{file}", "size_bytes": 1, "mtime_ns": 1, "status": "pending", "rule": ""}
                    for file in range(FILES)
                ],
                "import_units": [
                    {
                        "index": 0,
                        "main_path": "f0",
                        "file_count": FILES,
                        "client_path": "f0",
                        "reader": "",
                        "spw": False,
                        "state": "pending",
                        "tries": 0,
                        "image_ids": [1],
                        "plate_ids": [],
                    }
                ],
                "order_events": [
                    {
                        "at": now,
                        "who": "bridge",
                        "stage": "importing",
                        "condition": "queued",
                        "attempt": 1,
                        "text": "imports",
                    }
                ],
            }
            for table, several in rows.items():
                for row in several:
                    connection.execute(tables.tables[table].insert().values(order_id=order_id, **row))


def counts(engine: Engine) -> tuple[int, int, int, int]:
    """Orders, files, units, events."""
    with engine.connect() as connection:
        return tuple(  # type: ignore[return-value]
            connection.scalar(select(func.count()).select_from(table.__table__))
            for table in (Order, OrderFile, ImportUnit, OrderEvent)
        )


WHOLE = (ORDERS, ORDERS * FILES, ORDERS, ORDERS)


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def with_revision(tmp_path: Path, body: str) -> Config:
    """The program's revisions and one more, as the next version of the bridge would bring it."""
    folder = tmp_path / "migrations"
    shutil.copytree(snapshots.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    head = snapshots.revisions()[0]
    (folder / "versions" / "9001_more.py").write_text(body.replace("{head}", head))
    config = Config()
    config.set_main_option("script_location", str(folder))
    return config


def columns(engine: Engine, table: str) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(text(f"SELECT * FROM {table} LIMIT 0")).keys())


# --- the program's own revisions ----------------------------------------------------------------------


def test_a_filled_database_of_the_first_version_comes_to_this_one_with_every_row(
    engine: Engine, backups: Path
) -> None:
    upgrade_to(engine, "0001")
    fill(engine)
    migrate(engine, backups)
    assert revision(engine) == snapshots.revisions()[0]
    assert counts(engine) == WHOLE
    with engine.connect() as connection:
        assert set(connection.scalars(select(Order.seal))) == {"agent"}
    kept = list(backups.iterdir())
    if on_postgresql():
        assert kept == []
        return
    assert [path.name[:11] for path in kept] == [f"before-{snapshots.revisions()[0]}"]
    assert snapshots.inspect(kept[0]) == snapshots.Snapshot("0001", ORDERS, kept[0].stat().st_size)
    assert kept[0].stat().st_mode & 0o777 == 0o600
    migrate(engine, backups)
    assert list(backups.iterdir()) == kept, "nothing to change is nothing to keep"


def test_a_new_database_needs_no_copy(engine: Engine, backups: Path) -> None:
    migrate(engine, backups)
    assert revision(engine) == snapshots.revisions()[0]
    assert not list(backups.iterdir())


def test_the_tables_are_what_the_models_say(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_of_many_that_start_together_one_migrates(engine: Engine, tmp_path: Path, backups: Path) -> None:
    upgrade_to(engine, "0001")
    fill(engine)
    url = make_site(tmp_path).url
    failed: list[Exception] = []

    def start() -> None:
        own = open_database(url)
        try:
            migrate(own, backups)
        except Exception as error:  # noqa: BLE001 - shown below
            failed.append(error)
        finally:
            own.dispose()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_SECONDS)
    assert failed == []
    assert counts(engine) == WHOLE
    assert len(list(backups.iterdir())) == (0 if on_postgresql() else 1)


# --- any revision that may come -----------------------------------------------------------------------


def test_a_table_that_is_made_anew_takes_nothing_with_it(
    engine: Engine, backups: Path, tmp_path: Path
) -> None:
    migrate(engine)
    fill(engine)
    migrate(engine, backups, config=with_revision(tmp_path, BATCH))
    assert revision(engine) == "9001"
    assert "colour" in columns(engine, "orders")
    assert counts(engine) == WHOLE


def test_foreign_keys_hold_again_after_a_migration(engine: Engine, tmp_path: Path) -> None:
    migrate(engine)
    fill(engine)
    migrate(engine, config=with_revision(tmp_path, BATCH))
    with engine.execution_options(ferry_write=True).begin() as connection:
        connection.execute(text("DELETE FROM orders WHERE path = 'alice/run 0'"))
    assert counts(engine) == (2, 2 * FILES, 2, 2)


@pytest.mark.parametrize("body", [BREAKS, LOSES], ids=["breaks half-way", "leaves rows without their order"])
def test_a_migration_that_fails_leaves_everything_as_it_was(
    engine: Engine, backups: Path, tmp_path: Path, body: str
) -> None:
    migrate(engine)
    fill(engine)
    before = columns(engine, "orders")
    if body == LOSES and on_postgresql():
        pytest.skip("PostgreSQL cascades here, as it was told: the models say ON DELETE CASCADE")
    with pytest.raises(RuntimeError if body == BREAKS else MigrationFailed):
        migrate(engine, backups, config=with_revision(tmp_path, body))
    assert revision(engine) == snapshots.revisions()[0]
    assert columns(engine, "orders") == before
    assert counts(engine) == WHOLE
    migrate(engine, backups)  # the version before goes on with it


def test_kill_9_in_the_middle_of_a_migration_costs_nothing(
    engine: Engine, backups: Path, tmp_path: Path
) -> None:
    migrate(engine)
    fill(engine)
    url = make_site(tmp_path).url
    config = with_revision(tmp_path, HANGS)
    ready = tmp_path / "ready"
    script = (
        "import sys; from alembic.config import Config; from pathlib import Path\n"
        "from server_bridge.orders.database import open_database\n"
        "from server_bridge.orders.migrating import migrate\n"
        "config = Config(); config.set_main_option('script_location', sys.argv[2])\n"
        "config.set_main_option('ready', sys.argv[4])\n"
        "migrate(open_database(sys.argv[1]), Path(sys.argv[3]), config=config)\n"
    )
    arguments = [url, str(config.get_main_option("script_location")), str(backups), str(ready)]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments])
    try:
        deadline = time.monotonic() + LONG_SECONDS
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait(30)
    assert counts(engine) == WHOLE
    assert "colour" not in columns(engine, "orders")
    body = BATCH.replace("{head}", snapshots.revisions()[0])
    (tmp_path / "migrations" / "versions" / "9001_more.py").write_text(body)
    migrate(engine, backups, config=config)
    assert counts(engine) == WHOLE
    assert "colour" in columns(engine, "orders")


def test_a_database_of_a_newer_bridge_is_refused_and_untouched(engine: Engine, tmp_path: Path) -> None:
    migrate(engine)
    fill(engine)
    migrate(engine, config=with_revision(tmp_path, BATCH))
    with pytest.raises(SchemaTooNew) as raised:
        open_store(make_site(tmp_path))
    assert "9001" in raised.value.detail
    assert "before-" in raised.value.remedy
    assert (revision(engine), counts(engine)) == ("9001", WHOLE)


@pytest.mark.sqlite
def test_no_copy_no_migration(engine: Engine, backups: Path) -> None:
    upgrade_to(engine, "0001")
    fill(engine)
    backups.chmod(0o500)
    try:
        with pytest.raises(OSError):
            migrate(engine, backups)
    finally:
        backups.chmod(0o700)
    assert revision(engine) == "0001"
    assert counts(engine) == WHOLE
    migrate(engine, backups)
    assert counts(engine) == WHOLE


@pytest.mark.sqlite
def test_a_row_that_points_at_nothing_already_is_found_by_the_check(engine: Engine, tmp_path: Path) -> None:
    migrate(engine)
    fill(engine)
    path = engine.url.database
    assert path is not None
    with sqlite3.connect(path) as other:  # foreign keys are off by default
        other.execute("DELETE FROM orders WHERE path = 'alice/run 2'")
    with pytest.raises(MigrationFailed) as raised:
        migrate(engine, config=with_revision(tmp_path, BATCH))
    assert "orders" in raised.value.detail
    with pytest.raises(SQLAlchemyError), engine.begin() as connection:
        connection.execute(text("SELECT colour FROM orders"))
