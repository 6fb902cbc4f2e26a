"""Claiming and submitting, with a real orders table and an engine that only takes notes."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server_bridge.contract import Condition, Reason, Stage
from server_bridge.errors import ConfigurationError, StaleAttempt
from server_bridge.orders.models import Order, utcnow
from server_bridge.orders.stages import Cause
from server_bridge.orders.store import Store
from server_bridge.pipeline.dispatcher import IMPORT_QUEUE, LOST_SECONDS, Dispatcher, lanes_of
from server_bridge.pipeline.live import LiveAttempts
from server_bridge.pipeline.service import _take_lock
from tests.bridge.bridge_site import make_site, make_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(make_site(tmp_path))


def put(store: Store, *, share: str = "conf", stage: Stage = Stage.ACCEPTED, sealed: bool = True) -> str:
    order_id = str(uuid.uuid4())
    now = utcnow()
    with store.write() as session:
        session.add(
            Order(
                id=order_id,
                person="alice",
                ordered_by="alice",
                share=share,
                path=order_id,
                kind="folder",
                target={},
                request_digest="0",
                stage=stage,
                condition=Condition.QUEUED,
                stage_since=now,
                change=0,
                sealed=sealed,
                created_at=now,
                updated_at=now,
            )
        )
    return order_id


class Notes:
    """What was submitted; raises while ``broken``."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str, str, int]] = []
        self.broken = False

    def submit(self, queue: str, phase: str, order_id: str, number: int) -> None:
        if self.broken:
            raise RuntimeError("no such table: workflow_status")
        self.given.append((queue, phase, order_id, number))


def make(store: Store, notes: Notes, **pulls: int) -> Dispatcher:
    lanes = lanes_of(pulls or {"conf": 1}, imports=2)
    return Dispatcher(store, lanes, notes.submit, lambda _now: 0, every_seconds=0.05)


def test_no_more_is_claimed_than_can_run_and_the_oldest_comes_first(store: Store) -> None:
    notes = Notes()
    dispatcher = make(store, notes)
    first, second = put(store), put(store)
    imports = [put(store, stage=Stage.VERIFYING) for _ in range(3)]
    assert dispatcher.turn(utcnow()) == 3
    assert notes.given == [
        ("transfer-conf", "transfer", first, 1),
        (IMPORT_QUEUE, "import", imports[0], 1),
        (IMPORT_QUEUE, "import", imports[1], 1),
    ]
    assert store.order(second).condition == Condition.QUEUED
    assert dispatcher.turn(utcnow()) == 0
    dispatcher.ended(first, 1)
    with store.attempt_write(first, 1) as (session, order):
        store.set_stage(session, order, Stage.PULLING, Cause.ATTEMPT, who="t", text="")
        order.sealed = False
    assert dispatcher.turn(utcnow()) == 1
    assert notes.given[-1][2] == second


def test_a_busy_share_does_not_hold_up_another(store: Store) -> None:
    notes = Notes()
    dispatcher = make(store, notes, conf=1, light=1)
    waiting = [put(store) for _ in range(20)]
    other = put(store, share="light")
    dispatcher.turn(utcnow())
    assert {given[2] for given in notes.given} == {waiting[0], other}


def test_unsealed_and_future_orders_are_left_alone(store: Store) -> None:
    notes = Notes()
    dispatcher = make(store, notes)
    put(store, sealed=False)
    later = put(store)
    number = store.claim(later, utcnow())
    assert number is not None
    at = utcnow() + timedelta(hours=1)
    store.wait(later, number, Reason(code="share_away", title="away"), at, progressed=False)
    assert dispatcher.turn(utcnow()) == 0
    assert dispatcher.turn(at + timedelta(seconds=1)) == 1


def test_an_order_whose_last_attempt_still_ends_is_not_started_beside_it(store: Store) -> None:
    notes = Notes()
    dispatcher = make(store, notes, conf=3)
    order_id = put(store)
    dispatcher.turn(utcnow())
    with store.write() as session:  # a new manifest: the attempt that runs has lost the order
        order = store.get(session, order_id)
        order.attempt += 1
        store.set_condition(session, order, Condition.QUEUED, who="agent", text="sealed again")
    assert dispatcher.turn(utcnow()) == 0
    dispatcher.ended(order_id, 1)
    assert dispatcher.turn(utcnow()) == 1
    assert notes.given[-1][2:] == (order_id, 3)


def test_what_the_engine_does_not_take_goes_back_into_the_queue(store: Store) -> None:
    notes = Notes()
    notes.broken = True
    dispatcher = make(store, notes)
    order_id = put(store)
    assert dispatcher.turn(utcnow()) == 0
    assert store.order(order_id).condition == Condition.QUEUED
    notes.broken = False
    assert dispatcher.turn(utcnow()) == 1


