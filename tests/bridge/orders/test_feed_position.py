"""Whom a change wakes: never too few, and not everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_bridge.contract import Progress
from server_bridge.orders import feed
from server_bridge.orders.callers import Caller, KnownWorkstation
from server_bridge.orders.feed import Position
from server_bridge.orders.models import utcnow
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.orders.test_queue import put

ALICE, BOB = Caller(username="alice"), Caller(username="bob")
STAFF = Caller(username="staff", is_staff=True)
DESK = Caller(workstation=KnownWorkstation("w", "SP8", approved=True))
STRANGER = Caller(workstation=KnownWorkstation("w", "SP8", approved=False))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(make_site(tmp_path))


def look(store: Store, before: Position | None = None) -> Position:
    with store.read() as session:
        return feed.position(session, before)


def touch(store: Store, order_id: str) -> None:
    with store.write() as session:
        store.touch(session, store.get(session, order_id))


def test_a_change_concerns_its_person_and_staff_alone(store: Store) -> None:
    order_id = put(store)
    before = look(store)
    touch(store, order_id)
    now = look(store, before)
    assert [now.concerns(caller, before.counter) for caller in (ALICE, BOB, STAFF)] == [True, False, True]
    assert not now.concerns(ALICE, now.counter)


def test_the_first_look_knows_of_no_change_and_says_so(store: Store) -> None:
    put(store)
    first = look(store)
    assert first.concerns(BOB, first.counter - 1), "who comes from before must look for herself"
    assert not first.concerns(BOB, first.counter)


def test_an_approved_workstation_hears_of_its_own_orders(store: Store) -> None:
    change = feed.Change(8, "o", "bob", "bob", "w")
    position = Position(8, 0.0, (change,), 3)
    assert [position.concerns(caller, 5) for caller in (DESK, STRANGER, ALICE)] == [True, False, False]
    assert position.concerns(ALICE, 2), "before what is remembered"


def test_more_changes_than_are_remembered_wake_everybody_who_is_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LATELY", 4)
    ids = [put(store) for _ in range(6)]
    before = look(store)
    for order_id in ids[:3]:
        touch(store, order_id)
    three = look(store, before)
    assert not three.concerns(BOB, before.counter)
    for order_id in ids:
        touch(store, order_id)
    nine = look(store, three)
    assert nine.concerns(BOB, before.counter)
    assert not nine.concerns(BOB, nine.counter - 1)
    assert nine.concerns(ALICE, nine.counter - 1)


def test_an_order_that_changes_twice_is_remembered_once(store: Store) -> None:
    order_id = put(store)
    position = look(store)
    for _ in range(3):
        touch(store, order_id)
        position = look(store, position)
    assert [change.number for change in position.lately] == [position.counter]


def test_progress_wakes_those_who_may_see_it(store: Store) -> None:
    order_id = put(store)
    at = utcnow()
    store.set_progress(order_id, Progress(step="pull", at=at))
    now = look(store)
    assert now.progress_concerns(ALICE, at.timestamp() - 1)
    assert not now.progress_concerns(BOB, 0.0)
    assert not now.progress_concerns(ALICE, now.progress_at)
