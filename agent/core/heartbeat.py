"""What the workstation tells the bridge at each beat. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from agent.core.acquisition import Acquisition
from agent.core.share_watch import ShareStatus, acquiring
from server_bridge.contract import Heartbeat, ShareHeartbeat, UnorderedAcquisition, WorkstationShare

MOST_UNORDERED = 500


def beat(
    version: str,
    now: datetime,
    shares: Sequence[WorkstationShare],
    statuses: Mapping[str, ShareStatus],
    found: Sequence[Acquisition],
    ordered_ids: Collection[str],
    ordered_places: Collection[tuple[str, str, tuple[str, ...]]],
) -> Heartbeat:
    """Make a heartbeat.

    Args:
        ordered_ids: Acquisitions that the outbox has an order for.
        ordered_places: Share, path and members of what the bridge has orders for.
    """
    told = []
    for share in shares:
        status = statuses.get(share.id, ShareStatus())
        rows = [row for row in found if row.share == share.id]
        told.append(
            ShareHeartbeat(
                share=share.id,
                answered=status.answered,
                acquiring=acquiring(rows, now, share.rule.quiet_seconds),
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
    return Heartbeat(agent_version=version, shares=tuple(told), unordered=tuple(unordered[:MOST_UNORDERED]))
