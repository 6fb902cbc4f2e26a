"""A fileset is deleted in OMERO after it was proven: quarantine, its end, and the way back."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from server_bridge.contract import Condition, FreedReport, ReceiptStatus, Stage
from server_bridge.errors import Conflict, NotFound
from server_bridge.orders import clock
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import AuditEntry, Notice, QuarantinedFile, utcnow
from server_bridge.pipeline import quarantine, vanished
from server_bridge.retention.freed import record_freed
from server_bridge.retention.quarantine import expire, restore, unlink_if_same
from server_bridge.retention.release import recheck
from server_bridge.retention.releaser import Releaser
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.world import SHARE, World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STAFF = Caller(username="staff", is_staff=True)


@pytest.fixture
def held(make_world: MakeWorld, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> World:
    """A site that keeps data a day; the two looks are a moment apart."""
    monkeypatch.setattr(vanished, "LOOKS_APART", timedelta(seconds=0.2))
    return make_world(sandbox, share={"hold_days": 1, "quarantine_days": 10})


def prove(world: World, *names: str) -> str:
    run = world.buffer / "alice" / "run"
    for name in names:
        write_tiff(run / name)
    (run / "Thumbs.db").write_bytes(b"junk")
    age(run)
    order_id = world.order("alice/run")
    with world.running():
        world.wait_proven(order_id)
    with world.context.store.write() as session:
        order = world.context.store.get(session, order_id)
        assert order.proven_at is not None
        order.proven_at -= timedelta(days=2)
    return order_id


def delete(world: World, order_id: str, *names: str) -> None:
    """What a person does in OMERO.web to these files' images."""
    group = world.look(order_id).target["group_id"]
    for one in world.in_omero(order_id):
        if Path(one["path"]).name in names:
            with world.context.omero.as_person("alice", group) as session:
                session.delete("Fileset", one["fileset"], group, doing="deleting in a test")


def rows(world: World, order_id: str) -> list[QuarantinedFile]:
    with world.context.store.read() as session:
        return quarantine.standing(session, order_id)


def test_a_deleted_order_ends_its_staged_copy_is_kept_and_comes_back_on_demand(held: World) -> None:
    order_id = prove(held, "a.tif")
    assert recheck(held.context, order_id).released
    staged = held.staged(order_id, "alice/run/a.tif")
    content, inode = staged.read_bytes(), staged.stat().st_ino
    delete(held, order_id, "a.tif")
    with held.running():
        Releaser(held.context).tick(utcnow() + timedelta(hours=2))
        order = held.wait(order_id, lambda order: order.stage == Stage.DISCARDED)
    assert held.reason(order_id) == "deleted_in_omero"
    assert "The copy on the buffer is not released" in str((order.reason or {})["detail"])
    assert (order.released_at, recheck(held.context, order_id).released) == (None, False)
    assert (held.buffer / "alice" / "run" / "a.tif").exists()
    with held.context.store.read() as session:
        told = session.scalars(select(Notice).where(Notice.order_id == order_id)).one()
        assert (told.person, told.reason["code"]) == ("alice", "deleted_in_omero")

    kept = rows(held, order_id)
    assert [row.path for row in kept] == ["alice/run/Thumbs.db", "alice/run/a.tif"]
    assert not staged.exists()
    for row in kept:
        assert row.keep_until is not None
        assert timedelta(days=9) < row.keep_until - utcnow() < timedelta(days=11)
    assert Path(kept[1].quarantine_path).read_bytes() == content

    # Its place is free: the same data may be ordered again, and then the old copy stays where it is.
    again = held.order("alice/run")
    with pytest.raises(Conflict) as taken:
        restore(held.context, order_id, STAFF)
    assert taken.value.code == "place_taken"
    held.cancel(again)

    assert expire(held.context, utcnow() + timedelta(days=9)) == 0
    assert restore(held.context, order_id, STAFF, "she wants it back").files == 2
    assert (staged.stat().st_ino, rows(held, order_id)) == (inode, [])
    with held.running():
        held.wait_proven(order_id)
    held.require_once(order_id, {"alice/run/a.tif"})
    with pytest.raises(NotFound):
        restore(held.context, order_id, STAFF)


