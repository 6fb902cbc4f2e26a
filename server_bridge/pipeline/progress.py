"""Counters of the running step, with a rate and a remaining time that come from them alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from server_bridge.contract import Progress

WINDOW_SECONDS = 20.0
EVERY_SECONDS = 1.0


class Meter:
    """Rate over the last seconds. Not for several threads at once."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, bytes_done: int) -> None:
        """Note a counter; ``now`` is monotonic seconds."""
        self._samples.append((now, bytes_done))
        while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW_SECONDS:
            self._samples.popleft()

    def rate(self) -> float | None:
        """Bytes per second, None until two samples half a second apart exist."""
        if len(self._samples) < 2:
            return None
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        if last_at - first_at < 0.5:
            return None
        return max(0.0, (last - first) / (last_at - first_at))

    def eta_seconds(self, bytes_total: int) -> float | None:
        """Remaining seconds at that rate; None where nothing moves."""
        rate = self.rate()
        if not rate or not self._samples:
            return None
        return max(0.0, (bytes_total - self._samples[-1][1]) / rate)


class Reporter:
    """Writes one order's progress row at most once a second, and always the last word of a step."""

    def __init__(
        self,
        write: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._write = write
        self._clock = clock
        self._every = every_seconds
        self._written_at: float | None = None

    def report(
        self,
        step: str,
        *,
        last: bool = False,
        bytes_done: int = 0,
        bytes_total: int = 0,
        files_done: int = 0,
        files_total: int = 0,
        units_done: int = 0,
        units_total: int = 0,
        import_step: int = 0,
        slowed: str = "",
        meter: Meter | None = None,
    ) -> bool:
        """Write the counters, unless the last row is younger than a second. Returns whether it wrote."""
        now = self._clock()
        if meter is not None:
            meter.add(now, bytes_done)
        if not last and self._written_at is not None and now - self._written_at < self._every:
            return False
        self._written_at = now
        self._write(
            Progress(
                step=step,
                bytes_done=bytes_done,
                bytes_total=bytes_total,
                files_done=files_done,
                files_total=files_total,
                units_done=units_done,
                units_total=units_total,
                import_step=import_step,
                rate_bytes_per_second=meter.rate() if meter else None,
                eta_seconds=meter.eta_seconds(bytes_total) if meter else None,
                slowed=slowed,
                at=datetime.now(UTC),
            )
        )
        return True
