"""Orders that no workstation seals, from the bare order to the proof."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from server_bridge.contract import Condition, Stage
from server_bridge.orders.models import OrderEvent
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = pytest.mark.slow
QUIET = 2.0


@pytest.fixture
def world(make_world: MakeWorld, sandbox: RunningSandbox) -> World:
    """A site whose data rests after two seconds, and whose empty folders are asked about after four."""
    return make_world(sandbox, share={"rule": {"quiet_seconds": QUIET}}, limits={"empty_hours": 4 / 3600})


def run_folder(world: World, name: str = "run") -> Path:
    folder = world.buffer / "alice" / name
    write_tiff(folder / "a.tif")
    (folder / "Thumbs.db").write_bytes(b"junk")
    age(folder)
    return folder


def events(world: World, order_id: str) -> list[OrderEvent]:
    with world.context.store.read() as session:
        return list(session.query(OrderEvent).filter_by(order_id=order_id).order_by(OrderEvent.id))


def test_two_equal_listings_seal_it_and_it_is_proven_like_any_other(world: World) -> None:
    run_folder(world)
    order_id = world.order("alice/run", seal="bridge")
    with world.running():
        order = world.wait_proven(order_id)
    assert (order.sealed, order.manifest_revision, order.kind) == (True, 1, "folder")
    assert set(world.files(order_id)) == {"alice/run/a.tif"}, "what the site ignores is not sealed"
    world.require_once(order_id, {"alice/run/a.tif"})
    told = events(world, order_id)
    first = next(one for one in told if one.text == "seen for the first time")
    sealed = next(one for one in told if "two listings are equal" in one.text)
    assert sealed.at - first.at >= timedelta(seconds=QUIET)


def test_one_file_is_recognised_as_a_file(world: World) -> None:
    run_folder(world)
    order_id = world.order("alice/run/a.tif", seal="bridge")
    with world.context.store.write() as session:
        world.context.store.get(session, order_id).kind = "folder"  # whoever ordered could not see it
    with world.running():
        order = world.wait_proven(order_id)
    assert order.kind == "file"
    world.require_once(order_id, {"alice/run/a.tif"})


def test_what_is_still_written_is_neither_sealed_nor_in_the_way_of_others(world: World) -> None:
    folder = run_folder(world)
    growing = folder / "b.tif"
    order_id = world.order("alice/run", seal="bridge")
    neighbour = write_tiff(world.buffer / "alice" / "other.tif")
    age(neighbour)
    other = world.order("alice/other.tif")
    with world.running():
        size = 0
        # One pull at a time from this share, and the watched order holds none of it.
        while world.look(other).stage not in (Stage.PROVEN, Stage.RELEASED) or size < 5:
            size += 1
            growing.write_bytes(bytes(size))
            assert world.look(order_id).stage == Stage.ACCEPTED
            assert not world.look(order_id).sealed
            assert size < 900, world.story(other)
            time.sleep(0.1)
        assert world.look(order_id).attempt >= 1
        write_tiff(growing)
        world.wait_proven(order_id)
    world.require_once(order_id, {"alice/run/a.tif", "alice/run/b.tif"})


def test_a_change_after_the_seal_is_watched_again_and_comes_over_as_it_is_then(world: World) -> None:
    folder = run_folder(world)
    order_id = world.order("alice/run", seal="bridge")
    with world.running() as running:
        lanes = running._dispatcher._lanes
        held = lanes.pop("import")
        world.wait_stage(order_id, Stage.VERIFYING)
        write_tiff(folder / "a.tif", (30, 30))
        age(folder, 1800)
        lanes["import"] = held
        running._dispatcher.wake()
        order = world.wait_reason(order_id, "source_changed")
        assert (order.stage, order.sealed) == (Stage.ACCEPTED, False)
        assert order.reason is not None and order.reason["next_try_at"]
        assert world.in_omero(order_id) == []
        order = world.wait_proven(order_id)
    assert order.manifest_revision == 2
    world.require_once(order_id, {"alice/run/a.tif"})


def test_an_empty_place_waits_then_asks_somebody_and_goes_on_when_filled(world: World) -> None:
    order_id = world.order("alice/run", seal="bridge")
    (world.buffer / "alice").mkdir()
    with world.running():
        order = world.wait_reason(order_id, "nothing_there")
        assert order.condition == Condition.WAITING
        (world.buffer / "alice" / "run").mkdir()
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION)
        assert world.reason(order_id) == "nothing_there"
        assert order.reason is not None and "is empty" in order.reason["detail"]
        run_folder(world)
        world.retry(order_id)
        world.wait_proven(order_id)


def test_a_share_without_its_marker_is_no_empty_place(world: World) -> None:
    run_folder(world)
    order_id = world.order("alice/run", seal="bridge")
    marker = world.buffer / ".omero-ferry-share"
    marker.unlink()
    with world.running():
        order = world.wait_reason(order_id, "share_marker_missing")
        assert order.condition == Condition.WAITING
        marker.touch()
        world.wait_proven(order_id)


@pytest.mark.parametrize(
    ("name", "code"),
    [("line\nbreak.tif", "path_control"), ("A.TIF", "path_collision"), ("link.tif", "source_not_a_file")],
)
def test_what_may_not_travel_is_named_before_anything_is_pulled(world: World, name: str, code: str) -> None:
    folder = run_folder(world)
    if code == "source_not_a_file":
        (folder / name).symlink_to(folder / "a.tif")
    else:
        write_tiff(folder / name)
        age(folder)
    order_id = world.order("alice/run", seal="bridge")
    with world.running():
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION)
    assert world.reason(order_id) == code
    assert order.reason is not None and order.reason["detail"].isprintable() and order.reason["remedy"]
    assert not world.staged(order_id, "").exists()


def test_data_that_is_in_omero_already_is_not_sealed_a_second_time(world: World) -> None:
    run_folder(world)
    first = world.order("alice/run", seal="bridge")
    with world.running():
        world.wait_proven(first)
        again = world.order("alice/run", seal="bridge")
        world.wait(again, lambda order: order.condition == Condition.ATTENTION)
    assert world.reason(again) == "already_imported"
    world.require_once(first, {"alice/run/a.tif"})


def test_a_bridge_that_ends_between_two_looks_goes_on_with_the_second(world: World) -> None:
    run_folder(world)
    order_id = world.order("alice/run", seal="bridge")
    with world.running():
        world.wait(order_id, lambda order: order.listing_digest)
    listed_at = world.look(order_id).listed_at
    with world.running():
        world.wait_proven(order_id)
    assert world.look(order_id).listed_at == listed_at
