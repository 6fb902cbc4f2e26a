"""What the workstation tells the bridge at each beat. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from agent.core.acquisition import Acquisition
from agent.core.pause import Pause
from agent.core.pauses import Longest, suggestions
from agent.core.share_watch import ShareStatus
from server_bridge.contract import (
    AgentLoad,
    Heartbeat,
    Reason,
    ShareCleaning,
    ShareHeartbeat,
    UnorderedAcquisition,
    WorkstationShare,
)

MOST_UNORDERED = 500
LATER_FIELDS = frozenset(
    {
        "quiet_suggestions",
        "paused_for_seconds",
        "paused_by",
        "paused_for_programs",
        "load",
        "cleaning",
        "damage",
    }
)
"""What bridges of the first version refuse as unknown."""


def beat(
    version: str,
    now: datetime,
    shares: Sequence[WorkstationShare],
    statuses: Mapping[str, ShareStatus],
    found: Sequence[Acquisition],
    ordered_ids: Collection[str],
    ordered_places: Collection[tuple[str, str, tuple[str, ...]]],
    *,
    acquiring: Collection[str] = (),
    pause: Pause | None = None,
    load: AgentLoad | None = None,
    pauses: Mapping[str, Sequence[Longest]] | None = None,
    cleaning: Sequence[ShareCleaning] = (),
    damage: Reason | None = None,
) -> Heartbeat:
    """Make a heartbeat.

    Args:
        ordered_ids: Acquisitions that the outbox has an order for.
        ordered_places: Share, path and members of what the bridge has orders for.
        acquiring: Ids of the shares that the microscope writes onto (`agent.core.acquiring`).
        pause: The one that holds now.
        load: What this agent costs.
        cleaning: What is deleted on shares where this agent may.
        damage: What was wrong with the agent's own files when it started.
        pauses: By share id: the longest pauses of acquisitions that went on.
    """
    told = []
    for share in shares:
        status = statuses.get(share.id, ShareStatus())
        told.append(
            ShareHeartbeat(
                share=share.id,
                answered=status.answered,
                acquiring=share.id in acquiring,
                free_bytes=status.free_bytes,
                total_bytes=status.total_bytes,
            )
        )
    unordered = [
        UnorderedAcquisition(
            share=row.share,
            path=row.path,
            size_bytes=row.size_bytes,
            file_count=row.file_count,
            first_seen_at=row.first_seen_at,
            last_change_at=row.last_change_at,
            members=row.members,
        )
        for row in found
        if row.id not in ordered_ids and (row.share, row.path, row.members) not in ordered_places
    ]
    suggested = [
        one for share in shares for one in suggestions(share.id, share.rule, (pauses or {}).get(share.id, ()))
    ]
    return Heartbeat(
        agent_version=version,
        shares=tuple(told),
        unordered=tuple(unordered[:MOST_UNORDERED]),
        quiet_suggestions=tuple(suggested),
        paused_for_seconds=pause.seconds_left(now) if pause else 0.0,
        paused_by=pause.by[:255] if pause else "",
        paused_for_programs=tuple(name[:255] for name in pause.programs[:32]) if pause else (),
        load=load,
        cleaning=tuple(cleaning),
        damage=f"{damage.title}. {damage.detail}"[:1000] if damage else "",
    )
