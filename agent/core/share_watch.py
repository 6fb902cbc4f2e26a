"""How a share answers, as every session of this machine shows it; and how fast it fills."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from agent.core.acquisition import Acquisition
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


def acquiring(rows: Sequence[Acquisition], now: datetime, quiet_seconds: float) -> bool:
    """Whether something on this share was written to within the quiet time: the bridge then pulls slowly."""
    since = now - timedelta(seconds=quiet_seconds)
    return any(row.finished_at is None and row.last_change_at >= since for row in rows)
