"""Asking the format's witness at the right time, and remembering the answer as long as nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.core import listing
from agent.core.acquisition import INCOMPLETE, PARTS, Acquisition
from agent.core.formats import witness as format_witness
from agent.core.formats.grouping import Item
from agent.core.formats.known import BY_ID, KNOWN
from agent.core.formats.rules import used_by
from agent.core.formats.witness import Testimony, lonely_part
from agent.core.witness import Witness, WitnessState, waiting
from server_bridge.contract import AcquisitionRule

AGAIN_SECONDS = 120.0
"""Between two looks at what was not complete and has not changed since (it may have been locked)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the format said of one state of an acquisition, and when (monotonic seconds)."""

    at: float
    fingerprint: bytes
    testimony: Testimony

    def holds_for(self, fingerprint: bytes, at: float) -> bool:
        """Whether it need not be asked again."""
        if self.fingerprint != fingerprint:
            return False
        settled = all(one.state is WitnessState.OK for one in self.testimony.witnesses)
        return settled or at - self.at < AGAIN_SECONDS


def ask(
    top: Path,
    row: Acquisition,
    item: Item | None,
    rule: AcquisitionRule,
    *,
    fingerprint: bytes,
    at: float,
    beat: listing.Beat,
) -> Asked:
    """Ask the format of an acquisition that has rested.

    Args:
        item: What discovery saw of it in this pass, if it looked.

    Raises:
        ShareAway: where the share does not answer.
    """
    formats = used_by(rule, KNOWN)
    format_id = item.format if item is not None else row.format
    try:
        testimony = format_witness.ask(top, row.path, row.kind, row.members, format_id, formats, beat=beat)
        if item is not None and item.awaits:
            files = listing.walk(top, row.path, members=row.members, judged=False, beat=beat)
            lonely = lonely_part(row.path, BY_ID[item.format], item.awaits, files)
            testimony = Testimony((lonely,), item.format) if lonely is not None else testimony
    except (listing.Gone, listing.Unreadable):
        words = "it could not be looked into"
        testimony = Testimony((Witness("format", WitnessState.UNKNOWN, words),), format_id)
    return Asked(at, fingerprint, testimony)


def before_rest(row: Acquisition, item: Item | None) -> tuple[Witness, ...]:
    """What names alone say, while nothing may be opened yet."""
    if item is None or not item.awaits:
        return ()
    return (Witness(PARTS, WitnessState.WAITING, f"{row.title}: {item.awaits}"),)


def with_question(
    facts: Sequence[Witness], quiet_seconds: float, rule: AcquisitionRule
) -> tuple[Witness, ...]:
    """Add the question to a person, once it has been quiet for so long that waiting alone leads nowhere."""
    if not waiting(facts) or quiet_seconds < rule.asks_after_seconds:
        return tuple(facts)
    words = "it has been quiet for long and looks incomplete: say whether it is finished"
    return (*facts, Witness(INCOMPLETE, WitnessState.WAITING, words))
