"""One attempt at one order: run the steps of its phase, and turn every failure into a state a person can
read.

Nothing of an attempt lives longer than it does: it reads the order, does what is left to do, and ends with
the order in a next stage, in its queue, waiting with a reason, or in attention. Each of its writes proves
that the order is still its own; a recovered attempt of an earlier number therefore ends at its first look.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from threading import Event
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session

from server_bridge.config import ShareConfig
from server_bridge.context import Context
from server_bridge.contract import Condition, Progress, Reason, Stage, Target
from server_bridge.errors import FerryError, NeedsAttention, StaleAttempt, TransientFailure
from server_bridge.mover.room import Room
from server_bridge.mover.staging_disk import StagingAway
from server_bridge.observability import working_on
from server_bridge.orders import people
from server_bridge.orders.models import Order, OrderEvent, utcnow
from server_bridge.pipeline import backoff
from server_bridge.pipeline.disk_faults import of_os_error
from server_bridge.pipeline.live import LiveAttempts
from server_bridge.pipeline.places import OrderPlaces, places_of
from server_bridge.pipeline.progress import Reporter
from server_bridge.pipeline.share_pace import SharePaces
from server_bridge.processes.kept_output import trim
from server_bridge.processes.runner import ProcessRunner
from server_bridge.staging import require_staging

TRANSFER, IMPORT, WATCH = "transfer", "import", "watch"
LOOK_EVERY = 1000
"""Files between two looks at whether the attempt may go on: well below a second of any step's work."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Stopping(Exception):
    """The bridge ends: the order goes back into its queue."""


class SteppedBack(Exception):
    """The microscope comes first: the order goes back into its queue, in these words. No try has failed."""


class Finished(Exception):
    """The step has put the order where it belongs; the attempt ends."""


@dataclass
class Attempt:
    """What a step is given."""

    context: Context
    order_id: str
    number: int
    stop: Event
    live: LiveAttempts
    runner: ProcessRunner
    room: Room
    paces: SharePaces = None  # type: ignore[assignment]
    """Shared by all attempts of a bridge; one that runs by itself has its own."""
    progressed: bool = False
    """Whether this attempt brought a byte, a file or a unit."""
    reporter: Reporter = field(init=False)

    def __post_init__(self) -> None:
        self.reporter = Reporter(self._show)
        if self.paces is None:
            self.paces = SharePaces(self.context.site, self.context.store)

    def _show(self, progress: Progress) -> None:
        try:
            self.context.store.set_progress(self.order_id, progress)
        except OperationalError as error:
            # A counter that is not shown ends no pull; what must be written is written by the steps.
            _log.warning("progress is not shown for now: %s", error.orig)

    @property
    def order(self) -> Order:
        """The order's row as it is now."""
        return self.context.store.order(self.order_id)

    @property
    def target(self) -> Target:
        return Target.model_validate(self.order.target)

    @property
    def share(self) -> ShareConfig:
        """The order's share.

        Raises:
            NeedsAttention: where staff removed it from the site file.
        """
        share = self.context.site.share(self._share_id)
        if share is None:
            raise NeedsAttention(
                f"The site file knows no share {self._share_id!r} any more.",
                code="share_unknown",
                title="The share is gone from the site file",
                remedy="Staff put it back, or the order is cancelled.",
            )
        return share

    @cached_property
    def places(self) -> OrderPlaces:
        return places_of(self.context.site, self._share_id, self.order_id)

    @cached_property
    def _share_id(self) -> str:
        # An order's share never changes; it is asked for with every file.
        return self.order.share

    def write(self) -> AbstractContextManager[tuple[Session, Order]]:
        """A writing transaction that only this attempt may make (`Store.attempt_write`)."""
        return self.context.store.attempt_write(self.order_id, self.number)

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items of a long loop, with a :meth:`check` now and then."""
        for number, item in enumerate(items):
            if number % LOOK_EVERY == 0:
                self.check()
            yield item

    def check(self) -> None:
        """Stop here if this attempt may not go on.

        Raises:
            Stopping: the bridge ends.
            StaleAttempt: the order moved on.
        """
        if self.live.is_stopping:
            raise Stopping
        if self.stop.is_set() or not self.context.store.still_mine(self.order_id, self.number):
            raise StaleAttempt(f"order {self.order_id}, attempt {self.number}")

    def advance(self, target: Stage, text: str, *, keep_running: bool) -> None:
        """Compare-and-set to the next stage; raises `Finished` where the attempt ends with it."""
        self.context.store.advance(self.order_id, self.number, target, text, keep_running=keep_running)
        self.progressed = True
        if not keep_running:
            raise Finished

    def waiting_since(self, code: str) -> datetime | None:
        """Since when the attempts before this one failed for this same reason, without a break."""
        with self.context.store.read() as session:
            events = session.scalars(
                select(OrderEvent)
                .where(OrderEvent.order_id == self.order_id, OrderEvent.attempt == self.number - 1)
                .order_by(OrderEvent.id.desc())
                .limit(10)
            ).all()
        for event in events:
            if event.reason:
                found = Reason.model_validate(event.reason)
                return found.since if found.code == code else None
        return None


Step = Callable[[Attempt], None]


def run_attempt(attempt: Attempt, steps: Mapping[Stage, Step], stages: Sequence[Stage]) -> str:
    """Carry out the steps of a phase from the order's stage on. Returns one word for the engine's row."""
    with working_on(attempt.order_id, attempt=attempt.number):
        try:
            return _run(attempt, steps, stages)
        except SQLAlchemyError as error:
            # The orders themselves cannot be written: whoever starts next finds the order running, and queues
            # it (`Store.requeue_running`, or the dispatcher's look for lost attempts).
            _log.exception("the orders database failed: %s", error)
            return "database"


def _run(attempt: Attempt, steps: Mapping[Stage, Step], stages: Sequence[Stage]) -> str:
    """One attempt; whatever it meets but the database's own failures ends as a state of the order."""
    try:
        trim(attempt.places.work)
        while (stage := Stage(attempt.order.stage)) in stages:
            attempt.check()
            require_staging(attempt.context)
            steps[stage](attempt)
        return "done"
    except Finished:
        return "done"
    except StaleAttempt:
        _log.info("the order moved on without this attempt")
        return "stale"
    except Stopping:
        return _put_back(attempt, "the bridge ends; the order goes on with the next start")
    except SteppedBack as error:
        return _put_back(attempt, str(error))
    except FerryError as error:
        return _fail(attempt, error)
    except (DataError, IntegrityError, ProgrammingError) as error:
        return _fail(attempt, _mistake(attempt, error))  # of ours: the database itself is well
    except SQLAlchemyError:
        raise  # no failure of the order; and where it would be told cannot be written
    except OSError as error:
        return _fail(attempt, of_os_error(error, attempt.context.site.staging_dir))
    except Exception as error:  # noqa: BLE001 - the order must say that it failed
        return _fail(attempt, _mistake(attempt, error))


