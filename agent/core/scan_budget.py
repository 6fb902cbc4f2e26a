"""What the scanner may ask of a share: entries per second on average, and seconds per pass.

The microscope writes to the same share, so looking has a price with a ceiling. A bucket fills with entries at
the rate staff allow and holds half a minute's worth, or a hundred thousand: a first look at a large tree is
made at once, and a large acquisition that is being written is looked at less often instead of all the time.
Pure apart from the clock that is passed in; entries are files seen by a listing, or asked one by one.
"""

from __future__ import annotations

from agent.core.clock import Clock

BURST_SECONDS = 30.0
LEAST_BURST_ENTRIES = 100_000.0
LEAST_SLICE_ENTRIES = 1_000
"""However empty the bucket, a pass gets so far (or what a second brings, if that is less): no look may take
for ever."""
LOOK_AT_THE_CLOCK_EVERY = 64


class Slice:
    """What one look may use before it has to wait for the next pass."""

    def __init__(self, budget: ScanBudget, entries: int, until: float) -> None:
        self._budget = budget
        self._left = entries
        self._until = until

    def spent(self, entries: int) -> bool:
        """Take ``entries`` off; whether it is used up."""
        self._left -= entries
        self._budget.spend(entries)
        return self._left <= 0 or self._budget.now() >= self._until


class ScanBudget:
    """One share's; used by its scanner's thread alone."""

    def __init__(self, clock: Clock, *, entries_per_second: float, pass_seconds: float) -> None:
        self._clock = clock
        self._rate = entries_per_second
        self._pass_seconds = pass_seconds
        self._capacity = max(LEAST_BURST_ENTRIES, BURST_SECONDS * entries_per_second)
        self._least = int(min(LEAST_SLICE_ENTRIES, max(LOOK_AT_THE_CLOCK_EVERY, entries_per_second)))
        self._entries = self._capacity
        self._filled_at = clock.monotonic()
        self._began = self._filled_at

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    def _fill(self) -> None:
        now = self.now()
        self._entries = min(self._capacity, self._entries + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def begin_pass(self) -> None:
        """A pass starts now."""
        self._fill()
        self._began = self.now()

    def spend(self, entries: int) -> None:
        """So many entries were asked for; the bucket may owe, which the pauses to come pay back."""
        self._entries -= entries

    def is_spent(self) -> bool:
        """Whether this pass has to end."""
        return self._entries <= 0 or self.now() - self._began >= self._pass_seconds

    def slice(self) -> Slice:
        """Half of what the pass may still use: one look never takes what the others need."""
        until = self.now() + max(0.0, self._pass_seconds - (self.now() - self._began)) / 2
        return Slice(self, max(self._least, int(self._entries / 2)), until)

    def pause_seconds(self) -> float:
        """How long the share rests before an unfinished pass goes on: a quarter of what it took, and until
        the bucket holds enough for a step."""
        self._fill()
        took = min(self._pass_seconds, max(0.0, self._filled_at - self._began))
        owed = max(0.0, self._least - self._entries) / self._rate
        return max(0.5, took / 4, owed)
