"""An order from accepted to proven, with nothing replaced but OMERO's server."""

from __future__ import annotations

import pytest

from server_bridge.contract import Condition, ReceiptStatus, Stage
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_companion, write_multi, write_tiff

pytestmark = pytest.mark.slow


def test_one_file_is_proven_with_every_fact(world: World) -> None:
    write_tiff(world.buffer / "alice" / "cell.tif")
    age(world.buffer / "alice")
    order_id = world.order("alice/cell.tif", tags=("actin",))
    with world.running():
        order = world.wait_proven(order_id)
    world.require_once(order_id, {"alice/cell.tif"})
    file = world.files(order_id)["alice/cell.tif"]
    assert file.status == ReceiptStatus.PROVEN
    assert file.sha1 == file.omero_sha1 is not None
    assert file.inode == world.staged(order_id, "alice/cell.tif").stat().st_ino
    assert order.result is not None
    assert order.result["image_count"] == 1
    with world.context.omero.service() as session:
        tagged = session.rows(
            "select i.id from ImageAnnotationLink l join l.parent i join l.child a "
            "where a.textValue = :tag and i.fileset.id = :fileset",
            {"tag": "actin", "fileset": order.result["fileset_ids"][0]},
        )
    assert len(tagged) == 1
    assert order.result["webclient_url"].endswith(f"?show=dataset-{order.target['container_id']}")


def test_a_folder_is_proven_when_somebody_decided_about_the_rest(world: World) -> None:
    run = world.buffer / "alice" / "run1"
    write_companion(run)
    write_multi(run / "positions.ome.tif")
    (run / "Thumbs.db").write_bytes(b"junk")
    (run / "notes.txt").write_text("42 nm")
    age(run)
    order_id = world.order("alice/run1")
    with world.running():
        world.wait_reason(order_id, "left_out")
        waiting = world.look(order_id)
        assert (waiting.stage, waiting.condition) == (Stage.PROVING, Condition.ATTENTION)
        assert waiting.asks_left_out
        # What can be in OMERO is there already while the question stands.
        assert [unit.state for unit in world.units(order_id)] == ["imported", "imported"]
        world.accept_left_out(order_id)
        world.wait_proven(order_id)
    images = {
        "alice/run1/stack.companion.ome",
        "alice/run1/positions.ome.tif",
        *(f"alice/run1/plane_{number}.tif" for number in range(3)),
    }
    world.require_once(order_id, images)
    files = world.files(order_id)
    assert files["alice/run1/Thumbs.db"].status == ReceiptStatus.IGNORED
    assert files["alice/run1/Thumbs.db"].rule == "ignore: Thumbs.db"
    assert {files[path].status for path in images} == {ReceiptStatus.PROVEN}
