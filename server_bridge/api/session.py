"""Sign-in, who am I, sign-out. The password goes to OMERO and is forgotten."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from server_bridge.api.dependencies import CallerDep, PartsDep, PersonDep, address_of
from server_bridge.contract import Person, SessionCreated, SessionRequest, SessionState
from server_bridge.errors import FerryError
from server_bridge.observability import LOGINS, get_logger
from server_bridge.orders import sessions
from server_bridge.orders.models import PersonSession

router = APIRouter(tags=["session"])
log = get_logger("ferry.api")


@router.post("/v1/session", status_code=201)
async def sign_in(
    body: SessionRequest, request: Request, parts: PartsDep, caller: CallerDep
) -> SessionCreated:
    """Sign in with OMERO's name and password.

    With the workstation's header the session is that workstation's, and what it first sees from now on is
    known to be this person's.
    """
    address = address_of(request)
    attempt = parts.logins.start(body.username, address)
    try:
        person = await parts.bounded.ask(lambda: parts.directory.login(body.username, body.password))
    except FerryError as error:
        LOGINS.labels(error.code).inc()
        if error.status != 401:
            parts.logins.give_back(attempt)  # nobody checked the password
        else:
            await run_in_threadpool(_note_refusal, parts, body.username, address)
        raise
    parts.logins.give_back(attempt)
    LOGINS.labels("ok").inc()
    person = person.model_copy(update={"is_staff": person.username in parts.site.staff})
    workstation_id = caller.workstation.id if caller.workstation else None
    return await run_in_threadpool(
        sessions.sign_in, parts.store, person, workstation_id, parts.site.limits, parts.now(), address
    )


def _note_refusal(parts: PartsDep, username: str, address: str) -> None:
    with parts.store.write(notify=False) as session:
        parts.store.audit(session, username[:255], "session.refused", username[:255], address=address)


@router.get("/v1/session")
def show(parts: PartsDep, caller: PersonDep) -> SessionState:
    """Who this token stands for, as OMERO knew her at sign-in."""
    with parts.store.read() as session:
        found = session.get_one(PersonSession, caller.session_id)
        person = Person.model_validate(found.person).model_copy(update={"is_staff": caller.is_staff})
        return SessionState(expires_at=found.expires_at, person=person)


@router.delete("/v1/session", status_code=204)
def sign_out(parts: PartsDep, caller: PersonDep) -> Response:
    """End this token. Grants of orders that are on their way live on."""
    sessions.sign_out(parts.store, caller.session_id, parts.now())
    return Response(status_code=204)
