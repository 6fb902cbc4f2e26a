"""The book of queues says what the orders table says, whatever happened in between."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from server_bridge.contract import Condition, Stage
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import FeedCounter, Order, Workstation, utcnow
from server_bridge.orders.queue import QueueBook
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store

STAFF = Caller(username="staff", is_staff=True)
START = utcnow()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(make_site(tmp_path))


def put(store: Store, number: int = 0, *, person: str = "alice", share: str = "conf", sealed: bool = True,
        stage: Stage = Stage.ACCEPTED, workstation: str | None = None) -> str:  # fmt: skip
    order_id = str(uuid.uuid4())
    with store.write() as session:
        order = Order(
            id=order_id,
            person=person,
            ordered_by=person,
            workstation_id=workstation,
            share=share,
            path=order_id,
            kind="folder",
            target={},
            request_digest="0",
            stage=stage,
            condition=Condition.QUEUED,
            stage_since=START,
            change=0,
            sealed=sealed,
            created_at=START + timedelta(seconds=number),
            updated_at=START,
        )
        session.add(order)
        session.flush()
        store.touch(session, order)
    return order_id


def condition(store: Store, order_id: str, wanted: Condition, stage: Stage | None = None) -> None:
    with store.write() as session:
        order = store.get(session, order_id)
        order.stage = stage or order.stage
        store.set_condition(session, order, wanted, who="t", text="")


def ahead(store: Store, *ids: str) -> list[int | None]:
    with store.read() as session:
        places = store.queues.places(session, ids)
    return [places[one].ahead if one in places else None for one in ids]


def counter(store: Store) -> int:
    with store.read() as session:
        return session.scalar(select(FeedCounter.value)) or 0


def moved(store: Store, caller: Caller, after: int, limit: int = 50) -> list[str]:
    with store.read() as session:
        return store.queues.moved(session, caller, after, limit)


def test_places_follow_what_starts_ends_and_joins(store: Store) -> None:
    first, second, third = (put(store, number) for number in range(3))
    assert ahead(store, first, second, third) == [0, 1, 2]
    condition(store, second, Condition.RUNNING)
    assert ahead(store, first, third) == [1, 2], "what runs comes first"
    condition(store, second, Condition.QUEUED, Stage.VERIFYING)
    assert ahead(store, first, third, second) == [0, 1, 0], "imports queue for themselves"
    condition(store, first, Condition.ATTENTION)
    assert ahead(store, first, third) == [None, 0]
    late = put(store, -5)
    assert ahead(store, late, third) == [0, 1]


def test_unsealed_orders_and_other_shares_stand_in_no_way(store: Store) -> None:
    put(store, 0, sealed=False)
    put(store, 1, share="light")
    assert ahead(store, put(store, 2)) == [0]


def test_places_are_told_by_workstation(store: Store) -> None:
    with store.write() as session:
        session.add(
            Workstation(id="w", name="SP8", key_digest="0", status="approved", roots={}, created_at=START)
        )
    put(store, 0, workstation="w")
    put(store, 1)
    put(store, 2, workstation="w")
    last = put(store, 3)
    with store.read() as session:
        place = store.queues.places(session, [last])[last]
    assert place.ahead_by_workstation == {"SP8": 2, "the bridge": 1}


def test_only_those_behind_a_move_are_told_again(store: Store) -> None:
    first, second, third = (put(store, number) for number in range(3))
    mine = put(store, 3, person="bob")
    ahead(store, first)
    seen = counter(store)
    assert moved(store, STAFF, seen) == []
    put(store, 9)
    assert moved(store, STAFF, seen) == [], "who joins at the end moves nobody"
    condition(store, second, Condition.ATTENTION)
    assert moved(store, STAFF, seen)[:2] == [third, mine]
    assert first not in moved(store, STAFF, seen)
    assert moved(store, Caller(username="bob"), seen) == [mine]
    assert moved(store, Caller(username="eve"), seen) == []
    assert moved(store, STAFF, counter(store)) == []


def test_the_cheap_look_never_misses_a_move(store: Store) -> None:
    first = put(store, 0)
    mine = put(store, 1, person="bob")
    ahead(store, first, mine)
    seen, bob, book = counter(store), Caller(username="bob"), store.queues
    assert not book.may_have_moved(bob, seen, if_busy=True)
    condition(store, first, Condition.ATTENTION)
    with store.read() as session:
        book.refresh(session)
    assert book.may_have_moved(bob, seen, if_busy=False)
    assert not book.may_have_moved(Caller(username="eve"), seen, if_busy=True)
    with book._guard:
        assert book.may_have_moved(bob, seen, if_busy=True)
        assert not book.may_have_moved(bob, seen, if_busy=False)


def test_a_session_that_is_older_than_the_book_changes_nothing(store: Store) -> None:
    first, second = put(store, 0), put(store, 1)
    with store.read() as old:
        old.scalar(select(FeedCounter.value))  # its snapshot begins here
        condition(store, first, Condition.ATTENTION)
        assert ahead(store, second) == [0]
        assert store.queues.places(old, [second])[second].ahead == 0


def test_any_history_ends_in_what_a_new_book_reads(store: Store) -> None:
    chance = random.Random(7)
    ids = [put(store, number, person=chance.choice("ab")) for number in range(12)]
    stages = [Stage.ACCEPTED, Stage.PULLING, Stage.VERIFYING, Stage.IMPORTING, Stage.PROVEN, Stage.CANCELLED]
    for _ in range(150):
        condition(store, chance.choice(ids), chance.choice(list(Condition)), chance.choice(stages))
        if chance.random() < 0.4:
            ahead(store, chance.choice(ids))
    with store.read() as session:
        assert store.queues.places(session, ids) == QueueBook().places(session, ids)
        for name in "ab":
            caller = Caller(username=name)
            assert store.queues.moved(session, caller, -1, 99) == QueueBook().moved(session, caller, -1, 99)
