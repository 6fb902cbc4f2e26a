"""Where data can go: groups, projects, datasets, screens and tags as one person sees them.

All questions are asked in *her* session, so that OMERO's own permissions decide what is shown and
``permissions.canLink`` tells whether she may add to it. Lists are bounded; how much is inside and which
projects a dataset stands in comes from one further query for the whole page.
"""

from __future__ import annotations

from typing import Any, Literal

from omero.rtypes import unwrap

from server_bridge.contract import Container, ContainerList, Group, TagList
from server_bridge.omero.people import find_person
from server_bridge.omero.session import ALL_GROUPS, Session, chunks, like
from server_bridge.omero.targets import ResolvedTarget, create_container, resolve_target

__all__ = [
    "Kind",
    "ResolvedTarget",
    "create_container",
    "find_container",
    "list_containers",
    "list_groups",
    "list_tags",
    "resolve_target",
]

Kind = Literal["project", "dataset", "screen"]
CLASSES: dict[Kind, str] = {"project": "Project", "dataset": "Dataset", "screen": "Screen"}
_CHILD_LINKS: dict[Kind, str] = {
    "project": "ProjectDatasetLink",
    "dataset": "DatasetImageLink",
    "screen": "ScreenPlateLink",
}


def list_groups(session: Session) -> tuple[Group, ...]:
    """The groups that the session's person is a member of, by name."""
    person = find_person(session, session.username)
    return () if person is None else person.groups


def list_containers(
    session: Session,
    kind: Kind,
    *,
    project_id: int | None = None,
    text: str = "",
    offset: int = 0,
    limit: int = 200,
) -> ContainerList:
    """Containers of the session's group, by name; ``truncated`` says that there are more than ``limit``.

    Args:
        project_id: only datasets of this project.
        text: only names that contain it, whatever the case.
    """
    joins = "join fetch c.details.owner"
    conditions: list[str] = []
    values: dict[str, int | str] = {}
    if kind == "dataset" and project_id is not None:
        joins += " join c.projectLinks l"
        conditions.append("l.parent.id = :project")
        values["project"] = project_id
    if text:
        conditions.append("lower(c.name) like :text")
        values["text"] = like(text)
    where = f" where {' and '.join(conditions)}" if conditions else ""
    found = session.objects(
        f"select c from {CLASSES[kind]} c {joins}{where} order by c.name, c.id",
        values,
        group=session.group_id,
        page=(offset, limit + 1),
        doing=f"listing {kind}s",
    )
    return ContainerList(items=_described(session, kind, found[:limit]), truncated=len(found) > limit)


def find_container(session: Session, kind: Kind, container_id: int) -> Container | None:
    """One container by its id, in whichever of her groups it is; None where OMERO shows her none."""
    found = session.objects(
        f"select c from {CLASSES[kind]} c join fetch c.details.owner where c.id = :id",
        {"id": container_id},
        group=ALL_GROUPS,
        doing=f"looking for a {kind}",
    )
    return next(iter(_described(session, kind, found)), None)


def list_tags(session: Session, text: str = "", limit: int = 200) -> TagList:
    """Texts of the tags in the session's group, her own first; tag sets are left out."""
    values: dict[str, int | str] = {}
    condition = ""
    if text:
        condition = " and lower(t.textValue) like :text"
        values["text"] = like(text)
    rows = session.rows(
        "select t.textValue, o.id from TagAnnotation t join t.details.owner o "
        f"where t.ns is null{condition} order by t.textValue",
        values,
        group=session.group_id,
        # The same text may stand in many people's tags.
        page=(0, limit * 5),
        doing="listing tags",
    )
    own = dict.fromkeys(text for text, owner in rows if text and owner == session.user_id)
    others = dict.fromkeys(text for text, _ in rows if text and text not in own)
    return TagList(items=tuple([*own, *others][:limit]))


def _described(session: Session, kind: Kind, found: list[Any]) -> tuple[Container, ...]:
    ids = [int(unwrap(item.id)) for item in found]
    counts = _child_counts(session, kind, ids)
    projects = _projects(session, ids) if kind == "dataset" else {}
    return tuple(
        Container(
            id=number,
            kind=kind,
            name=str(unwrap(item.name) or ""),
            group_id=int(unwrap(item.details.group.id)),
            owner=str(unwrap(item.details.owner.omeName) or ""),
            project_ids=tuple(projects.get(number, ())),
            child_count=counts.get(number, 0),
            may_add=bool(item.details.permissions.canLink()),
        )
        for number, item in zip(ids, found, strict=True)
    )


def _child_counts(session: Session, kind: Kind, ids: list[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for piece in chunks(ids):
        counts |= {
            int(parent): int(count)
            for parent, count in session.rows(
                f"select l.parent.id, count(l.id) from {_CHILD_LINKS[kind]} l "
                "where l.parent.id in (:ids) group by l.parent.id",
                {"ids": piece},
                group=ALL_GROUPS,
                doing=f"counting what is in {kind}s",
            )
        }
    return counts


def _projects(session: Session, ids: list[int]) -> dict[int, list[int]]:
    projects: dict[int, list[int]] = {}
    for piece in chunks(ids):
        for child, parent in session.rows(
            "select l.child.id, l.parent.id from ProjectDatasetLink l where l.child.id in (:ids) "
            "order by l.parent.id",
            {"ids": piece},
            group=ALL_GROUPS,
            doing="asking which projects datasets stand in",
        ):
            projects.setdefault(int(child), []).append(int(parent))
    return projects
