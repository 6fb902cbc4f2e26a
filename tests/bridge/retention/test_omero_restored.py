"""OMERO is restored from an older dump: nothing is believed, nothing is lost, nothing comes twice."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from server_bridge.contract import CommandKind, CommandRequest, Condition, FreedReport, Stage
from server_bridge.orders import commands, remembered
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Notice, utcnow
from server_bridge.pipeline import quarantine, vanished
from server_bridge.retention import omero_lost
from server_bridge.retention.freed import record_freed
from server_bridge.retention.release import recheck
from server_bridge.retention.releaser import Releaser
from tests.bridge.conftest_sandbox import RunningSandbox, StartSandbox
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def own(
    make_world: MakeWorld, start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """A site with an OMERO of its own, whose database can be put back."""
    monkeypatch.setattr(vanished, "LOOKS_APART", timedelta(seconds=0.2))
    return make_world(start_sandbox(tmp_path / "omero" / "data"), share={"hold_days": 1})


def dump(sandbox: RunningSandbox, to: Path) -> None:
    """Keep the database as it is now; OMERO's files are not part of it."""
    sandbox.stop()
    to.mkdir()
    for one in sandbox.data.glob("*.sqlite*"):
        shutil.copy2(one, to / one.name)
    assert list(to.iterdir()), "the sandbox keeps its rows somewhere else"
    sandbox.start()


def put_back(sandbox: RunningSandbox, dumped: Path) -> None:
    """Restore a dump, as an administrator does."""
    sandbox.stop()
    for one in sandbox.data.glob("*.sqlite*"):
        one.unlink()
    for one in dumped.iterdir():
        shutil.copy2(one, sandbox.data / one.name)
    sandbox.start()


def prove(world: World, name: str, *, released: bool = True) -> str:
    write_tiff(world.buffer / "alice" / f"{name}.tif")
    age(world.buffer / "alice")
    order_id = world.order(f"alice/{name}.tif", dataset="night")
    with world.running():
        world.wait_proven(order_id)
    if released:
        with world.context.store.write() as session:
            order = world.context.store.get(session, order_id)
            assert order.proven_at is not None
            order.proven_at -= timedelta(days=2)
        assert recheck(world.context, order_id).released
    return order_id


def retire(world: World, order_id: str) -> None:
    path = world.look(order_id).path
    (world.buffer / path).unlink()
    record_freed(world.context, order_id, FreedReport(paths=(path,)), "storage")
    releaser, now = Releaser(world.context, apart=timedelta(seconds=1)), utcnow()
    for minute in range(4):
        releaser.tick(now + timedelta(minutes=2 * minute))
    assert world.look(order_id).stage == Stage.RETIRED


def standing_notices(world: World) -> list[str]:
    with world.context.store.read() as session:
        return list(session.scalars(select(Notice.key).where(Notice.withdrawn_at.is_(None))))


def test_an_older_dump_withdraws_every_receipt_it_lost_and_a_newer_one_gives_them_back(
    own: World, tmp_path: Path
) -> None:
    before = prove(own, "before")
    dump(own.sandbox, tmp_path / "old")
    lost, retired = prove(own, "lost"), prove(own, "retired")
    retire(own, retired)
    dump(own.sandbox, tmp_path / "new")
    put_back(own.sandbox, tmp_path / "old")
    assert not recheck(own.context, lost).released

    Releaser(own.context).look_at_omero(utcnow())
    assert own.look(before).stage == Stage.RELEASED
    assert recheck(own.context, before).released
    order = own.look(lost)
    assert (order.stage, order.released_at) == (Stage.PROVING, None)
    assert own.look(retired).stage == Stage.RETIRED
    assert "lost_proof" in own.story(retired)
    assert standing_notices(own) == ["site:omero_restored"]
    with own.running():
        own.wait_reason(lost, "omero_restored")
        assert own.look(lost).condition == Condition.ATTENTION
    # The first import in the older database takes the ids that ours had.
    other = prove(own, "other")
    assert own.units(other)[0].fileset_id in {own.units(one)[0].fileset_id for one in (lost, retired)}
    with own.running():
        own.retry(lost)
        own.wait(lost, lambda one: one.attempt > order.attempt + 1 and one.condition == Condition.ATTENTION)
    assert own.reason(lost) == "omero_restored"
    assert own.staged(lost, "alice/lost.tif").exists()
    with own.context.store.read() as session:
        assert quarantine.standing(session, lost) == []

    put_back(own.sandbox, tmp_path / "new")
    releaser = Releaser(own.context)
    releaser.look_at_omero(utcnow())
    with own.running():
        own.wait_proven(lost)
    own.require_once(lost, {"alice/lost.tif"})
    assert standing_notices(own) == []


def test_staff_bring_back_from_staging_what_omero_lost_and_a_later_newer_dump_doubles_nothing(
    own: World, tmp_path: Path
) -> None:
    prove(own, "before")
    dump(own.sandbox, tmp_path / "old")
    lost, retired = prove(own, "lost"), prove(own, "retired")
    retire(own, retired)
    managed = own.files(retired)["alice/retired.tif"].managed_path
    dump(own.sandbox, tmp_path / "new")
    put_back(own.sandbox, tmp_path / "old")
    Releaser(own.context).look_at_omero(utcnow())
    with own.running():
        own.wait_reason(lost, "omero_restored")

    # Something else takes the id that ours had, so that ours comes back under another one.
    between = prove(own, "between", released=False)
    assert own.units(between)[0].fileset_id == own.units(lost)[0].fileset_id
    with own.context.omero.service() as session:
        found = {one.order_id: one for one in omero_lost.losses(own.context, session)}
    assert set(found) == {lost, retired}
    assert (found[lost].importable, found[retired].importable) == (True, False)
    assert found[retired].on_disk == (managed,)

    assert omero_lost.import_again(own.context, "operator", list(found.values())) == [lost]
    with own.context.store.read() as session_:
        assert remembered.recall(session_, remembered.RESTORED) is None
    with own.running():
        own.wait_proven(lost)
    own.require_once(lost, {"alice/lost.tif"})

    # Now the newer dump turns up after all: the old fileset is back, ours of meanwhile is gone.
    meanwhile = own.units(lost)[0].fileset_id
    put_back(own.sandbox, tmp_path / "new")
    Releaser(own.context).look_at_omero(utcnow())
    with own.running():
        own.wait_reason(lost, "omero_restored")

        commands.give(
            own.context.store,
            UUID(lost),
            CommandRequest(id=uuid4(), kind=CommandKind.RETRY),
            Caller(username="staff", is_staff=True),
            utcnow(),
        )
        own.wait_proven(lost)
    own.require_once(lost, {"alice/lost.tif"})
    assert own.units(lost)[0].fileset_id != meanwhile, "the old fileset was adopted, not made again"
