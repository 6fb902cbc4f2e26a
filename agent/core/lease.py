"""What this workstation tells the bridge about itself right now, and when it has to be told at once.

The heartbeat renews the lease; this says what stands in it, and asks for a heartbeat out of turn when the
microscope begins or ends to acquire and when a pause begins or ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from agent.core.acquiring import acquiring
from agent.core.acquisition import Acquisition
from agent.core.cleaning import is_cleaned
from agent.core.cleaning_book import Job
from agent.core.clerk import Place
from agent.core.clock import Clock
from agent.core.machine_store import MachineStore
from agent.core.pause import PauseDesk
from agent.core.programs import RunningPrograms

Said = tuple[frozenset[str], bool]
"""Shares that are acquired onto, and whether somebody paused."""


class LeaseKeeper:
    """Safe to share between threads."""

    def __init__(
        self,
        *,
        machine: MachineStore,
        clock: Clock,
        programs: RunningPrograms,
        pause: PauseDesk,
        places: Callable[[], Mapping[str, Place]],
        jobs: Callable[[str], Sequence[Job]] = lambda _share: (),
        beat_soon: Callable[[], None],
    ) -> None:
        self._machine = machine
        self._clock = clock
        self._programs = programs
        self._pause = pause
        self._places = places
        self._jobs = jobs
        self._beat_soon = beat_soon
        self._guard = threading.Lock()
        self._said: Said = (frozenset(), False)

    @property
    def last(self) -> Said:
        """What the last look found, without another one."""
        with self._guard:
            return self._said

    def shares(self) -> frozenset[str]:
        """Shares that the microscope writes onto now."""
        rules = {share: place.share.rule for share, place in self._places().items()}
        asks = any(rule.acquisition_programs for rule in rules.values())
        running = self._programs.names() if asks else None
        now, paused = self._clock.now(), self._pause.current() is not None
        return frozenset(
            share
            for share, rule in rules.items()
            if acquiring(self._written(share, now), now, rule, running, paused=paused)
        )

    def _written(self, share: str, now: datetime) -> list[Acquisition]:
        """What somebody else than this agent changed."""
        jobs, found = self._jobs(share), self._machine.acquisitions(share)
        return [one for one in found if not is_cleaned(one, jobs, now)] if jobs else found

    def look(self) -> frozenset[str]:
        """Look, and have the bridge told where something changed. Returns the shares."""
        found: Said = (self.shares(), self._pause.current() is not None)
        with self._guard:
            changed, self._said = self._said != found, found
        if changed:
            self._beat_soon()
        return found[0]
