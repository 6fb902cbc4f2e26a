"""The only way to change an order: compare-and-set along the table of stages, in one transaction each.

An attempt proves with every write that it is still the one that may write (`attempt` number and condition
``running``): after a cancel, a new manifest or a newer attempt its next write raises
:class:`~server_bridge.errors.StaleAttempt` and it stops. Each change takes the next value of the feed counter
inside its own transaction, so a poller that has seen cursor N has seen everything up to N.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Engine, bindparam, delete, func, or_, select, true, update
from sqlalchemy.orm import Session

from server_bridge.contract import Condition, Progress, ProofSummary, Reason, Stage
from server_bridge.errors import NotFound, StaleAttempt
from server_bridge.orders import file_rows, notices, stages
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import (
    AuditEntry,
    FeedCounter,
    ImportUnit,
    Order,
    OrderEvent,
    OrderProgress,
    utcnow,
)
from server_bridge.orders.outages import LOOKS_AT_SHARE
from server_bridge.orders.queue import QueueBook

# Made once: building a statement costs as much as running it, and these run at every step of every order.
_TAKE_COUNTER = update(FeedCounter.__table__).where(FeedCounter.__table__.c.id == 1)  # type: ignore[arg-type]
_LOCK_COUNTER = _TAKE_COUNTER.values(value=FeedCounter.__table__.c.value)
_NEXT_CHANGE = _TAKE_COUNTER.values(value=FeedCounter.__table__.c.value + 1).returning(
    FeedCounter.__table__.c.value
)
_QUEUED = "queued"
"""In a session's info: an order that it touched stands in its queue."""
_ANY_DUE = (
    select(Order.id)
    .where(
        Order.stage.in_(sorted(stages.WORKED)),
        or_(
            Order.condition == Condition.QUEUED,
            (Order.condition == Condition.WAITING) & (Order.next_try_at <= bindparam("now")),
        ),
    )
    .limit(1)
)
_NEWEST_PROGRESS = select(func.max(OrderProgress.at))
_SET_PROGRESS = (
    update(OrderProgress)
    .where(OrderProgress.order_id == bindparam("of"))
    .values(progress=bindparam("counters"), at=bindparam("moment"))
)
_OWNER = select(Order.attempt, Order.condition).where(Order.id == bindparam("order_id"))


