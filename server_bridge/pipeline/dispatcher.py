"""The loop that gives due orders to the engine: never more than can start soon.

An order is claimed only when a slot of its queue is free, so that "running" means running and the place in
the queue stays true for the rest. The loop wakes when an order changed or a slot became free, and looks
once per ``dispatch_seconds`` in any case. An attempt that was submitted and is not running after a while
(somebody emptied the engine's tables) is given up: its order goes back into the queue, where the next
number finds it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from server_bridge.contract import Condition, Reason, Stage
from server_bridge.errors import StaleAttempt
from server_bridge.orders import outages, stages
from server_bridge.orders.models import Order, utcnow
from server_bridge.orders.outages import OMERO, share_need
from server_bridge.orders.store import Store
from server_bridge.pipeline import outage
from server_bridge.pipeline.attempt import IMPORT, TRANSFER, WATCH
from server_bridge.pipeline.outage import Gates

IMPORT_QUEUE = "import"
LOST_SECONDS = 30.0
SWEEP_SECONDS = 300.0
SWEEP_AGAIN_SECONDS = 10.0
_SHORTEST_PAUSE = 0.05

_log = logging.getLogger(__name__)
Submit = Callable[[str, str, str, int], None]


@dataclass(frozen=True, slots=True)
class Lane:
    """One queue of the engine: which orders it takes and how many at a time."""

    queue: str
    phase: str
    among: frozenset[Stage]
    at_once: int
    share: str | None = None
    unsealed: bool = False
    """Whether it takes the orders that the bridge has to seal first."""


def lanes_of(pulls: Mapping[str, int], imports: int) -> list[Lane]:
    """One lane per share for transfers and one for looking at what the bridge seals, one for imports.

    Looking has a lane of its own, one order at a time: a thousand watched folders then cost the share one
    listing after the other, and hold up no pull.
    """
    transfer = [
        Lane(f"transfer-{share}", TRANSFER, stages.TRANSFER_STAGES, at_once, share)
        for share, at_once in pulls.items()
    ]
    watch = [
        Lane(f"watch-{share}", WATCH, frozenset({Stage.ACCEPTED}), 1, share, unsealed=True) for share in pulls
    ]
    return [*transfer, *watch, Lane(IMPORT_QUEUE, IMPORT, stages.IMPORT_STAGES, imports)]


class Dispatcher:
    """Claims and submits. Thread-safe."""

    def __init__(
        self,
        store: Store,
        lanes: list[Lane],
        submit: Submit,
        sweep: Callable[[datetime], int],
        *,
        every_seconds: float,
        lost_seconds: float = LOST_SECONDS,
        longest_pause: timedelta = timedelta(hours=2),
        may_work: Callable[[], bool] = lambda: True,
        pause_seconds: float = 30.0,
    ) -> None:
        self._store = store
        self._lanes = {lane.queue: lane for lane in lanes}
        self._submit = submit
        self._sweep = sweep
        self._every = every_seconds
        self._lost_seconds = lost_seconds
        self._longest_pause = longest_pause
        self._may_work = may_work
        self._guard = threading.Lock()
        self._submitted: dict[tuple[str, int], tuple[str, float]] = {}
        """(order, attempt) → (queue, monotonic time of submission), until it ends."""
        self._started: set[tuple[str, int]] = set()
        self._over: list[tuple[str, int, str]] = []
        """(order, attempt, queue) of attempts that ended since the last turn."""
        self._gates = Gates(timedelta(seconds=pause_seconds))
        self._shares = [lane.share for lane in lanes if lane.share is not None]
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked_for_lost_at = time.monotonic()
        self._swept_at = time.monotonic()

    # --- told by others -------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed: look soon."""
        self._wake.set()

    def started(self, order_id: str, number: int) -> None:
        """The engine began the attempt."""
        with self._guard:
            self._started.add((order_id, number))

    def ended(self, order_id: str, number: int) -> None:
        """The attempt is over: its slot is free."""
        with self._guard:
            self._started.discard((order_id, number))
            submitted = self._submitted.pop((order_id, number), None)
            if submitted is not None:
                self._over.append((order_id, number, submitted[0]))
        self._wake.set()

    # --- the loop -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin dispatching."""
        with self._store.write(notify=False) as session:
            outages.forget(session)
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Claim nothing any more; returns when the loop has ended."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._ending.is_set():
            self._wake.clear()
            try:
                if self._may_work():
                    self.turn(utcnow())
            except SQLAlchemyError as error:
                _log.warning("dispatching pauses, the orders cannot be reached: %s", error)
                self._ending.wait(1.0)
            except Exception:  # noqa: BLE001
                # The loop must outlive whatever one turn meets: without it no order moves any more.
                _log.exception("a turn of the dispatcher failed")
                self._ending.wait(1.0)
            self._wake.wait(self._every)
            self._ending.wait(_SHORTEST_PAUSE)

    def turn(self, now: datetime) -> int:
        """One look: claim and submit what is due. Returns how many were submitted."""
        given = 0
        self._judge(now)
        # Every step of an order that runs wakes this loop; mostly nothing else waits.
        lanes = self._lanes.values() if self._store.any_due(now) else ()
        for lane in lanes:
            free = lane.at_once - self._in_flight(lane.queue)
            if free <= 0:
                continue
            busy = self._orders_in_flight()
            for order in self._candidates(lane, now, free, busy):
                if self._ending.is_set() or free <= 0:
                    break
                # A cancelled or re-opened order's last attempt may still be ending its child.
                if order.id not in busy and self._give(lane, order.id, now):
                    free -= 1
                    given += 1
        self._chores(now)
        return given

    def _candidates(self, lane: Lane, now: datetime, free: int, busy: set[str]) -> list[Order]:
        """The orders that this queue may start now, more than fit: some of them may be ending still."""
        closed = self._gates.closed()
        gate = closed.get(share_need(lane.share) if lane.share is not None else OMERO)
        if gate is None:
            shut = [
                share
                for share in self._shares
                if lane.share is None
                and (found := closed.get(share_need(share))) is not None
                and found.is_shut(now)
            ]
            suspects = self._gates.suspects()
            most = free + len(busy) + len(suspects)
            due = self._store.due(
                now, lane.among, most, lane.share, unsealed=lane.unsealed, without_shares=shut
            )
            return sorted(due, key=lambda order: order.id in suspects)
        if gate.looking in busy:
            return []  # one is enough; others that run began before
        most = 2 + len(busy)
        due = self._store.due(
            now, lane.among, most, lane.share, unsealed=lane.unsealed, touched_after=gate.closed_at
        )
        if not due and not gate.is_shut(now):
            due = self._store.due(now, lane.among, most, lane.share, unsealed=lane.unsealed)
        # Another one than last time, where there is one: that one may have failed by itself.
        able = [order for order in due if order.id not in busy]
        chosen = sorted(able, key=lambda order: order.id == gate.failed[-1])[:1]
        gate.looking = chosen[0].id if chosen else ""
        return chosen

    def _judge(self, now: datetime) -> None:
        """Learn from the attempts that ended whether something is away, or back."""
        with self._guard:
            over, self._over = self._over, []
        if not over:
            return
        with self._store.read() as session:
            asked = select(Order.id, Order.attempt, Order.stage, Order.condition, Order.share, Order.reason)
            ids = [order_id for order_id, _number, _queue in over]
            rows = {row.id: row for row in session.execute(asked.where(Order.id.in_(ids)))}
        for order_id, number, queue in over:
            row = rows.get(order_id)
            if row is None or row.attempt != number:
                continue  # somebody took it from the attempt: that says nothing
            reason = Reason.model_validate(row.reason) if row.reason else None
            waits = reason is not None and row.condition == Condition.WAITING
            need = outage.missing(reason.code, row.share) if reason is not None and waits else None
            if reason is not None and need is not None:
                self._away(need, order_id, reason, now)
            elif not waits:  # it may wait for something that it met before it came to share or OMERO
                self._there(outage.answered(queue == IMPORT_QUEUE, Stage(row.stage), row.share))

    def _away(self, need: str, order_id: str, reason: Reason, now: datetime) -> None:
        gate = self._gates.away(need, order_id, reason, now)
        if gate is None or gate.reason is None:
            return
        _log.info("%s is away; one order looks again at %s", need, gate.until)
        with self._store.write(notify=False) as session:
            outages.note(session, need, gate.reason)

    def _there(self, need: str) -> None:
        if self._gates.there(need):
            _log.info("%s is back", need)
            with self._store.write() as session:
                outages.forget(session, need)

    def _in_flight(self, queue: str) -> int:
        with self._guard:
            return sum(1 for lane, _ in self._submitted.values() if lane == queue)

    def _orders_in_flight(self) -> set[str]:
        with self._guard:
            return {order_id for order_id, _ in self._submitted}

    def _give(self, lane: Lane, order_id: str, now: datetime) -> bool:
        number = self._store.claim(order_id, now, unsealed=lane.unsealed)
        if number is None:
            return False
        with self._guard:
            self._submitted[(order_id, number)] = (lane.queue, time.monotonic())
        try:
            self._submit(lane.queue, lane.phase, order_id, number)
        except Exception as error:  # noqa: BLE001 - whatever the engine raises, the order goes back
            _log.exception("the engine does not take order %s", order_id)
            self.ended(order_id, number)
            self._put_back(order_id, number, f"the engine did not take it: {type(error).__name__}")
            self._ending.wait(1.0)
            return False
        return True

    def _put_back(self, order_id: str, number: int, text: str) -> None:
        try:
            with self._store.attempt_write(order_id, number) as (session, order):
                self._store.set_condition(session, order, Condition.QUEUED, who="bridge", text=text)
        except StaleAttempt:
            return

    def _chores(self, now: datetime) -> None:
        clock = time.monotonic()
        if clock - self._looked_for_lost_at > self._lost_seconds / 3:
            self._looked_for_lost_at = clock
            self.find_lost(clock)
            for order_id in self._store.recall_stranded(now, self._longest_pause):
                _log.warning("order %s waited for a moment that the clock took back", order_id)
        if clock - self._swept_at > SWEEP_SECONDS:
            self._swept_at = clock
            try:
                if self._sweep(now):
                    # A few at a time, so that no order waits for it: there may be more.
                    self._swept_at = clock - SWEEP_SECONDS + SWEEP_AGAIN_SECONDS
            except Exception as error:  # noqa: BLE001 - old rows of the engine harm nobody; say it and go on
                _log.warning("the engine's old rows stay for now: %s", error)

    def find_lost(self, clock: float) -> list[str]:
        """Put back orders that the orders table calls running though no attempt of them runs here."""
        with self._guard:
            waiting = {
                key
                for key, (_queue, at) in self._submitted.items()
                if key in self._started or clock - at < self._lost_seconds
            }
            lost_keys = set(self._submitted) - waiting
        with self._store.read() as session:
            rows = session.execute(
                select(Order.id, Order.attempt).where(
                    Order.condition == Condition.RUNNING, Order.stage.in_(sorted(stages.WORKED))
                )
            ).all()
        running = {(order_id, number) for order_id, number in rows}
        lost = running - waiting
        for order_id, number in lost | lost_keys:
            self.ended(order_id, number)
        for order_id, number in lost:
            _log.warning("attempt %s of order %s never ran; it is queued again", number, order_id)
            self._put_back(order_id, number, "the attempt was lost; queued again")
        return sorted(order_id for order_id, _ in lost)
