"""The bridge's own disks: full, too small for two, read-only, not mounted, another mount than OMERO's.

The bridge lives in a mount namespace of its own, in which its staging is a small disk. OMERO is outside, so
a disk of staging's own is always another mount than ManagedRepository: an order gets as far as the last look
before its import, and no further.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_bridge.contract import Condition, Stage
from tests.bridge import namespaces
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.namespaces import Namespace
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.test_network import PATIENCE, SIDE, SLOW, big
from tests.bridge.pipeline.world import World, age
from tests.bridge.rsyncd import wait_until
from tests.bridge.sandbox.conftest import write_tiff
from tests.loopback.processes import freeze

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not namespaces.are_possible(), reason="no unprivileged namespaces on this machine"),
]


@pytest.fixture
def place() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture
def world(make_world: MakeWorld, sandbox: RunningSandbox) -> World:
    return make_world(
        sandbox,
        daemon={"arguments": SLOW},
        share={"pulls": 2, "stall_seconds": 600},
        limits={"keep_free_bytes": 1 << 20},
    )


def mount(place: Namespace, where: Path, options: str) -> None:
    place.root("mount", "-t", "tmpfs", "-o", options, "small", where)


def remount(place: Namespace, where: Path, options: str) -> None:
    # With its source named: else mount(8) repeats the options it reads, with user ids that are none in here.
    place.root("mount", "-o", f"remount,{options}", "small", where)


def lying_in(place: Namespace, world: World, order_id: str) -> dict[str, int]:
    """Name → bytes of every file in the order's staging, as the bridge sees it."""
    top = place.inside(world.staged(order_id, ""))
    found: dict[str, int] = {}
    for path in top.rglob("*"):
        try:
            if path.is_file():
                found[path.relative_to(top).as_posix()] = path.stat().st_size
        except FileNotFoundError:
            continue  # renamed by rsync while we looked
    return found


def in_the_middle(place: Namespace, world: World, order_id: str) -> None:
    wait_until(
        lambda: sum(lying_in(place, world, order_id).values()) > 1_000_000,
        f"the pull is under way: {world.story(order_id)}",
        seconds=90,
    )


def wait_staged(place: Namespace, world: World, order_id: str, path: str) -> None:
    """The order stands before its import, which no hard link can bring about; its file is whole."""
    order = world.wait_reason(order_id, "not_one_mount")
    assert (order.stage, order.condition) == (Stage.VERIFYING, Condition.WAITING)
    assert lying_in(place, world, order_id) == {path: (world.buffer / path).stat().st_size}
    assert world.files(order_id)[path].sha1


def test_a_disk_without_room_is_waited_for_and_says_how_much_is_missing(
    world: World, place: Namespace
) -> None:
    mount(place, world.site.staging_dir, "size=4m")
    path = big(world)
    order_id = world.order(path)
    world.start_bridge(place.prefix())
    order = world.wait_reason(order_id, "staging_full")
    assert (order.stage, order.condition) == (Stage.PULLING, Condition.WAITING)
    assert order.reason is not None
    assert f"{(world.buffer / path).stat().st_size:,} bytes are to come" in order.reason["detail"]
    assert "bytes are missing" in order.reason["detail"]
    assert lying_in(place, world, order_id) == {}
    remount(place, world.site.staging_dir, "size=16m")
    wait_staged(place, world, order_id, path)
    # A fault of the site: however often it is tried, it waits, and nothing of it comes to OMERO.
    tries = world.look(order_id).attempt
    world.wait(order_id, lambda order: order.attempt >= tries + 4)
    assert world.look(order_id).condition != Condition.ATTENTION
    assert world.in_omero(order_id) == []


def test_two_orders_never_start_on_the_same_room(world: World, place: Namespace) -> None:
    mount(place, world.site.staging_dir, "size=9m")
    first, second = big(world, "first.tif"), big(world, "second.tif")
    assert 2 * SIDE * SIDE > 9 * 2**20, "both do not fit"
    one = world.order(first)
    world.start_bridge(place.prefix())
    in_the_middle(place, world, one)
    # The first stands still in the middle for as long as it takes the second to ask.
    serving = world.rsyncd.transfers()
    for pid in serving:
        freeze(pid)
    try:
        two = world.order(second)
        order = world.wait_reason(two, "staging_full")
        assert world.look(one).condition == Condition.RUNNING
    finally:
        for pid in serving:
            os.kill(pid, signal.SIGCONT)
    assert order.reason is not None
    assert "for pulls that run already" in order.reason["detail"], order.reason
    wait_staged(place, world, one, first)
    assert "No space left" not in world.story(one) + world.story(two)
    assert lying_in(place, world, two) == {}
    remount(place, world.site.staging_dir, "size=32m")
    wait_staged(place, world, two, second)


