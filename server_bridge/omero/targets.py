"""From what a person chose to a place that exists: looked up, checked, and made exactly once.

Places are always created in the person's own session, in the target's group. A dataset of a name she already
owns in the same place (same group, same project or none) is that dataset: three acquisitions ordered into the
new dataset "day 1" land in one, and a repeat after a crash finds what the first try made. What an order
creates carries the order's id in a comment of our namespace, saved in the same transaction, so that anybody
can tell where it came from. Within the bridge (one process) creations are serialised, so that two orders
cannot both find nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

import omero.model
from omero.rtypes import rstring, unwrap

from server_bridge.contract import Container, NewContainer, Target, TargetKind
from server_bridge.errors import NeedsAttention
from server_bridge.omero.failures import OmeroForbids
from server_bridge.omero.names import NS_ORDER
from server_bridge.omero.session import ALL_GROUPS, Session

Kind = Literal["project", "dataset", "screen"]
_MODELS = {
    "project": omero.model.ProjectI,
    "dataset": omero.model.DatasetI,
    "screen": omero.model.ScreenI,
}
_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """A place that exists. ``specification`` is what ``omero import -T`` takes."""

    container_kind: Literal["dataset", "screen"]
    container_id: int
    container_name: str
    group_id: int
    project_id: int | None = None
    project_name: str = ""
    created: bool = False
    """Whether this call made the dataset or screen."""

    @property
    def specification(self) -> str:
        return f"{self.container_kind.capitalize()}:{self.container_id}"


@dataclass(frozen=True, slots=True)
class _Place:
    id: int
    name: str
    owner: str
    group_id: int
    may_add: bool


def resolve_target(session: Session, target: Target, order_id: str = "") -> ResolvedTarget:
    """The place an order's data goes to; what is new is created in the session's group.

    Args:
        session: the person's session in the target's group.
        order_id: is noted on what this call creates.

    Raises:
        NeedsAttention: ``target_gone``, ``target_in_other_group``, ``target_not_writable``, ``not_a_member``.
        Unavailable, TransientFailure: where OMERO does not answer or fails.
    """
    if session.group_id != target.group_id:
        raise NeedsAttention(
            f"{session.username} works in group {session.group_name!r} ({session.group_id}), and the target "
            f"names group {target.group_name or target.group_id}.",
            code="not_a_member",
            title="Not a group of this person",
            remedy="Choose another group, or ask the OMERO administrator for the membership.",
        )
    kind: Literal["dataset", "screen"] = "screen" if target.kind is TargetKind.SCREEN else "dataset"
    if target.container_id is not None:
        place = _require(session, kind, target.container_id)
        return ResolvedTarget(
            kind, place.id, place.name, place.group_id, target.project_id, target.project_name
        )
    with _making:
        project = _project(session, target, order_id) if kind == "dataset" else None
        project_id = None if project is None else project.id
        new = NewContainer(
            kind=kind,
            group_id=target.group_id,
            name=target.container_name.strip(),
            project_id=project_id,
        )
        place, created = _find_or_make(session, new, order_id)
    return ResolvedTarget(
        kind,
        place.id,
        place.name,
        place.group_id,
        project_id,
        "" if project is None else project.name,
        created,
    )


def create_container(session: Session, new: NewContainer, order_id: str = "") -> Container:
    """Make a project, dataset or screen as this person, or return hers of that name in that place.

    Raises:
        NeedsAttention: as :func:`resolve_target`, ``omero_forbids`` where OMERO refuses.
    """
    if session.group_id != new.group_id:
        raise NeedsAttention(
            f"{session.username} works in group {session.group_id}, not {new.group_id}.",
            code="not_a_member",
            title="Not a group of this person",
            remedy="Choose a group she is a member of.",
        )
    with _making:
        if new.project_id is not None:
            _require(session, "project", new.project_id)
        place, _ = _find_or_make(session, new, order_id)
    return Container(
        id=place.id,
        kind=new.kind,
        name=place.name,
        group_id=place.group_id,
        owner=place.owner,
        project_ids=() if new.project_id is None else (new.project_id,),
        child_count=None,
        may_add=place.may_add,
    )


def _project(session: Session, target: Target, order_id: str) -> _Place | None:
    if target.project_id is not None:
        return _require(session, "project", target.project_id)
    if not target.project_name.strip():
        return None
    new = NewContainer(kind="project", group_id=target.group_id, name=target.project_name.strip())
    return _find_or_make(session, new, order_id)[0]


def _require(session: Session, kind: Kind, object_id: int) -> _Place:
    found = session.objects(
        f"select c from {kind.capitalize()} c join fetch c.details.owner where c.id = :id",
        {"id": object_id},
        group=ALL_GROUPS,
        doing=f"looking for the {kind}",
    )
    if not found:
        raise NeedsAttention(
            f"OMERO shows {session.username} no {kind} {object_id}.",
            code="target_gone",
            title=f"The {kind} is not there any more",
            remedy=f"Choose another {kind}.",
        )
    place = _place(found[0])
    if place.group_id != session.group_id:
        raise NeedsAttention(
            f"{kind.capitalize()} {place.name!r} does not belong to group {session.group_name!r}.",
            code="target_in_other_group",
            title=f"The {kind} belongs to another group",
            remedy=f"Choose a {kind} of {session.group_name!r}, or order for the {kind}'s own group.",
        )
    if not place.may_add:
        raise NeedsAttention(
            f"{kind.capitalize()} {place.name!r} belongs to {place.owner}, and OMERO does not let "
            f"{session.username} add to it.",
            code="target_not_writable",
            title=f"OMERO does not let this person add to the {kind}",
            remedy=f"Choose a {kind} of your own, or ask {place.owner}.",
        )
    return place


def _find_or_make(session: Session, new: NewContainer, order_id: str) -> tuple[_Place, bool]:
    known = _own_of_that_name(session, new)
    if known is not None:
        return known, False
    made = _MODELS[new.kind]()
    made.name = rstring(new.name)
    if new.description:
        made.description = rstring(new.description)
    if new.kind == "dataset" and new.project_id is not None:
        made.linkProject(omero.model.ProjectI(new.project_id, False))
    if order_id:
        note = omero.model.CommentAnnotationI()
        note.ns = rstring(NS_ORDER)
        note.textValue = rstring(order_id)
        made.linkAnnotation(note)
    try:
        saved = session.save(made, doing=f"creating the {new.kind} {new.name!r}")
    except OmeroForbids as error:
        raise NeedsAttention(
            error.detail,
            code="target_not_writable",
            title=f"OMERO does not let this person create the {new.kind} there",
            remedy="Choose another place, or ask the owner of the project.",
        ) from None
    made_id = int(unwrap(saved.id))
    return _Place(made_id, new.name, session.username, session.group_id, True), True


def _own_of_that_name(session: Session, new: NewContainer) -> _Place | None:
    values: dict[str, int | str] = {"name": new.name, "me": session.user_id}
    join = where = ""
    if new.kind == "dataset" and new.project_id is not None:
        join = " join c.projectLinks l"
        where = " and l.parent.id = :project"
        values["project"] = new.project_id
    elif new.kind == "dataset":
        where = " and not exists (select l from ProjectDatasetLink as l where l.child = c.id)"
    found = session.objects(
        f"select c from {new.kind.capitalize()} c join fetch c.details.owner o{join} "
        f"where c.name = :name and o.id = :me{where} order by c.id",
        values,
        group=session.group_id,
        doing=f"looking for a {new.kind} of that name",
    )
    return _place(found[0]) if found else None


def _place(item: Any) -> _Place:
    return _Place(
        id=int(unwrap(item.id)),
        name=str(unwrap(item.name) or ""),
        owner=str(unwrap(item.details.owner.omeName) or ""),
        group_id=int(unwrap(item.details.group.id)),
        may_add=bool(item.details.permissions.canLink()),
    )
