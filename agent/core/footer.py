"""The footer's one sentence: may this person log off, and why not if not. Pure (promise 7).

"You can log off now" appears only when every acquisition of the person is sealed and the bridge has confirmed
exactly that; when we cannot know (the share does not answer, nothing was scanned yet), the answer is no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.core.snapshot import LogOff, LogOffVerdict


class Missing(StrEnum):
    """What one acquisition still lacks."""

    NOTHING = "nothing"
    FINISH = "is still being written"
    COMPLETE = "looks incomplete: say whether it is finished"
    TARGET = "needs a target"
    DECISION = "was refused: decide what to do"
    CONFIRMATION = "has not been confirmed by the bridge yet"
    SIGN_IN = "needs you to sign in again"


@dataclass(frozen=True, slots=True)
class Mine:
    """One acquisition of the person."""

    title: str
    missing: Missing


NAMED = 3
"""More than this many are counted, not named."""


def verdict(
    person: str,
    mine: Sequence[Mine],
    *,
    unclaimed: int,
    unknown: Sequence[str],
    attention: int = 0,
    others_unsent: int = 0,
) -> LogOffVerdict:
    """Decide.

    Args:
        person: Who is signed in; empty for nobody.
        unclaimed: Acquisitions that nobody claims.
        unknown: Why it cannot be known what is there, one sentence per share or for the workstation.
        attention: Orders of hers that wait for her decision at the bridge; logging off harms nothing.
        others_unsent: Orders in this outbox that the bridge has not confirmed, whoever made them.
    """
    if not person:
        detail = ""
        if others_unsent:
            detail = (
                f"{_orders(others_unsent)} not been confirmed by the bridge yet; keep this agent running."
            )
        return LogOffVerdict(LogOff.NOBODY, "Nobody is signed in.", detail)
    if unknown:
        return LogOffVerdict(LogOff.NO, "Stay signed in for now:", " ".join(unknown))
    lacking = [one for one in mine if one.missing is not Missing.NOTHING]
    if lacking:
        named = [f"{one.title} {one.missing.value}" for one in lacking[:NAMED]]
        if len(lacking) > NAMED:
            named.append(f"and {len(lacking) - NAMED} more")
        rest = "" if len(lacking) == len(mine) else " The rest goes on by itself."
        return LogOffVerdict(LogOff.NO, "Stay signed in for now:", ", ".join(named) + "." + rest)
    extra = []
    if attention:
        extra.append(f"{_orders(attention, 'needs', 'need')} a decision of yours, now or later.")
    if unclaimed:
        extra.append(
            f"{unclaimed} acquisition{'s are' if unclaimed > 1 else ' is'} claimed by nobody: yours?"
        )
    done = "Everything of yours is with the bridge and goes on by itself." if mine else ""
    return LogOffVerdict(LogOff.YES, "You can log off now.", " ".join([done, *extra]).strip())


def _orders(count: int, one: str = "has", many: str = "have") -> str:
    return f"{count} orders {many}" if count > 1 else f"1 order {one}"
