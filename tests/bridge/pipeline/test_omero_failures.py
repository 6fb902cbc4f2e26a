"""OMERO fails at every step: what the order says meanwhile, and each file is in OMERO once in the end."""

from __future__ import annotations

import importlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import omero.model
import pytest

from server_bridge.contract import CommandKind, CommandRequest, Condition, Stage, Target
from server_bridge.orders import commands
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Order, utcnow
from tests.bridge.conftest_sandbox import PASSWORDS
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_tiff

# Each of these starts the importer several times: seconds alone, minutes on a machine that is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ONE = "alice/cell.tif"


def one_image(world: World) -> str:
    write_tiff(world.buffer / "alice" / "cell.tif")
    age(world.buffer / "alice")
    return world.order(ONE)


def told(world: World, order_id: str, code: str, stage: Stage, condition: Condition) -> Order:
    """Wait until the order says ``code``; then everything a card needs is there."""
    order = world.wait(
        order_id,
        lambda order: (order.reason or {}).get("code") == code and order.condition == condition,
        180,
    )
    assert order.stage == stage, world.story(order_id)
    reason = order.reason or {}
    assert reason["title"] and reason["remedy"] and reason["contact"], reason
    assert (order.next_try_at is not None) is (condition == Condition.WAITING)
    return order


def struck(world: World, point: str) -> bool:
    """A fault of one strike is used up by it."""
    return not Path(world.sandbox.data, "faults", point).exists()


def as_root(world: World, act: Callable[[Any], None]) -> None:
    with world.context.omero._open("root", PASSWORDS["root"], "testing") as root:
        act(root)


def give(world: World, order_id: str, kind: CommandKind, target: Target | None = None) -> None:
    order = world.look(order_id)
    request = CommandRequest(id=uuid.uuid4(), kind=kind, target=target)
    person = world.context.omero.person(order.person)
    assert person is not None
    caller = Caller(username=order.person, is_staff=True, groups=person.groups)
    commands.give(world.context.store, uuid.UUID(order_id), request, caller, utcnow())


# --- the look at what belongs together ------------------------------------------------------------------


def test_a_reader_that_fails_once_leaves_no_file_out(own_world: World) -> None:
    world = own_world
    paths = {"alice/run/a.tif", "alice/run/b.tif"}
    for path in paths:
        write_tiff(world.buffer / path)
    age(world.buffer / "alice")
    order_id = world.order("alice/run")
    world.fault("scan", "fail", match="a.tif")
    with world.running():
        world.wait_proven(order_id, 180)
    assert struck(world, "scan")
    world.require_once(order_id, paths)


def test_a_file_that_a_reader_fails_at_is_asked_about_with_what_it_said(own_world: World) -> None:
    world = own_world
    for name in ("a.tif", "b.tif"):
        write_tiff(world.buffer / "alice" / "run" / name)
    age(world.buffer / "alice")
    order_id = world.order("alice/run")
    world.fault("scan", "fail", count=2, match="a.tif")
    with world.running():
        order = told(world, order_id, "left_out", Stage.PROVING, Condition.ATTENTION)
        detail = (order.reason or {})["detail"]
        assert "'alice/run/a.tif'" in detail and "sandbox fault at scan" in detail
        give(world, order_id, CommandKind.ACCEPT_LEFT_OUT)
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {"alice/run/b.tif"})


def test_an_acquisition_that_no_reader_gets_through_says_so_and_can_be_tried_again(own_world: World) -> None:
    world = own_world
    order_id = one_image(world)
    world.fault("scan", "fail", count=2)
    with world.running():
        order = told(world, order_id, "files_unread", Stage.IMPORTING, Condition.ATTENTION)
        assert "sandbox fault at scan" in (order.reason or {})["detail"]
        give(world, order_id, CommandKind.RETRY)
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {ONE})


# --- the five steps of an import in the server ----------------------------------------------------------


def test_omero_failing_at_its_first_step_asks_and_is_tried_when_somebody_says_so(own_world: World) -> None:
    world = own_world
    order_id = one_image(world)
    world.fault("step1", "fail")
    with world.running():
        order = told(world, order_id, "import_failed", Stage.IMPORTING, Condition.ATTENTION)
        assert "import-request-failure" in (order.reason or {})["detail"]
        empty = world.empty_filesets(order_id)
        assert len(empty) == 1
        give(world, order_id, CommandKind.RETRY)
        world.wait_proven(order_id, 180)
    world.administrator_deletes(*empty)
    world.require_once(order_id, {ONE})


