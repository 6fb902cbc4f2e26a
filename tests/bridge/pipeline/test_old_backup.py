"""The orders' database is behind the disks: what a restored old backup must lead to, case by case.

Each test makes the table forget what a newer one knew, exactly as restoring an older file does, and lets the
bridge go on. Nothing may be imported twice, lost, or released wrongly.
"""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from sqlalchemy import delete, select

from server_bridge.contract import Condition, ReceiptStatus, Stage
from server_bridge.orders.models import (
    ImportUnit,
    Order,
    OrderCommand,
    OrderEvent,
    OrderFile,
    OrderProgress,
    QuarantinedFile,
)
from server_bridge.pipeline.steps import restored
from server_bridge.retention.release import recheck
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
FOLDER = "alice/run"
SECONDS = 150.0
FILES = {f"{FOLDER}/a.tif"}


def forget(world: World, order_id: str) -> None:
    """A database of before the order was made."""
    with world.context.store.write() as session:
        for table in (ImportUnit, OrderFile, OrderEvent, OrderCommand, OrderProgress, QuarantinedFile):
            session.execute(delete(table).where(table.order_id == order_id))  # type: ignore[attr-defined]
        session.execute(delete(Order).where(Order.id == order_id))
    # As `restore` does it: attempts are counted anew, and the engine hands out each number once.
    for left in world.site.state_dir.glob("engine.sqlite3*"):
        left.unlink()


def go_back(world: World, order_id: str, stage: Stage, *, digests: bool, attempt: int = 100) -> None:
    """A database of when the order was in ``stage``: no unit, no receipt, perhaps no digest yet."""
    with world.context.store.write() as session:
        order = world.context.store.get(session, order_id)
        order.stage, order.condition, order.reason = stage, Condition.QUEUED, None
        order.attempt, order.proven_at, order.released_at, order.result = attempt, None, None, None
        session.execute(delete(ImportUnit).where(ImportUnit.order_id == order_id))
        for file in session.scalars(select(OrderFile).where(OrderFile.order_id == order_id)):
            file.unit = file.fileset_id = file.original_file_id = file.proven_at = None
            file.omero_sha1 = file.managed_path = file.device = file.inode = None
            file.status = ReceiptStatus.PENDING
            if not digests:
                file.sha1 = file.staged_at = None
        world.context.store.touch(session, order)


def aside(world: World, order_id: str) -> list[QuarantinedFile]:
    with world.context.store.read() as session:
        return list(session.scalars(select(QuarantinedFile).where(QuarantinedFile.order_id == order_id)))


def again(world: World, order_id: str, target: dict[str, Any]) -> None:
    """The workstation orders the same thing with the same id."""
    world.order(FOLDER, order_id=order_id, dataset=target["container_name"])


@pytest.fixture
def proven(world: World) -> tuple[World, str]:
    """An order that the bridge brought to its proof."""
    write_tiff(world.buffer / FOLDER / "a.tif")
    age(world.buffer / FOLDER)
    order_id = world.order(FOLDER)
    with world.running():
        world.wait_proven(order_id, seconds=SECONDS)
    return world, order_id


def require_one_copy(world: World, order_id: str) -> None:
    """Every byte lies once on the disk: staged and managed names are one, and nothing is left aside."""
    world.require_once(order_id, FILES)
    for held in world.in_omero(order_id):
        assert held["managed"].stat().st_nlink == 2
    quarantine = world.site.staging_dir / ".ferry-quarantine"
    assert [path for path in quarantine.rglob("*") if path.is_file()] == []
    assert all(row.unlinked_at is not None for row in aside(world, order_id))


def test_an_order_that_the_database_forgot_is_proven_anew_and_not_imported(proven: tuple[World, str]) -> None:
    world, order_id = proven
    before = {one["path"]: one["managed"].stat().st_ino for one in world.in_omero(order_id)}
    digests = {path: file.sha1 for path, file in world.files(order_id).items()}
    target = world.look(order_id).target
    forget(world, order_id)
    again(world, order_id, target)
    with world.running():
        order = world.wait_proven(order_id)
    require_one_copy(world, order_id)
    assert {one["path"]: one["managed"].stat().st_ino for one in world.in_omero(order_id)} == before
    assert {path: file.sha1 for path, file in world.files(order_id).items()} == digests
    assert [unit.tries for unit in world.units(order_id)] == [0], "no importer ran"
    assert "that the database does not know of" in world.story(order_id)
    assert order.result is not None and order.result["image_count"] == 1
    assert recheck(world.context, order_id).released


@pytest.mark.parametrize(
    ("stage", "digests"),
    [
        (Stage.ACCEPTED, False),
        (Stage.VERIFYING, True),
        (Stage.VERIFYING, False),
        (Stage.IMPORTING, True),
    ],
)
def test_an_order_that_is_back_in_an_earlier_stage(
    proven: tuple[World, str], stage: Stage, digests: bool
) -> None:
    world, order_id = proven
    go_back(world, order_id, stage, digests=digests)
    with world.running():
        world.wait_proven(order_id, seconds=SECONDS)
    require_one_copy(world, order_id)
    assert [unit.tries for unit in world.units(order_id)] == [0]
    # Digests that came with the backup need no second reading of the buffer.
    assert bool(aside(world, order_id)) is not digests


