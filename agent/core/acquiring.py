"""Does the microscope acquire? What the bridge is told, and for whose sake this agent steps back. Pure.

A share counts as acquired onto while something on it that is not finished was written to

* within the rule's quiet time, and never less than a minute: a frame each ten seconds is one acquisition and
  not a hundred, and the word does not flap with every file; or
* within a quarter of an hour, where one of the rule's acquisition programs runs: a time-lapse between two of
  its frames. Longer gaps are left to the bridge for pulling; it hears of the next frame at once.

A program alone is no acquisition: on most microscopes it is open all day. During a pause nobody looks, and
whoever paused said that the microscope comes first: every share then counts as acquired onto.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from agent.core.acquisition import Acquisition
from agent.core.settle import busy_programs
from server_bridge.contract import AcquisitionRule

LEAST_SECONDS = 60.0
PROGRAM_SECONDS = 900.0


def acquiring(
    rows: Sequence[Acquisition],
    now: datetime,
    rule: AcquisitionRule,
    running: frozenset[str] | None,
    *,
    paused: bool = False,
) -> bool:
    """Whether this share is being acquired onto.

    Args:
        rows: what is on the share.
        running: names of the programs that run; None where the system does not tell.
    """
    if paused:
        return True
    seconds = max(LEAST_SECONDS, rule.quiet_seconds)
    if busy_programs(rule, running):
        seconds = max(PROGRAM_SECONDS, seconds)
    since = now - timedelta(seconds=seconds)
    return any(row.finished_at is None and row.last_change_at >= since for row in rows)
