"""While something is away that every order needs, one order at a time looks; the others stay as they are."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from server_bridge.contract import Condition, Reason, Stage
from server_bridge.orders import outages, view
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import OrderEvent, utcnow
from server_bridge.orders.outages import OMERO, share_need
from server_bridge.orders.stages import Cause
from server_bridge.orders.store import Store
from server_bridge.pipeline.dispatcher import Dispatcher, lanes_of
from server_bridge.pipeline.outage import LONGEST_PAUSE, Gates, answered, missing
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.pipeline.test_dispatcher import Notes, put

PAUSE = timedelta(seconds=30)
AWAY = Reason(code="share_away", title="The buffer cannot be reached", remedy="Nothing to do.")
NOW = utcnow()


def test_one_order_that_fails_again_and_again_closes_nothing() -> None:
    gates = Gates(PAUSE)
    assert [gates.away("share conf", "a", AWAY, NOW) for _ in range(5)] == [None] * 5
    assert gates.closed() == {}


def test_a_second_order_closes_the_gate_and_every_failure_after_a_pause_doubles_it() -> None:
    gates = Gates(PAUSE)
    gates.away("share conf", "a", AWAY, NOW)
    pauses, now = [], NOW
    for order in ("b", "c", "d", "e", "f", "g"):
        gate = gates.away("share conf", order, AWAY, now)
        assert gate is not None
        assert gate.until is not None
        pauses.append(gate.until - now)
        now = gate.until
    assert pauses[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert gates.closed()["share conf"].failed[-1] == "g"


def test_attempts_that_one_outage_ends_together_do_not_lengthen_the_pause() -> None:
    gates = Gates(PAUSE)
    for order in ("a", "b", "c", "d", "e", "f", "g", "h"):
        gates.away("share conf", order, AWAY, NOW)
    gate = gates.closed()["share conf"]
    assert (gate.until, gate.failed[-1]) == (NOW + PAUSE, "h")


def test_what_proves_to_be_there_opens_its_own_gate_alone() -> None:
    gates = Gates(PAUSE)
    for need in ("share conf", OMERO):
        gates.away(need, "a", AWAY, NOW)
        gates.away(need, "b", AWAY, NOW)
    assert gates.there("share conf")
    assert list(gates.closed()) == [OMERO]
    assert not gates.there("share light")


def test_success_between_two_failures_forgets_the_first() -> None:
    gates = Gates(PAUSE)
    gates.away("share conf", "a", AWAY, NOW)
    assert not gates.there("share conf")
    assert gates.away("share conf", "b", AWAY, NOW) is None


@pytest.mark.parametrize(
    ("imports", "stage", "what"),
    [
        (False, Stage.VERIFYING, "share conf"),
        (True, Stage.VERIFYING, "share conf"),
        (True, Stage.ACCEPTED, "share conf"),
        (True, Stage.PROVEN, OMERO),
    ],
)
def test_an_end_proves_only_what_the_attempt_has_met(imports: bool, stage: Stage, what: str) -> None:
    assert answered(imports, stage, "conf") == what


def test_reasons_name_what_is_away() -> None:
    assert missing("share_marker_missing", "conf") == share_need("conf")
    assert missing("omero_hung", "conf") == OMERO
    assert missing("source_missing", "conf") is None


# --- with the orders table ----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(make_site(tmp_path))


class Site:
    """A dispatcher whose attempts all end at once: the share is away, or it is there."""

    def __init__(self, store: Store, *, imports: bool = False) -> None:
        self.store = store
        self.notes = Notes()
        self.is_away = True
        self.tried: Counter[str] = Counter()
        self.reason = Reason(code="omero_away", title="away") if imports else AWAY
        self.dispatcher = Dispatcher(
            store, lanes_of({"conf": 1}, imports=2), self.notes.submit, lambda _now: 0, every_seconds=1
        )

    def turn(self, now: datetime) -> None:
        self.notes.given.clear()
        self.dispatcher.turn(now)
        for _queue, _phase, order_id, number in self.notes.given:
            self.tried[order_id] += 1
            self.dispatcher.started(order_id, number)
            if self.is_away:
                at = now + timedelta(seconds=30)
                self.store.wait(order_id, number, self.reason, at, progressed=False)
            else:
                self._carry_out(order_id, number)
            self.dispatcher.ended(order_id, number)

    def _carry_out(self, order_id: str, number: int) -> None:
        with self.store.attempt_write(order_id, number) as (session, order):
            path = [Stage.PULLING, Stage.VERIFYING] if order.stage == Stage.ACCEPTED else []
            for stage in path or [Stage.IMPORTING, Stage.PROVING, Stage.ANNOTATING, Stage.PROVEN]:
                self.store.set_stage(session, order, stage, Cause.ATTEMPT, who="t", text="")

    def night(self, now: datetime, hours: float, step: float = 10.0) -> datetime:
        until = now + timedelta(hours=hours)
        while now < until:
            self.turn(now)
            now += timedelta(seconds=step)
        return now


def test_a_night_without_the_share_costs_a_few_tries_and_the_morning_takes_all(store: Store) -> None:
    ids = [put(store) for _ in range(40)]
    site = Site(store)
    morning = site.night(utcnow(), hours=2, step=60)
    tries = sum(site.tried.values())
    assert 15 <= tries <= 32, "one look in about five minutes"
    with store.read() as session:
        assert session.query(OrderEvent).count() == 2 * tries
    untouched = [order_id for order_id in ids if store.order(order_id).condition == Condition.QUEUED]
    assert len(untouched) >= len(ids) - tries
    site.is_away = False
    for _ in range(3 * len(ids)):
        site.turn(morning)
        morning += timedelta(seconds=2)
    assert {store.order(order_id).stage for order_id in ids} == {Stage.PROVEN}


def test_queued_orders_say_what_is_away_and_forget_it_when_it_is_back(store: Store, tmp_path: Path) -> None:
    ids = [put(store) for _ in range(4)]
    with store.write() as session:
        for order_id in ids:
            order = store.get(session, order_id)
            order.target = {"group_id": 3, "container_id": 11}
            store.touch(session, order)
    site, now = Site(store), utcnow()
    for _ in range(3):
        site.turn(now)
    caller = Caller(username="staff", is_staff=True)

    def shown(order_id: str) -> str:
        with store.read() as session:
            order = store.get(session, order_id)
            state = view.states(session, make_site(tmp_path), [order], caller)[0]
        return state.reason.code if state.reason else ""

    assert store.order(ids[3]).reason is None
    assert shown(ids[3]) == "share_away"
    site.is_away = False
    site.turn(now + timedelta(minutes=1))
    site.turn(now + timedelta(minutes=1))
    assert store.order(ids[3]).condition == Condition.QUEUED
    assert shown(ids[3]) == ""


def test_a_person_who_retries_is_not_held_up(store: Store) -> None:
    ids = [put(store) for _ in range(3)]
    site, now = Site(store), utcnow()
    for _ in range(4):
        site.turn(now)
    assert sum(site.tried.values()) == 2, "two failures close the gate"
    with store.write() as session:
        store.set_condition(
            session, store.get(session, ids[1]), Condition.QUEUED, who="alice", text="try again now"
        )
    site.turn(now)
    assert site.tried == {ids[0]: 1, ids[1]: 2}


def test_a_share_that_is_away_does_not_hold_up_imports_of_others(store: Store) -> None:
    here = [put(store, stage=Stage.VERIFYING, share="light") for _ in range(2)]
    gone = [put(store, stage=Stage.VERIFYING) for _ in range(3)]
    notes = Notes()
    dispatcher = Dispatcher(
        store, lanes_of({"conf": 1, "light": 1}, imports=2), notes.submit, lambda _now: 0, every_seconds=1
    )
    now = utcnow()
    for order in ("x", "y"):
        dispatcher._gates.away(share_need("conf"), order, AWAY, now)
    dispatcher.turn(now)
    assert [given[2] for given in notes.given] == here
    for _queue, _phase, order_id, number in list(notes.given):
        dispatcher.started(order_id, number)
        with store.attempt_write(order_id, number) as (session, order):
            store.set_condition(session, order, Condition.ATTENTION, who="t", text="")
        dispatcher.ended(order_id, number)
    notes.given.clear()
    dispatcher.turn(now + timedelta(minutes=1))
    assert [given[2] for given in notes.given] == gone[:2], "after the pause somebody has to look"


def test_omero_away_leaves_pulls_alone(store: Store) -> None:
    imports = [put(store, stage=Stage.PROVING) for _ in range(6)]
    pull = put(store)
    site, now = Site(store, imports=True), utcnow()
    site.turn(now)
    site.turn(now)
    assert sum(site.tried[order_id] for order_id in imports) == 2
    assert site.tried[pull] >= 1
    with store.read() as session:
        assert list(outages.reasons(session)) == [OMERO]


def test_what_was_away_is_forgotten_at_the_next_start(store: Store) -> None:
    with store.write() as session:
        outages.note(session, OMERO, AWAY)
        outages.note(session, share_need("x" * 63), AWAY)
    with store.read() as session:
        assert set(outages.reasons(session)) == {OMERO, share_need("x" * 63)}
    dispatcher = Site(store).dispatcher
    dispatcher.start()
    dispatcher.stop()
    with store.read() as session:
        assert outages.reasons(session) == {}


def test_a_long_import_that_still_runs_does_not_keep_others_from_looking(store: Store) -> None:
    ids = [put(store, stage=Stage.IMPORTING) for _ in range(4)]
    notes = Notes()
    dispatcher = Dispatcher(
        store, lanes_of({"conf": 1}, imports=2), notes.submit, lambda _now: 0, every_seconds=1
    )
    now = utcnow()
    dispatcher.turn(now)
    dispatcher.started(ids[0], 1)
    for order in ("x", "y"):
        dispatcher._gates.away(OMERO, order, AWAY, now)
    store.wait(ids[1], 1, Reason(code="omero_hung", title="hung"), now, progressed=False)
    dispatcher.ended(ids[1], 1)
    notes.given.clear()
    dispatcher.turn(now)
    assert notes.given == []
    dispatcher.turn(now + timedelta(minutes=1))
    dispatcher.turn(now + timedelta(minutes=1))
    assert [given[2] for given in notes.given] == [ids[2]], "one looks, and another than the last"
