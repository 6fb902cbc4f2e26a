"""The site's word that a backup of ManagedRepository ended well, and what waits for it.

A stamp says when that backup *began*: what OMERO held before that moment is in it, what came later may not
be. Where a share asks for a backup, nothing of it leaves the buffer on the strength of an older one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server_bridge.contract import Reason, ReceiptStatus
from server_bridge.errors import BadRequest
from server_bridge.orders.models import BackupStamp, OrderFile
from server_bridge.orders.store import Store

CLOCK_SLACK = timedelta(minutes=1)
"""How far the clock of the backup's host may be ahead."""
LONGEST_BACKUP = timedelta(days=30)
"""A backup that began earlier than this and ends only now is rather a mistyped date."""


def record(store: Store, began_at: datetime, by: str, note: str, now: datetime) -> bool:
    """Note that a backup, begun at ``began_at``, has ended well. Returns False where it is noted already.

    Raises:
        BadRequest: ``backup_time`` for a time without zone, in the future, or far in the past.
    """
    problem = _time_problem(began_at, now)
    if problem:
        raise BadRequest(
            problem,
            code="backup_time",
            title="This is not when a backup began",
            remedy="Give the moment at which the backup began (not its end), with its time zone.",
        )
    with store.write() as session:
        known = session.scalars(
            select(BackupStamp).where(BackupStamp.covers_until == began_at, BackupStamp.by == by).limit(1)
        ).first()
        if known is not None:
            return False
        session.add(BackupStamp(covers_until=began_at, reported_at=now, by=by, note=note))
        store.audit(session, by, "backup.done", "ManagedRepository", began_at=began_at.isoformat(), note=note)
    return True


def _time_problem(began_at: datetime, now: datetime) -> str:
    if began_at.tzinfo is None:
        return f"{began_at.isoformat()} has no time zone."
    if began_at > now + CLOCK_SLACK:
        return f"{began_at.isoformat()} is in the future: it is {now.isoformat(timespec='seconds')} here."
    if began_at < now - LONGEST_BACKUP:
        return f"{began_at.isoformat()} is more than {LONGEST_BACKUP.days} days ago."
    return ""


def latest(session: Session) -> BackupStamp | None:
    """The stamp that covers most; a backup that began later may have been reported earlier."""
    return session.scalars(select(BackupStamp).order_by(BackupStamp.covers_until.desc()).limit(1)).first()


def covered_until(session: Session) -> datetime | None:
    """What came to OMERO before this moment is in a backup."""
    stamp = latest(session)
    return None if stamp is None else stamp.covers_until


def imported_at(session: Session, ids: Sequence[str]) -> dict[str, datetime]:
    """By when OMERO held the last file of each order, as its receipts say. Later than the import itself, and
    never earlier: a proof is made of what is there."""
    if not ids:
        return {}
    rows = session.execute(
        select(OrderFile.order_id, func.max(OrderFile.proven_at, type_=OrderFile.proven_at.type))
        .where(OrderFile.order_id.in_(ids), OrderFile.status == ReceiptStatus.PROVEN)
        .group_by(OrderFile.order_id)
    )
    return {order_id: at for order_id, at in rows if at is not None}


def missing(imported: datetime | None, covered: datetime | None) -> Reason | None:
    """Why a release waits for a backup; None where one covers the import. Pure."""
    if imported is None:
        return None  # nothing of the order is in OMERO: no backup could hold it
    if covered is not None and covered >= imported:
        return None
    last = f"the last one began at {covered:%Y-%m-%d %H:%M} UTC" if covered else "none was reported yet"
    return Reason(
        code="backup_missing",
        title="Waits for a backup of OMERO",
        detail=f"It is in OMERO since {imported:%Y-%m-%d %H:%M} UTC; {last}.",
        remedy="Nothing to do: the next backup that is reported to the bridge covers it. If none comes, "
        "staff look at the backup's job (`ferry-bridge backup-done`).",
    )
