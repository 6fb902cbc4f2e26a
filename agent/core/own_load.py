"""What this agent costs the workstation, over the last minute: processor, bytes moved, files looked at.

Shown to whoever sits at the microscope and told to the bridge with each heartbeat, so that nobody has to
believe us. Counters only: nothing is measured by doing something.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from server_bridge.contract import AgentLoad

WINDOW_SECONDS = 60.0
LEAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Counters:
    """All of them since the process began."""

    cpu_seconds: float
    io_bytes: int | None
    """None where the system does not tell."""
    entries: int


class LoadMeter:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._samples: deque[tuple[float, Counters]] = deque()

    def add(self, at: float, counters: Counters) -> None:
        """Take a sample; ``at`` is monotonic seconds."""
        with self._guard:
            self._samples.append((at, counters))
            # One sample at or before the window's beginning stays: the window is then a whole one.
            while len(self._samples) > 2 and at - self._samples[1][0] >= WINDOW_SECONDS:
                self._samples.popleft()

    def load(self) -> AgentLoad | None:
        """The last minute, or what there is of it; None until two seconds are known."""
        with self._guard:
            if len(self._samples) < 2:
                return None
            (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        seconds = last_at - first_at
        if seconds < LEAST_SECONDS:
            return None
        moved = None
        if first.io_bytes is not None and last.io_bytes is not None:
            moved = round(max(0, last.io_bytes - first.io_bytes) / seconds, 1)
        return AgentLoad(
            cpu_percent=round(max(0.0, last.cpu_seconds - first.cpu_seconds) / seconds * 100, 2),
            bytes_per_second=moved,
            # A share that was taken away takes its count with it.
            entries=max(0, last.entries - first.entries),
        )
