"""One share's scanner with what surrounds it: the machine-wide lock, hints, status, the watch on a hang.

Whatever may hang with the share happens in this share's own threads: one looks, one serves the orders. A
thread in a hung call cannot be ended, so it is never doubled: the one that looks holds the machine's lock and
gives it back when its call returns, however late; orders are served only while the share answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from agent.core.acquisition import root_of
from agent.core.clock import Clock
from agent.core.errors import ShareAway
from agent.core.hints import Hints, HintState
from agent.core.machine_store import MachineStore
from agent.core.scanner import ShareScanner, Tiers
from agent.core.share_watch import FillRate, ShareStatus, seen_from_here, stuck_reason
from agent.core.silence import Silence
from agent.core.workers import Worker
from agent.platform.base import Platform
from server_bridge.contract import Reason, WorkstationShare

log = logging.getLogger(__name__)
LOCK_SECONDS = 2.0
"""Between two tries to become the process that scans."""
ROOM_SECONDS = 30.0
ORDERS_WAIT_SECONDS = 2.0
"""Between two tries to serve the orders of a share that does not answer."""
PAUSED_SECONDS = 5.0
"""Between two looks at whether a pause has ended by itself."""


class ShareRunner:
    """Owns the thread that looks at one share."""

    def __init__(
        self,
        share: WorkstationShare,
        top: Path,
        *,
        store: MachineStore,
        platform: Platform,
        clock: Clock,
        tiers: Tiers,
        stuck_seconds: float,
        use_hints: bool,
        changed: Callable[[], None],
        serve: Callable[[str], float] | None = None,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            stuck_seconds: After which a call that has not returned is told.
            changed: Called after every look, and when the status is another.
            serve: Brings this share's orders on; called with its id, returns the seconds until the next time.
        """
        self.share = share
        self.top = top
        self._store = store
        self._platform = platform
        self._clock = clock
        self._tiers = tiers
        self._stuck_seconds = stuck_seconds
        self._changed = changed
        self._paused = paused
        self._lowered = False
        self._lock = platform.share_lock(share.id)
        self._silence = Silence(clock)
        self._scanner: ShareScanner | None = None
        self._hints = Hints(top, root_of(share), self._hint, self._hints_lost, clock) if use_hints else None
        self._status = ShareStatus()
        self._publishing = threading.Lock()
        self._fill = FillRate()
        self._room_at = float("-inf")
        self._look = False
        self._volume: object = None
        self._worker = Worker(f"scan-{share.id}", self.step, self._told, self._ended)
        self._serve = serve
        self._server = Worker(f"orders-{share.id}", self._serve_orders, self._told_of_orders)
        self.orders_fault: Reason | None = None
        """What keeps this share's orders from being served, besides the share itself."""

    def start(self) -> None:
        """Begin."""
        self._worker.start()
        if self._serve is not None:
            self._server.start()

    def stop(self) -> None:
        """Ask it to end; returns at once. Another process may look as soon as no call runs here."""
        self._worker.stop()
        self._server.stop()
        if self._hints is not None:
            self._hints.stop()

    def join(self, seconds: float) -> bool:
        """Wait for the end; False where a thread is still in a call to the share."""
        deadline = self._clock.monotonic() + seconds
        looked = self._worker.join(seconds)
        return self._server.join(max(0.1, deadline - self._clock.monotonic())) and looked

    def _ended(self) -> None:
        """The looking thread is at its end: keep what it knows, then let another process look."""
        try:
            if self._scanner is not None:
                self._scanner.remember()
        finally:
            if self._hints is not None:
                self._hints.stop()
            self._lock.release()

    def wake_orders(self) -> None:
        """Serve the share's orders now."""
        self._server.wake()

    def _serve_orders(self) -> float:
        assert self._serve is not None  # the worker is started with it only
        if not self.status(self._kept()).answered:
            return ORDERS_WAIT_SECONDS
        return self._serve(self.share.id)

    def _told_of_orders(self, reason: Reason | None) -> None:
        self.orders_fault = reason
        self._changed()

    def _kept(self) -> ShareStatus | None:
        kept = self._store.share_statuses().get(self.share.id)
        return None if kept is None else ShareStatus.model_validate(kept)

    @property
    def is_looking(self) -> bool:
        """Whether this process is the one that looks at the share."""
        return self._scanner is not None

    @property
    def entries_looked(self) -> int:
        """Files that were looked at since this process began to scan."""
        return self._scanner.entries_looked if self._scanner is not None else 0

    def stand_back(self, acquiring: bool) -> None:
        """Look less while the microscope acquires."""
        if self._scanner is not None:
            self._scanner.stand_back = acquiring

    def look_now(self) -> None:
        """Make every tier due."""
        self._look = True
        self._worker.wake()

    def look_at(self, path: str) -> None:
        """Look at one acquisition soon."""
        if self._scanner is not None:
            self._scanner.look_at(path)
            self._worker.wake()

    def _hint(self, path: str) -> None:
        scanner = self._scanner
        if scanner is None:
            return
        first = not (scanner.hints.has_places or scanner.hints.everything)
        scanner.hint(path)
        if first:
            self._worker.wake()  # it may rest until its next tier is due

    def _hints_lost(self) -> None:
        if self._scanner is not None:
            self._scanner.hints.lost()

    def _told(self, reason: Reason | None) -> None:
        if reason is not None and reason.code != ShareAway.code:
            self._publish(self._status.model_copy(update={"problem": reason}))

    def status(self, kept: ShareStatus | None) -> ShareStatus:
        """How the share answers, also while a call hangs.

        Args:
            kept: What the scanning process wrote, where that is another one.
        """
        silent = self._silence.seconds()
        if self._scanner is None:
            return seen_from_here(kept or ShareStatus(), self._clock.now(), self._where)
        if silent < self._stuck_seconds:
            return self._status
        self._tell_stuck(silent)
        problem = stuck_reason(silent, self._where)
        return self._status.model_copy(update={"answered": False, "problem": problem})

    @cached_property
    def _where(self) -> str:
        return self._platform.resolve_mount(self.top)

    def _tell_stuck(self, silent: float) -> None:
        """Once per silence, for the other sessions; by the thread that noticed it, the scanner's hangs."""
        with self._publishing:
            if self._status.silent_since is not None or self._silence.seconds() < self._stuck_seconds:
                return
            since = self._clock.now() - timedelta(seconds=silent)
            self._status = self._status.model_copy(update={"silent_since": since})
            log.warning("%s has not answered for %d s", self.share.id, silent)
            self._store.set_share_status(self.share.id, self._status.model_dump(mode="json"))

    def step(self) -> float:
        """Scan what is due, if this process is the one that scans."""
        if not self._lowered:
            self._lowered = True
            self._platform.lower_thread()
        if self._paused():
            return PAUSED_SECONDS
        if self._scanner is None:
            if not self._lock.acquire():
                return LOCK_SECONDS
            self._scanner = ShareScanner(
                self.share, self.top, self._store, self._platform, self._clock, self._tiers, self._silence
            )
            log.info("this process looks at %s", self.share.id)
        scanner = self._scanner
        if self._look:
            self._look = False
            scanner.look_now()
        known = scanner.changes
        try:
            if scanner.run_due():
                self._answered(news=scanner.changes != known)
        except ShareAway as error:
            # Kept as data: the header shows it, and the pass has changed nothing.
            self._publish(
                self._status.model_copy(
                    update={"answered": False, "problem": error.reason(), "silent_since": None}
                )
            )
            if self._hints is not None:
                self._hints.stop()  # an observer does not survive an outage, it only seems to
            return self._tiers.hot_seconds
        return scanner.next_due_in()

    def _answered(self, *, news: bool) -> None:
        now = self._clock.monotonic()
        assert self._scanner is not None  # it has just looked
        update: dict[str, object] = {
            "answered": True,
            "problem": None,
            "silent_since": None,
            "last_answer_at": self._clock.now(),
            "waiting": self._scanner.waiting(),
        }
        if now - self._room_at >= ROOM_SECONDS:
            self._room_at = now
            with self._silence.call():
                room = self._platform.room(self.top)
            if room is not None:
                self._fill.add(now, room.free_bytes)
                update |= {
                    "free_bytes": room.free_bytes,
                    "total_bytes": room.total_bytes,
                    "full_in_seconds": self._fill.full_in_seconds(),
                }
        if self._hints is not None:
            if self._scanner.volume != self._volume:
                if self._volume is not None:
                    self._hints.stop()  # they come from what was mounted here before
                self._volume = self._scanner.volume
            state = self._hints.keep()
            update |= {"hints": hints_text(state), "hint_restarts": state.restarts}
        news = news or not self._status.answered
        self._publish(self._status.model_copy(update=update), news=news)

    def _publish(self, status: ShareStatus, *, news: bool = True) -> None:
        """Keep how the share answers; only news wakes the others, the header has its own pace."""
        with self._publishing:
            self._status = status
            self._store.set_share_status(self.share.id, status.model_dump(mode="json"))
        if news:
            self._changed()


def hints_text(state: HintState) -> str:
    """Whether the system tells about changes, in words."""
    if state.watching:
        again = f", started again {state.restarts} times" if state.restarts else ""
        return f"the system tells about changes{again}"
    return f"looks alone find changes{': ' + state.note if state.note else ''}"