def test_an_attempt_that_never_ran_is_found_and_one_that_runs_is_not(store: Store) -> None:
    notes = Notes()
    dispatcher = make(store, notes, conf=2)
    lost, alive = put(store), put(store)
    dispatcher.turn(utcnow())
    dispatcher.started(alive, 1)
    later = time.monotonic() + LOST_SECONDS + 1
    assert dispatcher.find_lost(later) == [lost]
    assert store.order(lost).condition == Condition.QUEUED
    assert store.order(alive).condition == Condition.RUNNING
    assert dispatcher.turn(datetime.now(UTC)) == 1


def test_the_loop_survives_a_turn_that_fails(store: Store) -> None:
    notes = Notes()
    dispatcher = make(store, notes)
    failing = [True]
    honest: Callable[[datetime], int] = dispatcher.turn

    def turn(now: datetime) -> int:
        if failing:
            failing.clear()
            raise ValueError("a mistake")
        return honest(now)

    dispatcher.turn = turn  # type: ignore[method-assign]
    order_id = put(store)
    dispatcher.start()
    try:
        until = time.monotonic() + 20
        while not notes.given and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        dispatcher.stop()
    assert [given[2] for given in notes.given] == [order_id]


# --- clocks and locks -------------------------------------------------------------------------------------


def waiting(store: Store, order_id: str, until: datetime) -> None:
    number = store.claim(order_id, utcnow())
    assert number is not None
    store.wait(order_id, number, Reason(code="share_away", title="Away"), until, progressed=True)


def test_a_clock_that_was_set_back_strands_no_order(store: Store) -> None:
    """The pause was written while the clock was five hours ahead."""
    notes = Notes()
    dispatcher = make(store, notes)
    stranded, patient = put(store), put(store)
    now = utcnow()
    waiting(store, stranded, now + timedelta(hours=5))
    waiting(store, patient, now + timedelta(minutes=50))
    assert dispatcher.turn(now) == 0
    dispatcher._looked_for_lost_at = float("-inf")
    dispatcher.turn(now)
    assert store.order(stranded).condition == Condition.QUEUED
    assert store.order(patient).condition == Condition.WAITING, "a pause that can be meant is kept"
    assert dispatcher.turn(now) == 1
    assert [given[2] for given in notes.given] == [stranded]


def test_a_clock_that_was_set_ahead_only_means_sooner(store: Store) -> None:
    notes = Notes()
    dispatcher = make(store, notes)
    order_id = put(store)
    waiting(store, order_id, utcnow() + timedelta(minutes=5))
    assert dispatcher.turn(utcnow() + timedelta(days=400)) == 1
    assert [given[2] for given in notes.given] == [order_id]


def test_nothing_is_dispatched_while_another_bridge_has_the_orders(store: Store) -> None:
    notes, may_work = Notes(), threading.Event()
    order_id = put(store)
    lanes = lanes_of({"conf": 1}, imports=1)
    dispatcher = Dispatcher(
        store, lanes, notes.submit, lambda _now: 0, every_seconds=0.05, may_work=may_work.is_set
    )
    dispatcher.start()
    try:
        time.sleep(0.5)
        assert notes.given == []
        may_work.set()
        deadline = time.monotonic() + 60
        while not notes.given:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        dispatcher.stop()
    assert [given[2] for given in notes.given] == [order_id]


# --- the watcher ------------------------------------------------------------------------------------------


def test_an_attempt_that_lost_its_order_is_told_to_stop(store: Store) -> None:
    order_id = put(store)
    number = store.claim(order_id, utcnow())
    assert number is not None
    live = LiveAttempts(store)
    live.start()
    try:
        with live.running(order_id, number) as stop:
            assert not stop.wait(0.6)
            with store.write() as session:
                order = store.get(session, order_id)
                order.attempt += 1
                store.set_stage(session, order, Stage.CANCELLED, Cause.PERSON, who="alice", text="")
            assert stop.wait(10)
            with pytest.raises(StaleAttempt), store.attempt_write(order_id, number):
                raise AssertionError("the write must be refused")
    finally:
        assert live.stop(5)


def test_stopping_waits_for_the_attempts(store: Store) -> None:
    live = LiveAttempts(store)
    live.start()
    begun = threading.Event()

    def attempt() -> None:
        with live.running("order", 1) as stop:
            begun.set()
            stop.wait()

    thread = threading.Thread(target=attempt)
    thread.start()
    begun.wait(10)
    assert live.stop(10)
    thread.join(10)
    assert live.keys() == set()


def test_a_second_pipeline_on_the_same_state_is_refused(tmp_path: Path) -> None:
    import os

    first = _take_lock(tmp_path / "pipeline.lock")
    try:
        with pytest.raises(ConfigurationError) as caught:
            _take_lock(tmp_path / "pipeline.lock")
        assert caught.value.title == "Another bridge works on this state folder"
    finally:
        os.close(first)
