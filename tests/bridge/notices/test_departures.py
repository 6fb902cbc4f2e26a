"""Somebody leaves: nothing acts in her name any more, her orders wait for a taker, and nobody else's do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import omero.model
import pytest

from server_bridge.config import LimitsConfig
from server_bridge.contract import (
    CommandKind,
    CommandRequest,
    Condition,
    Group,
    PermissionLevel,
    Person,
    Stage,
)
from server_bridge.errors import Unavailable
from server_bridge.notices.departures import Departures
from server_bridge.omero.connection import Omero
from server_bridge.orders import commands, people, sessions
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import ImportUnit, PersonSession, utcnow
from server_bridge.orders.store import Store
from tests.bridge.conftest_sandbox import RunningSandbox, StartSandbox
from tests.bridge.notices.conftest import PutOrder, standing
from tests.bridge.omero.conftest import config_for
from tests.bridge.sandbox.conftest import gateway

pytestmark = pytest.mark.slow
USER_GROUP = 1


@pytest.fixture(scope="module")
def own_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """A sandbox whose people a test may deactivate."""
    data = tmp_path_factory.mktemp("people") / "data"
    data.mkdir()
    running = RunningSandbox(data).start()
    yield running
    running.stop()


def set_active(running: RunningSandbox, name: str, active: bool) -> None:
    """What OMERO.web's administration does with the tick "Active"."""
    with gateway(running, "root") as root:
        admin = root.c.sf.getAdminService()
        user = omero.model.ExperimenterI(admin.lookupExperimenter(name).id.val, False)
        group = omero.model.ExperimenterGroupI(USER_GROUP, False)
        (admin.addGroups if active else admin.removeGroups)(user, [group])


@pytest.fixture
def bridge(own_sandbox: RunningSandbox) -> Iterator[Omero]:
    yield Omero(config_for(own_sandbox))
    set_active(own_sandbox, "alice", True)


@pytest.fixture
def group(bridge: Omero) -> int:
    """Cytoskeleton: carol owns it."""
    person = bridge.person("alice")
    assert person is not None
    return next(one.id for one in person.groups if one.name == "Cytoskeleton")


def sign_in(store: Store, name: str) -> str:
    made = sessions.sign_in(store, Person(username=name), None, LimitsConfig(), utcnow(), "test")
    return made.token


def signed_in(store: Store, token: str) -> bool:
    with store.read() as session:
        return sessions.by_token(session, token, utcnow()) is not None


def test_a_deactivated_person_is_noticed_and_her_orders_wait_for_a_taker(
    own_sandbox: RunningSandbox, bridge: Omero, group: int, store: Store, put: PutOrder
) -> None:
    queued, unsealed = put(group=group), put(group=group, sealed=False)
    running, done = put(group=group), put(group=group, stage=Stage.PROVEN)
    others = put(person="bob", group=group)
    number = store.claim(running, utcnow())
    assert number is not None
    hers, bobs = sign_in(store, "alice"), sign_in(store, "bob")
    watch = Departures(store, bridge, "the platform staff", timedelta(0))
    watch.look(utcnow())
    assert signed_in(store, hers) and not standing(store)

    set_active(own_sandbox, "alice", False)
    watch.look(utcnow())
    assert (signed_in(store, hers), signed_in(store, bobs)) == (False, True)
    with store.read() as session:
        assert session.query(PersonSession).filter(PersonSession.revoked_at.is_not(None)).count() == 1
    for order_id in (queued, unsealed, running):
        order = store.order(order_id)
        assert (order.condition, (order.reason or {})["code"]) == ("attention", "person_deactivated")
    assert not store.still_mine(running, number)
    assert (store.order(done).condition, store.order(others).condition) == ("queued", "queued")
    told = {(row.person, row.for_staff) for row in standing(store).values()}
    assert told == {("", True), ("carol", False)}, "one notice each, however many orders"
    watch.look(utcnow())
    assert len(standing(store)) == 2

    set_active(own_sandbox, "alice", True)
    watch.look(utcnow())
    assert [store.order(one).condition for one in (queued, unsealed, running)] == [
        Condition.QUEUED, Condition.WAITING, Condition.QUEUED,
    ]  # fmt: skip
    assert standing(store) == {}
    assert not signed_in(store, hers), "what was ended stays ended"