def test_what_was_kept_long_enough_is_unlinked_once_and_nothing_else(
    held: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = prove(held, "a.tif", "b.tif")
    delete(held, order_id, "a.tif", "b.tif")
    with held.running():
        Releaser(held.context).tick(utcnow())
        held.wait(order_id, lambda order: order.stage == Stage.DISCARDED)
    junk, first, second = rows(held, order_id)
    # Somebody put another file under a kept name: it is not the row's, and stays.
    other = Path(second.quarantine_path)
    beside = other.with_name("beside")
    beside.write_bytes(b"x" * second.size_bytes)
    beside.replace(other)  # made while the first still is: a deleted file's inode may be given away again
    late = utcnow() + timedelta(days=11)
    with monkeypatch.context() as set_ahead:
        leap = clock.Leap(late, timedelta(days=11).total_seconds())
        set_ahead.setattr(clock, "observe", lambda _store: (leap,))
        assert expire(held.context, late) == 0, "a clock that was set is no time that passed"
    assert expire(held.context, late) == 2
    assert not Path(first.quarantine_path).exists() and not Path(junk.quarantine_path).exists()
    assert other.exists()
    assert expire(held.context, late + timedelta(days=400)) == 0
    assert other.exists()
    with held.context.store.read() as session:
        actions = session.scalars(
            select(AuditEntry.action).where(AuditEntry.subject == order_id).order_by(AuditEntry.id)
        ).all()
    assert actions[-3:] == ["order.deleted_in_omero", "quarantine.unlink", "quarantine.kept"]
    assert (held.buffer / "alice" / "run" / "a.tif").exists()


def test_a_partly_deleted_order_keeps_the_rest_and_asks_about_what_is_gone(held: World) -> None:
    order_id = prove(held, "a.tif", "b.tif")
    delete(held, order_id, "b.tif")
    with held.running():
        Releaser(held.context).tick(utcnow())
        order = held.wait_reason(order_id, "left_out")
        assert (order.stage, order.condition) == (Stage.PROVING, Condition.ATTENTION)
        assert [row.path for row in rows(held, order_id)] == ["alice/run/b.tif"]
        assert not recheck(held.context, order_id).released
        held.accept_left_out(order_id)
        held.wait_proven(order_id)
    order = held.look(order_id)
    assert order.result is not None
    assert order.result["image_count"] == 1
    answer = recheck(held.context, order_id)
    assert answer.released, answer.reason
    assert {file.path for file in answer.files} == {f"alice/run/{n}" for n in ("a.tif", "b.tif", "Thumbs.db")}

    assert restore(held.context, order_id, STAFF).files == 1
    with held.running():
        held.wait_proven(order_id)
    held.require_once(order_id, {"alice/run/a.tif", "alice/run/b.tif"})
    assert {file.status for file in held.files(order_id).values() if file.unit is not None} == {
        ReceiptStatus.PROVEN
    }


def test_a_file_that_omero_did_not_unlink_goes_nowhere(held: World) -> None:
    order_id = prove(held, "a.tif")
    managed = held.in_omero(order_id)[0]["managed"]
    spare = managed.with_name("spare")
    spare.hardlink_to(managed)
    delete(held, order_id, "a.tif")
    spare.rename(managed)  # as when OMERO deleted the rows and could not unlink
    with held.running():
        Releaser(held.context).tick(utcnow())
        order = held.wait(order_id, lambda one: one.condition == Condition.ATTENTION)
        assert (order.stage, held.reason(order_id)) == (Stage.PROVING, "deleted_in_omero")
        assert str(managed) in str((order.reason or {})["detail"])
        assert held.staged(order_id, "alice/run/a.tif").exists()
        assert rows(held, order_id) == []
        managed.unlink()  # `omero admin cleanse`
        held.retry(order_id)
        held.wait(order_id, lambda one: one.stage == Stage.DISCARDED)


def test_data_deleted_after_the_buffer_was_freed_is_kept_in_quarantine(held: World) -> None:
    order_id = prove(held, "a.tif")
    assert recheck(held.context, order_id).released
    paths = tuple(held.manifest("alice/run"))
    shutil.rmtree(held.buffer / "alice" / "run")
    record_freed(held.context, order_id, FreedReport(paths=paths), "storage")
    delete(held, order_id, "a.tif")
    releaser, now = Releaser(held.context, apart=timedelta(seconds=1)), utcnow()
    for minute in range(4):
        releaser.tick(now + timedelta(minutes=2 * minute))
    assert held.look(order_id).stage == Stage.PROVING
    with held.running():
        order = held.wait(order_id, lambda one: one.stage == Stage.DISCARDED)
    assert "The buffer holds no copy" in str((order.reason or {})["detail"])
    assert len(rows(held, order_id)) == 2
    assert restore(held.context, order_id, STAFF).files == 2
    with held.running():
        held.wait_proven(order_id)
    assert len(held.in_omero(order_id)) == 1


def test_an_unlink_needs_the_very_file_below_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "quarantine"
    (root / SHARE).mkdir(parents=True)
    file = root / SHARE / "a.tif"
    file.write_bytes(b"12345")
    inode = file.stat().st_ino
    outside = tmp_path / "outside"
    outside.write_bytes(b"12345")
    assert unlink_if_same(root, outside, 5, outside.stat().st_ino)
    assert unlink_if_same(root, root / ".." / "outside", 5, outside.stat().st_ino)
    assert unlink_if_same(root, file, 4, inode) == "another file"
    assert unlink_if_same(root, file, 5, inode + 1) == "another file"
    assert unlink_if_same(root, file, 5, None)
    second = root / "second"
    second.hardlink_to(file)
    assert unlink_if_same(root, file, 5, inode) == "it has a second name"
    second.unlink()
    (root / "link").symlink_to(root / SHARE)
    assert unlink_if_same(root, root / "link" / "a.tif", 5, inode)
    assert file.exists() and outside.exists()
    assert unlink_if_same(root, file, 5, inode) == ""
    assert unlink_if_same(root, file, 5, inode) == "missing"
    assert outside.exists()
