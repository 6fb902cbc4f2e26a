"""The changes feed: what changed after a cursor, for one caller.

The cursor is the counter that every change takes inside its own transaction, so it grows in commit order: the
counter is read first and the page holds nothing newer, hence a reader that has seen cursor N has seen every
change up to N, also when several processes write.

A queued order's place changes although the order itself does not. So a page also carries those of the
caller's queued orders whose place changed; a reader takes every entry as the order's present state.

Who has to be woken by a change is decided from what changed lately (:class:`Position`), without asking the
database for each of hundreds of waiting readers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, or_, select, true
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.contract import ChangesPage, Condition, Progress
from server_bridge.orders import stages, view
from server_bridge.orders.callers import LEFT, Caller
from server_bridge.orders.models import FeedCounter, Order, OrderProgress, SiteFact
from server_bridge.orders.queue import book_of

PAGE = 200
_CHANGE = (Order.change, Order.id, Order.person, Order.ordered_by, Order.workstation_id)
LATELY = 500
"""How many changed orders are remembered: what a reader may miss before its poll looks for itself."""
RESTORED_FACT = "restored"
"""The site fact that `ferry-bridge restore` writes."""
QUEUED_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Change:
    """That an order changed, and who may see it."""

    number: int
    order_id: str
    person: str
    ordered_by: str
    workstation_id: str | None


@dataclass(frozen=True, slots=True)
class Position:
    """How far the bridge is: the last change, and when the last progress was written (seconds since 1970)."""

    counter: int = 0
    progress_at: float = 0.0
    lately: tuple[Change, ...] = ()
    """Every order that changed after ``known_after``, by its last change."""
    known_after: int = 0
    running: tuple[tuple[float, Change], ...] = ()
    """The orders that have a progress row, and when it was written."""

    def progress_concerns(self, caller: Caller, after: float) -> bool:
        """Whether an order that the caller may see has newer progress."""
        return self.progress_at > after and any(
            at > after and _concerns(caller, change) for at, change in self.running
        )

    def concerns(self, caller: Caller, after: int) -> bool:
        """Whether an order that the caller may see changed after that change; True where it is not known."""
        if after < self.known_after:
            return self.counter > after
        first = bisect_right(self.lately, after, key=lambda change: change.number)
        return any(_concerns(caller, change) for change in self.lately[first:])


def _concerns(caller: Caller, change: Change) -> bool:
    if caller.username and (caller.is_staff or caller.username in (change.person, change.ordered_by)):
        return True
    workstation = caller.workstation
    return workstation is not None and workstation.approved and workstation.id == change.workstation_id


def position(session: Session, before: Position | None = None) -> Position:
    """Read the present position; cheap look-ups. With the one ``before`` it knows what changed lately."""
    counter = session.scalar(select(FeedCounter.value).where(FeedCounter.id == 1)) or 0
    asked = select(*_CHANGE, OrderProgress.at).join(OrderProgress, OrderProgress.order_id == Order.id)
    running = tuple((row.at.timestamp(), Change(*row[:5])) for row in session.execute(asked))
    progress_at = max((at for at, _ in running), default=0.0)
    lately, known_after = _lately(session, before, counter)
    return Position(counter, progress_at, lately, known_after, running)


def _lately(session: Session, before: Position | None, counter: int) -> tuple[tuple[Change, ...], int]:
    if before is None or counter < before.counter:
        return (), counter
    if counter == before.counter:
        return before.lately, before.known_after
    rows = session.execute(
        select(*_CHANGE)
        .where(Order.change > before.counter, Order.change <= counter)
        .order_by(Order.change.desc())
        .limit(LATELY)
    ).all()
    new = tuple(Change(*row) for row in reversed(rows))
    if len(new) == LATELY:
        return new, new[0].number
    moved = {change.order_id for change in new}
    lately = (*(change for change in before.lately if change.order_id not in moved), *new)
    if len(lately) > LATELY:
        return lately[-LATELY:], lately[-LATELY - 1].number
    return lately, before.known_after


def visible(caller: Caller) -> ColumnElement[bool]:
    """The SQL form of :meth:`Caller.may_see`."""
    if caller.granted_order is not None:
        return Order.id == str(caller.granted_order)
    if caller.username and caller.is_staff:
        return true()
    conditions: list[ColumnElement[bool]] = []
    if caller.username:
        conditions.append(or_(Order.person == caller.username, Order.ordered_by == caller.username))
        if caller.owned_groups:
            conditions.append(_left_in(caller.owned_groups))
    if caller.workstation is not None and caller.workstation.approved:
        conditions.append(Order.workstation_id == caller.workstation.id)
    return or_(*conditions) if conditions else ~true()


def _left_in(groups: frozenset[int]) -> ColumnElement[bool]:
    """The SQL form of :func:`server_bridge.orders.callers.has_left`, for targets in these groups."""
    return and_(
        Order.condition == Condition.ATTENTION,
        Order.stage.in_(sorted(stages.WORKED)),
        Order.reason["code"].as_string().in_(sorted(LEFT)),
        Order.target["group_id"].as_integer().in_(sorted(groups)),
    )


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
        moved = book_of(session).moved(session, caller, after, QUEUED_SHOWN)
        found += _queued(session, caller, set(moved) - {order.id for order in changed})
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


def _queued(session: Session, caller: Caller, ids: set[str]) -> list[Order]:
    if not ids:
        return []
    # What may be seen is asked of the database all the same: the book is for finding, not for permitting.
    asked = select(Order).where(visible(caller), Order.id.in_(sorted(ids)))
    rows = session.scalars(asked.order_by(Order.created_at, Order.id)).all()
    return [order for order in rows if view.is_queued(order)]


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
