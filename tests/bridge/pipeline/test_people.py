"""Whole orders of people who leave, and faults of the site that no order is to blame for."""

from __future__ import annotations

import time
import uuid
from uuid import UUID

import pytest

from server_bridge.contract import CommandKind, CommandRequest, Condition, Stage
from server_bridge.orders import commands
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Notice, utcnow
from server_bridge.orders.stages import Cause
from tests.bridge.notices.test_departures import set_active
from tests.bridge.pipeline.test_failures import cell
from tests.bridge.pipeline.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_SECONDS = 240.0
"""Two programs in Python start for each import; a busy machine takes its time."""
STAFF = Caller(username="staff", is_staff=True)


def take_over(world: World, order_id: str, taker: str) -> None:
    request = CommandRequest(id=uuid.uuid4(), kind=CommandKind.TAKE_OVER, taker=taker)
    commands.give(world.context.store, UUID(order_id), request, STAFF, utcnow())


def owners(world: World, order_id: str) -> set[str]:
    filesets = [unit.fileset_id for unit in world.units(order_id) if unit.fileset_id]
    with world.context.omero.service() as session:
        rows = session.rows(
            "select f.details.owner.omeName from Fileset f where f.id in (:ids)", {"ids": filesets}
        )
    return {str(row[0]) for row in rows}


def standing(world: World, prefix: str) -> list[str]:
    with world.context.store.read() as session:
        rows = session.query(Notice).filter(Notice.withdrawn_at.is_(None)).all()
    return sorted(row.key for row in rows if row.key.startswith(prefix))


def wait_for_notice(world: World, prefix: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(standing(world, prefix)) != count:
        assert time.monotonic() < deadline, standing(world, "")
        time.sleep(0.2)


def test_an_order_that_meets_a_deactivated_person_is_imported_as_its_taker(own_world: World) -> None:
    path = cell(own_world)
    order_id = own_world.order(path)
    set_active(own_world.sandbox, "alice", False)
    with own_world.running():
        order = own_world.wait_reason(order_id, "person_deactivated")
        assert order.condition == Condition.ATTENTION
        wait_for_notice(own_world, "person_deactivated:alice:", 2)  # staff, and carol who owns the group
        assert standing(own_world, "attention:") == []
        take_over(own_world, order_id, "carol")
        own_world.wait_proven(order_id, PATIENCE_SECONDS)
        wait_for_notice(own_world, "person_deactivated:", 0)
    own_world.require_once(order_id, {path})
    assert owners(own_world, order_id) == {"carol"}
    assert own_world.look(order_id).person == "carol"


def test_what_is_in_omero_stays_hers_and_the_taker_finishes_the_order(own_world: World) -> None:
    path = cell(own_world)
    order_id = own_world.order(path, tags=("actin",))
    store = own_world.context.store
    with own_world.running():
        own_world.wait_proven(order_id, PATIENCE_SECONDS)
    set_active(own_world.sandbox, "alice", False)
    with store.write() as session:
        order = store.get(session, order_id)
        store.set_stage(session, order, Stage.PROVING, Cause.STAFF, who="staff", text="prove again")
    with own_world.running():
        own_world.wait_reason(order_id, "person_deactivated")
        take_over(own_world, order_id, "carol")
        own_world.wait_proven(order_id, PATIENCE_SECONDS)
    order = own_world.look(order_id)
    assert (order.person, order.ordered_by) == ("alice", "carol")
    assert owners(own_world, order_id) == {"alice"}
    own_world.require_once(order_id, {path})


def test_a_wrong_secret_is_one_notice_and_every_order_goes_on_once_it_is_right(world: World) -> None:
    first, second = cell(world, "one.tif"), cell(world, "two.tif")
    secret = world.rsyncd.password_file
    right = secret.read_text()
    secret.write_text("not-the-word\n")
    orders = [world.order(first), world.order(second)]
    try:
        with world.running():
            for order_id in orders:
                order = world.wait_reason(order_id, "share_auth_failed")
                assert order.condition in (Condition.WAITING, Condition.RUNNING)
            wait_for_notice(world, "outage:share_auth_failed:conf:", 1)
            assert standing(world, "attention:") == []
            secret.write_text(right)
            for order_id in orders:
                world.wait_proven(order_id, PATIENCE_SECONDS)
    finally:
        secret.write_text(right)