def test_omero_failing_at_a_later_step_has_the_images_and_what_it_said_is_kept(own_world: World) -> None:
    world = own_world
    paths = {f"alice/run/step{step}.tif" for step in (2, 3, 4, 5)}
    for path in paths:
        write_tiff(world.buffer / path)
    age(world.buffer / "alice")
    order_id = world.order("alice/run")
    for step in (2, 3, 4, 5):
        world.fault(f"step{step}", "fail", match=f"step{step}.tif")
    with world.running():
        world.wait_proven(order_id, 180)
    world.require_once(order_id, paths)
    assert all(struck(world, f"step{step}") for step in (2, 3, 4, 5))
    # The run is ended after three failures in a row, before the fourth image or in the middle of it.
    assert [unit.tries for unit in world.units(order_id)][:3] == [1, 1, 1]
    assert "its importer complained" in world.story(order_id)
    assert "sandbox fault at step2" in world.story(order_id)


# --- OMERO stands still ---------------------------------------------------------------------------------


@pytest.fixture
def impatient(own_world: World) -> World:
    """A bridge that gives a call three seconds."""
    own_world.omero["call_timeout_seconds"] = 3
    return own_world


def test_omero_hanging_before_the_import_is_waited_for(impatient: World) -> None:
    world = impatient
    order_id = one_image(world)
    world.fault("scan", "delay:3")
    with world.running():
        world.wait(order_id, lambda _order: struck(world, "scan"), 180)
        world.sandbox.sigstop()
        try:
            told(world, order_id, "omero_hung", Stage.IMPORTING, Condition.WAITING)
        finally:
            world.sandbox.sigcont()
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {ONE})


@pytest.mark.parametrize("point", ["link", "step1"])
def test_omero_hanging_under_a_running_importer_holds_it_up_and_no_more(impatient: World, point: str) -> None:
    world = impatient
    order_id = one_image(world)
    world.fault(point, "delay:3")
    with world.running():
        world.wait(order_id, lambda _order: struck(world, point), 180)
        world.sandbox.sigstop()
        try:
            # The importer's own calls have no time limit: it stands as long as OMERO does, within
            # import_stall_seconds, and longer than any call of the bridge would.
            time.sleep(3 * world.site.omero.call_timeout_seconds)
            assert world.look(order_id).stage == Stage.IMPORTING
            assert world.look(order_id).condition != Condition.ATTENTION
        finally:
            world.sandbox.sigcont()
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {ONE})


def test_omero_hanging_at_a_look_or_a_note_is_waited_for(
    impatient: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = impatient
    order_id = one_image(world)
    hung: list[str] = []

    def hang_once(called: str) -> None:
        name = f"server_bridge.pipeline.steps.{called}"
        module, _, attribute = name.rpartition(".")
        real = getattr(importlib.import_module(module), attribute)

        def hanging(*given: Any, **more: Any) -> Any:
            if called not in hung:
                hung.append(called)
                world.sandbox.sigstop()
            return real(*given, **more)

        monkeypatch.setattr(name, hanging)

    hang_once("verifying.resolve_target")
    hang_once("proving.filesets_by_id")
    hang_once("annotating.annotate")
    try:
        with world.running():
            for stage in (Stage.VERIFYING, Stage.PROVING, Stage.ANNOTATING):
                told(world, order_id, "omero_hung", stage, Condition.WAITING)
                world.sandbox.sigcont()
                world.wait(order_id, lambda order: order.condition != Condition.WAITING, 180)
            world.wait_proven(order_id, 180)
    finally:
        world.sandbox.sigcont()
    assert len(hung) == 3
    world.require_once(order_id, {ONE})


# --- OMERO or its session goes away ---------------------------------------------------------------------


def test_omero_restarted_in_the_middle_of_a_run_brings_every_image_once(own_world: World) -> None:
    world = own_world
    for number in range(6):
        write_tiff(world.buffer / "alice" / "run" / f"{number}.tif")
    age(world.buffer / "alice")
    order_id = world.order("alice/run")
    world.fault("link", "delay:2", match="3.tif")
    with world.running():
        world.wait(order_id, lambda _order: struck(world, "link"), 180)
        world.sandbox.kill()
        world.sandbox.start()
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {f"alice/run/{number}.tif" for number in range(6)})


