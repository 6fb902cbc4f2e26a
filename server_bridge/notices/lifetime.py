"""Data whose time on the buffer ends before OMERO is proven to have it: said in time, never deleted.

Two kinds: what no order is for (the workstations' heartbeats name it), and what an order has not proven yet.
Its time counts from when it was last written or first seen there, whichever is later: data that was copied to
the buffer yesterday keeps old times. A workstation that is off, or whose share does not answer, takes nothing
back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from server_bridge.config import ShareConfig, SiteConfig
from server_bridge.contract import Heartbeat, Reason, Stage, WorkstationStatus
from server_bridge.human import human_bytes
from server_bridge.observability import get_logger
from server_bridge.orders import notices, stages
from server_bridge.orders.authority import folder_person
from server_bridge.orders.models import Notice, Order, OrderFile, SiteFact, Workstation
from server_bridge.orders.store import Store

KIND = "lifetime"
WARN_DAYS = (14, 7, 2)
OVER = 0
MOST_TOLD = 500
"""As many unordered acquisitions as a heartbeat names; beyond it, one that is missing says nothing."""

log = get_logger("ferry.notices")


@dataclass(frozen=True, slots=True)
class Aging:
    """Something on a buffer that is not proven to be in OMERO."""

    share: str
    path: str
    since: datetime
    ends_at: datetime
    size_bytes: int
    person: str = ""
    order_id: str | None = None
    stage: str = ""
    """Of its order; empty: nobody has ordered it."""
    members: tuple[str, ...] = ()
    """Of a group, as the workstation told them."""

    def days_left(self, now: datetime) -> float:
        """Until the end of its time; negative when that is over."""
        return (self.ends_at - now) / timedelta(days=1)


def step(days_left: float) -> int | None:
    """The warning that stands at so many days before the end; None: it is early yet."""
    if days_left <= 0:
        return OVER
    return min((days for days in WARN_DAYS if days_left <= days), default=None)


def key(one: Aging, days: int) -> str:
    """Of the notice: each step is told once."""
    return notices.key_of(KIND, one.share, one.path, str(days))


# --- reading ------------------------------------------------------------------------------------------------


def _ends(share: ShareConfig, since: datetime) -> datetime:
    return since + timedelta(days=share.lifetime_days)


def _utc(at: datetime) -> datetime:
    """A workstation's time; one without a zone is taken for UTC, as the contract says."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def unordered(session: Session, site: SiteConfig) -> tuple[list[Aging], frozenset[str]]:
    """What workstations see and nobody ordered, and the shares that some workstation does not know all of."""
    found, unsure = _told(session, site)
    return [one for one in found if not _is_settled(session, one)], unsure


def members_told(session: Session, site: SiteConfig, share: str, path: str) -> tuple[str, ...]:
    """A group's patterns, where a workstation names an unordered group there; empty for anything else."""
    found, _unsure = _told(session, site)
    return next((one.members for one in found if (one.share, one.path) == (share, path)), ())


def _told(session: Session, site: SiteConfig) -> tuple[list[Aging], frozenset[str]]:
    found: dict[tuple[str, str], Aging] = {}
    unsure: set[str] = set()
    rows = session.scalars(select(Workstation).where(Workstation.status == WorkstationStatus.APPROVED)).all()
    for row in rows:
        if not row.heartbeat:
            continue
        beat = Heartbeat.model_validate(row.heartbeat)
        unsure |= {share.share for share in beat.shares if not share.answered}
        if len(beat.unordered) >= MOST_TOLD:
            unsure |= set(row.roots)
        for seen in beat.unordered:
            share = site.share(seen.share)
            if share is None or seen.share not in row.roots:
                continue
            since = max(_utc(seen.first_seen_at), _utc(seen.last_change_at))
            found[seen.share, seen.path] = Aging(
                seen.share,
                seen.path,
                since,
                _ends(share, since),
                seen.size_bytes,
                folder_person(
                    # Where a group lies says whose it is; its name says nothing.
                    seen.path.rpartition("/")[0] if seen.members else seen.path,
                    str(row.roots[seen.share]),
                    share.person_folder,
                ),
                members=seen.members,
            )
    return list(found.values()), frozenset(unsure)


def _is_settled(session: Session, one: Aging) -> bool:
    """Whether it was ordered, or discarded, since the workstation said that nobody had."""
    ordered = select(Order.members).where(
        Order.share == one.share,
        Order.path == one.path,
        Order.stage.not_in([Stage.CANCELLED, Stage.DISCARDED]),
    )
    # An order of the file alone that now stands for a group says nothing of the group's other members.
    if any(tuple(members or ()) == one.members for members in session.scalars(ordered)):
        return True
    fact = session.get(SiteFact, discard_name(one.share, one.path))
    return fact is not None and fact.at >= one.since


def unproven(session: Session, site: SiteConfig, now: datetime) -> list[Aging]:
    """What orders have not proven yet, of data that is old enough to be warned about."""
    found = []
    for share in site.shares:
        old = now - timedelta(days=max(0.0, share.lifetime_days - max(WARN_DAYS)))
        rows = session.execute(
            select(Order, func.max(OrderFile.mtime_ns))
            .outerjoin(OrderFile, OrderFile.order_id == Order.id)
            .where(
                Order.share == share.id,
                Order.stage.in_(sorted(stages.WORKED)),
                or_(Order.first_seen_at.is_(None), Order.first_seen_at <= old),
            )
            .group_by(Order.id)
        ).all()
        for order, newest_ns in rows:
            since = _since(order, newest_ns, now)
            if since <= old:
                found.append(
                    Aging(
                        order.share,
                        order.path,
                        since,
                        _ends(share, since),
                        order.size_bytes,
                        notices.asked_person(session, order),
                        order.id,
                        order.stage,
                    )
                )
    return found


