"""Backups of a real SQLite that is being written to, and putting one back."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from typer.testing import CliRunner

from server_bridge.cli import app
from server_bridge.config import SiteConfig
from server_bridge.context import open_store
from server_bridge.contract import Condition, Stage
from server_bridge.errors import ConfigurationError, FerryError
from server_bridge.operations import backup
from server_bridge.operations.backup import Keep, make_backup, restore_file, superseded, taken_at
from server_bridge.operations.serve import serve_lock
from server_bridge.orders import feed, snapshots
from server_bridge.orders.callers import Caller
from server_bridge.orders.database import open_database
from server_bridge.orders.migrating import configuration
from server_bridge.orders.models import AuditEntry, Order, utcnow
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.operations.conftest import as_toml

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STAFF = Caller(username="staff", is_staff=True)


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    """On SQLite, whatever the run works on."""
    return make_site(tmp_path, database_url="")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "backups"
    made.mkdir()
    return made


def put(store: Store, number: int) -> str:
    order_id, now = str(uuid.uuid4()), utcnow()
    with store.write() as session:
        order = Order(
            id=order_id,
            person="alice",
            ordered_by="alice",
            share="conf",
            path=f"scope1/run {number}",
            kind="folder",
            target={"group_id": 3, "container_id": 11},
            request_digest="0" * 64,
            stage=Stage.ACCEPTED,
            condition=Condition.QUEUED,
            stage_since=now,
            change=0,
            created_at=now,
            updated_at=now,
        )
        session.add(order)
        session.flush()
        store.touch(session, order)
    return order_id


def count(path: Path) -> int:
    with sqlite3.connect(f"file:{path}?immutable=1", uri=True) as held:
        return int(held.execute("SELECT count(*) FROM orders").fetchone()[0])


def live(site: SiteConfig) -> Path:
    return backup.database_file(site)


def ids(store: Store) -> set[str]:
    with store.read() as session:
        return set(session.scalars(select(Order.id)))


# --- which ones go ------------------------------------------------------------------------------------


def test_a_year_of_nights_leaves_days_weeks_and_months() -> None:
    nights = [NOW - timedelta(days=days) for days in range(400)]
    kept = sorted(set(nights) - superseded(nights, NOW, Keep(7, 5, 12)), reverse=True)
    assert kept[:7] == nights[:7]
    assert [at.date().isoformat() for at in kept[7:]] == [
        "2026-11-15",  # Sundays: the newest of their weeks
        "2026-11-08",
        "2026-11-01",
        "2026-10-31",  # and the newest of each month
        "2026-09-30",
        "2026-08-31",
        "2026-07-31",
        "2026-06-30",
        "2026-05-31",
        "2026-04-30",
        "2026-03-31",
        "2026-02-28",
        "2026-01-31",
        "2025-12-31",
    ]


@settings(max_examples=60, deadline=None)
@given(
    ages=st.lists(st.integers(min_value=-3000, max_value=40_000), min_size=1, max_size=60, unique=True),
    keep=st.builds(Keep, st.integers(0, 9), st.integers(0, 6), st.integers(0, 14)),
)
def test_the_newest_and_what_comes_from_the_future_never_go(ages: list[int], keep: Keep) -> None:
    moments = [NOW - timedelta(hours=hours) for hours in ages]
    gone = superseded(moments, NOW, keep)
    future = {at for at in moments if at > NOW + timedelta(days=1)}
    past = set(moments) - future
    assert not gone & future
    if past:
        assert max(past) not in gone
        young = {at for at in past if NOW - at < timedelta(days=1)}
        assert not gone & young
        assert len(past - gone - young) <= max(1, keep.daily + keep.weekly + keep.monthly)
    # Dropping is final: what is left needs no second look, and each newest of a kept day stays.
    assert not superseded(set(moments) - gone, NOW, keep)
    days = sorted({at.date() for at in past}, reverse=True)[: keep.daily]
    assert all(max(at for at in past if at.date() == day) not in gone for day in days)


def test_running_every_night_keeps_history_and_a_wrong_clock_costs_nothing(
    site: SiteConfig, folder: Path
) -> None:
    make_store(site).engine.dispose()
    (folder / "notes.txt").write_text("mine")
    (folder / "ferry-of-my-own.sqlite3").write_text("mine")
    for day in range(12):
        make_backup(live(site), folder, Keep(3, 2, 1), lambda day=day: NOW + timedelta(days=day))  # type: ignore[misc]
    future, _, _ = make_backup(live(site), folder, Keep(3, 2, 1), lambda: NOW + timedelta(days=9000))
    now = NOW + timedelta(days=12)
    made, _, _ = make_backup(live(site), folder, Keep(3, 2, 1), lambda: now)
    left = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert future.name in left
    assert made.name in left
    assert {"notes.txt", "ferry-of-my-own.sqlite3"} <= set(left)
    days = [at.date().isoformat() for path in folder.iterdir() if (at := taken_at(path)) is not None]
    assert {"2026-12-05", "2026-12-04", "2026-12-03"} <= set(days)


# --- making one ---------------------------------------------------------------------------------------


def test_a_backup_beside_a_writer_is_whole_and_stops_nobody(site: SiteConfig, folder: Path) -> None:
    store = make_store(site)
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            written.append(put(store, len(written)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        for _ in range(3):
            least = len(written)
            path, held, gone = make_backup(live(site), folder, Keep(1, 1, 1))
            assert not gone  # younger than a day
            assert least <= held.orders <= len(written) + 1
            seen.append((path, held))
    finally:
        stop.set()
        writer.join()
    for path, held in seen:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert snapshots.inspect(path) == held
        assert count(path) == held.orders
        with sqlite3.connect(f"file:{path}?immutable=1", uri=True) as copy:
            newest = copy.execute("SELECT max(change) FROM orders").fetchone()[0]
            assert newest == copy.execute("SELECT value FROM feed_counter").fetchone()[0] or not held.orders
    # One file each: nothing lies beside them.
    assert {path.name for path in folder.iterdir()} == {path.name for path, _ in seen} | {
        ".ferry-backup.lock"
    }
    store.engine.dispose()


def test_a_damaged_source_makes_no_backup_and_drops_none(site: SiteConfig, folder: Path) -> None:
    store = make_store(site)
    for number in range(200):
        put(store, number)
    store.engine.dispose()
    good, _, _ = make_backup(live(site), folder, Keep(1, 0, 0), lambda: NOW)
    size = live(site).stat().st_size
    with live(site).open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 8192)
    with pytest.raises(snapshots.BackupFailed):
        make_backup(live(site), folder, Keep(1, 0, 0), lambda: NOW + timedelta(days=1))
    assert [path for path in folder.iterdir() if not path.name.startswith(".ferry-backup")] == [good]


def test_a_backup_that_was_killed_leaves_nothing_for_long(site: SiteConfig, folder: Path) -> None:
    make_store(site).engine.dispose()
    (folder / ".ferry-20261122T120000Z.sqlite3.partial").write_bytes(b"half")
    make_backup(live(site), folder, Keep())
    assert not list(folder.glob("*.partial")) + list(folder.glob(".*.partial"))


def test_the_command_tells_what_it_made_and_a_missing_disk_is_no_folder_to_make(
    site: SiteConfig, folder: Path, tmp_path: Path
) -> None:
    store = make_store(site)
    put(store, 1)
    (tmp_path / "site.toml").write_text(as_toml(site))

    def ferry(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, list(arguments), env={"FERRY_SITE": str(tmp_path / "site.toml")})
        return done.exit_code, done.stdout, done.stderr

    with serve_lock(site.state_dir):  # a bridge that serves does not mind
        code, out, _ = ferry("backup", "--json")
    told = json.loads(out)
    assert (code, told["orders"], told["removed"]) == (0, 1, [])
    assert Path(told["path"]).parent == site.state_dir / "backups"
    code, _, err = ferry("backup", "--to", str(tmp_path / "not-mounted"))
    assert (code, "not a folder" in err) == (1, True)
    assert not (tmp_path / "not-mounted").exists()
    code, out, _ = ferry("backup", "--to", str(folder))
    assert (code, "1 orders" in out) == (0, True)
    code, out, _ = ferry("restore", told["path"])
    # Our own store is another "command" that has the orders open.
    assert code == 1
    store.engine.dispose()
    code, out, err = ferry("restore", told["path"])
    assert (code, "prove --all" in out) == (0, True), err


def test_postgresql_is_told_to_use_its_own_tools(site: SiteConfig) -> None:
    other = site.model_copy(update={"database_url": "postgresql+psycopg://ferry:secret@db/ferry"})
    with pytest.raises(ConfigurationError) as raised:
        backup.database_file(other)
    assert "pg_dump" in raised.value.remedy
    assert "secret" not in str(raised.value)


# --- putting one back ---------------------------------------------------------------------------------


def test_a_restore_brings_back_what_was_and_keeps_what_is(site: SiteConfig, folder: Path) -> None:
    store = make_store(site)
    before = {put(store, number) for number in range(3)}
    path, _, _ = make_backup(live(site), folder, Keep())
    later = {put(store, number) for number in range(3, 9)}
    with store.read() as session:
        cursor = feed.position(session).counter
    store.engine.dispose()
    for ending in ("", "-wal"):
        (site.state_dir / f"engine.sqlite3{ending}").write_bytes(b"attempts that ran")

    held, aside = restore_file(site, path, "operator me")
    assert held.orders == 3
    assert aside is not None
    assert count(aside) == 9
    assert not list(site.state_dir.glob("engine.sqlite3*"))
    assert path.exists()
    store = open_store(site)
    assert ids(store) == before
    assert not ids(store) & later
    with store.read() as session:
        # Every agent, however far it had read, is told all orders again.
        page = feed.page(session, site, STAFF, after=cursor)
        assert {str(order.id) for order in page.orders} == before
        assert page.cursor > cursor
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.action, entry.who) == ("database.restored", "operator me")
        assert session.scalar(select(func.count()).select_from(Order)) == 3
    put(store, 99)
    store.engine.dispose()


def test_no_restore_while_the_bridge_serves_or_somebody_has_the_orders_open(
    site: SiteConfig, folder: Path
) -> None:
    store = make_store(site)
    put(store, 1)
    path, _, _ = make_backup(live(site), folder, Keep())
    put(store, 2)
    with serve_lock(site.state_dir), pytest.raises(ConfigurationError) as raised:
        restore_file(site, path, "me")
    assert raised.value.title == "The bridge runs already"
    with pytest.raises(ConfigurationError) as raised:
        restore_file(site, path, "me")
    assert raised.value.code == "orders_in_use"
    assert len(ids(store)) == 2
    store.engine.dispose()
    assert not list(site.state_dir.glob("*.before-restore-*")) + list(site.state_dir.glob(".*.partial"))


@pytest.mark.parametrize("kind", ["empty", "text", "damaged", "newer", "other", "live"])
def test_what_is_no_good_backup_replaces_nothing(site: SiteConfig, folder: Path, kind: str) -> None:
    store = make_store(site)
    for number in range(200):
        put(store, number)
    file = folder / "file"
    good, _, _ = make_backup(live(site), folder, Keep())
    data = good.read_bytes()
    match kind:
        case "empty":
            file.touch()
        case "text":
            file.write_text("hello " * 1000)
        case "damaged":
            file.write_bytes(data[: len(data) // 2] + b"\xff" * 8192 + data[len(data) // 2 + 8192 :])
        case "newer":
            file.write_bytes(data)
            with sqlite3.connect(file) as made:
                made.execute("UPDATE alembic_version SET version_num = '9999'")
        case "other":
            with sqlite3.connect(file) as made:
                made.execute("CREATE TABLE things (id INTEGER)")
        case "live":
            file = live(site)
    wal = live(site).with_name(f"{live(site).name}-wal").read_bytes()
    with pytest.raises(snapshots.NotABackup) as raised:
        restore_file(site, file, "me")
    if kind == "newer":
        assert "newer" in raised.value.title
    assert live(site).with_name(f"{live(site).name}-wal").read_bytes() == wal
    assert len(ids(store)) == 200
    store.engine.dispose()


def test_a_damaged_database_is_replaced_and_kept(site: SiteConfig, folder: Path) -> None:
    store = make_store(site)
    order_id = put(store, 1)
    path, _, _ = make_backup(live(site), folder, Keep())
    store.engine.dispose()
    live(site).write_bytes(b"not a database at all" * 500)
    broken = live(site).read_bytes()
    live(site).with_name(f"{live(site).name}-wal").write_bytes(b"stale")
    _, aside = restore_file(site, path, "me")
    assert aside is not None
    assert aside.read_bytes() == broken
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"stale"
    store = open_store(site)
    assert ids(store) == {order_id}
    with store.read() as session:
        assert feed.position(session).counter > snapshots.FEED_UNKNOWN
    store.engine.dispose()


def test_a_backup_of_an_older_version_is_brought_up_to_date(
    site: SiteConfig, folder: Path, tmp_path: Path
) -> None:
    """As `before-…` in the state folder's backups is one, after somebody went back to the version before."""
    make_store(site).engine.dispose()
    old = make_site(tmp_path, database_url=f"sqlite:///{tmp_path}/old.sqlite3")
    engine = open_database(old.url)
    config = configuration()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    engine.dispose()
    with sqlite3.connect(tmp_path / "old.sqlite3") as filling:
        filling.execute(
            "INSERT INTO orders (id, person, ordered_by, share, path, kind, label, target, import_again,"
            " request_digest, stage, condition, stage_since, attempt, idle_tries, revision, change,"
            " manifest_revision, manifest_digest, sealed, file_count, size_bytes, asks_left_out, created_at,"
            " updated_at) VALUES ('o', 'alice', 'alice', 'conf', 'p', 'folder', '', '{}', 0, '', 'accepted',"
            " 'queued', '2026-01-01', 0, 0, 1, 1, 0, '', 0, 0, 0, 0, '2026-01-01', '2026-01-01')"
        )
    path, held, _ = make_backup(tmp_path / "old.sqlite3", folder, Keep())
    assert held.revision == "0001"
    restored, _aside = restore_file(site, path, "me")
    assert restored.revision == "0001"
    assert snapshots.inspect(path).revision == "0001", "the backup itself stays as it was"
    store = open_store(site)
    assert ids(store) == {"o"}
    assert store.order("o").seal == "agent"
    assert not list((site.state_dir / "backups").glob("before-*")), "the backup is the copy"
    store.engine.dispose()


def test_a_lost_database_comes_back(site: SiteConfig, folder: Path) -> None:
    store = make_store(site)
    order_id = put(store, 1)
    path, _, _ = make_backup(live(site), folder, Keep())
    store.engine.dispose()
    live(site).unlink()
    os.chmod(path, 0o400)  # noqa: PTH101
    _, aside = restore_file(site, path, "me")
    assert aside is None
    store = open_store(site)
    assert ids(store) == {order_id}
    store.engine.dispose()
    with pytest.raises(FerryError):
        restore_file(site, folder / "nothing", "me")