def test_a_session_that_is_ended_in_the_middle_of_an_import_is_one_more_try(own_world: World) -> None:
    world = own_world
    order_id = one_image(world)
    world.fault("link", "delay:3")
    with world.running():
        world.wait(order_id, lambda _order: struck(world, "link"), 180)

        def end_sessions_of_alice(root: Any) -> None:
            for (key,) in root.rows("select s.uuid from Session s join s.owner o where o.omeName = 'alice'"):
                session = omero.model.SessionI()
                session.uuid = omero.rtypes.rstring(str(key))
                service = root.factory.getSessionService()
                while service.closeSession(session) > 0:
                    pass

        as_root(world, end_sessions_of_alice)
        told(world, order_id, "omero_session_lost", Stage.IMPORTING, Condition.WAITING)
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {ONE})
    assert world.units(order_id)[0].tries == 2


def test_an_import_that_ends_after_its_client_was_killed_is_waited_for_and_taken(own_world: World) -> None:
    world = own_world
    order_id = one_image(world)
    world.fault("wait", "kill")
    world.fault("step1", "delay:4")
    with world.running():
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {ONE})
    assert world.units(order_id)[0].tries == 1


def test_an_import_that_found_no_slot_in_omero_is_tried_again_and_never_waited_for(own_world: World) -> None:
    world = own_world
    order_id = one_image(world)
    world.fault("queue", "fail")
    with world.running():
        told(world, order_id, "omero_queue_full", Stage.IMPORTING, Condition.WAITING)
        world.wait_proven(order_id, 180)
    # Its upload was finished: only OMERO's people may remove what is left of it.
    (empty,) = world.empty_filesets(order_id)
    world.administrator_deletes(empty)
    world.require_once(order_id, {ONE})
    assert world.units(order_id)[0].tries == 2


# --- what somebody changes in OMERO between the last look and the import --------------------------------


def delete_dataset(world: World, order_id: str) -> None:
    target = world.look(order_id).target

    def act(root: Any) -> None:
        root.delete("Dataset", target["container_id"], target["group_id"], doing="deleting in a test")

    as_root(world, act)


def give_dataset_to_bob(world: World, order_id: str) -> None:
    """In a read-annotate group she may then look at it, and not add to it."""
    import sqlite3

    number = world.look(order_id).target["container_id"]
    bob = world.context.omero.person("bob")
    assert bob is not None
    with sqlite3.connect(world.sandbox.data / "sandbox.sqlite3", timeout=20) as connection:
        owner = connection.execute("SELECT id FROM experimenter WHERE omeName = 'bob'").fetchone()[0]
        connection.execute("UPDATE dataset SET details_owner = ? WHERE id = ?", (owner, number))


@pytest.mark.parametrize(
    ("change", "code"),
    [(delete_dataset, "target_gone"), (give_dataset_to_bob, "target_not_writable")],
    ids=["deleted", "made read-only"],
)
def test_a_place_that_changed_after_the_last_look_asks_and_another_one_is_taken(
    own_world: World, change: Callable[[World, str], None], code: str
) -> None:
    world = own_world
    order_id = one_image(world)
    world.fault("scan", "delay:4")
    with world.running():
        world.wait(order_id, lambda _order: struck(world, "scan"), 180)
        change(world, order_id)
        order = told(world, order_id, code, Stage.IMPORTING, Condition.ATTENTION)
        assert world.in_omero(order_id) == []
        other = {**order.target, "container_id": None, "container_name": f"other {uuid.uuid4()}"}
        give(world, order_id, CommandKind.RETARGET, Target.model_validate(other))
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {ONE})


def test_a_person_who_left_the_group_is_asked_about_and_back_in_it_goes_on(own_world: World) -> None:
    world = own_world
    order_id = one_image(world)
    world.fault("scan", "delay:4")
    group = world.look(order_id).target["group_id"]

    def leave(root: Any) -> None:
        root.admin.removeGroups(_alice(root), [omero.model.ExperimenterGroupI(group, False)])

    def come_back(root: Any) -> None:
        root.admin.addGroups(_alice(root), [omero.model.ExperimenterGroupI(group, False)])

    with world.running():
        world.wait(order_id, lambda _order: struck(world, "scan"), 180)
        as_root(world, leave)
        told(world, order_id, "not_a_member", Stage.IMPORTING, Condition.ATTENTION)
        assert world.in_omero(order_id) == []
        as_root(world, come_back)
        give(world, order_id, CommandKind.RETRY)
        world.wait_proven(order_id, 180)
    world.require_once(order_id, {ONE})


def _alice(root: Any) -> Any:
    number = root.rows("select e.id from Experimenter e where e.omeName = 'alice'", group=-1)[0][0]
    return omero.model.ExperimenterI(int(number), False)
