"""What somebody should hear about without looking, written in the same transaction as what it is about.

A notice has a key, so that one thing is told once however often it is found; when it is no longer so it is
withdrawn, and comes up again, as a new thing, if it returns. Who mails them, and when, is not decided here.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from server_bridge.contract import Reason
from server_bridge.orders.models import Notice


def post(
    session: Session,
    now: datetime,
    *,
    key: str,
    kind: str,
    reason: Reason,
    person: str = "",
    for_staff: bool = True,
    order_id: str | None = None,
) -> bool:
    """Write a notice inside this transaction. Returns False where it is known and still so.

    Args:
        session: of a `Store.write`.
        now: when it was found.
        key: what it is about, at most 255 characters, for example ``attention:<order id>:<code>``.
        kind: ``attention``, ``lifetime``, ... : what a mail groups by.
        reason: the words, as they stand on the card.
        person: OMERO user name of whom it concerns; empty: staff alone.
        for_staff: whether staff hear of it.
        order_id: the order, where it is about one.
    """
    known = session.scalars(select(Notice).where(Notice.key == key)).one_or_none()
    if known is not None and known.withdrawn_at is None:
        return False
    words = reason.model_dump(mode="json")
    if known is None:
        known = Notice(key=key)
        session.add(known)
    known.kind, known.at, known.order_id, known.reason = kind, now, order_id, words
    known.person, known.for_staff = person, for_staff
    known.withdrawn_at = known.mailed_person_at = known.mailed_staff_at = None
    return True


def withdraw(session: Session, now: datetime, *, prefix: str) -> int:
    """Take back every standing notice whose key begins with ``prefix``. Returns how many."""
    standing = session.scalars(
        select(Notice).where(Notice.key.startswith(prefix, autoescape=True), Notice.withdrawn_at.is_(None))
    ).all()
    for notice in standing:
        notice.withdrawn_at = now
    return len(standing)
