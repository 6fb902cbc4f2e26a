"""How long the call to a share that runs now has not answered: asked from another thread, while it hangs.

A call to a dead share blocks for tens of seconds, or for ever, and cannot be taken back. So whoever calls
says so first, and whoever wants to know looks at the clock, not at the share.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.core.clock import Clock


class Silence:
    """One thread beats; any may ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy_since: float | None = None

    def beat(self) -> None:
        """The call before this one has answered, and another begins."""
        self._busy_since = self._clock.monotonic()

    def ended(self) -> None:
        """No call runs."""
        self._busy_since = None

    @contextmanager
    def call(self) -> Iterator[None]:
        """A block that is one call to the share, or makes beats of its own."""
        self.beat()
        try:
            yield
        finally:
            self.ended()

    def seconds(self) -> float:
        """How long the call that runs now has not answered; 0 where none runs."""
        since = self._busy_since
        return 0.0 if since is None else max(0.0, self._clock.monotonic() - since)
