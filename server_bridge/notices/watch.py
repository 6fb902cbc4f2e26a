"""The thread that looks for what people should hear of: outages, people who left, data that grows too old."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from server_bridge.context import Context
from server_bridge.errors import FerryError
from server_bridge.notices import lifetime
from server_bridge.notices.departures import Departures
from server_bridge.notices.outages import OutageWatch
from server_bridge.observability import get_logger
from server_bridge.orders.models import utcnow

EVERY_SECONDS = 10.0

log = get_logger("ferry.notices")


@dataclass
class _Chore:
    name: str
    every: timedelta
    look: Callable[[datetime], object]
    next_at: datetime | None = None


class NoticeWatch:
    """One thread; each chore has a pace of its own, and one that fails does not hold up the others."""

    def __init__(self, context: Context, *, every_seconds: float = EVERY_SECONDS) -> None:
        site, store = context.site, context.store
        outages = OutageWatch(store, timedelta(minutes=site.mail.outage_minutes))
        departures = Departures(store, context.omero, site.contact)
        self._chores = [
            _Chore("outages", timedelta(seconds=20), outages.look),
            _Chore("departures", timedelta(seconds=10), departures.look),
            _Chore("lifetime", timedelta(minutes=30), lambda now: lifetime.look(store, site, now)),
        ]
        self._every = every_seconds
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._loop, name="notices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, after the chore that runs; one that waits for OMERO is not waited for long."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _loop(self) -> None:
        while not self._ending.wait(self._every):
            self.turn(utcnow())

    def turn(self, now: datetime) -> None:
        """Do the chores whose time has come."""
        for chore in self._chores:
            if self._ending.is_set():
                return
            if chore.next_at is not None and now < chore.next_at:
                continue
            chore.next_at = now + chore.every
            try:
                chore.look(now)
            except FerryError as error:
                log.info("a look for notices was put off", chore=chore.name, code=error.code)
            except SQLAlchemyError as error:
                log.warning("notices pause, the orders cannot be reached", chore=chore.name, error=str(error))
            except Exception:
                # The loop must outlive one bad turn; what it looks for will still be there.
                log.exception("a look for notices failed", chore=chore.name)