class Store:
    """Orders in the database. Safe to share between threads: every method opens its own session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(ferry_write=True)
        self._listeners: list[Callable[[], None]] = []
        self._queued_listeners: list[Callable[[], None]] = []
        self._queues = QueueBook()
        self._proofs: dict[tuple[str, int], ProofSummary] = {}

    @property
    def queues(self) -> QueueBook:
        """Who stands where in the queues."""
        return self._queues

    @property
    def engine(self) -> Engine:
        """The database engine, for what is no order (and for tests)."""
        return self._engine

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` (from any thread) after each committed write and each progress row."""
        self._listeners.append(listener)

    def on_queued(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` (from any thread) after each committed write that left an order in its queue."""
        self._queued_listeners.append(listener)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; nothing is committed."""
        # Only here: what a writing transaction sees may be rolled back, and the book would not know.
        info = {"queues": self._queues, "proofs": self._proofs}
        with Session(self._engine, expire_on_commit=False, info=info) as session:
            yield session

    @contextmanager
    def write(self, *, notify: bool = True) -> Iterator[Session]:
        """A writing transaction: alone on the database (SQLite) or behind the counter's row lock.

        ``notify=False`` is for what no poller waits for (heartbeats, sessions).
        """
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            # Taking the row first serialises all order writers on every database.
            session.connection().execute(_LOCK_COUNTER)
            yield session
        if notify:
            self._notify()
        if _QUEUED in session.info:
            for listener in self._queued_listeners:
                listener()

    # --- building blocks inside a write() -------------------------------------------------------------

    @staticmethod
    def touch(session: Session, order: Order) -> None:
        """Give the order its next revision and the feed's next cursor value."""
        order.change = session.connection().execute(_NEXT_CHANGE).scalar_one()
        order.revision = (order.revision or 0) + 1
        order.updated_at = utcnow()
        if order.condition == Condition.QUEUED:
            session.info[_QUEUED] = True
        session.flush()

    @staticmethod
    def event(session: Session, order: Order, who: str, text: str, reason: Reason | None = None) -> None:
        """Write a line of the order's history."""
        session.add(
            OrderEvent(
                order_id=order.id,
                at=utcnow(),
                who=who,
                stage=order.stage,
                condition=order.condition,
                attempt=order.attempt,
                text=text,
                reason=reason.model_dump(mode="json") if reason else None,
            )
        )

    @staticmethod
    def audit(session: Session, who: str, action: str, subject: str, **detail: object) -> None:
        """Append to the audit table. ``detail`` must be JSON and hold no secret."""
        session.add(AuditEntry(at=utcnow(), who=who, action=action, subject=subject, detail=detail))

    @classmethod
    def set_stage(
        cls,
        session: Session,
        order: Order,
        target: Stage,
        cause: stages.Cause,
        *,
        who: str,
        text: str,
        condition: Condition = Condition.QUEUED,
        reason: Reason | None = None,
        next_try_at: datetime | None = None,
    ) -> None:
        """Move an order (read inside this same transaction) along the table.

        Raises:
            Conflict: where the table forbids it.
        """
        stages.check(Stage(order.stage), target, cause)
        order.stage = target
        order.stage_since = utcnow()
        cls.set_condition(
            session, order, condition, who=who, text=text, reason=reason, next_try_at=next_try_at
        )

    @classmethod
    def set_condition(
        cls,
        session: Session,
        order: Order,
        condition: Condition,
        *,
        who: str,
        text: str,
        reason: Reason | None = None,
        next_try_at: datetime | None = None,
    ) -> None:
        """Set condition and reason; ``since`` of an unchanged reason is kept, or the one that it brings.

        Coming to ``attention`` is told and leaving it withdraws that, in this same transaction.
        """
        if reason is not None:
            before = Reason.model_validate(order.reason) if order.reason else None
            known = before.since if before and before.code == reason.code else None
            since = known or reason.since or utcnow()
            reason = reason.model_copy(update={"since": since, "next_try_at": next_try_at})
        was, order.condition = order.condition, condition
        order.reason = reason.model_dump(mode="json") if reason else None
        order.next_try_at = next_try_at
        if Condition.ATTENTION in (was, condition):
            notices.follow(session, order, reason)
        cls.event(session, order, who, text, reason)
        cls.touch(session, order)

    @staticmethod
    def get(session: Session, order_id: str) -> Order:
        """Return the order.

        Raises:
            NotFound: where there is none of that id.
        """
        order = session.get(Order, order_id)
        if order is None:
            raise NotFound(f"There is no order {order_id}.", code="no_such_order", title="Unknown order")
        return order

    @staticmethod
    def fenced(session: Session, order_id: str, attempt: int) -> Order:
        """Return the order if ``attempt`` still owns it.

        Raises:
            StaleAttempt: where it was cancelled, re-opened, or given to a later attempt.
        """
        order = session.get(Order, order_id)
        if order is None or order.attempt != attempt or order.condition != Condition.RUNNING:
            raise StaleAttempt(f"order {order_id}, attempt {attempt}")
        return order

    # --- the dispatcher's view ------------------------------------------------------------------------

    def requeue_running(self, text: str) -> list[str]:
        """At start, before the engine: whatever was running when the last process ended is queued again."""
        with self.write() as session:
            orders = session.scalars(select(Order).where(Order.condition == Condition.RUNNING)).all()
            session.execute(delete(OrderProgress))
            for order in orders:
                self.set_condition(session, order, Condition.QUEUED, who="bridge", text=text)
            return [order.id for order in orders]

    def recall_stranded(self, now: datetime, longest: timedelta) -> list[str]:
        """Queue what waits for a moment that no pause can reach: the clock was set back meanwhile."""
        too_far = (Order.condition == Condition.WAITING) & (Order.next_try_at > now + longest)
        with self.read() as session:
            if session.scalar(select(Order.id).where(too_far).limit(1)) is None:
                return []
        with self.write() as session:
            orders = session.scalars(select(Order).where(too_far)).all()
            for order in orders:
                text = "the bridge's clock was set back; tried again now"
                self.set_condition(session, order, Condition.QUEUED, who="bridge", text=text)
            return [order.id for order in orders]

    def due(
        self,
        now: datetime,
        among: frozenset[Stage],
        limit: int,
        share: str | None = None,
        *,
        unsealed: bool = False,
        without_shares: Collection[str] = (),
        touched_after: datetime | None = None,
    ) -> list[Order]:
        """Orders that may be attempted now, oldest first. Unsealed orders wait for their agent.

        Args:
            now: who waits until then is due.
            among: their stages.
            limit: at most so many.
            share: of this share alone.
            unsealed: those that the bridge has to seal first, and no others.
            without_shares: none of these shares that still has to look at its share.
            touched_after: only queued ones that somebody put back there since, without moving them on.
        """
        asked = select(Order)
        if without_shares:
            asked = asked.where(
                Order.share.not_in(sorted(without_shares)) | Order.stage.not_in(sorted(LOOKS_AT_SHARE))
            )
        if touched_after is not None:
            asked = asked.where(
                Order.condition == Condition.QUEUED,
                Order.updated_at > touched_after,
                Order.stage_since < touched_after,
            )
        with self.read() as session:
            return list(
                session.scalars(
                    asked.where(
                        Order.stage.in_(sorted(among)),
                        Order.sealed.is_(not unsealed),
                        Order.seal == "bridge" if unsealed else true(),
                        Order.share == share if share is not None else true(),
                        or_(
                            Order.condition == Condition.QUEUED,
                            (Order.condition == Condition.WAITING) & (Order.next_try_at <= now),
                        ),
                    )
                    # A place is looked at again and again: whoever waited longest comes first, or a thousand
                    # of them would never let the last one have its turn.
                    .order_by(
                        *((Order.next_try_at.asc().nulls_first(),) if unsealed else ()),
                        Order.created_at,
                        Order.id,
                    )
                    .limit(limit)
                )
            )

    def claim(self, order_id: str, now: datetime, *, unsealed: bool = False) -> int | None:
        """Give the order to a new attempt; None where it is no longer due (cancelled, claimed, put back)."""
        with self.write() as session:
            order = session.get(Order, order_id)
            if order is None or Stage(order.stage) not in stages.WORKED or order.sealed is unsealed:
                return None
            if unsealed and order.seal != "bridge":
                return None
            due = order.condition == Condition.QUEUED or (
                order.condition == Condition.WAITING
                and order.next_try_at is not None
                and order.next_try_at <= now
            )
            if not due:
                return None
            order.attempt += 1
            self.set_condition(
                session, order, Condition.RUNNING, who="bridge", text=f"attempt {order.attempt} starts"
            )
            return order.attempt

    def still_mine(self, order_id: str, attempt: int) -> bool:
        """Whether ``attempt`` may go on; a running child is ended when this turns False."""
        with self.read() as session:
            row = session.connection().execute(_OWNER, {"order_id": order_id}).one_or_none()
            return row is not None and row == (attempt, Condition.RUNNING)

    def any_due(self, now: datetime) -> bool:
        """Whether :meth:`due` may find an order of any stage, for a look that costs next to nothing."""
        with self.read() as session:
            return session.connection().execute(_ANY_DUE, {"now": now}).first() is not None

    # --- an attempt's writes --------------------------------------------------------------------------

    def order(self, order_id: str) -> Order:
        """A detached copy of the order's row.

        Raises:
            NotFound: where there is none.
        """
        with self.read() as session:
            return self.get(session, order_id)

    def files(self, order_id: str) -> list[FileRow]:
        """The manifest's files, by path. It costs half a kilobyte per file: once per step."""
        with self.read() as session:
            return file_rows.read(session, order_id)

    def units(self, order_id: str) -> list[ImportUnit]:
        """Detached rows of the import units, by index."""
        with self.read() as session:
            return list(
                session.scalars(
                    select(ImportUnit).where(ImportUnit.order_id == order_id).order_by(ImportUnit.index)
                )
            )

    @contextmanager
    def attempt_write(self, order_id: str, attempt: int) -> Iterator[tuple[Session, Order]]:
        """A writing transaction that only the order's current attempt may make.

        Raises:
            StaleAttempt: where it is no longer the current one; nothing is written.
        """
        with self.write() as session:
            yield session, self.fenced(session, order_id, attempt)

    def advance(self, order_id: str, attempt: int, target: Stage, text: str, *, keep_running: bool) -> None:
        """Compare-and-set to the next stage; the attempt goes on, or leaves the order queued for another.

        Raises:
            StaleAttempt: where the attempt lost the order.
            Conflict: where the table forbids it.
        """
        with self.attempt_write(order_id, attempt) as (session, order):
            order.idle_tries = 0
            self.set_stage(
                session,
                order,
                target,
                stages.Cause.ATTEMPT,
                who="bridge",
                text=text,
                condition=Condition.RUNNING if keep_running else Condition.QUEUED,
            )
            if not keep_running:
                self._forget_progress(session, order_id)

    def wait(
        self, order_id: str, attempt: int, reason: Reason, next_try_at: datetime, *, progressed: bool
    ) -> int:
        """End the attempt; the next starts at ``next_try_at``. Returns the idle tries in a row."""
        with self.attempt_write(order_id, attempt) as (session, order):
            order.idle_tries = 0 if progressed else order.idle_tries + 1
            self._forget_progress(session, order_id)
            self.set_condition(
                session,
                order,
                Condition.WAITING,
                who="bridge",
                text=reason.title,
                reason=reason,
                next_try_at=next_try_at,
            )
            return order.idle_tries

    def attention(self, order_id: str, attempt: int, reason: Reason) -> None:
        """End the attempt until somebody decides."""
        with self.attempt_write(order_id, attempt) as (session, order):
            self._forget_progress(session, order_id)
            self.set_condition(
                session, order, Condition.ATTENTION, who="bridge", text=reason.title, reason=reason
            )

    @staticmethod
    def _forget_progress(session: Session, order_id: str) -> None:
        """Counters are of what runs; the feed reads all rows for each look."""
        session.execute(delete(OrderProgress).where(OrderProgress.order_id == order_id))

    def set_progress(self, order_id: str, progress: Progress) -> None:
        """Overwrite the progress row, outside history and revision. Callers throttle to once a second.

        The row's own time is the pollers' position: like the feed's counter it grows in commit order, also
        when the clock is set back.
        """
        counters = progress.model_dump(mode="json")
        with self.write() as session:
            connection = session.connection()
            newest = connection.scalar(_NEWEST_PROGRESS)
            at = progress.at if newest is None else max(progress.at, newest + timedelta(microseconds=1))
            row = {"of": order_id, "counters": counters, "moment": at}
            if connection.execute(_SET_PROGRESS, row).rowcount == 0:
                session.add(OrderProgress(order_id=order_id, progress=counters, at=at))

    def progress(self, order_ids: Sequence[str]) -> dict[str, Progress]:
        """Progress rows of those orders that have one."""
        with self.read() as session:
            rows = session.scalars(select(OrderProgress).where(OrderProgress.order_id.in_(order_ids))).all()
            return {row.order_id: Progress.model_validate(row.progress) for row in rows}
