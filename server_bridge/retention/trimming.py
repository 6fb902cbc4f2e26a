"""What the tables need not keep for ever: old audit rows, and the history of orders that ended long ago.

Orders and their receipts stay: they are the site's proof of what was deleted on its buffers, and what keeps
the same data from being imported twice. Rows go in small pieces, so that no writer waits for a purge of
years.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import DeclarativeBase

from server_bridge.context import Context
from server_bridge.orders import stages
from server_bridge.orders.models import AuditEntry, Notice, Order, OrderCommand, OrderEvent

PIECE = 1000
PIECES_PER_PASS = 5
"""At most so many rows of a table go in one pass; the next one goes on."""


def trim(context: Context, now: datetime) -> dict[str, int]:
    """Drop what is older than the site's ``audit_days``. Returns how many rows of which table went."""
    before = now - timedelta(days=context.site.limits.audit_days)
    gone: dict[str, int] = {}
    for name, table, ids in (
        ("audit", AuditEntry, select(AuditEntry.id).where(AuditEntry.at < before)),
        (
            "history",
            OrderEvent,
            select(OrderEvent.id).where(
                OrderEvent.at < before, OrderEvent.order_id.in_(_ended_before(before))
            ),
        ),
        (
            "commands",
            OrderCommand,
            select(OrderCommand.id).where(
                OrderCommand.at < before, OrderCommand.order_id.in_(_ended_before(before))
            ),
        ),
        ("notices", Notice, select(Notice.id).where(Notice.withdrawn_at < before)),
    ):
        count = 0
        for _piece in range(PIECES_PER_PASS):
            went = _drop(context, table, ids)
            count += went
            if went < PIECE:
                break
        if count:
            gone[name] = count
    if gone:
        with context.store.write(notify=False) as session:
            context.store.audit(session, "bridge", "tables.trimmed", before.date().isoformat(), **gone)
    return gone


def _ended_before(before: datetime) -> Select[Any]:
    return select(Order.id).where(Order.stage.in_(sorted(stages.ENDS)), Order.updated_at < before)


def _drop(context: Context, table: type[DeclarativeBase], ids: Select[Any]) -> int:
    with context.store.write(notify=False) as session:
        found = list(session.scalars(ids.limit(PIECE)))
        if found:
            key = table.__table__.c.id
            session.execute(delete(table).where(key.in_(found)))
    return len(found)