def test_a_source_that_changed_meanwhile_stays_what_it_is_and_omero_too(proven: tuple[World, str]) -> None:
    world, order_id = proven
    old = (world.buffer / FOLDER / "a.tif").read_bytes()
    target = world.look(order_id).target
    write_tiff(world.buffer / FOLDER / "a.tif", (30, 30))
    age(world.buffer / FOLDER)
    forget(world, order_id)
    again(world, order_id, target)
    with world.running():
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION, SECONDS)
    assert order.stage == Stage.PROVING
    assert world.reason(order_id) in ("size_differs", "hash_differs")
    held = {one["path"]: one["managed"] for one in world.in_omero(order_id)}
    assert held[f"{FOLDER}/a.tif"].read_bytes() == old, "imported bytes never change"
    assert world.files(order_id)[f"{FOLDER}/a.tif"].status == ReceiptStatus.PENDING
    assert not recheck(world.context, order_id).released
    assert len(held) == len(world.in_omero(order_id)) == 1


def test_a_source_that_was_only_touched_is_proven_by_what_was_read(proven: tuple[World, str]) -> None:
    world, order_id = proven
    target = world.look(order_id).target
    age(world.buffer / FOLDER, 7200)
    forget(world, order_id)
    again(world, order_id, target)
    with world.running():
        world.wait_proven(order_id, seconds=SECONDS)
    require_one_copy(world, order_id)
    assert all(file.rule.startswith("re-proved by SHA-1") for file in world.files(order_id).values())
    assert recheck(world.context, order_id).released


@pytest.mark.parametrize("known", [True, False])
def test_where_the_buffer_copy_is_gone_it_says_so_and_releases_nothing(
    proven: tuple[World, str], known: bool
) -> None:
    world, order_id = proven
    target = world.look(order_id).target
    if known:
        go_back(world, order_id, Stage.ACCEPTED, digests=False)
    else:
        forget(world, order_id)
        again(world, order_id, target)
    shutil.rmtree(world.buffer / FOLDER)
    with world.running():
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION, SECONDS)
    assert (order.stage, world.reason(order_id)) == (Stage.ACCEPTED, "in_omero_unproven")
    assert order.reason is not None and "cancel" in order.reason["remedy"]
    answer = recheck(world.context, order_id)
    assert (answer.released, answer.files) == (False, ())
    assert len(world.in_omero(order_id)) == 1
    for one in world.in_omero(order_id):
        assert world.staged(order_id, one["path"]).samefile(one["managed"])
    world.cancel(order_id)
    assert len(world.in_omero(order_id)) == 1


def test_a_missing_place_that_omero_does_not_hold_is_a_missing_place(world: World) -> None:
    write_tiff(world.buffer / FOLDER / "a.tif")
    age(world.buffer / FOLDER)
    order_id = world.order(FOLDER)
    shutil.rmtree(world.buffer / FOLDER)
    with world.running():
        world.wait(order_id, lambda order: order.condition == Condition.ATTENTION, SECONDS)
    assert world.reason(order_id) == "source_missing"


def test_a_second_name_that_is_not_omeros_stops_the_order_untouched(world: World) -> None:
    path = f"{FOLDER}/a.tif"
    write_tiff(world.buffer / path)
    age(world.buffer / FOLDER)
    order_id = world.order(FOLDER)
    staged = world.staged(order_id, path)
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"somebody's")
    elsewhere = world.top / "staging" / "somebody's"
    elsewhere.hardlink_to(staged)
    with world.running():
        world.wait(order_id, lambda order: order.condition == Condition.ATTENTION, SECONDS)
    assert world.reason(order_id) == "staging_linked"
    assert staged.samefile(elsewhere) and staged.read_bytes() == b"somebody's"
    assert aside(world, order_id) == []


@pytest.mark.parametrize("point", ["moved", "read", "renamed"])
def test_a_bridge_that_dies_while_it_puts_names_together(
    proven: tuple[World, str], monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Each point is passed once with a failure, as a crash leaves it; the next attempt ends the work."""
    world, order_id = proven
    target = world.look(order_id).target
    forget(world, order_id)
    again(world, order_id, target)
    failed: list[str] = []

    def once(name: str, call: Any, after: bool) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs) if after or failed else None
            if not failed:
                failed.append(name)
                raise OSError(5, "as if killed")
            return result

        return wrapped

    if point == "moved":
        monkeypatch.setattr(restored, "sync_filesystem", once(point, restored.sync_filesystem, True))
    elif point == "read":
        monkeypatch.setattr(restored.reproof, "read_again", once(point, restored.reproof.read_again, True))
    else:
        monkeypatch.setattr(restored, "_close", once(point, restored._close, False))
    with world.running():
        world.wait_proven(order_id, seconds=SECONDS)
    assert failed == [point]
    require_one_copy(world, order_id)


def test_nothing_of_a_proven_order_is_released_on_the_word_of_an_old_backup(
    proven: tuple[World, str],
) -> None:
    """Proven in the backup; deleted in OMERO since. The release looks again, and says no."""
    world, order_id = proven
    held = world.in_omero(order_id)[0]
    held["managed"].unlink()
    answer = recheck(world.context, order_id)
    assert not answer.released and answer.reason is not None
    assert answer.reason.code == "proof_lost"
    assert (world.buffer / held["path"]).exists()
