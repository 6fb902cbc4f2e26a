"""The report that files were deleted on the buffer: noted, audited, and never taken for permission."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, update

from server_bridge.context import Context
from server_bridge.contract import FreedAccepted, FreedReport, Stage
from server_bridge.errors import Conflict
from server_bridge.orders.models import OrderFile, utcnow


def record_freed(context: Context, order_id: str, report: FreedReport, by: str) -> FreedAccepted:
    """Mark files as gone from the buffer. A repeat changes nothing; unknown paths are ignored.

    Raises:
        NotFound: for an unknown order.
        Conflict: ``not_released`` for an order that was never released: whoever deleted there did so without
            asking, which staff must hear about instead of finding it filed away.
    """
    store = context.store
    now = utcnow()
    with store.write() as session:
        order = store.get(session, order_id)
        if order.released_at is None or order.stage not in (Stage.PROVING, Stage.RELEASED, Stage.RETIRED):
            raise Conflict(
                f"The order is {order.stage} and was never released.",
                code="not_released",
                title="This data was not released",
                remedy="Ask for a release before anything is deleted; tell the platform staff what was.",
            )
        rows = session.execute(
            select(OrderFile.path, OrderFile.size_bytes, OrderFile.freed_at).where(
                OrderFile.order_id == order_id
            )
        ).all()
        reported = set(report.paths)
        new = {path: size for path, size, freed_at in rows if path in reported and freed_at is None}
        paths = sorted(new)
        for start in range(0, len(paths), 400):
            session.execute(
                update(OrderFile)
                .where(OrderFile.order_id == order_id, OrderFile.path.in_(paths[start : start + 400]))
                .values(freed_at=now)
            )
        remaining = sum(1 for path, _size, freed_at in rows if freed_at is None and path not in new)
        if new:
            order.freed_at = now if not remaining else order.freed_at
            store.audit(
                session,
                by,
                "order.freed",
                order_id,
                files=len(new),
                bytes=sum(new.values()),
                skipped=dict(sorted(report.skipped.items())[:20]),
            )
            store.event(
                session, order, by, f"{len(new)} files were deleted on the buffer, {remaining} remain"
            )
            store.touch(session, order)
    return FreedAccepted(order_id=UUID(order_id), freed_bytes=sum(new.values()), remaining_files=remaining)
