"""What the database really does is asked for before the bridge serves; less than it promises is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event, text

from server_bridge.config import SiteConfig
from server_bridge.context import open_store
from server_bridge.operations import check_config
from server_bridge.orders.database import open_database
from server_bridge.orders.soundness import (
    DatabaseAway,
    DatabaseDamaged,
    DatabaseUnsound,
    file_system_of,
    judge_postgresql,
    require_local,
    require_pragmas,
    require_sound,
)
from tests.bridge.bridge_site import make_site, make_store
from tests.databases import Cluster

MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:31 / /srv/home rw shared:2 - nfs4 nas:/home rw,vers=4.2
31 22 0:32 / /srv/home/local\\040disk rw - xfs /dev/sdb1 rw
32 22 0:33 / /mnt/twice rw - ext4 /dev/sdc1 rw
33 32 0:34 / /mnt/twice rw - cifs //nas/x rw
34 22 0:35 / /srv/homework rw - btrfs /dev/sdd1 rw
""".splitlines()
GOOD = {
    "server_version_num": "150018",
    "server_encoding": "UTF8",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "standby": "False",
}


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    """On SQLite, whatever the run works on."""
    return make_site(tmp_path, database_url="")


def file_of(site: SiteConfig) -> Path:
    return site.state_dir / "ferry.sqlite3"


# --- SQLite -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/omero-ferry/ferry.sqlite3", "ext4"),
        ("/srv/home/ferry/ferry.sqlite3", "nfs4"),
        ("/srv/home/local disk/ferry.sqlite3", "xfs"),
        ("/mnt/twice/ferry.sqlite3", "cifs"),
        ("/srv/homework/ferry.sqlite3", "btrfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount_in_sight(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS)[1] == kind


def test_a_network_file_system_is_refused_with_what_to_do() -> None:
    require_local(Path("/var/lib/omero-ferry/ferry.sqlite3"), MOUNTS)
    with pytest.raises(DatabaseUnsound) as raised:
        require_local(Path("/srv/home/ferry/ferry.sqlite3"), MOUNTS)
    assert "nfs4" in raised.value.detail
    assert "/srv/home" in raised.value.detail
    assert "local disk" in raised.value.remedy


def test_a_fresh_store_is_sound_and_says_what_is_in_force(site: SiteConfig) -> None:
    store = make_store(site)
    site.state_dir.chmod(0o700)
    found = require_sound(store.engine)
    assert "WAL" in found.text
    assert "synchronous=FULL" in found.text
    assert found.remarks == ()
    store.engine.dispose()


def test_a_state_folder_open_to_others_is_remarked(site: SiteConfig) -> None:
    store = make_store(site)
    site.state_dir.chmod(0o755)
    file_of(site).chmod(0o644)
    assert any("chmod 700" in remark for remark in require_sound(store.engine).remarks)
    site.state_dir.chmod(0o700)
    store.engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "word"), [("synchronous=NORMAL", "synchronous=1"), ("foreign_keys=OFF", "foreign keys")]
)
def test_what_was_set_is_not_believed(site: SiteConfig, pragma: str, word: str) -> None:
    engine = open_database(site.url)

    @event.listens_for(engine, "connect")
    def _meddle(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA {pragma}")

    with pytest.raises(DatabaseUnsound) as raised:
        require_sound(engine)
    assert word in raised.value.detail
    engine.dispose()


def test_wal_that_the_file_system_refuses_is_refused() -> None:
    with pytest.raises(DatabaseUnsound) as raised:
        require_pragmas(Path("x"), {"journal_mode": "delete", "synchronous": "2", "foreign_keys": "1"})
    assert "'delete'" in raised.value.detail


def test_a_damaged_file_stops_the_start_and_names_the_way_back(site: SiteConfig) -> None:
    store = make_store(site)
    with store.write() as session:
        for number in range(500):
            store.audit(session, "somebody", "something", f"{number}" * 50)
    store.engine.dispose()
    file = file_of(site)
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(size // 2)
        damaged.write(b"\xff" * 16384)
    engine = open_database(site.url)
    with pytest.raises(DatabaseDamaged) as raised:
        require_sound(engine)
    assert "restore" in raised.value.remedy
    engine.dispose()
    file.write_bytes(b"not a database at all" * 500)
    with pytest.raises(DatabaseDamaged):
        open_store(site)
    assert check_config.attempt("database", lambda: check_config.orders_database(site)).ok is False


def test_the_look_at_the_whole_file_is_bounded(site: SiteConfig) -> None:
    store = make_store(site)
    with store.write() as session:
        for number in range(3000):
            store.audit(session, "somebody", "something", f"{number}" * 200)
    found = require_sound(store.engine, quick_check_seconds=0.0)
    assert any("ferry-bridge backup" in remark for remark in found.remarks)
    with store.read() as session:  # the handler that ended it is gone
        assert session.scalar(text("SELECT count(*) FROM audit")) == 3000
    store.engine.dispose()


def test_check_config_makes_no_database(site: SiteConfig) -> None:
    assert "first start" in check_config.orders_database(site)
    assert not file_of(site).exists()


# --- PostgreSQL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ({"server_version_num": "120020"}, "older"),
        ({"synchronous_commit": "off"}, "synchronous_commit"),
        ({"server_encoding": "LATIN1"}, "LATIN1"),
        ({"standby": "True"}, "standby"),
    ],
)
def test_a_server_that_keeps_less_is_refused(setting: dict[str, str], word: str) -> None:
    assert judge_postgresql("here", GOOD).remarks == ()
    with pytest.raises(DatabaseUnsound) as raised:
        judge_postgresql("here", {**GOOD, **setting})
    assert word in raised.value.detail
    assert raised.value.remedy


def test_a_server_without_fsync_is_remarked() -> None:
    assert "fsync" in judge_postgresql("here", {**GOOD, "fsync": "off"}).remarks[0]


def test_a_real_server_is_asked_and_a_role_without_durable_commits_is_refused(cluster: Cluster) -> None:
    url = cluster.create("sound")
    engine = open_database(url)
    found = require_sound(engine)
    assert found.text.startswith("PostgreSQL ")
    assert found.remarks == ()
    with cluster.connect() as admin:
        admin.execute("ALTER DATABASE sound SET synchronous_commit = off")
    engine.dispose()
    with pytest.raises(DatabaseUnsound):
        require_sound(engine)
    engine.dispose()


def test_a_server_that_is_away_is_one_clear_line(cluster: Cluster, tmp_path: Path) -> None:
    away = cluster.url("nothing").replace(str(cluster.folder), str(tmp_path))
    site = make_site(tmp_path, database_url=away)
    with pytest.raises(DatabaseAway) as raised:
        open_store(site)
    assert "nothing" in raised.value.detail
    assert "Start PostgreSQL" in raised.value.remedy
    line = check_config.attempt("database", lambda: check_config.orders_database(site))
    assert (line.ok, "Start PostgreSQL" in line.remedy) == (False, True)
