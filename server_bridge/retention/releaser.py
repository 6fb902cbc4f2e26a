"""The periodic look at proven and released orders: release what may go, take back what no longer holds,
retire.

Beside the orders it looks at OMERO as a whole (is this the database that we saw?) and at the quarantine's and
the tables' expired rows.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from server_bridge.context import Context
from server_bridge.contract import ReceiptStatus, Stage
from server_bridge.errors import FerryError, StaleAttempt
from server_bridge.mover.staging_disk import StagingAway
from server_bridge.observability import working_on
from server_bridge.orders import backup_stamps, clock, stages
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import Order, utcnow
from server_bridge.pipeline import omero_watch
from server_bridge.processes.runner import ProcessRunner
from server_bridge.retention import guard, omero_lost, quarantine, trimming
from server_bridge.retention.reconcile import APART, Sighting, drop_links, sight
from server_bridge.retention.release import gather, release
from server_bridge.staging import require_staging

EVERY_SECONDS = 2.0
RECHECK = timedelta(hours=1)
"""How often a released order that is not freed yet is looked at again without anybody asking."""
OMERO_LOOK = timedelta(minutes=1)
"""How often OMERO is asked whether it is the database that we saw."""
CLEANING = timedelta(minutes=10)
TRIMMING = timedelta(days=1)
AT_ONCE = 20

_log = logging.getLogger(__name__)


class Releaser:
    """One thread. Each tick looks at a few orders; an outage of OMERO or a share only means: later."""

    def __init__(
        self, context: Context, *, every_seconds: float = EVERY_SECONDS, apart: timedelta = APART
    ) -> None:
        self._context = context
        self._every = every_seconds
        self._apart = apart
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_look: dict[str, datetime] = {}
        # In memory on purpose: after a restart both listings are made anew, which only takes longer.
        self._sightings: dict[str, Sighting] = {}
        self._freed: set[str] = set()
        self._covered: datetime | None = None
        self._next_omero: datetime | None = None
        self._withdrawn = False
        self._next_cleaning: datetime | None = None
        self._next_trim: datetime | None = None
        self._runner = ProcessRunner()

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._loop, name="releaser", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, after the order it looks at."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(30)

    def _loop(self) -> None:
        while not self._ending.wait(self._every):
            for turn in (self.look_at_omero, self.tick, self.clean):
                try:
                    turn(utcnow())
                except SQLAlchemyError as error:
                    _log.warning("releases pause, the orders cannot be reached: %s", error)
                except Exception:  # noqa: BLE001
                    # The loop must outlive one bad turn; an order that is not released harms nobody.
                    _log.exception("a turn of the releaser failed")

    def tick(self, now: datetime) -> None:
        """Look at the orders whose time has come; at none while staging is away: every proof would look
        lost."""
        clock.observe(self._context.store)
        try:
            require_staging(self._context)
        except (StagingAway, OSError) as error:
            _log.info("releases pause: %s", error)
            return
        for order_id in self._due(now):
            if self._ending.is_set():
                return
            with working_on(order_id):
                try:
                    again_after = self._look(order_id, now)
                except StaleAttempt:
                    again_after = timedelta(0)
                except FerryError as error:
                    _log.info("%s: %s", error.code, error.detail or error.title)
                    again_after = timedelta(minutes=1)
                self._next_look[order_id] = now + again_after

    def look_at_omero(self, now: datetime) -> None:
        """Is OMERO's database the one that we saw? Where it is an older one, what it lost is not believed."""
        if self._next_omero is not None and now < self._next_omero:
            return
        self._next_omero = now + OMERO_LOOK
        try:
            with self._context.omero.service() as session:
                same = omero_watch.look(self._context, session)
                if same is None:
                    omero_lost.begin_watch(self._context, session)
                if same is False and not self._withdrawn:
                    taken = omero_lost.withdraw(self._context, session)
                    self._withdrawn = True
                    _log.error(
                        "OMERO was restored from an older dump: %d orders lost their proof", len(taken)
                    )
            if same and self._withdrawn:
                self._withdrawn = False
            if same:
                omero_lost.go_on(self._context)
        except FerryError as error:
            _log.info("%s: %s", error.code, error.detail or error.title)

    def clean(self, now: datetime) -> None:
        """Unlink what was in quarantine long enough; drop what the tables need not keep."""
        if self._next_cleaning is not None and now < self._next_cleaning:
            return
        self._next_cleaning = now + CLEANING
        quarantine.expire(self._context, now)
        if self._next_trim is None or now >= self._next_trim:
            self._next_trim = now + TRIMMING
            trimming.trim(self._context, now)

    def _due(self, now: datetime) -> list[str]:
        with self._context.store.read() as session:
            # Thousands of released orders are normal: only what decides is read.
            orders = session.execute(
                select(Order.id, Order.stage, Order.share, Order.proven_at, Order.freed_at)
                .where(Order.stage.in_([Stage.PROVEN, Stage.RELEASED]))
                .order_by(Order.stage_since, Order.id)
            ).all()
            covered = backup_stamps.covered_until(session)
        known = {order.id for order in orders}
        self._next_look = {key: at for key, at in self._next_look.items() if key in known}
        self._sightings = {key: at for key, at in self._sightings.items() if key in known}
        freed = {order.id for order in orders if order.freed_at is not None}
        for order_id in freed - self._freed:
            # Reported since the last turn: the hour until the next look was meant for an order that rests.
            self._next_look.pop(order_id, None)
        self._freed = freed
        if covered != self._covered:
            self._covered = covered
            for order in orders:
                if order.stage == Stage.PROVEN:
                    self._next_look.pop(order.id, None)
        due = []
        for order in orders:
            share = self._context.site.share(order.share)
            if order.stage == Stage.PROVEN and (
                share is None
                or order.proven_at is None
                or order.proven_at + timedelta(days=share.hold_days) > now
                or (share.require_backup and (covered is None or covered < order.proven_at))
            ):
                continue
            # One that lies further ahead than any can was noted before the clock was set back.
            if not now < self._next_look.get(order.id, now) <= now + RECHECK:
                due.append(order.id)
        return due[:AT_ONCE]

    def _look(self, order_id: str, now: datetime) -> timedelta:
        """Look at one order; returns when to look again."""
        context = self._context
        order, files = context.store.order(order_id), context.store.files(order_id)
        if order.stage == Stage.RELEASED and order.freed_at is not None:
            return self._retire(order, files, now)
        facts = gather(context, order, files)
        refused = guard.may_be_released(facts, now)
        if refused is None:
            release(context, order_id, now)
            return RECHECK if order.freed_at is None else timedelta(0)
        if facts.problems:
            self._take_back(order, refused.detail)
        return RECHECK

    def _take_back(self, order: Order, text: str) -> None:
        """A proof no longer holds: back to proving, which says what is wrong and asks somebody."""
        store = self._context.store
        with store.write() as session:
            row = store.get(session, order.id)
            if row.revision != order.revision or row.stage not in (Stage.PROVEN, Stage.RELEASED):
                return
            row.released_at = None
            store.set_stage(
                session, row, Stage.PROVING, stages.Cause.RETENTION, who="bridge", text=f"proof lost: {text}"
            )
            store.audit(session, "bridge", "order.proof_lost", order.id, detail=text)

    def _retire(self, order: Order, files: list[FileRow], now: datetime) -> timedelta:
        if any(file.freed_at is None and file.status == ReceiptStatus.PROVEN for file in files):
            return RECHECK
        seen = sight(self._context, order, now, self._runner)
        if seen is None:
            return timedelta(minutes=1)
        first = self._sightings.setdefault(order.id, seen)
        if seen.at - first.at < self._apart:
            return self._apart
        if seen.present - first.present:
            # Something came back to that place: start over with this listing.
            self._sightings[order.id] = seen
            return self._apart
        done = drop_links(self._context, order.id, first, seen, self._apart)
        if done.lost:
            # Staging holds the last copy of what OMERO lost: proving finds out why.
            self._take_back(order, f"{done.lost[0]}: OMERO's file is gone or another one")
        return self._apart
