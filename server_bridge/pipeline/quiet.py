"""Does it rest? The judgement of an order that no workstation seals. Pure.

An agent sees each write; the bridge sees listings. Two that are equal, at least the share's quiet time apart,
say that nothing of it changed in between, as far as size and whole-second time tell; and nothing in it may be
younger than the quiet time by the bridge's own clock. A time in the future (a storage's clock that is ahead)
says nothing about age: there the two equal listings alone decide, and the listing after the pull looks again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from server_bridge.mover.listing import Entry

CLOCK_SLACK = timedelta(seconds=60)
"""How far ahead a time may be and still be taken for one of a moment ago."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a listing showed: a digest of all names, sizes and times, and the youngest of the times."""

    digest: str
    newest: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether it rests; else when to look again, and since when it looks as it does."""

    rests: bool
    unchanged_since: datetime
    look_at: datetime
    why: str = ""


def sight_of(entries: list[Entry], now: datetime) -> Sight:
    """Sum up a listing that is not empty."""
    digest = hashlib.sha256()
    newest = datetime.fromtimestamp(0, now.tzinfo)
    for entry in sorted(entries, key=lambda one: one.path):
        digest.update(
            f"{entry.path}\0{entry.size_bytes}\0{entry.mtime_s}\n".encode("utf-8", "surrogateescape")
        )
        # In steps: a time that no datetime can hold is none that says how old the file is.
        if 0 <= entry.mtime_s <= int((now + CLOCK_SLACK).timestamp()):
            newest = max(newest, datetime.fromtimestamp(entry.mtime_s, now.tzinfo))
    return Sight(digest.hexdigest(), newest)


def judge(
    seen: Sight, before: str, before_since: datetime | None, now: datetime, quiet_seconds: float
) -> Judgement:
    """Decide.

    Args:
        seen: the listing of now.
        before: digest of the listing before; empty: there was none.
        before_since: when that digest was seen first.
        now: by the bridge's clock.
        quiet_seconds: of the share's rule.
    """
    quiet = timedelta(seconds=quiet_seconds)
    if seen.digest != before or before_since is None or before_since > now:
        why = "it changed since the last look" if before else "seen for the first time"
        return Judgement(False, now, now + quiet, why)
    rested_at = max(before_since, seen.newest) + quiet
    if rested_at > now:
        why = "a file in it is young" if seen.newest > before_since else "equal so far"
        return Judgement(False, before_since, rested_at, why)
    return Judgement(True, before_since, now)