def _mistake(attempt: Attempt, error: Exception) -> TransientFailure:
    _log.error(
        "attempt %s of %s failed by a mistake of ours", attempt.number, attempt.order_id, exc_info=error
    )
    return TransientFailure(
        f"{type(error).__name__}: {error}",
        code="internal",
        title="The bridge made a mistake",
        remedy="The bridge tries again. If it stays, staff find the whole text in its log.",
    )


def _put_back(attempt: Attempt, text: str) -> str:
    store = attempt.context.store
    try:
        with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
            store.set_condition(session, order, Condition.QUEUED, who="bridge", text=text)
    except StaleAttempt:
        return "stale"
    return "put back"


def _first_cause(attempt: Attempt, error: FerryError) -> FerryError:
    """Looked at again, after the failure: staging that is away now makes files look missing, changed or
    unwritable, and none of that is true of them."""
    try:
        require_staging(attempt.context)
    except StagingAway as away:
        _log.info("seen while staging was away: %s", error)
        return away
    except (OSError, SQLAlchemyError) as failed:
        _log.info("staging cannot be looked at: %s", failed)
    return error


def _fail(attempt: Attempt, error: FerryError) -> str:
    """Write what becomes of the order. A failure that our own stop signal caused is none."""
    if attempt.live.is_stopping:
        return _put_back(attempt, "the bridge ends; the order goes on with the next start")
    store = attempt.context.store
    now = utcnow()
    error = _first_cause(attempt, error)
    contact = attempt.context.site.contact
    reason = error.reason(contact)
    if error.code == "no_such_person":
        # OMERO let her in when the order was accepted; `server_bridge.notices.departures` sees to the rest.
        reason = people.reason_of(attempt.order.person, contact)
    since = attempt.waiting_since(reason.code) if not attempt.progressed else None
    reason = reason.model_copy(update={"since": since})
    decision = backoff.decide(
        backoff.classify(error),
        waited_seconds=(now - since).total_seconds() if since else 0.0,
        idle_tries=attempt.order.idle_tries,
        progressed=attempt.progressed,
        limits=attempt.context.site.limits,
        spread=random.random(),
    )
    _log.info("%s: %s", error.code, error.detail or error.title)
    try:
        if decision.condition is Condition.ATTENTION:
            store.attention(attempt.order_id, attempt.number, reason)
        else:
            store.wait(
                attempt.order_id,
                attempt.number,
                reason,
                now + timedelta(seconds=decision.delay_seconds),
                progressed=decision.progressed,
            )
    except StaleAttempt:
        return "stale"
    return decision.condition.value
