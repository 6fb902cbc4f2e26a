"""What may be deleted on the buffer right now, and the report of what was."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from server_bridge.api.dependencies import Parts, PartsDep, SomebodyDep
from server_bridge.contract import DeletionMode, FreedAccepted, FreedReport, Release
from server_bridge.errors import BadRequest, Forbidden
from server_bridge.mover import paths
from server_bridge.orders import intake
from server_bridge.orders.callers import Caller

router = APIRouter(prefix="/v1/orders", tags=["release"])
RECHECK_SECONDS = 120.0
"""A re-check looks at every file of the order on two disks and in OMERO."""


@router.get("/{order_id}/release")
async def release(order_id: UUID, parts: PartsDep, caller: SomebodyDep) -> Release:
    """Check again, here and now, whether this order's data may be deleted on the buffer."""
    from server_bridge.retention.release import recheck

    await run_in_threadpool(_require_visible, parts, order_id, caller)
    return await parts.bounded.ask(
        lambda: recheck(parts.context, str(order_id)), timeout_seconds=RECHECK_SECONDS
    )


def _require_visible(parts: Parts, order_id: UUID, caller: Caller) -> None:
    with parts.store.read() as session:
        intake.find_visible(session, order_id, caller)


@router.post("/{order_id}/freed")
def freed(order_id: UUID, body: FreedReport, parts: PartsDep, caller: SomebodyDep) -> FreedAccepted:
    """Report what was deleted: by the order's workstation where staff gave the agent that right, or by
    staff."""
    from server_bridge.retention.freed import record_freed

    with parts.store.read() as session:
        order = intake.find_visible(session, order_id, caller)
        _require_may_free(parts, order.share, order.workstation_id, caller)
    for path in (*body.paths, *body.skipped):
        problem = paths.check_path(path)
        if problem is not None:
            raise BadRequest(problem.detail, code=problem.code, title=problem.title)
    return record_freed(parts.context, str(order_id), body, caller.who)


def _require_may_free(parts: Parts, share_id: str, workstation_id: str | None, caller: Caller) -> None:
    if caller.is_staff:
        return
    workstation = caller.workstation
    if workstation is None or not workstation.approved or workstation.id != workstation_id:
        raise Forbidden(
            "Only the order's own workstation, or staff, report what was deleted.",
            code="not_your_order",
            title="This is not this workstation's order",
        )
    share = parts.site.share(share_id)
    if share is None or share.deletion is not DeletionMode.AGENT:
        raise Forbidden(
            "On this share the storage staff delete.",
            code="deletion_is_storages",
            title="This share's data is deleted by storage staff",
            remedy="Nothing to do.",
        )
