"""From proven to released to retired, on real files with a real OMERO protocol behind it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta

import pytest

from server_bridge.contract import Condition, FreedReport, Stage
from server_bridge.errors import Conflict, Unavailable
from server_bridge.operations.release_list import released
from server_bridge.orders.models import utcnow
from server_bridge.retention.freed import record_freed
from server_bridge.retention.release import recheck
from server_bridge.retention.releaser import Releaser
from tests.bridge.conftest_sandbox import RunningSandbox, StartSandbox
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.world import SHARE, World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = pytest.mark.slow

HOLD = {"hold_days": 1}


@pytest.fixture
def held(make_world: MakeWorld, sandbox: RunningSandbox) -> World:
    """A site that keeps data a day, so that a proven order stays proven."""
    return make_world(sandbox, share=HOLD)


def prove(world: World) -> str:
    """An order of two images and a junk file, proven."""
    run = world.buffer / "alice" / "run"
    write_tiff(run / "a.tif")
    write_tiff(run / "b.tif")
    (run / "Thumbs.db").write_bytes(b"junk")
    age(run)
    order_id = world.order("alice/run")
    with world.running():
        world.wait_proven(order_id)
    return order_id


def backdate(world: World, order_id: str, days: float) -> None:
    """Let the proof be older than it is."""
    with world.context.store.write() as session:
        order = world.context.store.get(session, order_id)
        assert order.proven_at is not None
        order.proven_at -= timedelta(days=days)


def test_a_release_lists_every_covered_file_as_the_workstation_saw_it(held: World) -> None:
    order_id = prove(held)
    refused = recheck(held.context, order_id)
    assert refused.reason is not None
    assert (refused.released, refused.reason.code, refused.files) == (False, "hold", ())
    backdate(held, order_id, 2)
    answer = recheck(held.context, order_id)
    assert answer.released
    assert {file.path: (file.size_bytes, file.mtime_ns) for file in answer.files} == held.manifest(
        "alice/run"
    )
    assert answer.valid_until is not None
    assert answer.valid_until > answer.checked_at
    assert held.look(order_id).stage == Stage.RELEASED

    # A staged name that is a copy, not the link, takes the release back and asks somebody.
    staged = held.staged(order_id, "alice/run/a.tif")
    copy = staged.with_name("copy")
    shutil.copy2(staged, copy)
    copy.replace(staged)
    answer = recheck(held.context, order_id)
    assert answer.reason is not None
    assert (answer.released, answer.reason.code, answer.files) == (False, "proof_lost", ())
    with held.running():
        order = held.wait_reason(order_id, "inode_differs")
    assert (order.stage, order.condition) == (Stage.PROVING, Condition.ATTENTION)
    assert not recheck(held.context, order_id).released


def test_data_deleted_in_omero_is_neither_released_nor_imported_again(held: World) -> None:
    order_id = prove(held)
    backdate(held, order_id, 2)
    fileset = held.in_omero(order_id)[0]["fileset"]
    order = held.look(order_id)
    with held.context.omero.as_person("alice", order.target["group_id"]) as session:
        session.delete("Fileset", fileset, order.target["group_id"], doing="deleting in a test")
    answer = recheck(held.context, order_id)
    assert answer.reason is not None
    assert (answer.released, answer.reason.code) == (False, "proof_lost")
    with held.running():
        held.wait_reason(order_id, "gone_in_omero")  # what comes then: test_deleted_in_omero.py
    assert not recheck(held.context, order_id).released
    assert len(held.in_omero(order_id)) == 1


def test_nothing_is_released_while_omero_does_not_answer(
    make_world: MakeWorld, start_sandbox: StartSandbox, tmp_path: object
) -> None:
    from pathlib import Path

    world = make_world(start_sandbox(Path(str(tmp_path)) / "omero" / "data"), share=HOLD)
    order_id = prove(world)
    backdate(world, order_id, 2)
    world.sandbox.stop()
    with pytest.raises(Unavailable):
        recheck(world.context, order_id)
    assert world.look(order_id).stage == Stage.PROVEN


def test_freed_data_is_reconciled_after_two_listings_and_retired(held: World) -> None:
    order_id = prove(held)
    report = FreedReport(paths=tuple(held.manifest("alice/run")))
    with pytest.raises(Conflict):
        record_freed(held.context, order_id, report, "storage")
    backdate(held, order_id, 2)
    release = recheck(held.context, order_id)
    managed = [one["managed"] for one in held.in_omero(order_id)]

    run = held.buffer / "alice" / "run"
    (run / "a.tif").unlink()
    (run / "Thumbs.db").unlink()
    some = FreedReport(paths=("alice/run/a.tif", "alice/run/Thumbs.db", "alice/run/unknown"))
    freed = record_freed(held.context, order_id, some, "storage")
    assert (freed.remaining_files, freed.freed_bytes) == (
        1,
        sum(file.size_bytes for file in release.files if not file.path.endswith("b.tif")),
    )
    assert record_freed(held.context, order_id, some, "storage").freed_bytes == 0
    shutil.rmtree(run)
    record_freed(held.context, order_id, FreedReport(paths=("alice/run/b.tif",)), "storage")

    releaser = Releaser(held.context, apart=timedelta(seconds=1))
    marker = held.buffer / ".omero-ferry-share"
    marker.unlink()  # an unmounted share: nothing may be concluded from what it does not show
    now = utcnow()
    for minute in range(5):
        releaser.tick(now + timedelta(minutes=2 * minute))
    assert held.staged(order_id, "alice/run/a.tif").exists()
    marker.touch()
    ticks = _ticks(releaser, now + timedelta(hours=1))
    next(ticks)
    assert held.staged(order_id, "alice/run/a.tif").exists()
    next(ticks)
    assert not held.staged(order_id, "alice/run/a.tif").exists()
    assert not held.staged(order_id, "alice/run/b.tif").exists()
    # Not in OMERO, so the staged copy is the last one.
    assert held.staged(order_id, "alice/run/Thumbs.db").exists()
    assert all(path.is_file() for path in managed)
    assert held.look(order_id).stage == Stage.RETIRED


def test_a_report_of_freed_files_is_followed_at_once(held: World) -> None:
    order_id = prove(held)
    backdate(held, order_id, 2)
    releaser = Releaser(held.context, apart=timedelta(seconds=1))
    now = utcnow()
    releaser.tick(now)
    assert held.look(order_id).stage == Stage.RELEASED
    paths = tuple(held.manifest("alice/run"))
    shutil.rmtree(held.buffer / "alice" / "run")
    record_freed(held.context, order_id, FreedReport(paths=paths), "storage")
    for seconds in (2, 4, 6):
        releaser.tick(now + timedelta(seconds=seconds))
    assert held.look(order_id).stage == Stage.RETIRED


def test_a_released_order_that_lost_a_file_leaves_the_list_and_says_why(
    held: World, capsys: pytest.CaptureFixture[str]
) -> None:
    order_id = prove(held)
    backdate(held, order_id, 2)
    assert recheck(held.context, order_id).released
    assert [str(one.order_id) for one in released(held.context, SHARE, recheck)] == [order_id]
    held.in_omero(order_id)[0]["managed"].unlink()
    assert list(released(held.context, SHARE, recheck)) == []
    told = capsys.readouterr().err
    assert order_id in told
    assert "managed_missing" in told


def _ticks(releaser: Releaser, start: object) -> Iterator[None]:
    from datetime import datetime

    assert isinstance(start, datetime)
    for number in range(10):
        releaser.tick(start + timedelta(seconds=5 * number))
        yield
