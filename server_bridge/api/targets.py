"""Where data can go: containers and tags as the person herself sees them in OMERO."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool

from server_bridge.api.dependencies import Parts, PartsDep, PersonDep
from server_bridge.api.directory import Kind, require_target
from server_bridge.api.persons import person_asked_about
from server_bridge.contract import Container, ContainerList, NewContainer, TagList, Target
from server_bridge.errors import BadRequest, Forbidden, TransientFailure, Unavailable
from server_bridge.observability import get_logger
from server_bridge.orders.callers import Caller

router = APIRouter(prefix="/v1/targets", tags=["targets"])
log = get_logger("ferry.api")
MOST_LISTED = 500
_Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]
_Text = Annotated[str, Query(max_length=255)]


@router.get("/containers")
async def containers(
    parts: PartsDep,
    caller: PersonDep,
    group: int,
    kind: Kind = "dataset",
    project: int | None = None,
    q: _Text = "",
    limit: _Limit = 200,
    person: _Text = "",
) -> ContainerList:
    """Projects, datasets or screens of one of her groups, by name; ``q`` searches in names.

    Staff may ask as any ``person``: what is listed is what she sees, and where she may add.
    """
    who = person_asked_about(caller, person)
    return await parts.bounded.ask(
        lambda: parts.directory.containers(who, group, kind, project, q.strip(), limit)
    )


@router.get("/tags")
async def tags(
    parts: PartsDep, caller: PersonDep, group: int, q: _Text = "", limit: _Limit = 200, person: _Text = ""
) -> TagList:
    """Tags of one of her groups, hers first. Staff may ask as any ``person``."""
    who = person_asked_about(caller, person)
    return await parts.bounded.ask(lambda: parts.directory.tags(who, group, q.strip(), limit))


@router.post("/containers", status_code=201)
async def create(body: NewContainer, parts: PartsDep, caller: PersonDep) -> Container:
    """Make a project, dataset or screen as this person."""
    if not caller.is_staff and not caller.at_approved_workstation:
        raise Forbidden(
            "New containers are made at an approved workstation.",
            code="workstation_needed",
            title="This is not an approved workstation",
            remedy="Use the workstation's own agent, or OMERO.web.",
        )
    if body.project_id is not None and body.kind != "dataset":
        raise BadRequest("project_id: only a dataset stands in a project.")
    made = await parts.bounded.ask(lambda: parts.directory.create(caller.username, body))
    await run_in_threadpool(_audit, parts, caller, made)
    return made


def _audit(parts: Parts, caller: Caller, made: Container) -> None:
    with parts.store.write(notify=False) as session:
        parts.store.audit(
            session,
            caller.who,
            "target.create",
            f"{made.kind} {made.id}",
            name=made.name,
            group=made.group_id,
        )


async def check_target(parts: Parts, caller: Caller, owner: str, target: Target) -> None:
    """Ask OMERO whether this person may put data there.

    When OMERO is away, an order into a group that she had at sign-in is let in all the same, since orders
    must not depend on OMERO's uptime and the place is looked at again before the import. Otherwise the
    answer is 503, and the agent tries later.

    Raises:
        BadRequest: ``not_a_member``, ``target_gone``, ``target_in_other_group``, ``target_not_writable``,
            ``no_such_person``.
        Unavailable: where OMERO is away and nothing is known.
    """
    username = owner or caller.username
    try:
        await parts.bounded.ask(lambda: require_target(parts.directory, username, target))
    except (Unavailable, TransientFailure) as error:
        known = username == caller.username and any(group.id == target.group_id for group in caller.groups)
        if not known:
            raise
        log.warning("order accepted without asking OMERO", code=error.code, group=target.group_id)
