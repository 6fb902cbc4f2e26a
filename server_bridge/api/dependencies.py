"""What routers are given: the application's parts, and who asks.

A person shows ``Authorization: Bearer <token>`` or, for one order, ``Bearer grant.<…>``; a workstation shows
``Ferry-Workstation: <id>:<key>``. Whatever is shown must be good: a wrong or expired credential is 401 and
never silently "nobody".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from server_bridge.api.directory import Bounded, Directory
from server_bridge.api.login_limits import LoginLimits
from server_bridge.api.waker import Waker
from server_bridge.config import SiteConfig
from server_bridge.context import Context
from server_bridge.contract import WORKSTATION_HEADER, Person
from server_bridge.errors import Forbidden, NotSignedIn
from server_bridge.orders import sessions, workstations
from server_bridge.orders.callers import Caller, KnownWorkstation, require_person
from server_bridge.orders.models import PersonSession
from server_bridge.orders.models import Workstation as WorkstationRow
from server_bridge.orders.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The application's parts, one set per application."""

    context: Context
    directory: Directory
    bounded: Bounded
    logins: LoginLimits
    waker: Waker
    now: Callable[[], datetime]

    @property
    def site(self) -> SiteConfig:
        return self.context.site

    @property
    def store(self) -> Store:
        return self.context.store


def parts_of(request: Request) -> Parts:
    """The application's parts."""
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(parts_of)]


def address_of(request: Request) -> str:
    """The peer's address, for limits and audit. Forwarded-for headers are not believed: anybody can send
    them."""
    return request.client.host if request.client else "unknown"


def authenticate(request: Request, parts: PartsDep) -> Caller:
    """Who asks, by what the headers show. Runs in a thread (FastAPI calls plain functions so).

    Raises:
        NotSignedIn: for a credential that is not good.
        Forbidden: where a token is used at another workstation than it was made for.
    """
    now = parts.now()
    with parts.store.read() as session:
        workstation = _workstation(session, request.headers.get(WORKSTATION_HEADER))
        found, order_id = _person(session, request, now)
        if found is None:
            return Caller(workstation=workstation)
        if found.workstation_id and workstation and found.workstation_id != workstation.id:
            raise Forbidden(
                "The session was made at another workstation.",
                code="other_workstation",
                title="You are signed in at another workstation",
                remedy="Sign in here.",
            )
        person = Person.model_validate(found.person)
    sessions.note_use(parts.store, found.id, found.last_used_at, now)
    return Caller(
        username=found.username,
        is_staff=found.username in parts.site.staff,
        groups=person.groups,
        session_id=found.id,
        workstation=workstation,
        granted_order=order_id,
    )


def _workstation(session: Session, header: str | None) -> KnownWorkstation | None:
    if header is None:
        return None
    row = workstations.by_header(session, header)
    if row is None:
        raise NotSignedIn(
            "The workstation's key is not known here.",
            code="workstation_unknown",
            title="This workstation is not registered",
            remedy="Register it again; staff approve it.",
        )
    return workstations.known(row)


def _person(session: Session, request: Request, now: datetime) -> tuple[PersonSession | None, UUID | None]:
    header = request.headers.get("Authorization")
    if header is None:
        return None, None
    scheme, _, bearer = header.partition(" ")
    bearer = bearer.strip()
    order_id: UUID | None = None
    if scheme.lower() == "bearer" and bearer.startswith("grant."):
        order_id = _order_in_path(request)
        found = sessions.by_grant(session, bearer, order_id, now) if order_id else None
    else:
        found = sessions.by_token(session, bearer, now) if scheme.lower() == "bearer" else None
    if found is None:
        raise NotSignedIn(
            "The session has ended." if order_id is None else "The grant is not good for this order.",
            remedy="Sign in with your OMERO name and password.",
        )
    return found, order_id


def _order_in_path(request: Request) -> UUID | None:
    try:
        return UUID(str(request.path_params.get("order_id", "")))
    except ValueError:
        return None


CallerDep = Annotated[Caller, Depends(authenticate)]


def somebody(caller: CallerDep) -> Caller:
    """A person or an approved workstation.

    Raises:
        NotSignedIn, Forbidden: where nobody, or only a workstation that waits for approval, asks.
    """
    if caller.username:
        return caller
    if caller.workstation is None:
        require_person(caller)
    elif not caller.workstation.approved:
        raise Forbidden(
            f"{caller.workstation.name} waits for the platform staff's approval.",
            code="workstation_not_approved",
            title="This workstation is not approved yet",
            remedy="Ask the platform staff to approve it.",
        )
    return caller


SomebodyDep = Annotated[Caller, Depends(somebody)]


def token_person(caller: CallerDep) -> Caller:
    """A person by her token; a grant is for its order alone.

    Raises:
        NotSignedIn: otherwise.
    """
    require_person(caller)
    if caller.granted_order is not None:
        raise NotSignedIn("A submission grant is good for its order alone.")
    return caller


PersonDep = Annotated[Caller, Depends(token_person)]


def own_workstation(request: Request, parts: PartsDep) -> WorkstationRow:
    """The workstation that shows its key, approved or not.

    Raises:
        NotSignedIn: without a good key.
    """
    header = request.headers.get(WORKSTATION_HEADER)
    with parts.store.read() as session:
        row = workstations.by_header(session, header) if header else None
    if row is None:
        raise NotSignedIn(
            "The workstation's key is not known here.",
            code="workstation_unknown",
            title="This workstation is not registered",
            remedy="Register it again; staff approve it.",
        )
    return row


WorkstationDep = Annotated[WorkstationRow, Depends(own_workstation)]
