"""What workstations learned about pauses, for staff: where a rule's quiet time is too short. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from server_bridge.contract import Heartbeat, QuietSuggestion
from server_bridge.orders.models import Workstation


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes}:{left:02d}"


def line_of(workstation: str, one: QuietSuggestion) -> str:
    """One suggestion as a sentence."""
    times = "once" if one.acquisitions == 1 else f"in {one.acquisitions} acquisitions"
    waits = (
        "It waits so long by itself."
        if one.used_seconds >= one.suggested_seconds
        else f"By itself it waits {_clock(one.used_seconds)}; more is for you to decide."
    )
    return (
        f"{workstation}, share {one.share}: {one.format} paused for up to "
        f"{_clock(one.longest_pause_seconds)} and went on ({times}). "
        f"A quiet_seconds of {one.suggested_seconds:.0f} outlasts that. {waits}"
    )


def lines_of(rows: Iterable[Workstation]) -> list[str]:
    """All that the last heartbeats say."""
    return [
        line_of(row.name, one)
        for row in rows
        if row.heartbeat
        for one in Heartbeat.model_validate(row.heartbeat).quiet_suggestions
    ]
