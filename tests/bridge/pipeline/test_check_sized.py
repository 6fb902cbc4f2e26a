"""Files of exactly 36 bytes, as long as the text of OMERO's in-place check: two kinds of servers, no lie."""

from __future__ import annotations

import pytest

from server_bridge.contract import Condition, ReceiptStatus, Stage
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_companion, write_tiff

# Each of these starts the importer several times: seconds alone, minutes on a machine that is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def set_with_36_bytes(world: World) -> set[str]:
    """A set of which one file has 36 bytes, beside two single images; their share paths."""
    run = world.buffer / "alice" / "run"
    write_companion(run / "stack")
    (run / "stack" / "plane_1.tif").write_bytes(b"x" * 36)
    for name in ("a", "b"):
        write_tiff(run / f"{name}.tif")
    age(world.buffer / "alice")
    return set(world.manifest("alice/run"))


def test_a_server_that_keeps_the_checks_hash_refuses_the_set_and_nothing_wrong_is_proven(
    own_world: World,
) -> None:
    world = own_world
    paths = set_with_36_bytes(world)
    order_id = world.order("alice/run")
    with world.running():
        # One look at a known weakness is enough: no three tries, and the other units do not wait for it.
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION, 180)
        assert (order.stage, world.reason(order_id)) == (Stage.IMPORTING, "check_sized_file")
        assert order.reason is not None
        assert "36 bytes" in order.reason["title"] and order.reason["remedy"]
        units = {unit.main_path: unit for unit in world.units(order_id)}
        refused = units.pop("alice/run/stack/stack.companion.ome")
        assert (refused.state, refused.tries) == ("pending", 1)
        assert {unit.state for unit in units.values()} == {"imported"}
        assert {file.status for file in world.files(order_id).values()} == {ReceiptStatus.PENDING}
        # OMERO's people put in a server without that weakness, say: the order ends as every other.
        world.fault("save36", "rehash", count=-1)
        world.retry(order_id)
        world.wait_proven(order_id, 180)
    world.require_once(order_id, paths)
    assert "was removed from OMERO" in world.story(order_id)


def test_a_server_without_that_weakness_takes_the_set_and_it_is_proven_like_any_other(
    own_world: World,
) -> None:
    world = own_world
    world.fault("save36", "rehash", count=-1)
    paths = set_with_36_bytes(world)
    order_id = world.order("alice/run")
    with world.running():
        world.wait_proven(order_id, 180)
    world.require_once(order_id, paths)
    file = world.files(order_id)["alice/run/stack/plane_1.tif"]
    assert (file.status, file.sha1) == (ReceiptStatus.PROVEN, file.omero_sha1)
