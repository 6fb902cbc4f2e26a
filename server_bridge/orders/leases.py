"""What the workstations' heartbeats say right now: who acquires, who paused, how full the shares are.

A heartbeat is a lease. It counts from the moment in which the bridge received it, by the bridge's own clock,
and for ``acquiring_lease_seconds``: a workstation that was switched off, or that lost its network, slows
nobody for longer. A lease from the future (the bridge's clock was set back) counts no more than an old one.

Heartbeats name up to 500 acquisitions each and are looked at several times a second, so the book reads one
again only when another was received.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.contract import (
    LONGEST_PAUSE_SECONDS,
    AgentLoad,
    Heartbeat,
    Reason,
    ShareCleaning,
    WorkstationStatus,
)
from server_bridge.orders.models import Order, Workstation

BELIEVED_SECONDS = 1.0
"""How long one look at the table is good for."""


@dataclass(frozen=True, slots=True)
class Room:
    """A share's volume as a workstation saw it."""

    free_bytes: int
    total_bytes: int

    @property
    def fill(self) -> float:
        """0 (empty) to 1 (full)."""
        return min(1.0, max(0.0, 1.0 - self.free_bytes / self.total_bytes))


@dataclass(frozen=True, slots=True)
class Beat:
    """One approved workstation's last heartbeat."""

    workstation_id: str
    workstation: str
    told_at: datetime
    roots: Mapping[str, str]
    acquiring: frozenset[str]
    """Shares."""
    rooms: Mapping[str, Room]
    paused_until: datetime | None = None
    paused_by: str = ""
    paused_for_programs: tuple[str, ...] = ()
    load: AgentLoad | None = None
    cleaning: tuple[ShareCleaning, ...] = ()

    def holds(self, now: datetime, lease_seconds: float) -> bool:
        """Whether it is still believed."""
        return abs(now - self.told_at) <= timedelta(seconds=lease_seconds)

    def is_paused(self, now: datetime) -> bool:
        """Whether the pause that it told of lasts."""
        return self.paused_until is not None and now < self.paused_until


@dataclass(frozen=True, slots=True)
class Paused:
    """A workstation whose acquisitions nobody pulls now."""

    workstation_id: str
    roots: Mapping[str, str]
    reason: Reason

    def covers(self, order: Order) -> bool:
        """Whether the order is one of this workstation, or lies below its root and is of none."""
        if order.workstation_id is not None:
            return order.workstation_id == self.workstation_id
        root = self.roots.get(order.share)
        return root is not None and (root == "." or order.path == root or order.path.startswith(f"{root}/"))


def beat_of(row: Workstation) -> Beat | None:
    """What a workstation's row says; None where it never told anything, or is not approved."""
    if row.heartbeat is None or row.last_seen_at is None or row.status != WorkstationStatus.APPROVED:
        return None
    said = Heartbeat.model_validate(row.heartbeat)
    roots = {str(share): str(root) for share, root in row.roots.items()}
    # Of shares that it has no root in, a workstation knows nothing.
    shares = [share for share in said.shares if share.share in roots]
    seconds = min(said.paused_for_seconds, LONGEST_PAUSE_SECONDS)
    return Beat(
        workstation_id=row.id,
        workstation=row.name,
        told_at=row.last_seen_at,
        roots=roots,
        acquiring=frozenset(share.share for share in shares if share.acquiring),
        rooms={
            share.share: Room(share.free_bytes, share.total_bytes)
            for share in shares
            if share.free_bytes is not None and share.total_bytes
        },
        paused_until=row.last_seen_at + timedelta(seconds=seconds) if seconds > 0 else None,
        paused_by=said.paused_by,
        paused_for_programs=said.paused_for_programs,
        load=said.load,
        cleaning=tuple(one for one in said.cleaning if one.share in roots),
    )


def acquiring(beats: Iterable[Beat], share: str, now: datetime, lease_seconds: float) -> tuple[str, ...]:
    """Names of the workstations that acquire onto a share; any of them is enough."""
    return tuple(
        sorted(
            beat.workstation for beat in beats if share in beat.acquiring and beat.holds(now, lease_seconds)
        )
    )


def room(beats: Iterable[Beat], share: str, now: datetime, lease_seconds: float) -> Room | None:
    """The share's room as the latest heartbeat told it; None where nobody tells."""
    told = [beat for beat in beats if share in beat.rooms and beat.holds(now, lease_seconds)]
    return max(told, key=lambda beat: beat.told_at).rooms[share] if told else None


def paused(beats: Iterable[Beat], now: datetime, site: SiteConfig) -> list[Paused]:
    """The workstations that somebody paused. A pause ends with its time, or with the lease."""
    lease = site.limits.acquiring_lease_seconds
    return [
        Paused(beat.workstation_id, beat.roots, _reason(beat, site.contact))
        for beat in beats
        if beat.holds(now, lease) and beat.is_paused(now)
    ]


def _reason(beat: Beat, contact: str) -> Reason:
    assert beat.paused_until is not None
    who = f" by {beat.paused_by}" if beat.paused_by else ""
    ends = f"until {beat.paused_until:%H:%M} UTC"
    if beat.paused_for_programs:
        ends = f"until {' and '.join(beat.paused_for_programs)} ends, {ends} at the latest"
    return Reason(
        code="paused_at_microscope",
        title="Paused at the microscope",
        detail=f"{beat.workstation} was paused{who} {ends}.",
        remedy="It goes on by itself; whoever is at the microscope can resume it earlier.",
        contact=contact,
    )


class LeaseBook:
    """The last heartbeats of one database. Safe to share between threads."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._beats: dict[str, tuple[tuple[object, ...], Beat | None]] = {}
        self._read_at = float("-inf")

    def beats(self, session: Session, *, believed_seconds: float = BELIEVED_SECONDS) -> Sequence[Beat]:
        """All of them, expired ones too; read anew where the last look is older."""
        # The connection comes first: whoever holds the book must not wait for one (see orders/queue.py).
        session.connection()
        with self._guard:
            now = self._monotonic()
            if now - self._read_at >= believed_seconds:
                self._refresh(session)
                self._read_at = now
            return [beat for _key, beat in self._beats.values() if beat is not None]

    def _refresh(self, session: Session) -> None:
        asked = select(
            Workstation.id, Workstation.name, Workstation.status, Workstation.last_seen_at, Workstation.roots
        )
        keys = {
            row.id: (row.name, row.status, row.last_seen_at, tuple(sorted(row.roots.items())))
            for row in session.execute(asked)
        }
        changed = [found for found, key in keys.items() if self._beats.get(found, (None,))[0] != key]
        for gone in self._beats.keys() - keys.keys():
            del self._beats[gone]
        if changed:
            for row in session.scalars(select(Workstation).where(Workstation.id.in_(changed))):
                self._beats[row.id] = (keys[row.id], beat_of(row))


def book_of(session: Session) -> LeaseBook:
    """The book that the session's store keeps; a new one for a session that somebody else made."""
    found = session.info.get("leases")
    return found if isinstance(found, LeaseBook) else LeaseBook()
