"""A pause that somebody at the microscope asked for. Pure, and one row of the machine's file.

It is the machine's, not the person's: whoever sits there may begin it and whoever comes next may end it, all
Windows sessions see the same, and it survives a restart of the agent. It always ends by itself: after its
time, when the acquisition programs it waits for have ended, and after eight hours in any case. Times are the
clock's, so that the window can say "until 14:30"; a clock that was set cannot make it last longer than it was
meant to.

While it lasts the agent lists nothing on the shares and the bridge pulls nothing from this workstation. What
was ordered stays ordered, signing in and choosing targets work as ever, and the heartbeats go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.core.clock import Clock
from agent.core.errors import AgentError
from agent.core.machine_store import MachineStore
from agent.core.settle import busy_programs
from server_bridge.contract import LONGEST_PAUSE_SECONDS, AcquisitionRule

LONGEST = timedelta(seconds=LONGEST_PAUSE_SECONDS)
FACT = "pause"
_CLOCK_SLACK = timedelta(minutes=1)


class Pause(BaseModel):
    """As it stands in the machine's file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    began_at: datetime
    until: datetime
    by: str = ""
    """Name of whoever was signed in; empty where nobody was."""
    programs: tuple[str, ...] = ()
    """It ends with these programs; ``until`` is then only the latest moment."""

    def seconds_left(self, now: datetime) -> float:
        """How much longer at most."""
        return min(LONGEST_PAUSE_SECONDS, max(0.0, (self.until - now).total_seconds()))


def make(now: datetime, seconds: float | None, by: str, programs: Collection[str] = ()) -> Pause:
    """Make a pause of that length; None: as long as the programs run, which is eight hours at most."""
    length = LONGEST if seconds is None else min(LONGEST, timedelta(seconds=max(0.0, seconds)))
    return Pause(began_at=now, until=now + length, by=by, programs=tuple(sorted(programs)))


def lasts(pause: Pause | None, now: datetime, running: frozenset[str] | None) -> bool:
    """Whether it still holds.

    Args:
        running: names of the programs that run; None where the system does not tell: its time decides then.
    """
    if pause is None or now >= pause.until:
        return False
    if now < pause.began_at - _CLOCK_SLACK:
        return False  # the clock was set back: nobody knows how long it has lasted
    if not pause.programs or running is None:
        return True
    return any(name.casefold().removesuffix(".exe") in running for name in pause.programs)


class NothingRuns(AgentError):
    """There is no end to wait for."""

    code = "no_program_runs"
    title = "No acquisition program is running"


class PauseDesk:
    """The machine's one pause. Safe to share between threads and processes: the file is the truth."""

    def __init__(
        self,
        machine: MachineStore,
        clock: Clock,
        running: Callable[[], frozenset[str] | None],
        rules: Callable[[], Collection[AcquisitionRule]],
    ) -> None:
        self._machine = machine
        self._clock = clock
        self._running = running
        self._rules = rules

    def current(self) -> Pause | None:
        """The pause that holds now."""
        pause = self._kept()
        if pause is None:
            return None
        return pause if lasts(pause, self._clock.now(), self._running() if pause.programs else None) else None

    def programs(self) -> tuple[str, ...]:
        """Acquisition programs that a pause may wait for now."""
        rules = self._rules()
        if not any(rule.acquisition_programs for rule in rules):
            return ()
        running = self._running()
        return tuple(sorted({name for rule in rules for name in busy_programs(rule, running)}))

    def begin(self, seconds: float | None, by: str) -> Pause:
        """Begin one, in place of the one that there is. None: until the acquisition programs end.

        Raises:
            NothingRuns: where there is no program to wait for.
        """
        programs: tuple[str, ...] = ()
        if seconds is None:
            programs = self.programs()
            if not programs:
                raise NothingRuns(remedy="Choose a time instead.")
        pause = make(self._clock.now(), seconds, by, programs)
        self._machine.set_fact(FACT, pause.model_dump_json())
        return pause

    def end(self) -> None:
        """Go on."""
        self._machine.set_fact(FACT, "")

    def _kept(self) -> Pause | None:
        text = self._machine.fact(FACT)
        if not text:
            return None
        try:
            return Pause.model_validate_json(text)
        except ValidationError:
            return None  # of another version: a pause that nobody can read holds nobody up
