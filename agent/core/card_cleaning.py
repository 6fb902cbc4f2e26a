"""What cleaning the buffer means for a card: it goes, it was refused, or something of it stayed. Pure."""

from __future__ import annotations

from dataclasses import replace

from agent.core.cleaning_book import Job, JobState
from agent.core.snapshot import Card, CardState
from server_bridge.contract import Reason


def cleaned_card(card: Card, job: Job | None) -> Card:
    """The card of a copy that is being deleted, or of which something stayed."""
    if job is None or card.state is not CardState.SAFE_TO_DELETE:
        return card
    if job.is_going:
        return replace(card, actions=(), reason=job.reason)
    if job.state in (JobState.REFUSED, JobState.QUEUED):
        return replace(card, reason=job.reason)
    if not job.stayed_count:
        return card
    path, why = next(iter(job.stayed.items()))
    reason = Reason(
        code="files_stayed",
        title="1 file stays" if job.stayed_count == 1 else f"{job.stayed_count} files stay",
        detail=f"{path}: {why}.",
        remedy="Look whether it is still needed; the platform staff help.",
    )
    return replace(card, reason=reason)
