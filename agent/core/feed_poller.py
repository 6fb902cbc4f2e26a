"""Follows the bridge's feed with the workstation's key, whoever is or is not signed in."""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent.core.bridge_client import BridgeClient, Credentials
from agent.core.clock import Clock
from agent.core.errors import BridgeAway, BridgeRefused
from agent.core.machine_store import MachineStore
from server_bridge.contract import Progress

CURSOR_FACT = "feed_cursor"
DATABASE_FACT = "bridge_database"
WAIT_SECONDS = 20.0


class FeedPoller:
    """Runs :meth:`step` in one thread. Each step is one (long) poll."""

    def __init__(
        self,
        *,
        client: BridgeClient,
        machine: MachineStore,
        clock: Clock,
        workstation: Callable[[], str],
        reached: Callable[[], None],
        lost: Callable[[BridgeAway | BridgeRefused], None],
        database_changed: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._machine = machine
        self._clock = clock
        self._workstation = workstation
        self._reached = reached
        self._lost = lost
        self._database_changed = database_changed
        self._changed = changed
        self._lock = threading.Lock()
        self._progress: dict[str, Progress] = {}
        self._progress_at = 0.0
        self._wait = 0.0
        self._first = True
        self._database: str | None = None

    def progress(self) -> dict[str, Progress]:
        """The latest counters by order id."""
        with self._lock:
            return dict(self._progress)

    def step(self) -> float:
        """Ask once. Returns the seconds until the next time."""
        workstation = self._workstation()
        if not workstation:
            return 0.5
        # The cursor is the machine's: what another session's agent has read is in the shared file already.
        cursor = int(self._machine.fact(CURSOR_FACT) or 0)
        try:
            page = self._client.changes(
                cursor, self._wait, self._progress_at, Credentials(workstation=workstation)
            )
        except (BridgeAway, BridgeRefused) as error:
            self._wait = 0.0
            self._lost(error)
            return 2.0
        self._reached()
        if page.cursor < cursor or page.database != (self._machine.fact(DATABASE_FACT) or ""):
            self._machine.forget_all_orders()
            self._machine.set_fact(DATABASE_FACT, page.database)
            self._database_changed()
        elif self._database is not None and page.database != self._database:
            self._database_changed()  # another session of this machine saw it first; this outbox is ours
        self._database = page.database
        self._machine.keep_orders(page.orders)
        if page.cursor != cursor:
            self._machine.set_fact(CURSOR_FACT, str(page.cursor))
        with self._lock:
            for order in page.orders:
                self._progress.pop(str(order.id), None)
                if order.progress is not None:
                    self._progress[str(order.id)] = order.progress
            self._progress.update(page.progress)
            self._progress_at = max(self._progress_at, page.progress_at)
        if page.orders or page.progress or page.cursor != cursor or self._first:
            self._changed()
        self._first = False
        self._wait = 0.0 if page.more else WAIT_SECONDS
        # Progress is written about once a second per order: more often is of use to nobody.
        return 0.5 if page.progress and not page.orders else 0.0
