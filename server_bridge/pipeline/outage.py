"""While a share or OMERO is away, one order at a time looks whether it is back.

A night's outage with thousands of queued orders would otherwise be thousands of attempts every few minutes,
each of them a connection, two lines of history and a change that every agent reads, to find out one thing. So
what fails for everybody closes a gate: the orders behind it stay queued, untouched, and a single one tries
after a pause that grows. The first that gets through opens it.

Two different orders must fail in a row before a gate closes, and no order tries twice in a row at a closed
one: an acquisition that breaks the connection by itself holds up nobody but itself. What a person touched
meanwhile (retry, a new manifest) may try at once.

Gates are in memory: after a restart the first orders find out again. Facts and times come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from server_bridge.contract import Reason, Stage
from server_bridge.orders.outages import LOOKS_AT_SHARE, OMERO, share_need

SHARE_AWAY = frozenset(
    {
        "share_away",
        "share_marker_missing",
        "share_busy",
        # The site's settings for the share are wrong: no order gets through before they are corrected.
        "share_auth_failed",
        "share_host_key",
        "share_unknown",
        "ssh_configuration",
        "rsync_refused",
        "rsync_incompatible",
    }
)
OMERO_AWAY = frozenset({"omero_away", "omero_hung", "omero_session_lost", "omero_service_account"})
LONGEST_PAUSE = timedelta(minutes=5)
_FAILURES_THAT_CLOSE = 2


def answered(queue_of_imports: bool, stage: Stage, share: str) -> str:
    """What has proved to be there when an attempt ended, at that stage, without missing anything."""
    return OMERO if queue_of_imports and stage not in LOOKS_AT_SHARE else share_need(share)


def missing(code: str, share: str) -> str | None:
    """What was away when an attempt ended with that reason; None for any other end."""
    if code in SHARE_AWAY:
        return share_need(share)
    return OMERO if code in OMERO_AWAY else None


@dataclass(slots=True)
class Gate:
    """One thing that orders need. ``closed_at`` is None while it is open."""

    failed: tuple[str, ...] = ()
    """The orders that failed in a row, the last one at the end; only the last few matter."""
    pauses: int = 0
    closed_at: datetime | None = None
    until: datetime | None = None
    reason: Reason | None = None
    looking: str = ""
    """The order that looks whether it is back."""

    def is_shut(self, now: datetime) -> bool:
        """Whether it is closed and the pause before the next look is not over."""
        return self.until is not None and now < self.until


class Gates:
    """All gates of one dispatcher. Not thread-safe: its loop alone uses it."""

    def __init__(self, pause: timedelta) -> None:
        self._pause = pause
        self._gates: dict[str, Gate] = {}

    def there(self, need: str) -> bool:
        """Something proved to be there. Returns whether its gate was closed until now."""
        gate = self._gates.pop(need, None)
        return gate is not None and gate.closed_at is not None

    def away(self, need: str, order_id: str, reason: Reason, now: datetime) -> Gate | None:
        """An order failed because something is away. Returns its gate where that closed it, or where it
        stays closed for longer."""
        gate = self._gates.setdefault(need, Gate())
        if gate.failed[-1:] != (order_id,):
            gate.failed = (*gate.failed[-1:], order_id)
        if len(gate.failed) < _FAILURES_THAT_CLOSE or gate.is_shut(now):
            # What ends during a pause began before it, or was a person's own try: it says nothing new. A
            # dozen pulls that one outage ends together would make the first pause the longest.
            return None
        gate.pauses += 1
        gate.closed_at = gate.closed_at or now
        gate.until = now + min(LONGEST_PAUSE, self._pause * 2 ** min(gate.pauses - 1, 10))
        gate.reason = reason.model_copy(update={"since": gate.closed_at, "next_try_at": gate.until})
        return gate

    def suspects(self) -> set[str]:
        """The orders that failed last: others go first, to see whether it is they or what is away."""
        return {gate.failed[-1] for gate in self._gates.values() if gate.failed}

    def closed(self) -> dict[str, Gate]:
        """The gates that are closed."""
        return {need: gate for need, gate in self._gates.items() if gate.closed_at is not None}
