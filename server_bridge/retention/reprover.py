"""Proving again by itself what stopped for another inode: storage was moved, and nobody has to say so.

An order whose names are not one any more asks somebody. Reading OMERO's file and comparing its SHA-1 with the
receipt settles that, so the bridge does it: one order at a time, at a bounded rate, so that a moved
repository of terabytes is read over weeks instead of taking the disks from OMERO for a day. Staff who want it
sooner run `ferry-bridge prove --all`. A file that holds other bytes keeps asking somebody.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from server_bridge.context import Context
from server_bridge.contract import Condition, Stage
from server_bridge.errors import FerryError
from server_bridge.observability import working_on
from server_bridge.orders.models import Order, utcnow
from server_bridge.pipeline.reproof import READABLE_CODES
from server_bridge.retention.reprove import Watch, prove_again

EVERY_SECONDS = 30.0
AGAIN = timedelta(days=1)
"""An order that did not hold after it was read is not read again before this."""
WHO = "bridge"

_log = logging.getLogger(__name__)


class _Ending(Exception):
    """The bridge ends in the middle of a file: nothing is lost, it is read again later."""


class Throttle:
    """Sleeps as long as the bytes that were read are ahead of the rate."""

    def __init__(
        self, bytes_per_hour: int, wait: Callable[[float], bool], now: Callable[[], datetime] = utcnow
    ) -> None:
        self._rate = bytes_per_hour / 3600
        self._wait = wait
        self._now = now
        self._since = now()
        self._bytes = 0

    def spend(self, count: int) -> None:
        """So many bytes were read.

        Raises:
            _Ending: where the bridge ends while it waits.
        """
        self._bytes += count
        ahead = self._bytes / self._rate - (self._now() - self._since).total_seconds()
        if self._wait(max(0.0, ahead)):
            raise _Ending


class Reprover:
    """One thread."""

    def __init__(self, context: Context, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._context = context
        self._every = every_seconds
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._tried: dict[str, datetime] = {}

    def start(self) -> None:
        """Begin, unless the site reads nothing by itself."""
        if self._context.site.limits.reprove_bytes_per_hour:
            self._thread = threading.Thread(target=self._loop, name="reprover", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, in the middle of a file if need be."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(30)

    def _loop(self) -> None:
        while not self._ending.wait(self._every):
            try:
                self.tick(utcnow())
            except _Ending:
                return
            except SQLAlchemyError as error:
                _log.warning("nothing is proven again, the orders cannot be reached: %s", error)
            except Exception:  # noqa: BLE001
                # The loop must outlive one bad turn; the order keeps asking somebody.
                _log.exception("a turn of the reprover failed")

    def tick(self, now: datetime) -> str | None:
        """Prove one order again, if one stopped for its names. Returns its id."""
        order_id = self._next(now)
        if order_id is None:
            return None
        self._tried[order_id] = now
        throttle = Throttle(self._context.site.limits.reprove_bytes_per_hour, self._ending.wait)
        with working_on(order_id):
            try:
                found = prove_again(self._context, order_id, WHO, watch=Watch(on_bytes=throttle.spend))
                _log.info("read %d bytes, %d of %d files hold", found.bytes_read, found.held, found.files)
            except FerryError as error:
                # An outage: it is tried again as soon as it is over.
                self._tried.pop(order_id, None)
                _log.info("%s: %s", error.code, error.detail or error.title)
            except OSError as error:
                _log.warning("a disk failed at being read: %s", error)
        return order_id

    def _next(self, now: datetime) -> str | None:
        self._tried = {key: at for key, at in self._tried.items() if now - at < AGAIN}
        with self._context.store.read() as session:
            stopped = session.execute(
                select(Order.id, Order.reason)
                .where(
                    Order.stage == Stage.PROVING,
                    Order.condition == Condition.ATTENTION,
                    Order.proven_at.is_not(None),
                )
                .order_by(Order.stage_since, Order.id)
            ).all()
        for order_id, reason in stopped:
            if (reason or {}).get("code") in READABLE_CODES and order_id not in self._tried:
                return str(order_id)
        return None
