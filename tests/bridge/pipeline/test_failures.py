"""What goes wrong on the way, and what must be true of the order afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from server_bridge.contract import Condition, ReceiptStatus, Stage
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = pytest.mark.slow


def cell(world: World, name: str = "cell.tif") -> str:
    write_tiff(world.buffer / "alice" / name)
    age(world.buffer / "alice")
    return f"alice/{name}"


def flip_a_bit(path: Path) -> None:
    """Change one bit in place, with size, mtime and inode as they were."""
    before = path.stat()
    path.chmod(0o660)
    with path.open("r+b") as stream:
        stream.seek(before.st_size - 1)
        last = stream.read(1)[0]
        stream.seek(before.st_size - 1)
        stream.write(bytes([last ^ 1]))
    path.chmod(0o440)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_source_that_grew_since_it_was_sealed_waits_for_its_agent(world: World) -> None:
    path = cell(world)
    order_id = world.order(path)
    with (world.buffer / path).open("ab") as stream:
        stream.write(b"more")
    with world.running():
        order = world.wait_reason(order_id, "source_changed")
        assert (order.stage, order.condition, order.sealed) == (Stage.ACCEPTED, Condition.WAITING, False)
        assert not world.staged(order_id, path).exists()
        world.seal_again(order_id)
        world.wait_proven(order_id)
    world.require_once(order_id, {path})


def test_a_source_that_changes_after_the_pull_is_not_imported(world: World) -> None:
    path = cell(world)
    order_id = world.order(path)
    # Imports wait for a free slot: none, until the source has changed.
    with world.running() as running:
        lanes = running._dispatcher._lanes
        held = lanes.pop("import")
        world.wait_stage(order_id, Stage.VERIFYING)
        write_tiff(world.buffer / path, (30, 30))
        lanes["import"] = held
        running._dispatcher.wake()
        order = world.wait_reason(order_id, "source_changed")
        assert (order.stage, order.sealed) == (Stage.ACCEPTED, False)
        assert world.in_omero(order_id) == []
        world.seal_again(order_id)
        world.wait_proven(order_id)
    world.require_once(order_id, {path})


def test_a_bit_that_flips_in_staging_before_the_import_is_never_proven(world: World) -> None:
    path = cell(world, "flip.tif")
    order_id = world.order(path)
    world.fault("scan", "delay:2", match="flip.tif")
    with world.running():
        world.wait_stage(order_id, Stage.IMPORTING)
        flip_a_bit(world.staged(order_id, path))
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION)
    assert world.reason(order_id) == "hash_differs"
    assert order.stage == Stage.PROVING
    assert order.proven_at is None
    assert world.files(order_id)[path].status == ReceiptStatus.PENDING


def test_an_import_whose_checksum_is_refused_is_cleaned_up_and_made_once(own_world: World) -> None:
    path = cell(own_world)
    order_id = own_world.order(path)
    own_world.fault("hash", "wrong_hash")
    with own_world.running():
        own_world.wait_proven(order_id)
    own_world.require_once(order_id, {path})
    assert "was removed from OMERO" in own_world.story(order_id)


def test_an_import_that_omero_refuses_asks_somebody_and_is_not_repeated_blindly(own_world: World) -> None:
    path = cell(own_world)
    order_id = own_world.order(path)
    own_world.fault("step1", "fail", count=-1)
    with own_world.running():
        order = own_world.wait(order_id, lambda order: order.condition == Condition.ATTENTION)
    assert order.stage == Stage.IMPORTING
    assert order.reason is not None
    assert order.reason["contact"] == "the platform staff"
    assert len({one["fileset"] for one in own_world.in_omero(order_id)}) == 1
    assert own_world.units(order_id)[0].tries == 1


def test_an_order_waits_while_omero_is_down_and_goes_on_by_itself(own_world: World) -> None:
    path = cell(own_world)
    order_id = own_world.order(path)
    own_world.sandbox.stop()
    with own_world.running():
        order = own_world.wait_reason(order_id, "omero_away")
        assert (order.stage, order.condition) == (Stage.VERIFYING, Condition.WAITING)
        # An outage waits for as long as it takes: it never becomes somebody's task.
        tries = order.attempt
        order = own_world.wait(order_id, lambda order: order.attempt >= tries + 4)
        assert order.condition != Condition.ATTENTION
        own_world.sandbox.start()
        own_world.wait_proven(order_id)
    own_world.require_once(order_id, {path})


def test_a_share_without_its_marker_is_an_outage_and_never_an_empty_folder(world: World) -> None:
    path = cell(world)
    order_id = world.order(path)
    marker = world.buffer / ".omero-ferry-share"
    marker.unlink()
    with world.running():
        order = world.wait_reason(order_id, "share_marker_missing")
        assert (order.condition, order.sealed) == (Condition.WAITING, True)
        marker.touch()
        world.wait_proven(order_id)
    world.require_once(order_id, {path})


def test_an_unreadable_file_is_named_and_asks_somebody(world: World) -> None:
    path = cell(world)
    order_id = world.order(path)
    (world.buffer / path).chmod(0)
    with world.running():
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION)
        assert order.stage == Stage.PULLING
        assert world.reason(order_id) == "source_unreadable"
        assert order.reason is not None
        assert "cell.tif" in order.reason["detail"]
        (world.buffer / path).chmod(0o644)
        world.retry(order_id)
        world.wait_proven(order_id)
    world.require_once(order_id, {path})


def test_a_cancel_ends_the_running_pull(world: World) -> None:
    path = cell(world)
    order_id = world.order(path)
    world.rsyncd.sigstop()
    with world.running() as running:
        world.wait(order_id, lambda order: order.condition == Condition.RUNNING)
        world.cancel(order_id)
        world.wait(order_id, lambda _order: not running._live.keys(), seconds=20)
        assert str(world.staged(order_id, "")) not in _processes()
    order = world.look(order_id)
    assert (order.stage, order.condition) == (Stage.CANCELLED, Condition.QUEUED)


def _processes() -> str:
    done = subprocess.run(
        ["ps", "-u", str(os.getuid()), "-o", "args"], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_stopping_the_bridge_leaves_a_running_order_queued(world: World) -> None:
    path = cell(world)
    order_id = world.order(path)
    world.rsyncd.sigstop()
    with world.running():
        world.wait(order_id, lambda order: order.condition == Condition.RUNNING)
    assert world.look(order_id).condition == Condition.QUEUED
    world.rsyncd.sigcont()
    with world.running():
        world.wait_proven(order_id)
    world.require_once(order_id, {path})
