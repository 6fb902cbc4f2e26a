"""Pauses inside acquisitions that later went on, and the quiet time they ask for. Pure.

A time-lapse that waits nine minutes between rounds looks finished after five. When it goes on, the pause is
kept (the longest of each acquisition, per share and format), and from then on such data rests longer than its
longest pause. What staff set is never shortened, and lengthened by the program only up to a few times; beyond
that it is a suggestion that staff see and decide on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from agent.core.acquisition import Acquisition
from server_bridge.contract import AcquisitionKind, QuietSuggestion

MARGIN = 1.25
"""How much longer than the longest pause the suggested quiet time is."""
USED_UP_TO = 4.0
"""Times the quiet time of the rule: more than that is not used without staff's word."""
LONGEST_SECONDS = 6 * 3600.0
"""What goes on after a longer pause was taken up again by somebody, not by the microscope."""


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest pause known for one format on one share."""

    format: str
    seconds: float
    acquisitions: int
    """How many acquisitions paused for at least half of the quiet time of then, and went on."""


def format_key(found: Acquisition) -> str:
    """What pauses are learned for: its format, else a file's suffix, or ``folder``."""
    if found.format or found.kind is AcquisitionKind.FOLDER:
        return found.format or "folder"
    return PurePosixPath(found.path).suffix.casefold() or "file"


def is_telling(pause_seconds: float, quiet_seconds: float) -> bool:
    """Whether a pause is worth keeping: near enough to the quiet time, and the microscope's own."""
    return quiet_seconds / 2 <= pause_seconds <= LONGEST_SECONDS


def suggested_seconds(longest_pause_seconds: float) -> float:
    """The quiet time that outlasts such a pause, in whole minutes."""
    return math.ceil(longest_pause_seconds * MARGIN / 60.0) * 60.0


def learned_seconds(quiet_seconds: float, longest_pause_seconds: float) -> float:
    """The quiet time that is used: never less than the rule's, never more than a few times of it."""
    wanted = suggested_seconds(longest_pause_seconds) if longest_pause_seconds > 0 else 0.0
    return max(quiet_seconds, min(wanted, USED_UP_TO * quiet_seconds))


def suggestions(quiet_seconds: float, longest: Iterable[Longest]) -> tuple[QuietSuggestion, ...]:
    """What staff should know: formats whose pauses ask for more than the rule gives."""
    found = []
    for one in longest:
        wanted = suggested_seconds(one.seconds)
        if wanted > quiet_seconds:
            found.append(
                QuietSuggestion(
                    format=one.format,
                    longest_pause_seconds=round(one.seconds, 1),
                    acquisitions=one.acquisitions,
                    suggested_seconds=wanted,
                    used_seconds=learned_seconds(quiet_seconds, one.seconds),
                )
            )
    return tuple(found)


def by_format(longest: Iterable[Longest]) -> Mapping[str, float]:
    """Format → seconds."""
    return {one.format: one.seconds for one in longest}
