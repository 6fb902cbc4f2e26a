"""What came of a replayed microscope, judged by the data that was really there."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.replay.scenario import Microscope


class Outcome(StrEnum):
    OK = "ok"
    TOO_EARLY = "finished too early"
    """OMERO got something else than what was finally written."""
    MISSED = "missed"
    """Something that was written never arrived, or was not shown."""
    NEEDLESS = "needless question"
    """A person was bothered without a cause."""


@dataclass(frozen=True, slots=True)
class Result:
    """One microscope. Durations are simulated seconds."""

    microscope: Microscope
    files: int
    imports: int
    delays: tuple[float, ...]
    """For each acquisition that arrived: from the last write to the first seal of the final data."""
    premature_seals: int
    """Sealed lists of data that was not the final one; each was taken back, unless it came too early."""
    unsealed: int
    """How often a seal was taken back, by the agent or upon the bridge's doubt."""
    doubts: int
    """Of these, how often the bridge's own look was the first to see it."""
    too_early: tuple[str, ...]
    missed: tuple[str, ...]
    needless: tuple[str, ...]
    """Shown as new, or refused by the bridge, though nothing that matters had changed."""
    simulated_seconds: float
    passes: int
    """Looks of the scanner."""

    @property
    def outcome(self) -> Outcome:
        if self.too_early:
            return Outcome.TOO_EARLY
        if self.missed:
            return Outcome.MISSED
        return Outcome.NEEDLESS if self.needless else Outcome.OK

    @property
    def good(self) -> bool:
        """As it has to be: a control has to come too early, everything else must not."""
        return self.outcome is (Outcome.TOO_EARLY if self.microscope.control else Outcome.OK)


@dataclass(frozen=True, slots=True)
class Summary:
    """All of them, controls counted apart."""

    microscopes: int
    too_early: int
    missed: int
    needless: int
    premature_seals: int
    unsealed: int
    doubts: int
    median_delay_seconds: float | None
    slowest_delay_seconds: float | None
    median_beyond_quiet_seconds: float | None
    """What comes on top of the quiet time itself."""
    simulated_seconds: float
    controls: int
    controls_noticed: int

    @property
    def good(self) -> bool:
        """Nothing too early, nothing missed, nobody bothered, and each control noticed."""
        return not (self.too_early or self.missed or self.needless) and self.controls == self.controls_noticed


def summarise(results: Sequence[Result]) -> Summary:
    """Fold the results."""
    real = [one for one in results if not one.microscope.control]
    controls = [one for one in results if one.microscope.control]
    delays = [delay for one in real for delay in one.delays]
    beyond = [delay - one.microscope.quiet for one in real for delay in one.delays]
    return Summary(
        microscopes=len(real),
        too_early=sum(len(one.too_early) for one in real),
        missed=sum(len(one.missed) for one in real),
        needless=sum(len(one.needless) for one in real),
        premature_seals=sum(one.premature_seals for one in real),
        unsealed=sum(one.unsealed for one in real),
        doubts=sum(one.doubts for one in real),
        median_delay_seconds=statistics.median(delays) if delays else None,
        slowest_delay_seconds=max(delays, default=None),
        median_beyond_quiet_seconds=statistics.median(beyond) if beyond else None,
        simulated_seconds=sum(one.simulated_seconds for one in results),
        controls=len(controls),
        controls_noticed=sum(one.good for one in controls),
    )
