"""May the buffer copy go? One pure decision over facts that were read a moment ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from server_bridge.contract import Reason, ReceiptStatus, Stage
from server_bridge.orders import backup_stamps, stages

COVERED = frozenset({ReceiptStatus.PROVEN, ReceiptStatus.IGNORED, ReceiptStatus.LEFT_OUT})
"""Receipts under which a file may be deleted on the buffer. Attaching is not built: it releases nothing."""


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What decides. ``problems`` are (path, code, text) of files whose proof does not hold now."""

    stage: Stage
    proven_at: datetime | None
    hold_days: float
    statuses: Sequence[ReceiptStatus]
    problems: Sequence[tuple[str, str, str]] = ()
    clock_lead: timedelta = timedelta(0)
    """By how much the clock was set ahead since the proof: the hold is counted in time that passed."""
    backup_required: bool = False
    imported_at: datetime | None = None
    """By when OMERO held the last of its files."""
    backup_covers_until: datetime | None = None
    """When the newest reported backup began; None: none was reported."""


def release_not_before(facts: ReleaseFacts) -> datetime | None:
    """When the hold ends; None for an order that was never proven."""
    if facts.proven_at is None:
        return None
    return facts.proven_at + timedelta(days=facts.hold_days) + facts.clock_lead


def may_be_released(facts: ReleaseFacts, now: datetime) -> Reason | None:
    """None where everything on the buffer may go; otherwise why nothing may."""
    not_before = release_not_before(facts)
    if facts.stage not in stages.PROOF_STAGES or not_before is None:
        return Reason(
            code="not_proven",
            title="Not proven yet",
            detail=f"The order is {facts.stage.value}.",
            remedy="Nothing may be deleted before OMERO is proven to hold it.",
        )
    if facts.problems:
        path, code, text = facts.problems[0]
        more = f" (and {len(facts.problems) - 1} more files)" if len(facts.problems) > 1 else ""
        return Reason(
            code="proof_lost",
            title="A proof no longer holds",
            detail=f"{path}: {text} [{code}]{more}",
            remedy="Nothing may be deleted. Staff look at the file and at OMERO.",
        )
    blocking = [status for status in facts.statuses if status not in COVERED]
    if blocking:
        return Reason(
            code="files_kept",
            title="Some files must stay on the buffer",
            detail=f"{len(blocking)} files have no proof in OMERO and stay by the share's rules.",
            remedy="Staff copy them elsewhere, or change the rule for the next orders.",
        )
    if not facts.statuses:
        return Reason(
            code="nothing_ordered",
            title="The order has no files",
            remedy="Cancel the order; order again when the folder holds data.",
        )
    if now < not_before:
        return Reason(
            code="hold",
            title="Kept on the buffer for a while",
            detail=f"The site keeps data {facts.hold_days:g} days after the proof.",
            remedy="Nothing to do.",
            next_try_at=not_before,
        )
    if facts.backup_required:
        return backup_stamps.missing(facts.imported_at, facts.backup_covers_until)
    return None
