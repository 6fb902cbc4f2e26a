"""How a share answers, as every session of this machine shows it; and how fast it fills."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from server_bridge.contract import Reason

FILL_WINDOW_SECONDS = 1800.0


class ShareStatus(BaseModel):
    """What the scanning process writes for the others."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    answered: bool = False
    last_answer_at: datetime | None = None
    problem: Reason | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    full_in_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    free_bytes: int


class FillRate:
    """Tells in how many seconds a volume is full, from how its free bytes fell in the last half hour."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def add(self, at: float, free_bytes: int) -> None:
        """Take a sample; ``at`` is monotonic seconds."""
        self._samples.append(_Sample(at, free_bytes))
        while self._samples and at - self._samples[0].at > FILL_WINDOW_SECONDS:
            self._samples.popleft()

    def full_in_seconds(self) -> float | None:
        """None while it does not fill, or while we have not looked for a minute."""
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0], self._samples[-1]
        seconds, filled = last.at - first.at, first.free_bytes - last.free_bytes
        if seconds < 60 or filled <= 0:
            return None
        return last.free_bytes / (filled / seconds)
