"""Workstations: register one's own key, ask what one may use, heartbeat."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server_bridge.api.dependencies import PartsDep, SomebodyDep, WorkstationDep, address_of
from server_bridge.contract import Heartbeat, HeartbeatAnswer, Workstation, WorkstationRegistration
from server_bridge.errors import NotSignedIn
from server_bridge.orders import workstations

router = APIRouter(tags=["workstation"])


@router.post("/v1/workstation", status_code=201)
def register(
    body: WorkstationRegistration, request: Request, response: Response, parts: PartsDep
) -> Workstation:
    """Introduce a workstation by a key of its own. It may do nothing until staff approve it."""
    row = workstations.register(parts.store, body, parts.now(), address_of(request))
    response.headers["Location"] = "/v1/workstation"
    return workstations.answer(parts.site, row)


@router.get("/v1/workstation")
def show(parts: PartsDep, row: WorkstationDep) -> Workstation:
    """Shares, roots and rules of this workstation."""
    return workstations.answer(parts.site, row)


@router.post("/v1/workstation/heartbeat")
def heartbeat(body: Heartbeat, parts: PartsDep, caller: SomebodyDep) -> HeartbeatAnswer:
    """Say that the workstation lives, whether it acquires, how full its shares are, what nobody ordered."""
    if caller.workstation is None or not caller.workstation.approved:
        raise NotSignedIn("A heartbeat needs the workstation's key.", code="workstation_unknown")
    now = parts.now()
    workstations.heartbeat(parts.store, caller.workstation.id, body, now)
    return HeartbeatAnswer(server_time=now, acquiring_lease_seconds=parts.site.limits.acquiring_lease_seconds)
