"""The pace of the pulls that run: one share's rate, divided among the pulls that read from it.

Asked twice a second by each running rsync's watcher, so a lease that comes or goes holds a few seconds after
its heartbeat. It never fails: where the orders cannot be read, what was last known goes on to hold.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from server_bridge.config import ShareConfig, SiteConfig
from server_bridge.orders import leases, share_rates
from server_bridge.orders.leases import Beat, Paused
from server_bridge.orders.models import Order, utcnow
from server_bridge.orders.share_rates import ShareRate
from server_bridge.orders.store import Store

_log = logging.getLogger(__name__)


class SharePaces:
    """Of all shares. Thread-safe."""

    def __init__(self, site: SiteConfig, store: Store, clock: Callable[[], datetime] = utcnow) -> None:
        self._site = site
        self._store = store
        self._clock = clock
        self._guard = threading.Lock()
        self._pulling: dict[str, int] = {}
        self._known: Sequence[Beat] = ()

    def rate(self, share: ShareConfig) -> ShareRate:
        """What holds for all pulls from a share together."""
        return share_rates.rate_of(self._site, share, self._beats(), self._clock())

    def paused(self) -> list[Paused]:
        """The workstations whose acquisitions are not pulled now."""
        return leases.paused(self._beats(), self._clock(), self._site)

    def pause_of(self, order: Order) -> Paused | None:
        """The pause that covers an order, if there is one."""
        return next((one for one in self.paused() if one.covers(order)), None)

    @contextmanager
    def pulling(self, share: ShareConfig) -> Iterator[PullPace]:
        """One more pull from the share, for as long as it runs."""
        with self._guard:
            self._pulling[share.id] = self._pulling.get(share.id, 0) + 1
        try:
            yield PullPace(self, share)
        finally:
            with self._guard:
                self._pulling[share.id] -= 1

    def pulls(self, share_id: str) -> int:
        """How many pulls read from it now."""
        with self._guard:
            return self._pulling.get(share_id, 0)

    def _beats(self) -> Sequence[Beat]:
        try:
            with self._store.read() as session:
                self._known = self._store.leases.beats(session)
        except SQLAlchemyError as error:
            _log.warning("the heartbeats cannot be read; what was known goes on to hold: %s", error)
        return self._known


class PullPace:
    """One pull's part of its share's rate (`server_bridge.processes.pace.Pace`)."""

    def __init__(self, paces: SharePaces, share: ShareConfig) -> None:
        self._paces = paces
        self._share = share

    def bytes_per_second(self) -> float | None:
        """The share's rate, divided among the pulls that run."""
        rate = self._paces.rate(self._share).bytes_per_second
        return None if rate is None else rate / max(1, self._paces.pulls(self._share.id))

    @property
    def slowed(self) -> str:
        """Why it is slower than it could be; empty where it is not."""
        return self._paces.rate(self._share).slowed
