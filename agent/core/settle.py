"""Is it finished? Pure: looks go in, a verdict with its witnesses comes out.

Quiet time alone is not enough (a listing may lie, a time-lapse may pause), so an acquisition counts as
finished when nothing changed for the rule's quiet time *and* two looks that asked every file agree *and* no
acquisition program runs that would still write. A person may say "done now" or "not yet". Whatever was said,
a change afterwards un-seals: the bridge compares once more before and after it copies.

Durations are seconds of a monotonic clock: a clock that is set cannot finish anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from server_bridge.contract import AcquisitionRule


class Override(StrEnum):
    """What a person said about it."""

    NONE = ""
    DONE_NOW = "done-now"
    NOT_YET = "not-yet"


@dataclass(frozen=True, slots=True)
class Look:
    """One look that asked every file. ``at`` is monotonic seconds."""

    at: float
    at_utc: datetime
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Rest:
    """How an acquisition has rested so far."""

    fingerprint: bytes
    changed_at: float
    """When a change was last noticed: an upper bound of when it happened."""
    changed_at_utc: datetime
    changed_after: float
    """The look before that one: a lower bound of when it happened."""
    last_look_at: float
    equal_looks: int
    """Looks in a row that agree, the first of them included."""


@dataclass(frozen=True, slots=True)
class Verdict:
    finished: bool
    quiet_seconds: float
    needed_seconds: float
    witnesses: tuple[str, ...]
    """In words: "quiet 3:40 of 5:00", "zen is running"."""
    holds: tuple[str, ...] = ()
    """The witnesses that speak against it, apart from the quiet time."""


MINIMUM_GAP_SECONDS = 0.2
"""Two looks in the same instant are one look."""


def observe(rest: Rest | None, look: Look) -> Rest:
    """Take a look into account."""
    if rest is None:
        return Rest(look.fingerprint, look.at, look.at_utc, look.at, look.at, 1)
    if rest.fingerprint != look.fingerprint:
        return Rest(look.fingerprint, look.at, look.at_utc, rest.last_look_at, look.at, 1)
    if look.at - rest.last_look_at < MINIMUM_GAP_SECONDS:
        return rest
    return replace(rest, last_look_at=look.at, equal_looks=rest.equal_looks + 1)


def clock_text(seconds: float) -> str:
    """``3:40``, or ``1:05:00`` from an hour on."""
    whole = max(0, int(seconds))
    hours, minutes, left = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def quiet_text(quiet_seconds: float, needed_seconds: float) -> str:
    """``quiet 3:40 of 5:00``."""
    return f"quiet {clock_text(min(quiet_seconds, needed_seconds))} of {clock_text(needed_seconds)}"


def busy_programs(rule: AcquisitionRule, running: frozenset[str] | None) -> tuple[str, ...]:
    """Acquisition programs that run now, as the rule spells them. Unknown counts as "none runs"."""
    if running is None:
        return ()
    return tuple(
        name for name in rule.acquisition_programs if name.casefold().removesuffix(".exe") in running
    )


def judge(
    rest: Rest,
    rule: AcquisitionRule,
    at: float,
    running: frozenset[str] | None = None,
    override: Override = Override.NONE,
    override_at: float | None = None,
) -> Verdict:
    """Decide at the moment ``at`` (monotonic seconds)."""
    since = rest.changed_at
    said_at = override_at if override_at is not None else at
    if override is Override.NOT_YET:
        since = max(since, said_at)
    # "Done now" was said about what was there then; what surely came later has to settle by itself. (What
    # the first look after the word notices may have been there already; more writing shows in the next one.)
    done_now = override is Override.DONE_NOW and rest.changed_after <= said_at
    quiet = max(0.0, at - since)
    two_looks = rest.equal_looks >= 2
    programs = busy_programs(rule, running)
    holds = tuple(f"{name} is running" for name in programs)
    if not two_looks:
        holds += ("one more look",)
    if done_now:
        return Verdict(two_looks, quiet, rule.quiet_seconds, ("you said it is finished",), holds[-1:])
    finished = quiet >= rule.quiet_seconds and two_looks and not programs
    witnesses = (quiet_text(quiet, rule.quiet_seconds), *holds)
    return Verdict(finished, quiet, rule.quiet_seconds, witnesses, holds)
