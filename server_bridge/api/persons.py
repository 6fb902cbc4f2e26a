"""Whom staff may order for: persons by name, and one with her groups."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from server_bridge.api.dependencies import PartsDep, PersonDep
from server_bridge.api.directory import require_person
from server_bridge.contract import Person, PersonList
from server_bridge.orders.callers import Caller, require_staff

router = APIRouter(prefix="/v1/persons", tags=["persons"])
MOST_LISTED = 200
_OTHERS = "Only the platform staff look others up."


def person_asked_about(caller: Caller, username: str) -> str:
    """Whose places are asked for: the caller's own, or, for staff, those of somebody named.

    Raises:
        Forbidden: ``staff_only``.
    """
    if username and username != caller.username:
        require_staff(caller, _OTHERS)
    return username or caller.username


@router.get("")
async def persons(
    parts: PartsDep,
    caller: PersonDep,
    q: Annotated[str, Query(max_length=255)] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
) -> PersonList:
    """Active persons of OMERO whose name holds ``q``; staff only."""
    require_staff(caller, _OTHERS)
    return await parts.bounded.ask(lambda: parts.directory.people(q.strip(), limit))


@router.get("/{username}")
async def person(username: str, parts: PartsDep, caller: PersonDep) -> Person:
    """One person with her groups; staff only."""
    require_staff(caller, _OTHERS)
    return await parts.bounded.ask(lambda: require_person(parts.directory, username))
