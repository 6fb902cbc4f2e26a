"""Two bridges never work on one database, whatever their state folders are called."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from server_bridge.orders.database import open_database
from server_bridge.orders.sole_use import InUse, SoleUse
from tests.databases import Cluster, wait_ready

HOLDER = """
import sys, time
from server_bridge.orders.database import open_database
from server_bridge.orders.sole_use import SoleUse
held = SoleUse(open_database(sys.argv[1]))
print("held", flush=True)
time.sleep(300)
"""
LONG_SECONDS = 60.0


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ferry.sqlite3"
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.create("sole")
    opened = open_database(url)
    yield opened
    opened.dispose()


def held_within(engine: Engine) -> SoleUse:
    """Take it as soon as it is free: the kernel and PostgreSQL need a moment for a killed holder."""
    deadline = time.monotonic() + LONG_SECONDS
    while True:
        try:
            return SoleUse(engine)
        except InUse:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_the_second_is_refused_until_the_first_lets_go(engine: Engine) -> None:
    first = SoleUse(engine)
    with pytest.raises(InUse) as raised:
        SoleUse(engine)
    assert (raised.value.code, "database_url" in raised.value.remedy) == ("orders_in_use", True)
    assert first.held()
    first.release()
    first.release()
    second = SoleUse(engine)
    assert second.held()
    second.release()


def test_kill_9_of_the_holder_frees_it(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InUse):
            SoleUse(engine)
    finally:
        holder.kill()
        holder.wait(30)
    held_within(engine).release()


def test_another_path_to_the_same_file_is_the_same_database(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").symlink_to("one")
    first = SoleUse(open_database(f"sqlite:///{tmp_path}/one/ferry.sqlite3"))
    with pytest.raises(InUse):
        SoleUse(open_database(f"sqlite:///{tmp_path}/two/ferry.sqlite3"))
    first.release()


def test_a_lost_connection_is_noticed_and_whoever_took_the_lock_meanwhile_has_it(cluster: Cluster) -> None:
    engine = open_database(cluster.create("lost"))
    first = SoleUse(engine)
    assert cluster.end_connections("lost") >= 1
    assert first.held(), "nobody else wanted it"
    cluster.end_connections("lost")
    other_engine = open_database(cluster.url("lost"))
    second = held_within(other_engine)
    assert not first.held()
    assert not first.held()
    second.release()
    assert first.held()
    first.release()
    engine.dispose()
    other_engine.dispose()


def test_while_postgresql_is_down_nobody_is_told_yes(cluster: Cluster) -> None:
    engine = open_database(cluster.create("down"))
    held = SoleUse(engine)
    cluster.stop("immediate")
    try:
        with pytest.raises(OperationalError):
            held.held()
    finally:
        cluster.start()
    wait_ready(cluster)
    assert held.held()
    held.release()
    engine.dispose()
