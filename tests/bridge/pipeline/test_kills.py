"""kill -9 of the pipeline's process at the worst moments: nothing is lost, nothing is imported twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy
import pytest
import tifffile
from sqlalchemy import text

from server_bridge.contract import Stage
from server_bridge.orders.models import Order
from tests.bridge.pipeline.world import World, age
from tests.bridge.rsyncd import RsyncDaemon
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = pytest.mark.slow
KILL_SECONDS = 180.0
"""Generous: a busy machine takes a minute to the right moment."""


class SlowDaemon(RsyncDaemon):
    """Sends half a mebibyte a second: a busy machine looks away for longer than one thinks."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--bwlimit=512"]


def kill_when(world: World, order_id: str, holds: Callable[[Order], object]) -> None:
    """Run the pipeline in its own process, and kill -9 it once ``holds``."""
    world.start_bridge()
    world.wait(order_id, holds, KILL_SECONDS)
    world.kill_bridge()


def finish(world: World, order_id: str) -> None:
    """Start the pipeline again and let the order come to its proof."""
    world.start_bridge()
    world.wait_proven(order_id, KILL_SECONDS)
    world.stop_bridge()


def test_killed_in_the_middle_of_a_pull(own_world: World) -> None:
    world = own_world
    slow = SlowDaemon(world.top / "slow", world.buffer)
    slow.port = world.rsyncd.port
    world.rsyncd.stop()
    pixels = numpy.random.default_rng(1).integers(0, 255, (3, 1024, 2048), dtype=numpy.uint8)
    (world.buffer / "alice").mkdir()
    tifffile.imwrite(world.buffer / "alice" / "big.tif", pixels)
    age(world.buffer / "alice")
    order_id = world.order("alice/big.tif")

    def pulling(order: Order) -> bool:
        progress = world.context.store.progress([order_id]).get(order_id)
        return order.stage == Stage.PULLING and progress is not None and progress.bytes_done > 0

    with slow:
        kill_when(world, order_id, pulling)
        assert not world.staged(order_id, "alice/big.tif").exists()
        assert world.look(order_id).stage == Stage.PULLING
        finish(world, order_id)
    world.require_once(order_id, {"alice/big.tif"})


def test_killed_between_two_units(own_world: World) -> None:
    run = own_world.buffer / "alice" / "run"
    write_tiff(run / "a.tif")
    write_tiff(run / "b.tif")
    age(run)
    order_id = own_world.order("alice/run")
    own_world.fault("importFileset", "delay:4", match="b.tif")
    # One run of the importer brings both: the first is in OMERO, and the bridge has not looked yet.
    kill_when(own_world, order_id, lambda _order: "IMPORT_DONE" in _output(own_world, order_id))
    assert [unit.state for unit in own_world.units(order_id)] == ["importing", "importing"]
    finish(own_world, order_id)
    assert [unit.tries for unit in own_world.units(order_id)] == [1, 2]
    own_world.require_once(order_id, {"alice/run/a.tif", "alice/run/b.tif"})


def test_killed_before_the_upload_is_finished(own_world: World) -> None:
    write_tiff(own_world.buffer / "alice" / "cell.tif")
    age(own_world.buffer / "alice")
    order_id = own_world.order("alice/cell.tif")
    # The link is made and the fileset exists, and the importer is not done: it must not survive.
    own_world.fault("checkTarget", "delay:30")
    kill_when(
        own_world,
        order_id,
        lambda order: order.stage == Stage.IMPORTING and _links(own_world, order_id, "alice/cell.tif") > 1,
    )
    finish(own_world, order_id)
    own_world.require_once(order_id, {"alice/cell.tif"})


def test_killed_while_omero_makes_the_images(own_world: World) -> None:
    write_tiff(own_world.buffer / "alice" / "cell.tif")
    age(own_world.buffer / "alice")
    order_id = own_world.order("alice/cell.tif")
    own_world.fault("step2", "delay:6")
    kill_when(
        own_world,
        order_id,
        lambda order: order.stage == Stage.IMPORTING and "METADATA_IMPORTED" in _output(own_world, order_id),
    )
    finish(own_world, order_id)
    own_world.require_once(order_id, {"alice/cell.tif"})


@pytest.mark.parametrize("damage", ["all", "some"])
def test_the_engines_tables_do_not_matter(own_world: World, damage: str) -> None:
    write_tiff(own_world.buffer / "alice" / "cell.tif")
    age(own_world.buffer / "alice")
    order_id = own_world.order("alice/cell.tif")
    own_world.fault("checkTarget", "delay:30")
    kill_when(own_world, order_id, lambda _order: _links(own_world, order_id, "alice/cell.tif") > 1)
    _damage_engine(own_world, damage)
    finish(own_world, order_id)
    own_world.require_once(order_id, {"alice/cell.tif"})


def _damage_engine(world: World, damage: str) -> None:
    """Take the engine's tables away, or one of them."""
    if world.site.url.startswith("postgresql"):
        what = "SCHEMA dbos" if damage == "all" else "TABLE dbos.workflow_status"
        with world.context.store.engine.begin() as connection:
            connection.execute(text(f"DROP {what} CASCADE"))
        return
    engine = world.site.state_dir / "engine.sqlite3"
    assert engine.exists()
    if damage == "all":
        for path in engine.parent.glob("engine.sqlite3*"):
            path.unlink()
        return
    with closing(sqlite3.connect(engine)) as connection:
        connection.execute("DROP TABLE workflow_status")
        connection.commit()


def _links(world: World, order_id: str, path: str) -> int:
    staged = world.staged(order_id, path)
    return staged.stat().st_nlink if staged.exists() else 0


def _output(world: World, order_id: str) -> str:
    found: list[Path] = sorted((world.site.state_dir / "orders" / order_id).glob("*-import.log"))
    return found[-1].read_text() if found else ""
