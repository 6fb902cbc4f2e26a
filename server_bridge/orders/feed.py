"""The changes feed: what changed after a cursor, for one caller.

The cursor is the counter that every change takes inside its own transaction, so it grows in commit order: the
counter is read first and the page holds nothing newer, hence a reader that has seen cursor N has seen every
change up to N, also when several processes write.

A queued order's place changes although the order itself does not. So a page also carries the queued orders
that the caller may see whenever anything changed at all; a reader takes every entry as the order's present
state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, or_, select, true
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.contract import ChangesPage, Condition, Progress
from server_bridge.orders import stages, view
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import FeedCounter, Order, OrderProgress, SiteFact

PAGE = 200
RESTORED_FACT = "restored"
"""The site fact that `ferry-bridge restore` writes."""
QUEUED_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Position:
    """How far the bridge is: the last change, and when the last progress was written (seconds since 1970)."""

    counter: int = 0
    progress_at: float = 0.0


def position(session: Session) -> Position:
    """Read the present position; two cheap look-ups."""
    counter = session.scalar(select(FeedCounter.value).where(FeedCounter.id == 1)) or 0
    newest = session.scalar(select(func.max(OrderProgress.at)))
    if isinstance(newest, datetime):
        newest = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
        return Position(counter, newest.timestamp())
    return Position(counter)


def visible(caller: Caller) -> ColumnElement[bool]:
    """The SQL form of :meth:`Caller.may_see`."""
    if caller.granted_order is not None:
        return Order.id == str(caller.granted_order)
    if caller.username and caller.is_staff:
        return true()
    conditions: list[ColumnElement[bool]] = []
    if caller.username:
        conditions.append(or_(Order.person == caller.username, Order.ordered_by == caller.username))
    if caller.workstation is not None and caller.workstation.approved:
        conditions.append(Order.workstation_id == caller.workstation.id)
    return or_(*conditions) if conditions else ~true()


def page(
    session: Session,
    site: SiteConfig,
    caller: Caller,
    after: int,
    progress_after: float | None = None,
    limit: int = PAGE,
) -> ChangesPage:
    """One page of changes after ``after``, oldest change first.

    ``after`` beyond the counter means another database (restored from a backup): everything is sent again.
    """
    now = position(session)
    after = after if after <= now.counter else 0
    changed: Sequence[Order] = session.scalars(
        select(Order)
        .where(visible(caller), Order.change > after, Order.change <= now.counter)
        .order_by(Order.change)
        .limit(limit + 1)
    ).all()
    more = len(changed) > limit
    changed = changed[:limit]
    cursor = changed[-1].change if more else now.counter
    found = list(changed)
    if now.counter > after and not more:
        found += _queued(session, caller, {order.id for order in changed})
    progress, progress_at = _progress(session, caller, progress_after)
    return ChangesPage(
        cursor=cursor,
        orders=tuple(view.states(session, site, found, caller)),
        more=more,
        progress=progress,
        progress_at=progress_at,
        database=_database(session),
    )


def _database(session: Session) -> str:
    """Which restore this database comes from; empty: none."""
    found = session.get(SiteFact, RESTORED_FACT)
    return str(found.value.get("epoch", "")) if found else ""


def _queued(session: Session, caller: Caller, but: set[str]) -> list[Order]:
    rows = session.scalars(
        select(Order)
        .where(
            visible(caller),
            Order.condition == Condition.QUEUED,
            Order.sealed.is_(True),
            Order.stage.in_(sorted(stages.WORKED)),
        )
        .order_by(Order.created_at, Order.id)
        .limit(QUEUED_SHOWN)
    ).all()
    return [order for order in rows if order.id not in but]


def _progress(
    session: Session, caller: Caller, progress_after: float | None
) -> tuple[dict[str, Progress], float]:
    if progress_after is None:
        return {}, 0.0
    since = datetime.fromtimestamp(max(progress_after, 0.0), UTC)
    rows = session.scalars(
        select(OrderProgress)
        .join(Order, Order.id == OrderProgress.order_id)
        .where(visible(caller), OrderProgress.at > since)
    ).all()
    newest = max((row.at.timestamp() for row in rows), default=progress_after)
    return {row.order_id: Progress.model_validate(row.progress) for row in rows}, newest