def test_the_notice_goes_when_the_last_order_was_taken_over(
    own_sandbox: RunningSandbox, bridge: Omero, group: int, store: Store, put: PutOrder
) -> None:
    order_id = put(group=group, sealed=False)
    set_active(own_sandbox, "alice", False)
    watch = Departures(store, bridge, "the platform staff", timedelta(hours=1))
    watch.look(utcnow())
    level = PermissionLevel.READ_ANNOTATE
    carol = Caller(
        username="carol", groups=(Group(id=group, name="Cytoskeleton", permissions=level, is_owner=True),)
    )
    assert carol.may_take_over(store.order(order_id))
    request = CommandRequest(id=uuid.uuid4(), kind=CommandKind.TAKE_OVER, taker="carol")
    commands.give(store, UUID(order_id), request, Caller(username="staff", is_staff=True), utcnow())
    order = store.order(order_id)
    assert (order.person, order.ordered_by) == ("carol", "carol")
    assert order.condition != Condition.ATTENTION
    assert (order.sealed, order.seal) == (False, "bridge"), "no workstation can seal it any more"
    watch.look(utcnow())
    assert standing(store) == {}


def test_who_took_an_order_over_keeps_it_and_is_the_one_who_is_asked(store: Store, put: PutOrder) -> None:
    order_id = put(stage=Stage.IMPORTING)
    with store.write() as session:
        session.add(
            ImportUnit(
                order_id=order_id, index=0, main_path="x", reader="", spw=False, file_count=1,
                client_path="x", state="imported", tries=1, image_ids=[], plate_ids=[],
            )
        )  # fmt: skip
    assert people.departed(store, "alice", {}, utcnow(), "") == 1
    request = CommandRequest(id=uuid.uuid4(), kind=CommandKind.TAKE_OVER, taker="carol")
    commands.give(store, UUID(order_id), request, Caller(username="staff", is_staff=True), utcnow())
    assert people.departed(store, "alice", {}, utcnow(), "") == 0
    order = store.order(order_id)
    assert (order.person, order.ordered_by, order.condition) == ("alice", "carol", Condition.QUEUED)
    number = store.claim(order_id, utcnow())
    assert number is not None
    store.attention(order_id, number, people.reason_of("alice"))
    assert standing(store)[f"attention:{order_id}:person_deactivated"].person == "carol"
    assert people.returned(store, "alice", utcnow()) == 1


def test_a_taker_can_leave_as_well(store: Store, put: PutOrder) -> None:
    order_id = put()
    staff = Caller(username="staff", is_staff=True)
    for person, taker in (("alice", "bob"), ("bob", "carol")):
        assert people.departed(store, person, {}, utcnow(), "") == 1
        request = CommandRequest(id=uuid.uuid4(), kind=CommandKind.TAKE_OVER, taker=taker)
        commands.give(store, UUID(order_id), request, staff, utcnow())
        assert store.order(order_id).person == taker


def test_an_omero_that_is_away_means_nothing(store: Store, put: PutOrder, tmp_path: Path) -> None:
    order_id = put()

    class Away:
        config = SimpleNamespace(user="ferry")

        def service(self) -> Any:
            raise Unavailable("no answer", code="omero_away")

    with pytest.raises(Unavailable):
        Departures(store, Away(), "").look(utcnow())  # type: ignore[arg-type]
    assert store.order(order_id).condition == Condition.QUEUED


def test_an_answer_that_lacks_the_service_account_is_no_answer(
    own_sandbox: RunningSandbox, bridge: Omero, store: Store, put: PutOrder
) -> None:
    order_id = put()
    asked_as = bridge.config.model_copy(update={"user": "ferry"})
    watch = Departures(store, Omero(asked_as), "", timedelta(0))
    from server_bridge.omero import people as omero_people

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omero_people, "active_names", lambda _session, _names: frozenset())
        watch.look(utcnow())
    assert store.order(order_id).condition == Condition.QUEUED


def test_the_owners_of_a_group_are_those_that_are_active(
    own_sandbox: RunningSandbox, bridge: Omero, group: int, start_sandbox: StartSandbox
) -> None:
    from server_bridge.omero.people import active_names, owner_names

    with bridge.service() as session:
        assert owner_names(session, group) == {"carol"}
        assert active_names(session, ["alice", "ferry", "who?"]) == {"alice", "ferry"}
        set_active(own_sandbox, "carol", False)
        try:
            assert owner_names(session, group) == frozenset()
        finally:
            set_active(own_sandbox, "carol", True)