def test_a_disk_that_fills_up_in_the_middle_gets_its_room_back(world: World, place: Namespace) -> None:
    mount(place, world.site.staging_dir, "size=9m")
    path = big(world)
    order_id = world.order(path)
    world.start_bridge(place.prefix())
    in_the_middle(place, world, order_id)
    stranger = place.inside(world.site.staging_dir) / "somebody-elses"
    with pytest.raises(OSError, match="No space left"):
        stranger.write_bytes(bytes(16 << 20))
    order = world.wait_reason(order_id, "staging_full")
    assert (order.stage, order.condition) == (Stage.PULLING, Condition.WAITING)
    wait_until(lambda: lying_in(place, world, order_id) == {}, "half a file goes first", seconds=60)
    stranger.unlink()
    wait_staged(place, world, order_id, path)


def test_a_disk_without_room_for_names_is_full_though_it_has_bytes(world: World, place: Namespace) -> None:
    mount(place, world.site.staging_dir, "size=64m,nr_inodes=30")
    for number in range(40):
        write_tiff(world.buffer / "alice" / "many" / f"{number}.tif")
    age(world.buffer / "alice")
    order_id = world.order("alice/many")
    world.start_bridge(place.prefix())
    order = world.wait_reason(order_id, "staging_full")
    assert order.reason is not None
    assert "40 files are to come" in order.reason["detail"]
    assert "names" in order.reason["detail"]
    remount(place, world.site.staging_dir, "nr_inodes=1000")
    world.wait_reason(order_id, "not_one_mount")
    assert len(lying_in(place, world, order_id)) == 40


def test_a_read_only_disk_is_waited_for(world: World, place: Namespace) -> None:
    mount(place, world.site.staging_dir, "size=32m")
    world.start_bridge(place.prefix())
    remount(place, world.site.staging_dir, "ro")
    path = big(world)
    order_id = world.order(path)
    order = world.wait_reason(order_id, "staging_read_only")
    assert (order.stage, order.condition) == (Stage.PULLING, Condition.WAITING)
    tries = order.attempt
    world.wait(order_id, lambda order: order.attempt >= tries + 4)
    assert world.look(order_id).condition != Condition.ATTENTION
    remount(place, world.site.staging_dir, "rw")
    wait_staged(place, world, order_id, path)


def test_a_disk_that_is_unmounted_is_an_outage_and_its_mount_point_stays_empty(
    world: World, place: Namespace, tmp_path: Path
) -> None:
    disk, staging = tmp_path / "disk", world.site.staging_dir
    disk.mkdir()
    mount(place, disk, "size=32m")
    place.root("mount", "--bind", disk, staging)
    kept, pulled = big(world, "kept.tif"), big(world, "pulled.tif")
    done = world.order(kept)
    world.start_bridge(place.prefix())
    wait_staged(place, world, done, kept)
    order_id = world.order(pulled)
    in_the_middle(place, world, order_id)
    place.root("umount", "--lazy", staging)
    order = world.wait_reason(order_id, "staging_away")
    assert (order.stage, order.condition) == (Stage.PULLING, Condition.WAITING)
    assert order.reason is not None and "not mounted" in order.reason["detail"]
    # The other order's files are neither lost nor to be pulled again: they are not in sight, that is all.
    order = world.wait_reason(done, "staging_away")
    assert (order.stage, order.condition) == (Stage.VERIFYING, Condition.WAITING)
    assert world.files(done)[kept].sha1
    tries = world.look(order_id).attempt
    world.wait(order_id, lambda order: order.attempt >= tries + 3)
    assert list(staging.iterdir()) == [], "nothing was written onto the disk below"
    place.root("mount", "--bind", disk, staging)
    wait_staged(place, world, order_id, pulled)
    wait_staged(place, world, done, kept)


def test_a_full_disk_of_the_bridges_own_data_is_waited_for(world: World, place: Namespace) -> None:
    """Lists and output have no room. Here staging and ManagedRepository are one mount: it comes to the
    proof."""
    work = world.site.state_dir / "orders"
    work.mkdir()
    mount(place, work, "size=64k")
    filler = place.inside(work) / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(1 << 20))
    path = big(world)
    order_id = world.order(path)
    world.start_bridge(place.prefix())
    order = world.wait_reason(order_id, "disk_full")
    assert order.condition == Condition.WAITING
    filler.unlink()
    world.wait_proven(order_id, PATIENCE)
    world.require_once(order_id, {path})
