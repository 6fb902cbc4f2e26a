"""Which programs run on this workstation, asked of the system every few seconds at most."""

from __future__ import annotations

import threading

from agent.core.clock import Clock
from agent.platform.base import Platform

FRESH_SECONDS = 3.0


class RunningPrograms:
    """Safe to share between threads."""

    def __init__(self, platform: Platform, clock: Clock) -> None:
        self._platform = platform
        self._clock = clock
        self._guard = threading.Lock()
        self._asked_at = float("-inf")
        self._names: frozenset[str] | None = None

    def names(self) -> frozenset[str] | None:
        """Names in lower case without ``.exe``; None where the system does not tell."""
        with self._guard:
            now = self._clock.monotonic()
            if now - self._asked_at >= FRESH_SECONDS:
                self._names = self._platform.running_programs()
                self._asked_at = now
            return self._names
