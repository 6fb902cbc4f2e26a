"""What happens to a source between its seal and the pull, told per order and put right, all at one site."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from server_bridge.contract import Condition, ReceiptStatus, Stage
from server_bridge.orders.models import OrderFile
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_tiff

SECONDS = 300.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def touch(path: Path) -> None:
    os.utime(path, (1_000_000_000, 1_000_000_000))


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inner.txt").write_text("x")


def get_a_neighbour(path: Path) -> None:
    write_tiff(path.with_name("late.tif"))


FAULTS: dict[str, tuple[Callable[[Path], None], str, Condition]] = {
    "grows": (grow, "source_changed", Condition.WAITING),
    "shrinks": (shrink, "source_changed", Condition.WAITING),
    "touched": (touch, "source_changed", Condition.WAITING),
    "vanishes": (Path.unlink, "source_changed", Condition.WAITING),
    "neighbour": (get_a_neighbour, "source_changed", Condition.WAITING),
    "link": (become_a_link, "source_not_a_file", Condition.ATTENTION),
    "fifo": (become_a_fifo, "source_not_a_file", Condition.ATTENTION),
    "folder": (become_a_folder, "source_changed", Condition.WAITING),
}


def test_each_fault_is_told_by_its_own_reason_and_comes_over_when_put_right(world: World) -> None:
    orders = {}
    for name, (break_it, _, _) in FAULTS.items():
        file = write_tiff(world.buffer / "alice" / name / "a.tif")
        if name == "touched":
            # Where every time is off by the same amount, it is taken for a clock (`times_differ`).
            write_tiff(file.with_name("as it was.tif"))
        age(file.parent)
        orders[name] = world.order(f"alice/{name}")
        break_it(file)
    again = ("vanishes", "link", "folder")
    with world.running():
        for name, (_, code, condition) in FAULTS.items():
            order = world.wait_reason(orders[name], code, SECONDS)
            assert (order.stage, order.condition) == (Stage.ACCEPTED, condition), name
            assert order.sealed is (condition is Condition.ATTENTION), name
            assert order.reason is not None and order.reason["remedy"], name
            assert not world.staged(orders[name], f"alice/{name}/a.tif").exists(), name
        for name in again:
            gone = world.buffer / "alice" / name / "a.tif"
            if gone.is_dir():
                shutil.rmtree(gone)
            gone.unlink(missing_ok=True)
            write_tiff(gone, (20, 24))
            age(gone.parent)
            world.seal_again(orders[name])
        for name in again:
            world.wait_proven(orders[name], SECONDS)
    for name in again:
        world.require_once(orders[name], {f"alice/{name}/a.tif"})


def shift(world: World, order_id: str, change: Callable[[int], int]) -> None:
    """Let the workstation have seen other times."""
    with world.context.store.write() as session:
        for file in world.context.store.files(order_id):
            session.execute(
                update(OrderFile)
                .where(OrderFile.order_id == order_id, OrderFile.path == file.path)
                .values(mtime_ns=change(file.mtime_ns))
            )


def test_rounded_times_are_the_same_and_a_shifted_clock_is_named(world: World) -> None:
    views: dict[str, Callable[[int], int]] = {
        "seconds": lambda ns: ns // 10**9 * 10**9,
        "hundreds": lambda ns: ns // 100 * 100,
        "fat": lambda ns: -(-ns // (2 * 10**9)) * 2 * 10**9,
    }
    orders = {}
    for name, view in views.items():
        file = write_tiff(world.buffer / "alice" / name / "a.tif")
        os.utime(file, ns=(1_700_000_001_987_654_321, 1_700_000_001_987_654_321))
        orders[name] = world.order(f"alice/{name}")
        shift(world, orders[name], view)
    write_tiff(world.buffer / "alice/zone/a.tif")
    age(world.buffer / "alice/zone")
    zone = world.order("alice/zone")
    shift(world, zone, lambda ns: ns - 2 * 3600 * 10**9)
    with world.running():
        for order_id in orders.values():
            world.wait_proven(order_id, SECONDS)
        order = world.wait(zone, lambda order: order.condition == Condition.ATTENTION)
        assert (order.stage, world.reason(zone)) == (Stage.ACCEPTED, "times_differ")
        assert order.reason is not None and re.search(r"\+(7199|7200|7201) s", order.reason["detail"])
        world.seal_again(zone)
        world.wait_proven(zone)
    # Kept as the workstation saw it: whoever deletes there compares with her own view.
    kept = {name: world.files(one)[f"alice/{name}/a.tif"].mtime_ns for name, one in orders.items()}
    assert kept["fat"] == 1_700_000_002 * 10**9


def test_other_bytes_of_the_same_size_and_time_cannot_be_seen_and_are_not_mixed(world: World) -> None:
    """Said in docs/unproven.md. What OMERO gets is what was read, as a whole, and its receipt says which."""
    path = world.buffer / "alice/same/a.tif"
    write_tiff(path)
    age(path.parent)
    order_id = world.order("alice/same")
    pulled = path.read_bytes()
    with world.running() as running:
        lanes = running._dispatcher._lanes
        held = lanes.pop("import")
        world.wait_stage(order_id, Stage.VERIFYING)
        before = path.stat()
        path.write_bytes(pulled[:-1] + bytes([pulled[-1] ^ 1]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        lanes["import"] = held
        running._dispatcher.wake()
        world.wait_proven(order_id)
    (one,) = world.in_omero(order_id)
    assert one["managed"].read_bytes() == pulled != path.read_bytes()
    file = world.files(order_id)["alice/same/a.tif"]
    assert (file.status, file.sha1) == (ReceiptStatus.PROVEN, one["hash"])
