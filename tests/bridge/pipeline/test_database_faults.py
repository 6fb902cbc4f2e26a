"""The orders' database fails under running attempts: they end, the orders go on, nothing is done twice."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import numpy
import pytest
import tifffile

from server_bridge.contract import Stage
from server_bridge.orders import database
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.test_kills import SlowDaemon
from tests.bridge.pipeline.world import LONG_SECONDS, World, age
from tests.bridge.sandbox.conftest import write_tiff
from tests.databases import Cluster, wait_ready

# The limit is against hanging: on a busy machine the first of them also waits for its OMERO to come up.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
OUTAGE_SECONDS = 3.0


@pytest.fixture
def on_postgresql(make_world: MakeWorld, sandbox: RunningSandbox, cluster: Cluster) -> Iterator[World]:
    """A site on the cluster that the test breaks; it is well again when the test ends."""
    name = f"faults_{time.monotonic_ns()}"
    world = make_world(sandbox, database_url=cluster.create(name))
    yield world
    if not cluster.running():
        cluster.start()
    world.context.store.engine.dispose()
    cluster.drop(name)


def cell(world: World, name: str) -> str:
    """One image in a folder of its own: its neighbours' times stay as they are."""
    folder = world.buffer / "alice" / name
    write_tiff(folder / "cell.tif")
    age(folder)
    return f"alice/{name}/cell.tif"


def outage(cluster: Cluster) -> None:
    """PostgreSQL crashes, is away for a while, recovers from its log, and serves again."""
    cluster.stop("immediate")
    time.sleep(OUTAGE_SECONDS)
    cluster.start()
    wait_ready(cluster)


def name_of(world: World) -> str:
    return str(world.context.store.engine.url.database)


def require_nothing_stranded(world: World, cluster: Cluster) -> None:
    """Rows of attempts that could not write their end stay until the next start, which ends them."""
    deadline = time.monotonic() + LONG_SECONDS
    with world.running():
        while True:
            with cluster.connect(name_of(world)) as connection:
                left = connection.execute(
                    "SELECT workflow_uuid, status FROM dbos.workflow_status"
                    " WHERE status IN ('PENDING', 'ENQUEUED')"
                ).fetchall()
            if not left:
                return
            assert time.monotonic() < deadline, left
            time.sleep(0.5)


def more_go_through(world: World, count: int = 3) -> None:
    """More orders than the lanes have slots: none is taken by what runs no more."""
    orders = {world.order(path): path for path in (cell(world, f"more {n}") for n in range(count))}
    for order_id, path in orders.items():
        world.wait_proven(order_id)
        world.require_once(order_id, {path})


def test_postgresql_crashes_in_the_middle_of_a_pull(on_postgresql: World, cluster: Cluster) -> None:
    world = on_postgresql
    slow = SlowDaemon(world.top / "slow", world.buffer)
    slow.port = world.rsyncd.port
    world.rsyncd.stop()
    pixels = numpy.random.default_rng(1).integers(0, 255, (6, 1024, 2048), dtype=numpy.uint8)
    (world.buffer / "alice").mkdir()
    tifffile.imwrite(world.buffer / "alice" / "big.tif", pixels)
    age(world.buffer / "alice")
    order_id = world.order("alice/big.tif")
    with slow, world.running():

        def pulled_bytes(_order: object) -> bool:
            progress = world.context.store.progress([order_id]).get(order_id)
            return progress is not None and progress.step == "pull" and progress.bytes_done > 0

        world.wait(order_id, pulled_bytes)
        outage(cluster)
        world.wait_proven(order_id)
        world.require_once(order_id, {"alice/big.tif"})
        more_go_through(world)
    require_nothing_stranded(world, cluster)


def test_postgresql_crashes_in_the_middle_of_an_import(on_postgresql: World, cluster: Cluster) -> None:
    world = on_postgresql
    path = cell(world, "one")
    order_id = world.order(path)
    world.fault("importFileset", "delay:5", match="cell.tif")
    with world.running():
        world.wait(order_id, lambda _order: [one.state for one in world.units(order_id)] == ["importing"])
        outage(cluster)
        world.wait_proven(order_id)
        world.require_once(order_id, {path})
        more_go_through(world)
    require_nothing_stranded(world, cluster)


def test_connections_are_killed_again_and_again(on_postgresql: World, cluster: Cluster) -> None:
    world = on_postgresql
    paths = {}
    with world.running():
        for number in range(4):
            path = cell(world, f"cell {number}")
            paths[world.order(path)] = path
            time.sleep(0.7)
            assert cluster.end_connections(name_of(world)) >= 1
        for order_id, path in paths.items():
            world.wait_proven(order_id)
            world.require_once(order_id, {path})
        more_go_through(world)
    require_nothing_stranded(world, cluster)


def test_somebody_else_locks_sqlite_for_longer_than_anybody_waits(
    make_world: MakeWorld, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 200)
    world = make_world(sandbox, database_url="")
    run = world.buffer / "alice" / "run"
    write_tiff(run / "a.tif")
    write_tiff(run / "b.tif")
    age(run)
    order_id = world.order("alice/run")
    file = world.site.state_dir / "ferry.sqlite3"
    with world.running(), closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
        for stages in ((Stage.ACCEPTED, Stage.PULLING), (Stage.IMPORTING,)):
            world.wait(order_id, lambda order, stages=stages: order.stage in (*stages, Stage.PROVEN))  # type: ignore[misc]
            other.execute("BEGIN IMMEDIATE")
            time.sleep(OUTAGE_SECONDS)
            other.execute("ROLLBACK")
        world.wait_proven(order_id)
    world.require_once(order_id, {"alice/run/a.tif", "alice/run/b.tif"})
