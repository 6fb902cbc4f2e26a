"""How a share answers, as every session of this machine shows it; and how fast it fills."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from pydantic import BaseModel, ConfigDict

from server_bridge.contract import Reason

FILL_WINDOW_SECONDS = 1800.0
BLOCK_SECONDS = 60.0
LEAST_BLOCKS = 5
MOST_BLOCKS = 10
UNSTEADY = 4.0
"""Times by which the middle half of the blocks may differ from the median."""
FORESEEN_SECONDS = 7 * 86400.0
"""Beyond a week the last half hour foretells nothing."""


class ShareStatus(BaseModel):
    """What the scanning process writes for the others."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    answered: bool = False
    last_answer_at: datetime | None = None
    problem: Reason | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    full_in_seconds: float | None = None
    silent_since: datetime | None = None
    """Since when a call to the share has not returned; other sessions count the seconds themselves."""
    hints: str = ""
    """Whether the system tells about changes, in words for details and diagnostics; never an alarm."""
    hint_restarts: int = 0
    waiting: int = 0
    """Acquisitions that the full pass under way has still to look at."""


def stuck_reason(silent_seconds: float, where: str) -> Reason:
    """A call to the share that does not return, in words."""
    return Reason(
        code="share_stuck",
        title=f"The share has not answered for {int(silent_seconds)} s",
        detail=f"{where} hangs.",
        remedy="Check the network connection of this workstation; nothing is lost meanwhile.",
    )


def seen_from_here(kept: ShareStatus, now: datetime, where: str) -> ShareStatus:
    """What another session's scanner wrote, with the seconds of a silence counted on."""
    if kept.silent_since is None:
        return kept
    silent = max(0.0, (now - kept.silent_since).total_seconds())
    return kept.model_copy(update={"answered": False, "problem": stuck_reason(silent, where)})


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    filled_bytes: int
    """Since the first sample; what was freed is not taken off."""


class FillRate:
    """Tells in how many seconds a volume is full, from how its free bytes fell in the last half hour.

    The half hour is cut into blocks, and the rate is their median: one large copy, or one odd answer of the
    system, does not move it. Room that came back (a deletion) is left out, so that cleaning hides no filling.
    Where the blocks differ too much it is not sure, and says nothing.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._filled = 0
        self._free: int | None = None

    def add(self, at: float, free_bytes: int) -> None:
        """Take a sample; ``at`` is monotonic seconds."""
        if self._free is not None:
            self._filled += max(0, self._free - free_bytes)
        self._free = free_bytes
        self._samples.append(_Sample(at, self._filled))
        while self._samples and at - self._samples[0].at > FILL_WINDOW_SECONDS:
            self._samples.popleft()

    def full_in_seconds(self) -> float | None:
        """None while it does not fill, in the first minutes, or where the rate is not steady enough."""
        rates = sorted(self._block_rates())
        if self._free is None or len(rates) < LEAST_BLOCKS:
            return None
        rate, part = median(rates), len(rates) // 4
        if rate <= 0 or rates[part] < rate / UNSTEADY or rates[-1 - part] > rate * UNSTEADY:
            return None
        seconds = self._free / rate
        return seconds if seconds <= FORESEEN_SECONDS else None

    def _block_rates(self) -> list[float]:
        """Bytes per second of each block."""
        samples = list(self._samples)
        if not samples:
            return []
        length = max(BLOCK_SECONDS, (samples[-1].at - samples[0].at) / MOST_BLOCKS)
        rates, begin = [], samples[0]
        for sample in samples[1:]:
            if sample.at - begin.at >= length:
                rates.append((sample.filled_bytes - begin.filled_bytes) / (sample.at - begin.at))
                begin = sample
        return rates