def _since(order: Order, newest_ns: int | None, now: datetime) -> datetime:
    written = datetime.fromtimestamp(min(newest_ns / 1e9, now.timestamp()), UTC) if newest_ns else None
    known = [at for at in (order.first_seen_at, written) if at is not None]
    return max(known, default=order.created_at)


def aging(session: Session, site: SiteConfig, now: datetime) -> list[Aging]:
    """Everything within the longest warning before its end, or beyond it; the most urgent first."""
    found = [*unordered(session, site)[0], *unproven(session, site, now)]
    return sorted(
        (one for one in found if step(one.days_left(now)) is not None),
        key=lambda one: (one.ends_at, one.share, one.path),
    )


# --- telling ------------------------------------------------------------------------------------------------


def look(store: Store, site: SiteConfig, now: datetime) -> int:
    """Post the warnings that are due, withdraw those that no longer hold. Returns how many are new."""
    with store.read() as session:
        seen, unsure = unordered(session, site)
        found = [*seen, *unproven(session, site, now)]
        rows = session.execute(
            select(Notice.key, Notice.order_id).where(Notice.kind == KIND, Notice.withdrawn_at.is_(None))
        )
        standing = {row.key: row.order_id for row in rows}
    wanted: dict[str, tuple[Aging, int]] = {}
    for one in found:
        days = step(one.days_left(now))
        if days is not None:
            wanted[key(one, days)] = (one, days)
    new = wanted.keys() - standing.keys()
    kept = tuple(f"{KIND}:{share}:" for share in unsure)
    over = [
        name
        for name, order_id in standing.items()
        if name not in wanted and not (order_id is None and name.startswith(kept))
    ]
    if not new and not over:
        return 0
    with store.write(notify=False) as session:
        for name in over:
            session.scalars(select(Notice).where(Notice.key == name)).one().withdrawn_at = now
        for name in sorted(new):
            one, days = wanted[name]
            notices.post(
                session,
                now,
                key=name,
                kind=KIND,
                reason=words(one, days, site),
                person=one.person,
                order_id=one.order_id,
            )
    for name in sorted(new):
        one, days = wanted[name]
        log.warning("time on the buffer comes to its end", share=one.share, days=days, order=one.order_id)
    return len(new)


def words(one: Aging, days: int, site: SiteConfig) -> Reason:
    """The warning."""
    share = site.share(one.share)
    lifetime = share.lifetime_days if share else 0.0
    what = f"{one.share}:{one.path} ({human_bytes(one.size_bytes)})"
    state = f"is {one.stage} by order {one.order_id}" if one.order_id else "has not been ordered by anybody"
    remedy = (
        "Look at the order: it says what it waits for, or what somebody must decide."
        if one.order_id
        else "Order it at its workstation so that it comes into OMERO, or let the platform staff discard it."
    )
    ends = f"until {one.ends_at:%Y-%m-%d}" if days != OVER else f"which ended on {one.ends_at:%Y-%m-%d}"
    title = (
        "The time of data on the buffer is over"
        if days == OVER
        else f"Data has at most {days} days left on the buffer"
    )
    return Reason(
        code="lifetime_over" if days == OVER else "lifetime_ends",
        title=title,
        detail=f"{what} {state}. The share keeps data for {lifetime:g} days, {ends}.",
        remedy=f"{remedy} The bridge deletes nothing by age.",
        contact=site.contact,
        since=one.since,
    )


# --- giving up ----------------------------------------------------------------------------------------------


def discard_name(share: str, path: str) -> str:
    """Under which name the bridge remembers a discard."""
    digest = hashlib.sha256(f"{share}\0{path}".encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return f"discard:{digest}"


def record_discard(
    store: Store,
    share: str,
    path: str,
    files: Sequence[tuple[str, int, int]],
    *,
    by: str,
    reason: str,
    now: datetime,
) -> str:
    """Note that staff gave up data that nobody ordered: named, audited, with what lay there. Deletes nothing.

    Args:
        store: the orders.
        share, path: the acquisition.
        files: (path, bytes, mtime in seconds) of every file there now.
        by, reason: who, and why.
        now: when.

    Returns the SHA-256 of the list of files.
    """
    text = "".join(f"{name}\0{size}\0{mtime}\n" for name, size, mtime in sorted(files))
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    value = {
        "share": share,
        "path": path,
        "by": by,
        "reason": reason,
        "files": len(files),
        "bytes": sum(size for _name, size, _mtime in files),
        "newest_mtime_s": max((mtime for _name, _size, mtime in files), default=0),
        "listing_sha256": digest,
    }
    with store.write(notify=False) as session:
        name = discard_name(share, path)
        fact = session.get(SiteFact, name)
        if fact is None:
            session.add(SiteFact(name=name, value=value, at=now))
        else:
            fact.value, fact.at = value, now
        store.audit(session, by, "unordered.discard", f"{share}:{path}", **value)
        for days in (*WARN_DAYS, OVER):
            known = session.scalars(
                select(Notice).where(
                    Notice.key == notices.key_of(KIND, share, path, str(days)), Notice.withdrawn_at.is_(None)
                )
            ).one_or_none()
            if known is not None:
                known.withdrawn_at = now
    return digest
