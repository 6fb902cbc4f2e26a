"""How often what is looked at: pure decisions over what the scanner remembers.

An acquisition is hot when it was written to lately, ripe when its quiet time is over and the next look may
finish it; everything else has the pace of a wider tier. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.core.acquisition import Acquisition
from agent.core.discovery import Known
from agent.core.hint_box import Hints
from agent.core.settle import Override, Rest
from agent.core.testimony import Asked
from agent.core.witness import Witness
from server_bridge.contract import is_member

HOT_SECONDS = 600.0
"""A change makes an acquisition hot for this long."""
TODAY_SECONDS = 86_400.0
RIPE_PAUSE_SECONDS = 1.0
"""Least time between a pass and one that is made because a quiet time is over."""
HINT_PAUSE_SECONDS = 2.0
"""Between a pass and one that is made for hints alone."""


class Tier(StrEnum):
    """What a pass looks at; each one includes those before it."""

    REST = "rest"
    """What is new, ripe, hinted at, asked for, or left over by a pass; what is hot has its own pace."""
    HOT = "hot"
    TODAY = "today"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Tiers:
    """Seconds between two passes of a tier, how long one pass may take, and what it may ask on average."""

    hot_seconds: float = 7.0
    today_seconds: float = 60.0
    full_seconds: float = 900.0
    budget_seconds: float = 20.0
    entries_per_second: float = 5_000.0

    @property
    def every(self) -> dict[Tier, float]:
        """The tiers that have a pace, narrowest first."""
        return {
            Tier.HOT: self.hot_seconds,
            Tier.TODAY: self.today_seconds,
            Tier.FULL: self.full_seconds,
        }

    @property
    def hint_pause_seconds(self) -> float:
        """Least time between a pass and one for hints."""
        return min(HINT_PAUSE_SECONDS, self.hot_seconds)


@dataclass(slots=True)
class Tracked:
    """What the scanner remembers of one acquisition between looks."""

    found: Acquisition
    rest: Rest | None = None
    listed: bytes = b""
    looked_at: float = float("-inf")
    look_began_at: float = float("-inf")
    """Of the last look that judged: rest is proven up to here."""
    changed_at: float = float("-inf")
    """When it was written to, as far as is known: decides how often it is looked at, and nothing else."""
    missed: int = 0
    """Complete looks in a row that did not find it."""
    said_at: float | None = None
    """When a person last said something, by the clock that is never set."""
    probed: Witness | None = None
    """What the probe said of this rest."""
    asked: Asked | None = None
    """What its format said of this rest."""

    def is_hot(self, now: float) -> bool:
        """Whether it was written to lately."""
        return now - self.changed_at < HOT_SECONDS

    def rested_at(self, quiet_seconds: float) -> float | None:
        """When its quiet time is over and a look is due that may finish it; None where that look was made, or
        is of no use."""
        if self.found.finished_at is not None or self.rest is None:
            return None
        since = self.rest.changed_at
        if self.found.override == Override.NOT_YET and self.said_at is not None:
            since = max(since, self.said_at)
        rested_at = since + (self.found.quiet_needed_seconds or quiet_seconds)
        return rested_at if self.look_began_at < rested_at else None

    def is_ripe(self, now: float, quiet_seconds: float) -> bool:
        """Whether the next look may be the one that finishes it."""
        rested_at = self.rested_at(quiet_seconds)
        return rested_at is not None and rested_at <= now

    def is_young(self) -> bool:
        """Whether it was not seen twice the same yet."""
        return self.found.finished_at is None and self.rest is not None and self.rest.equal_looks < 2

    def is_due(self, path: str, tier: Tier, hints: Hints, now: float, quiet_seconds: float) -> bool:
        """Whether a pass of this tier looks at it."""
        ripe = self.is_ripe(now, quiet_seconds)
        pressing = ripe or self.is_hot(now) or self.is_young()
        asked = path in hints.asked
        if tier is Tier.REST:
            return ripe or asked or (not pressing and self._is_hinted(path, hints))
        lately = self.found.finished_at is None or now - self.changed_at < TODAY_SECONDS
        return pressing or asked or (lately and tier is not Tier.HOT) or self._is_hinted(path, hints)

    def _is_hinted(self, path: str, hints: Hints) -> bool:
        """A group lies in its folder under many names."""
        if not self.found.members:
            return hints.below(path)
        return any(is_member(name, self.found.members) for name in hints.names_in(path.rpartition("/")[0]))


def pressing_places(tier: Tier, tracked: Mapping[str, Tracked], now: float, quiet_seconds: float) -> Hints:
    """What a narrow pass looks at without a hint, with every folder on the way there."""
    hot = tier is Tier.HOT
    return Hints.of(
        path
        for path, one in tracked.items()
        if one.is_ripe(now, quiet_seconds) or (hot and (one.is_hot(now) or one.is_young()))
    )


def known_places(tracked: Mapping[str, Tracked], ordered: Collection[str]) -> dict[str, Known]:
    """What discovery has to respect: the finished and the ordered keep what they are.

    Args:
        ordered: Ids of acquisitions that somebody ordered.
    """
    return {
        path: Known(
            one.found.kind,
            one.found.members,
            one.found.format,
            one.found.finished_at is not None or one.found.id in ordered,
        )
        for path, one in tracked.items()
    }


def next_ripe_at(tracked: Mapping[str, Tracked], quiet_seconds: float) -> float:
    """When the next quiet time is over; infinity where nothing rests."""
    times = (one.rested_at(quiet_seconds) for one in tracked.values())
    return min((at for at in times if at is not None), default=float("inf"))


def in_order(
    due: Iterable[str], tracked: Mapping[str, Tracked], waited: Collection[str], now: float
) -> list[str]:
    """What is being written first, of that the least lately looked at; unknown ones are new. Of the rest
    first what a full pass before the last restart did not get to (``waited``)."""

    def order(path: str) -> tuple[bool, bool, float]:
        one = tracked.get(path)
        if one is None:
            return (False, False, float("-inf"))
        return (not one.is_hot(now), path not in waited, one.looked_at)

    ordered = sorted(due, key=order)
    # However much is hot, one of the others gets its look in every pass.
    cold = next((number for number, path in enumerate(ordered) if order(path)[0]), None)
    if cold is not None and cold > 1:
        ordered.insert(1, ordered.pop(cold))
    return ordered
