"""Is it finished? Pure: looks go in, a verdict with its witnesses comes out.

Quiet time alone is not enough (a listing may lie, a time-lapse may pause), so an acquisition counts as
finished when nothing changed for the quiet time *and* two looks that asked every file agree *and* no
acquisition program runs that would still write *and* no other witness (the format, a probe for open files)
speaks against it. A person may say "done now" or "not yet". Whatever was said, a change afterwards un-seals:
the bridge compares once more before and after it copies.

Rest counts only as far as somebody watched it. While the share was away or the machine slept, the microscope
may have been unable to write as well; so a gap between two looks counts for a few of them at most. Durations
are seconds of a monotonic clock: a clock that is set cannot finish anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from agent.core.witness import Witness, WitnessState, waiting
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
    """Rest counts from here: when a change was last noticed, moved on by the time that nobody watched."""
    changed_at_utc: datetime
    """When that change was noticed."""
    changed_after: float
    """The look before that one: a lower bound of when it happened."""
    last_look_at: float
    """Minus infinity where none was made since the agent's start."""
    equal_looks: int
    """Looks in a row that agree, the first of them included."""


@dataclass(frozen=True, slots=True)
class Verdict:
    finished: bool
    quiet_seconds: float
    needed_seconds: float
    witnesses: tuple[Witness, ...]
    """All of them, the quiet time first."""

    @property
    def words(self) -> tuple[str, ...]:
        """The quiet time, and what speaks against it, as a person reads it."""
        first, *others = self.witnesses
        return (first.words, *(witness.words for witness in waiting(others)))

    @property
    def others(self) -> tuple[Witness, ...]:
        """All but the quiet time, which is counted anew each time it is shown."""
        return tuple(witness for witness in self.witnesses if witness.name != QUIET)


MINIMUM_GAP_SECONDS = 0.2
"""Two looks in the same instant are one look."""
WATCHED_GAP_SECONDS = 60.0
"""Of the time between two looks, so much counts as watched; what is being written is looked at every few
seconds."""
QUIET, LOOKS, PROGRAM, PERSON = "quiet", "looks", "program", "person"


def observe(rest: Rest | None, look: Look) -> Rest:
    """Take a look into account."""
    if rest is None:
        return Rest(look.fingerprint, look.at, look.at_utc, look.at, look.at, 1)
    first_since_start = rest.last_look_at == float("-inf")
    if rest.fingerprint != look.fingerprint:
        # What changed while nobody looked at all counts as changed just now: an earlier "done now" is void.
        after = look.at if first_since_start else rest.last_look_at
        return Rest(look.fingerprint, look.at, look.at_utc, after, look.at, 1)
    gap = look.at - rest.last_look_at
    if gap < MINIMUM_GAP_SECONDS:
        return rest
    unwatched = 0.0 if first_since_start else max(0.0, gap - WATCHED_GAP_SECONDS)
    return replace(
        rest,
        changed_at=rest.changed_at + unwatched,
        last_look_at=look.at,
        equal_looks=rest.equal_looks + 1,
    )


def pause_seconds(rest: Rest, look: Look) -> float:
    """How long nothing was written before this look found a change, as far as somebody watched."""
    if rest.last_look_at == float("-inf"):
        return 0.0
    watched = min(look.at - rest.last_look_at, WATCHED_GAP_SECONDS)
    return max(0.0, rest.last_look_at - rest.changed_at + watched)


def clock_text(seconds: float) -> str:
    """``3:40``, or ``1:05:00`` from an hour on."""
    whole = max(0, int(seconds))
    hours, minutes, left = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def quiet_text(quiet_seconds: float, needed_seconds: float) -> str:
    """``quiet 3:40 of 5:00``."""
    return f"quiet {clock_text(min(quiet_seconds, needed_seconds))} of {clock_text(needed_seconds)}"


def quiet_witness(quiet_seconds: float, needed_seconds: float) -> Witness:
    """The countdown as a witness."""
    state = WitnessState.OK if quiet_seconds >= needed_seconds else WitnessState.WAITING
    return Witness(QUIET, state, quiet_text(quiet_seconds, needed_seconds))


def busy_programs(rule: AcquisitionRule, running: frozenset[str] | None) -> tuple[str, ...]:
    """Acquisition programs that run now, as the rule spells them. Unknown counts as "none runs"."""
    if running is None:
        return ()
    return tuple(
        name for name in rule.acquisition_programs if name.casefold().removesuffix(".exe") in running
    )


def _looks_witness(rest: Rest) -> Witness:
    if rest.equal_looks >= 2:
        return Witness(LOOKS, WitnessState.OK, "two looks agree")
    return Witness(LOOKS, WitnessState.WAITING, "one more look")


def _program_witnesses(rule: AcquisitionRule, running: frozenset[str] | None) -> tuple[Witness, ...]:
    if not rule.acquisition_programs:
        return ()
    if running is None:
        return (Witness(PROGRAM, WitnessState.UNKNOWN, "the system does not tell which programs run"),)
    busy = busy_programs(rule, running)
    if not busy:
        return (Witness(PROGRAM, WitnessState.OK, "no acquisition program runs"),)
    return tuple(Witness(PROGRAM, WitnessState.WAITING, f"{name} is running") for name in busy)


def judge(
    rest: Rest,
    rule: AcquisitionRule,
    at: float,
    running: frozenset[str] | None = None,
    override: Override = Override.NONE,
    override_at: float | None = None,
    *,
    learned_seconds: float = 0.0,
    facts: Sequence[Witness] = (),
) -> Verdict:
    """Decide at the moment ``at`` (monotonic seconds).

    Args:
        learned_seconds: Quiet time that pauses of the past ask for; it only lengthens what staff set.
        facts: What other witnesses said (a format's own account, a probe for open files).
    """
    needed = max(rule.quiet_seconds, learned_seconds)
    since = rest.changed_at
    said_at = override_at if override_at is not None else at
    if override is Override.NOT_YET:
        since = max(since, said_at)
    # "Done now" was said about what was there then; what surely came later has to settle by itself. (What
    # the first look after the word notices may have been there already; more writing shows in the next one.)
    done_now = override is Override.DONE_NOW and rest.changed_after <= said_at
    quiet = max(0.0, at - since)
    looks = _looks_witness(rest)
    if done_now:
        said = Witness(PERSON, WitnessState.OK, "you said it is finished")
        return Verdict(looks.state is WitnessState.OK, quiet, needed, (said, looks))
    witnesses = (quiet_witness(quiet, needed), looks, *_program_witnesses(rule, running), *facts)
    return Verdict(not waiting(witnesses), quiet, needed, witnesses)
