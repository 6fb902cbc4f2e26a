"""What may be deleted on the buffer right now, and the report of what was."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool

from server_bridge.api.dependencies import Parts, PartsDep, SomebodyDep
from server_bridge.contract import DeletionMode, FreedAccepted, FreedReport, Release, ReleasePage, ShareId
from server_bridge.errors import BadRequest, Forbidden
from server_bridge.mover import paths
from server_bridge.operations.release_formats import Format, written
from server_bridge.orders import intake
from server_bridge.orders.callers import Caller

router = APIRouter(prefix="/v1/orders", tags=["release"])
listing = APIRouter(prefix="/v1/releases", tags=["release"])
NEXT_HEADER = "Ferry-Next"
"""Where a page is no JSON: the ``after`` of the next one."""


class ReleaseForm(StrEnum):
    """How the list is written."""

    JSON = "json"
    NUL = "nul"
    CSV = "csv"
    SH = "sh"


_MEDIA = {
    ReleaseForm.NUL: "application/octet-stream",
    ReleaseForm.CSV: "text/csv; charset=utf-8",
    ReleaseForm.SH: "text/x-shellscript; charset=utf-8",
}
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


@listing.get("", response_model=None, responses={200: {"model": ReleasePage}, 409: {}})
async def releases(
    parts: PartsDep,
    caller: SomebodyDep,
    share: ShareId,
    after: Annotated[UUID | None, Query()] = None,
    form: Annotated[ReleaseForm, Query(alias="format")] = ReleaseForm.JSON,
) -> Response:
    """Released orders of a share whose copy is still there, each checked again now; staff, or the workstation
    of a share on which the agent deletes."""
    from server_bridge.retention.release_list import page

    workstation_id = _require_may_list(parts, share, caller)
    found = await parts.bounded.ask(
        lambda: page(parts.context, share, after=str(after) if after else "", workstation_id=workstation_id),
        timeout_seconds=RECHECK_SECONDS,
    )
    if form is ReleaseForm.JSON:
        return Response(found.model_dump_json(), media_type="application/json")
    known = parts.site.share(share)
    tolerance = known.mtime_tolerance_seconds if known else 0.0
    text = "".join(written(Format(form.value), found.releases, tolerance))
    return Response(
        text.encode("utf-8", "surrogateescape"),
        media_type=_MEDIA[form],
        headers={NEXT_HEADER: found.next, "Ferry-Refused": str(len(found.refused))},
    )


def _require_may_list(parts: Parts, share_id: str, caller: Caller) -> str | None:
    """The workstation whose orders are listed; None: everybody's, for staff.

    Raises:
        BadRequest: ``unknown_share``.
        Forbidden: ``staff_only``, ``deletion_is_storages``.
        Conflict: ``deletion_is_agents``.
    """
    from server_bridge.retention.release_list import require_storage_deletes

    share = intake.require_share(parts.site, share_id)
    if caller.is_staff:
        require_storage_deletes(share)
        return None
    workstation = caller.workstation
    if workstation is None or not workstation.approved or share_id not in workstation.roots:
        raise Forbidden(
            "Only the platform staff, or a workstation of this share, list what may be deleted.",
            code="staff_only",
            title="Staff only",
            remedy="Ask the platform staff.",
        )
    if share.deletion is not DeletionMode.AGENT:
        raise _storage_deletes()
    return workstation.id


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
        raise _storage_deletes()


def _storage_deletes() -> Forbidden:
    return Forbidden(
        "On this share the storage staff delete.",
        code="deletion_is_storages",
        title="This share's data is deleted by storage staff",
        remedy="Nothing to do.",
    )
