"""The buffer copy is removed before the import: staging is kept and somebody decides."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest

from server_bridge.contract import Condition, Stage
from server_bridge.errors import Conflict
from server_bridge.operations.source_gone import accept
from server_bridge.pipeline.service import Service
from server_bridge.pipeline.steps import source_gone
from tests.bridge.pipeline.world import MARKER, World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two looks are a moment apart."""
    monkeypatch.setattr(source_gone, "LOOKS_APART", timedelta(seconds=0.2))


def run_folder(world: World) -> str:
    run = world.buffer / "alice" / "run"
    write_tiff(run / "a.tif")
    write_tiff(run / "b.tif")
    age(run)
    return world.order("alice/run")


def stop_before_import(world: World, running: Service, order_id: str) -> object:
    """Everything is pulled and imports wait."""
    held = running._dispatcher._lanes.pop("import")
    world.wait_stage(order_id, Stage.VERIFYING)
    return held


def test_a_folder_removed_after_the_pull_stops_and_goes_on_by_staffs_word(world: World) -> None:
    order_id = run_folder(world)
    content = (world.buffer / "alice" / "run" / "a.tif").read_bytes()
    with world.running() as running:
        held = stop_before_import(world, running, order_id)
        shutil.rmtree(world.buffer / "alice" / "run")
        running._dispatcher._lanes["import"] = held
        running._dispatcher.wake()
        order = world.wait_reason(order_id, "source_gone")
        assert (order.stage, order.condition, order.sealed) == (Stage.VERIFYING, Condition.ATTENTION, True)
        assert "All 2 files of the order are staged" in str((order.reason or {})["detail"])
        assert "accept-source-gone" in str((order.reason or {})["remedy"])
        assert "source_going" in world.story(order_id)
        world.retry(order_id)
        order = world.wait(
            order_id,
            lambda one: one.attempt > order.attempt + 1 and one.condition == Condition.ATTENTION,
        )
        assert world.in_omero(order_id) == []
        accept(world.context.store, order_id, "operator", "the disk of the microscope died")
        world.wait_proven(order_id)
    assert world.staged(order_id, "alice/run/a.tif").read_bytes() == content
    assert {one["path"] for one in world.in_omero(order_id)} == {"alice/run/a.tif", "alice/run/b.tif"}
    with pytest.raises(Conflict):
        accept(world.context.store, order_id, "operator", "again")


def test_one_file_removed_is_named_and_its_return_lets_the_order_go_on(world: World) -> None:
    order_id = run_folder(world)
    gone = world.buffer / "alice" / "run" / "b.tif"
    with world.running() as running:
        held = stop_before_import(world, running, order_id)
        away = world.top / "moved-away.tif"
        gone.rename(away)
        running._dispatcher._lanes["import"] = held
        running._dispatcher.wake()
        order = world.wait_reason(order_id, "source_gone")
        assert "'alice/run/b.tif' are not on the share" in str((order.reason or {})["detail"])
        away.rename(gone)
        world.retry(order_id)
        world.wait_proven(order_id)
    world.require_once(order_id, {"alice/run/a.tif", "alice/run/b.tif"})


def test_an_unmounted_share_is_an_outage_and_never_a_removal(world: World) -> None:
    order_id = run_folder(world)
    buffer, away = world.buffer, world.top / "unmounted"
    with world.running() as running:
        held = stop_before_import(world, running, order_id)
        shutil.copytree(buffer, away)
        for one in buffer.iterdir():
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        running._dispatcher._lanes["import"] = held
        running._dispatcher.wake()
        order = world.wait_reason(order_id, "share_marker_missing")
        tries = order.attempt
        order = world.wait(order_id, lambda one: one.attempt >= tries + 2)
        assert order.condition != Condition.ATTENTION
        shutil.copytree(away, buffer, dirs_exist_ok=True)
        assert (buffer / MARKER).exists()
        world.wait_proven(order_id)
    world.require_once(order_id, {"alice/run/a.tif", "alice/run/b.tif"})


def test_a_removal_while_files_are_missing_in_staging_says_which_are_lost(world: World) -> None:
    order_id = run_folder(world)
    with world.running() as running:
        held = stop_before_import(world, running, order_id)
        # One staged file is damaged, and its source is removed before it can be pulled again.
        staged = world.staged(order_id, "alice/run/b.tif")
        staged.unlink()
        (world.buffer / "alice" / "run" / "b.tif").unlink()
        running._dispatcher._lanes["import"] = held
        running._dispatcher.wake()
        order = world.wait_reason(order_id, "source_gone")
        detail = str((order.reason or {})["detail"])
        assert "1 of 2 files are staged; lost: 'alice/run/b.tif'." in detail
        accept(world.context.store, order_id, "operator", "try")
        order = world.wait(
            order_id, lambda one: one.attempt > order.attempt and one.condition == Condition.ATTENTION
        )
        assert world.reason(order_id) == "source_gone"
    assert world.staged(order_id, "alice/run/a.tif").exists()
    assert world.in_omero(order_id) == []
