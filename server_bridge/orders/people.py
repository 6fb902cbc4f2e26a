"""People who left: OMERO no longer lets them in, and what that means for their orders here.

Everything that could still act in such a person's name ends at once (tokens, submission grants, running
attempts). Her orders on their way come to ``attention``, where an owner of the group or staff takes them
over; when OMERO lets her in again, they go on by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import Session

from server_bridge.contract import CommandKind, Condition, Reason
from server_bridge.orders import notices, stages
from server_bridge.orders.intake import WRITING
from server_bridge.orders.models import Order, OrderCommand, OrderProgress, PersonSession
from server_bridge.orders.notices import DEACTIVATED
from server_bridge.orders.store import Store

KIND = "people"


def reason_of(username: str, contact: str = "") -> Reason:
    """The words on each order of a person whom OMERO no longer lets in."""
    return Reason(
        code=DEACTIVATED,
        title="The person is no longer active in OMERO",
        detail=f"OMERO lets nobody in as {username!r}.",
        remedy="An owner of the OMERO group or the platform staff takes the order over; it also goes on when "
        "the OMERO administrator activates the account again.",
        contact=contact,
    )


def to_ask_about(session: Session, now: datetime) -> frozenset[str]:
    """Whom the bridge would act for now: people with orders on their way, tokens or grants."""
    orders = session.scalars(select(Order.person).where(Order.stage.in_(sorted(stages.WORKED))).distinct())
    return frozenset(orders.all()) | frozenset(
        session.scalars(select(PersonSession.username).where(*_alive(now)).distinct()).all()
    )


def _alive(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    good = or_(PersonSession.expires_at > now, PersonSession.grants_expire_at > now)
    return PersonSession.revoked_at.is_(None), good


def groups_of(session: Session, username: str) -> frozenset[int]:
    """The OMERO groups that her orders on their way go to."""
    targets = session.scalars(
        select(Order.target).where(Order.person == username, Order.stage.in_(sorted(stages.WORKED)))
    ).all()
    return frozenset(int(target["group_id"]) for target in targets if "group_id" in target)


def departed(
    store: Store, username: str, owners: Mapping[int, frozenset[str]], now: datetime, contact: str
) -> int:
    """Carry out that OMERO no longer lets somebody in. A repeat changes nothing. Returns the orders it hit.

    Args:
        store: the orders.
        username: who left.
        owners: per group that her orders go to, the user names of its active owners.
        now: the time of the look.
        contact: whom people ask.
    """
    with store.write() as session:
        ended = session.scalars(
            select(PersonSession).where(PersonSession.username == username, *_alive(now))
        ).all()
        for row in ended:
            row.revoked_at = now
        reason = reason_of(username, contact)
        hit = 0
        # Who took an order over after its import began finishes what can be done without that person.
        orders = session.scalars(
            select(Order).where(
                Order.person == username, Order.stage.in_(sorted(stages.WORKED)), ~_taken_over()
            )
        ).all()
        for order in orders:
            if order.condition == Condition.ATTENTION and (order.reason or {}).get("code") == DEACTIVATED:
                continue
            order.attempt += 1
            session.execute(delete(OrderProgress).where(OrderProgress.order_id == order.id))
            store.set_condition(
                session, order, Condition.ATTENTION, who="bridge", text=reason.title, reason=reason
            )
            hit += 1
        _tell(session, username, orders, owners, now, reason)
        if ended or hit:
            store.audit(
                session, "bridge", "person.deactivated", username, sessions=len(ended), orders=len(orders)
            )
    return hit


def _tell(
    session: Session,
    username: str,
    orders: Sequence[Order],
    owners: Mapping[int, frozenset[str]],
    now: datetime,
    reason: Reason,
) -> None:
    """One notice for staff, one for each owner of a group that her orders go to."""
    if not orders:
        return
    by_group: dict[int, list[Order]] = {}
    for order in orders:
        by_group.setdefault(int(order.target.get("group_id", -1)), []).append(order)
    notices.post(
        session, now, key=_key(username, "staff"), kind=KIND, reason=_words(reason, username, orders)
    )
    for group_id, hers in sorted(by_group.items()):
        for owner in sorted(owners.get(group_id, frozenset()) - {username}):
            notices.post(
                session,
                now,
                key=_key(username, f"{group_id}:{owner}"),
                kind=KIND,
                reason=_words(reason, username, hers),
                person=owner,
                for_staff=False,
            )


def prefix_of(username: str) -> str:
    """How the keys of all notices about one person begin. A name with a colon is spelt otherwise there."""
    return f"{DEACTIVATED}:{quote(username, safe='')[:120]}:"


def _key(username: str, whom: str) -> str:
    return notices.key_of(prefix_of(username) + whom)


def _words(reason: Reason, username: str, orders: Sequence[Order]) -> Reason:
    places = ", ".join(f"{order.share}:{order.path}" for order in orders[:5])
    more = f" and {len(orders) - 5} more" if len(orders) > 5 else ""
    count = "1 order" if len(orders) == 1 else f"{len(orders)} orders"
    return reason.model_copy(
        update={
            "title": f"{username} can no longer sign in to OMERO and has {count} on the way",
            "detail": f"{places}{more}",
        }
    )


def returned(store: Store, username: str, now: datetime) -> int:
    """OMERO lets her in again: her orders go on. Returns how many."""
    with store.write() as session:
        orders = session.scalars(
            select(Order).where(
                Order.person == username,
                Order.condition == Condition.ATTENTION,
                Order.stage.in_(sorted(stages.WORKED)),
                Order.reason["code"].as_string() == DEACTIVATED,
            )
        ).all()
        for order in orders:
            go_on(store, session, order, "bridge", "the person is active in OMERO again")
        notices.withdraw(session, now, prefix=prefix_of(username))
        if orders:
            store.audit(session, "bridge", "person.returned", username, orders=len(orders))
        return len(orders)


def go_on(store: Store, session: Session, order: Order, who: str, text: str) -> None:
    """Take an order out of ``attention``: into its queue, or back to waiting for its data to rest."""
    order.idle_tries = 0
    if order.sealed or order.seal == "bridge":
        store.set_condition(session, order, Condition.QUEUED, who=who, text=text)
    else:
        store.set_condition(session, order, Condition.WAITING, who=who, text=text, reason=WRITING)


def _taken_over() -> ColumnElement[bool]:
    """Whether somebody takes care of an order whose data stays the former person's."""
    commanded = exists().where(OrderCommand.order_id == Order.id, OrderCommand.kind == CommandKind.TAKE_OVER)
    return commanded & (Order.ordered_by != Order.person)


def standing_still(session: Session, *, untaken: bool = False) -> frozenset[str]:
    """People whose orders stand in ``attention`` because they left; ``untaken``: with orders that nobody has
    taken over."""
    found = select(Order.person).where(
        Order.condition == Condition.ATTENTION,
        Order.stage.in_(sorted(stages.WORKED)),
        Order.reason["code"].as_string() == DEACTIVATED,
    )
    return frozenset(session.scalars((found.where(~_taken_over()) if untaken else found).distinct()).all())
