"""One share's scanner with what surrounds it: the machine-wide lock, hints, status, the watch on a hang."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from agent.core.acquisition import root_of
from agent.core.clock import Clock
from agent.core.errors import ShareAway
from agent.core.hints import Hints
from agent.core.machine_store import MachineStore
from agent.core.scanner import ShareScanner, Tiers
from agent.core.share_watch import FillRate, ShareStatus
from agent.core.workers import Worker
from agent.platform.base import Platform
from server_bridge.contract import Reason, WorkstationShare

log = logging.getLogger(__name__)
LOCK_SECONDS = 5.0
"""Between two tries to become the process that scans."""
ROOM_SECONDS = 30.0
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
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
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
        self._scanner: ShareScanner | None = None
        self._hints = Hints(top, root_of(share), self._hint) if use_hints else None
        self._status = ShareStatus()
        self._fill = FillRate()
        self._room_at = float("-inf")
        self._look = False
        self._worker = Worker(f"scan-{share.id}", self.step, self._told)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def stop(self) -> None:
        """Ask it to end; returns at once."""
        self._worker.stop()

    def join(self, seconds: float) -> None:
        """Wait for the end, then let another process scan. A thread in a hung call keeps the lock."""
        if self._hints is not None:
            self._hints.stop()
        if self._worker.join(seconds):
            self._lock.release()

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
        self._hint(path)
        self._worker.wake()

    def _hint(self, path: str) -> None:
        if self._scanner is not None:
            self._scanner.hint(path)

    def _told(self, reason: Reason | None) -> None:
        if reason is not None and reason.code != ShareAway.code:
            self._publish(self._status.model_copy(update={"problem": reason}))

    def status(self, kept: ShareStatus | None) -> ShareStatus:
        """How the share answers, also while a call hangs.

        Args:
            kept: What the scanning process wrote, where that is another one.
        """
        if self._scanner is None:
            return kept or ShareStatus()
        silent = self._scanner.silent_seconds()
        if silent < self._stuck_seconds:
            return self._status
        problem = Reason(
            code="share_stuck",
            title=f"The share has not answered for {int(silent)} s",
            detail=f"{self._platform.resolve_mount(self.top)} hangs.",
            remedy="Check the network connection of this workstation; nothing is lost meanwhile.",
        )
        return self._status.model_copy(update={"answered": False, "problem": problem})

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
                self.share, self.top, self._store, self._platform, self._clock, self._tiers
            )
        scanner = self._scanner
        if self._look:
            self._look = False
            scanner.look_now()
        try:
            if scanner.run_due():
                self._answered()
        except ShareAway as error:
            # Kept as data: the header shows it, and the pass has changed nothing.
            self._publish(self._status.model_copy(update={"answered": False, "problem": error.reason()}))
            if self._hints is not None:
                self._hints.stop()  # an observer does not survive an outage, it only seems to
            return self._tiers.hot_seconds
        return scanner.next_due_in()

    def _answered(self) -> None:
        now = self._clock.monotonic()
        update: dict[str, object] = {
            "answered": True,
            "problem": None,
            "last_answer_at": self._clock.now(),
        }
        if now - self._room_at >= ROOM_SECONDS:
            self._room_at = now
            room = self._platform.room(self.top)
            if room is not None:
                self._fill.add(now, room.free_bytes)
                update |= {
                    "free_bytes": room.free_bytes,
                    "total_bytes": room.total_bytes,
                    "full_in_seconds": self._fill.full_in_seconds(),
                }
        if self._hints is not None:
            self._hints.start()
        self._publish(self._status.model_copy(update=update))

    def _publish(self, status: ShareStatus) -> None:
        self._status = status
        self._store.set_share_status(self.share.id, status.model_dump(mode="json"))
        self._changed()
