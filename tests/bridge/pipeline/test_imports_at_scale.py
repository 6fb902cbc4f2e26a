"""Many units in one run of the importer: each exactly once, whatever becomes of one of them or of the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from server_bridge.contract import Condition, Stage
from server_bridge.orders.models import Order, OrderFile
from server_bridge.pipeline import import_batches
from tests.bridge.pipeline.test_kills import finish, kill_when
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_companion, write_tiff

# Each of these starts the importer several times: seconds alone, minutes on a machine that is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def run_of(world: World, count: int) -> set[str]:
    """A folder ``alice/run`` of single images; their share paths."""
    run = world.buffer / "alice" / "run"
    for number in range(count):
        write_tiff(run / f"image_{number:03d}.tif", (8, 8))
    age(world.buffer / "alice")
    return {f"alice/run/image_{number:03d}.tif" for number in range(count)}


def test_one_hundred_and_fifty_images_need_one_run(world: World) -> None:
    paths = run_of(world, 150)
    order_id = world.order("alice/run", tags=("scale",))
    shown: set[int] = set()

    def there(order: Order) -> bool:
        progress = world.context.store.progress([order_id]).get(order_id)
        if order.stage == Stage.IMPORTING and progress is not None and progress.step == "import":
            shown.add(progress.units_done)
            assert progress.units_total == 150
        assert order.condition != Condition.ATTENTION, world.story(order_id)
        return order.stage in (Stage.PROVEN, Stage.RELEASED)

    with world.running():
        order = world.wait(order_id, there, 300)
    world.require_once(order_id, paths)
    assert len(world.runs(order_id)) == 1
    assert {unit.tries for unit in world.units(order_id)} == {1}
    assert {unit.state for unit in world.units(order_id)} == {"imported"}
    # What the importer says is shown while it runs, not only what a look found before and after.
    assert any(0 < done < 150 for done in shown), shown
    assert order.result is not None
    assert (order.result["image_count"], len(order.result["fileset_ids"])) == (150, 150)
    with world.context.omero.service() as session:
        tagged = session.rows(
            "select count(l) from ImageAnnotationLink l join l.parent i join l.child a "
            "where a.textValue = :tag and i.fileset.id in (:filesets)",
            {"tag": "scale", "filesets": order.result["fileset_ids"]},
        )
    assert tagged == [(150,)]


def test_runs_are_cut_where_they_are_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_batches, "MOST_UNITS", 4)
    paths = run_of(world, 9)
    order_id = world.order("alice/run")
    with world.running():
        world.wait_proven(order_id, 180)
    world.require_once(order_id, paths)
    assert len(world.runs(order_id)) == 3


def test_an_image_that_omero_refuses_hides_and_blocks_no_other(own_world: World) -> None:
    world = own_world
    paths = run_of(world, 8)
    order_id = world.order("alice/run")
    world.fault("step1", "fail", count=-1, match="image_002")
    with world.running():
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION, 180)
        assert order.stage == Stage.IMPORTING
        states = {unit.main_path: unit.state for unit in world.units(order_id)}
        assert {path for path, state in states.items() if state != "imported"} == {"alice/run/image_002.tif"}
        refused = next(unit for unit in world.units(order_id) if unit.state != "imported")
        # OMERO's word counts: another try would leave another empty fileset.
        assert refused.tries == 1
        assert refused.error is not None
        assert refused.error["code"] == world.reason(order_id) == "import_failed"
        assert order.reason is not None
        assert "import-request-failure" in order.reason["detail"]
        assert "sandbox fault at step1" in order.reason["detail"]
        assert "administrator" in order.reason["remedy"]
        empty = world.empty_filesets(order_id)
        assert empty == {refused.fileset_id}
        (world.sandbox.data / "faults" / "step1").unlink()
        world.retry(order_id)
        world.wait_proven(order_id, 180)
    world.administrator_deletes(*empty)
    world.require_once(order_id, paths)


def test_an_image_that_breaks_off_is_tried_alone_and_the_others_are_not_tried_again(own_world: World) -> None:
    world = own_world
    paths = run_of(world, 6)
    order_id = world.order("alice/run")
    world.fault("link", "fail", match="image_003")
    with world.running():
        world.wait_proven(order_id, 180)
    world.require_once(order_id, paths)
    tries = {unit.main_path: unit.tries for unit in world.units(order_id)}
    assert tries.pop("alice/run/image_003.tif") == 2
    assert set(tries.values()) == {1}
    shared, alone = world.runs(order_id)
    assert "and 5 more" in shared
    assert "image_003.tif into" in alone
    assert "was removed from OMERO" in world.story(order_id)


def test_an_importer_that_dies_in_the_middle_loses_its_place_and_nothing_else(own_world: World) -> None:
    world = own_world
    paths = run_of(world, 6)
    order_id = world.order("alice/run")
    world.fault("link", "kill", match="image_002")
    with world.running():
        world.wait_proven(order_id, 180)
    world.require_once(order_id, paths)
    tries = [unit.tries for unit in world.units(order_id)]
    assert tries[:2] == [1, 1]
    assert max(tries) <= 3


def test_what_fails_for_all_is_not_tried_on_all(own_world: World) -> None:
    world = own_world
    world.limits |= {"retry_base_seconds": 600, "retry_cap_seconds": 600}
    paths = run_of(world, 12)
    order_id = world.order("alice/run")
    world.fault("link", "fail", count=-1)
    with world.running():
        order = world.wait_reason(order_id, "import_failed", 180)
        assert (order.stage, order.condition) == (Stage.IMPORTING, Condition.WAITING)
        # Each failed import leaves remains: three in a row are enough to know.
        assert len(world.empty_filesets(order_id)) <= 8
        assert max(unit.tries for unit in world.units(order_id)) <= 3
        assert order.reason is not None
        assert "2 more units failed" in order.reason["detail"]
        (world.sandbox.data / "faults" / "link").unlink()
        world.retry(order_id)
        world.wait_proven(order_id, 180)
    world.require_once(order_id, paths)


def test_killed_in_the_middle_of_a_run(own_world: World) -> None:
    world = own_world
    paths = run_of(world, 8)
    order_id = world.order("alice/run")
    world.fault("checkTarget", "delay:30", match="image_004")
    kill_when(world, order_id, lambda _order: links(world, order_id, "alice/run/image_004.tif") > 1)
    assert {unit.state for unit in world.units(order_id)} == {"importing"}
    finish(world, order_id)
    world.require_once(order_id, paths)
    # Four were there already and are taken as they are.
    assert [unit.tries for unit in world.units(order_id)] == [1, 1, 1, 1, 2, 2, 2, 2]


def test_killed_while_omero_works_on_one_of_a_run(own_world: World) -> None:
    world = own_world
    paths = run_of(world, 5)
    order_id = world.order("alice/run")
    world.fault("step1", "delay:8", match="image_001")
    # The first image's, and the second's, which takes long.
    kill_when(world, order_id, lambda _order: said(world, order_id).count("IMPORT_STARTED") == 2)
    finish(world, order_id)
    world.require_once(order_id, paths)
    assert [unit.tries for unit in world.units(order_id)] == [1, 1, 2, 2, 2]


def test_a_refusal_that_nobody_was_told_is_told_and_not_tried_again(own_world: World) -> None:
    world = own_world
    paths = run_of(world, 4)
    order_id = world.order("alice/run")
    world.fault("step1", "fail", count=-1, match="image_000")
    # A plate-like set goes after the shared run, so that the bridge is killed between refusal and end.
    write_companion(world.buffer / "alice" / "run" / "z", planes=import_batches.LARGEST_SET + 1)
    age(world.buffer / "alice")
    with world.context.store.write() as session:
        session.query(OrderFile).filter(OrderFile.order_id == order_id).delete()
        world._put_files(session, order_id, world.manifest("alice/run"))
    world.fault("importFileset", "delay:20", match="companion")
    kill_when(world, order_id, lambda _order: any(unit.error for unit in world.units(order_id)))
    world.start_bridge()
    order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION, 180)
    world.stop_bridge()
    assert order.stage == Stage.IMPORTING
    assert len(world.empty_filesets(order_id)) == 1
    units = {unit.main_path: unit for unit in world.units(order_id)}
    assert units.pop("alice/run/image_000.tif").tries == 1
    assert {unit.state for unit in units.values()} == {"imported"}
    assert paths < set(world.files(order_id))


def test_a_set_that_omero_grouped_otherwise_is_never_adopted(own_world: World) -> None:
    world = own_world
    write_companion(world.buffer / "alice" / "stack")
    age(world.buffer / "alice")
    order_id = world.order("alice/stack")
    world.fault("importFileset", "delay:20")
    kill_when(world, order_id, lambda _order: any(unit.tries for unit in world.units(order_id)))
    # As if the examination had seen one plane less than the importer sees now.
    with world.context.store.write() as session:
        session.execute(
            update(OrderFile)
            .where(OrderFile.order_id == order_id, OrderFile.path == "alice/stack/plane_2.tif")
            .values(unit=None, status="left_out", rule="accepted by alice")
        )
    world.start_bridge()
    order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION, 180)
    world.stop_bridge()
    assert (order.stage, world.reason(order_id)) == (Stage.IMPORTING, "unit_differs")
    assert order.reason is not None
    assert "plane_2.tif" in order.reason["detail"]
    (unit,) = world.units(order_id)
    assert (unit.state, unit.fileset_id) == ("importing", None)  # it is in OMERO: no way back


def links(world: World, order_id: str, path: str) -> int:
    staged = world.staged(order_id, path)
    return staged.stat().st_nlink if staged.exists() else 0


def said(world: World, order_id: str) -> str:
    """What the newest run of the importer has said so far."""
    found: list[Path] = sorted((world.site.state_dir / "orders" / order_id).glob("*-import.log"))
    return found[-1].read_text(errors="replace") if found else ""
