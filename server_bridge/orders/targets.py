"""Is this target a place where this person may put data? Pure, on facts that OMERO gave a moment ago.

The same is asked again before the import (server_bridge.omero.directory): a group or a dataset can go away
between the order and its turn.
"""

from __future__ import annotations

from server_bridge.contract import Container, Group, Person, Target
from server_bridge.errors import BadRequest


def group_of(person: Person, group_id: int) -> Group | None:
    """The person's group of that id."""
    return next((group for group in person.groups if group.id == group_id), None)


def require_member(person: Person, target: Target) -> Group:
    """The person is a member of the target's group.

    Raises:
        BadRequest: ``not_a_member``, for a group that is not hers or does not exist.
    """
    group = group_of(person, target.group_id)
    if group is not None:
        return group
    hers = ", ".join(group.name for group in person.groups) or "none"
    raise BadRequest(
        f"{person.username} is not a member of group {target.group_name or target.group_id}; groups: {hers}.",
        code="not_a_member",
        title="Not a group of this person",
        remedy="Choose another group, or ask the OMERO administrator for the membership.",
    )


def require_writable(
    target: Target, group: Group, container: Container | None, project: Container | None
) -> None:
    """The named places are there, in that group, and OMERO lets the person add to them.

    Raises:
        BadRequest: ``target_gone``, ``target_in_other_group``, ``target_not_writable`` or ``target_kind``.
    """
    if target.container_id is not None:
        _require_place(container, target.kind.value, target.container_id, group)
    elif target.project_id is not None:
        # A new dataset inside it. With a dataset that exists, the project is only where it was picked from.
        _require_place(project, "project", target.project_id, group)


def _require_place(found: Container | None, kind: str, wanted_id: int, group: Group) -> None:
    if found is None:
        raise BadRequest(
            f"OMERO shows this person no {kind} {wanted_id}.",
            code="target_gone",
            title=f"The {kind} is not there",
            remedy=f"Choose another {kind}, or give the name of a new one.",
        )
    if found.group_id != group.id:
        raise BadRequest(
            f"{kind.capitalize()} {found.name!r} does not belong to group {group.name!r}.",
            code="target_in_other_group",
            title=f"The {kind} belongs to another group",
            remedy=f"Choose a {kind} of {group.name!r}, or order for the {kind}'s own group.",
        )
    if found.kind != kind:
        raise BadRequest(
            f"{found.name!r} is a {found.kind}.",
            code="target_kind",
            title=f"This is no {kind}",
            remedy=f"Choose a {kind}.",
        )
    if not found.may_add:
        raise BadRequest(
            f"{kind.capitalize()} {found.name!r} belongs to {found.owner}, and group {group.name!r} is "
            f"{group.permissions.value}.",
            code="target_not_writable",
            title=f"OMERO does not let this person add to the {kind}",
            remedy=f"Choose a {kind} of your own, or ask {found.owner}.",
        )
