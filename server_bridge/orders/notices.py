"""What somebody should hear about without looking, written in the same transaction as what it is about.

A notice has a key, so that one thing is told once however often it is found; when it is no longer so it is
withdrawn, and comes up again, as a new thing, if it returns. Who mails them, and when, is not decided here.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from server_bridge.contract import CommandKind, Condition, Reason
from server_bridge.observability import ATTENTION, get_logger
from server_bridge.orders.models import Notice, Order, OrderCommand, utcnow

KIND_ATTENTION = "attention"
DEACTIVATED = "person_deactivated"
"""Code of an order whose person OMERO no longer lets in. It is told once per person, not once per order."""
LONGEST_KEY = 255

log = get_logger("ferry.orders")


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


def withdraw(session: Session, now: datetime, *, prefix: str, but: str = "") -> int:
    """Take back every standing notice whose key begins with ``prefix`` and is not ``but``. Returns how
    many."""
    standing = session.scalars(
        select(Notice).where(
            Notice.key.startswith(prefix, autoescape=True),
            Notice.key != but,
            Notice.withdrawn_at.is_(None),
        )
    ).all()
    for notice in standing:
        notice.withdrawn_at = now
    return len(standing)


def key_of(*parts: str) -> str:
    """A notice's key from its parts; what is too long for the column is named by its digest."""
    key = ":".join(parts)
    if len(key) <= LONGEST_KEY:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{key[: LONGEST_KEY - len(digest) - 1]}#{digest}"


def asked_person(session: Session, order: Order) -> str:
    """Whom an order asks: whose data it is, or who took it over after its import began."""
    taken = select(OrderCommand.id).where(
        OrderCommand.order_id == order.id, OrderCommand.kind == CommandKind.TAKE_OVER
    )
    return order.ordered_by if session.scalars(taken.limit(1)).first() else order.person


def follow(session: Session, order: Order, reason: Reason | None) -> None:
    """Tell that an order needs somebody, or withdraw it. Call where its condition has just become, or was,
    ``attention``, inside the transaction that changed it.

    Log line and counter come with the commit: what is rolled back was never so.
    """
    now, prefix = utcnow(), f"{KIND_ATTENTION}:{order.id}:"
    if order.condition != Condition.ATTENTION or reason is None:
        withdraw(session, now, prefix=prefix)
        return
    key = prefix + reason.code
    withdraw(session, now, prefix=prefix, but=key)
    person = asked_person(session, order)
    if reason.code != DEACTIVATED or person != order.person:
        post(session, now, key=key, kind=KIND_ATTENTION, reason=reason, person=person, order_id=order.id)
    order_id = order.id

    @event.listens_for(session, "after_commit", once=True)
    def _tell(_session: Session) -> None:
        ATTENTION.labels(reason.code).inc()
        log.warning("an order needs somebody", order=order_id, code=reason.code, title=reason.title)
