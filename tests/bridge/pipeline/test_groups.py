"""A group among its neighbours, from accepted to gone from the buffer: exactly its files, and no other.

The primary file is a companion OME-XML; its planes lie in the folder ``_name_`` beside it, as slide scanners
write it. Other slides, runs and notes of the same person lie in the same folder.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from agent.core import freeing
from server_bridge.contract import Condition, Stage, WorkstationShare
from server_bridge.errors import Conflict
from server_bridge.operations.release_formats import folders_of
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import utcnow
from server_bridge.orders.overlap import Place
from server_bridge.orders.places import require_free
from server_bridge.processes.runner import ProcessRunner
from server_bridge.retention.freed import record_freed
from server_bridge.retention.reconcile import sight
from server_bridge.retention.release import recheck
from server_bridge.retention.releaser import Releaser
from tests.agent.conftest import workstation_share
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.world import MARKER, SHARE, World, age
from tests.bridge.sandbox.conftest import write_companion, write_tiff

pytestmark = pytest.mark.slow


def members_of(name: str) -> tuple[str, ...]:
    return (f"{name}.companion.ome", f"_{name}_")


def path_of(name: str) -> str:
    return f"alice/{name}.companion.ome"


def files_of(name: str) -> set[str]:
    return {path_of(name), *(f"alice/_{name}_/plane_{z}.tif" for z in range(3))}


def write_slides(world: World, *names: str) -> None:
    """Slides among neighbours that an order must not see."""
    folder = world.buffer / "alice"
    for name in names:
        write_companion(folder, name=name, parts=f"_{name}_")
    write_tiff(folder / "single.tif")
    write_tiff(folder / "run1" / "a.tif")
    (folder / "notes.txt").write_text("42 nm")
    age(folder)


def order(world: World, name: str) -> str:
    return world.order(path_of(name), members=members_of(name))


def on_buffer(world: World) -> set[str]:
    return {one.relative_to(world.buffer).as_posix() for one in world.buffer.rglob("*") if one.is_file()}


def share_at_agent() -> WorkstationShare:
    return workstation_share().model_copy(update={"id": SHARE, "marker": MARKER})


def test_two_groups_of_one_folder_come_to_omero_at_once_and_go_without_their_neighbours(
    make_world: MakeWorld, sandbox: RunningSandbox
) -> None:
    world = make_world(sandbox, share={"hold_days": 0})
    write_slides(world, "one", "two", "three")
    before = on_buffer(world)
    orders = {name: order(world, name) for name in ("one", "two")}
    with world.running():
        for order_id in orders.values():
            world.wait_proven(order_id)
    for name, order_id in orders.items():
        world.require_once(order_id, files_of(name))
        assert [unit.main_path for unit in world.units(order_id)] == [path_of(name)]
        staged = world.context.site.staging_dir / SHARE / order_id
        there = {one.relative_to(staged).as_posix() for one in staged.rglob("*") if one.is_file()}
        assert there == files_of(name)
    assert on_buffer(world) == before

    # The agent frees what the bridge releases: the folder of the parts goes, the shared one stays.
    order_id = orders["one"]
    release = recheck(world.context, order_id)
    assert release.released and {file.path for file in release.files} == files_of("one")
    assert folders_of(release) == ["alice/_one_"]
    place = freeing.Place(release.path, release.members)
    done = freeing.free(release, share_at_agent(), world.buffer, place, utcnow, lambda _freed: None)
    assert set(done.paths) == files_of("one") and not done.skipped
    assert on_buffer(world) == before - files_of("one")
    assert not (world.buffer / "alice" / "_one_").exists()

    # Neighbours that are still there are no reason to keep the staged names.
    record_freed(world.context, order_id, done.report(), "agent")
    seen = sight(world.context, world.look(order_id), utcnow(), ProcessRunner())
    assert seen is not None and seen.present == frozenset()
    releaser = Releaser(world.context, apart=timedelta(0))
    moment = utcnow()
    for _ in range(3):
        moment += timedelta(hours=2)
        releaser.tick(moment)
    assert world.look(order_id).stage == Stage.RETIRED
    assert world.look(orders["two"]).stage == Stage.RELEASED
    assert on_buffer(world) == before - files_of("one")


def test_a_group_in_the_shares_top_is_a_series_among_other_files(world: World) -> None:
    for number in range(3):
        write_tiff(world.buffer / f"run1_t{number}.tif")
    write_tiff(world.buffer / "run2_t0.tif")
    age(world.buffer)
    order_id = world.order("run1_t*.tif", members=("run1_t*.tif",))
    with world.running():
        world.wait_proven(order_id)
    world.require_once(order_id, {f"run1_t{number}.tif" for number in range(3)})


def come(folder: Path) -> None:
    write_tiff(folder / "late.tif")
    write_companion(folder, name="late", parts="_late_")


def go(folder: Path) -> None:
    (folder / "single.tif").unlink()
    shutil.rmtree(folder / "run1")


def grow(folder: Path) -> None:
    with (folder / "notes.txt").open("a") as stream:
        stream.write("more")


def become_odd(folder: Path) -> None:
    (folder / "lead").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    (folder / "run1").chmod(0)


def after_the_pull(world: World, code: str) -> str:
    """A stand-in for rsync that does something to the buffer once the data was pulled, and only once."""
    program, done = world.top / "rsync", world.top / "done"
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, shutil, subprocess, sys\n"
        "code = subprocess.call(['rsync', *sys.argv[1:]])\n"
        f"folder, done = pathlib.Path({str(world.buffer / 'alice')!r}), pathlib.Path({str(done)!r})\n"
        "if any('checksum-choice' in word for word in sys.argv) and not done.exists():\n"
        "    done.touch()\n"
        f"    {code}\n"
        "sys.exit(code)\n"
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("happens", [come, go, grow, become_odd])
def test_what_happens_to_neighbours_after_the_seal_sends_nothing_back(
    world: World, happens: Callable[[Path], None]
) -> None:
    write_slides(world, "one")
    order_id = order(world, "one")
    happens(world.buffer / "alice")
    try:
        with world.running():
            world.wait_proven(order_id)
    finally:
        (world.buffer / "alice").mkdir(exist_ok=True)
        if (world.buffer / "alice" / "run1").exists():
            (world.buffer / "alice" / "run1").chmod(0o755)
    world.require_once(order_id, files_of("one"))
    assert "source_changed" not in world.story(order_id)


def test_neighbours_that_come_and_go_between_pull_and_import_send_nothing_back(world: World) -> None:
    write_slides(world, "one")
    world.rsync = after_the_pull(
        world, "(folder / 'single.tif').unlink(); shutil.copytree(folder / 'run1', folder / 'run2')"
    )
    order_id = order(world, "one")
    with world.running():
        world.wait_proven(order_id)
    world.require_once(order_id, files_of("one"))
    assert "source_changed" not in world.story(order_id)
    assert (world.buffer / "alice" / "run2" / "a.tif").exists()


@pytest.mark.parametrize(
    ("code", "late"),
    [
        ("shutil.copy(folder / 'single.tif', folder / '_one_' / 'late.tif')", "alice/_one_/late.tif"),
        ("shutil.copy(folder / 'single.tif', folder / 'one_late.tif')", "alice/one_late.tif"),
    ],
)
def test_a_new_member_after_the_pull_sends_the_order_back_and_comes_with_the_next_seal(
    world: World, code: str, late: str
) -> None:
    write_slides(world, "one")
    world.rsync = after_the_pull(world, code)
    order_id = world.order(path_of("one"), members=(*members_of("one"), "one_*.tif"))
    with world.running():
        back = world.wait_reason(order_id, "source_changed")
        assert (back.stage, back.condition, back.sealed) == (Stage.ACCEPTED, Condition.WAITING, False)
        assert back.reason is not None and late in back.reason["detail"]
        world.seal_again(order_id)
        world.wait_proven(order_id)
    world.require_once(order_id, files_of("one") | {late})


def test_a_group_whose_members_all_went_asks_and_its_neighbours_do_not_count_as_its_data(
    world: World,
) -> None:
    write_slides(world, "one")
    order_id = order(world, "one")
    for path in files_of("one"):
        (world.buffer / path).unlink()
    (world.buffer / "alice" / "_one_").rmdir()
    with world.running():
        world.wait_reason(order_id, "source_missing")
    assert world.files(order_id).keys() == files_of("one")


def test_an_order_of_the_whole_folder_waits_for_its_groups(world: World) -> None:
    write_slides(world, "one", "two")
    order(world, "one")
    staff = Caller(username="staff", is_staff=True)
    with world.context.store.read() as session:
        require_free(session, "", SHARE, Place(path_of("two"), members_of("two")), staff)
        for place in (Place("alice"), Place("alice/_one_"), Place("alice/o*", ("o*",))):
            with pytest.raises(Conflict):
                require_free(session, "", SHARE, place, staff)
