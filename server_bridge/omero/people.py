"""Persons and their groups, read in two queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omero.rtypes import unwrap

from server_bridge.contract import Group, PermissionLevel, Person, PersonList, PersonName
from server_bridge.omero.session import ALL_GROUPS, Session, chunks, like

ACTIVE_GROUP = "user"
"""OMERO deactivates somebody by taking her out of this group."""
NO_PLACE = frozenset({"user", "guest", "system"})
"""Groups of OMERO's own that hold nobody's data."""


def find_person(session: Session, username: str) -> Person | None:
    """The active person of this name with her groups, or None. Works in her own and the service's session."""
    memberships = session.objects(
        "select m from GroupExperimenterMap m join fetch m.parent g join fetch m.child e "
        "where e.omeName = :name order by m.id",
        {"name": username},
        group=-1,
        doing="looking a person up",
    )
    if not any(unwrap(m.parent.name) == ACTIVE_GROUP for m in memberships):
        return None
    who = memberships[0].child
    groups = tuple(group_of(m) for m in memberships if unwrap(m.parent.name) not in NO_PLACE)
    return Person(
        username=_text(who.omeName),
        full_name=" ".join(part for part in (_text(who.firstName), _text(who.lastName)) if part),
        email=_text(who.email),
        default_group_id=_default_group(session, int(unwrap(who.id)), groups),
        groups=tuple(sorted(groups, key=lambda group: group.name.casefold())),
    )


def active_names(session: Session, usernames: Sequence[str]) -> frozenset[str]:
    """Those of the names that OMERO lets in; an unknown name is none of them."""
    found: set[str] = set()
    for some in chunks(sorted(set(usernames))):
        rows = session.rows(
            "select e.omeName from GroupExperimenterMap m join m.parent g join m.child e "
            "where g.name = :active and e.omeName in (:names)",
            {"active": ACTIVE_GROUP, "names": some},
            group=ALL_GROUPS,
            doing="asking who is active",
        )
        found |= {str(row[0]) for row in rows}
    return frozenset(found)


def list_people(session: Session, text: str = "", limit: int = 50) -> PersonList:
    """Active persons by name; ``text``: only where it stands in the user name, first name or last name."""
    condition = ""
    values: dict[str, int | str] = {"active": ACTIVE_GROUP}
    if text:
        named = " or ".join(f"lower(e.{field}) like :text" for field in ("omeName", "firstName", "lastName"))
        condition = f" and ({named})"
        values["text"] = like(text)
    rows = session.rows(
        "select e.omeName, e.firstName, e.lastName "
        "from GroupExperimenterMap m join m.parent g join m.child e "
        f"where g.name = :active{condition} order by e.lastName, e.firstName, e.omeName",
        values,
        group=ALL_GROUPS,
        page=(0, limit + 1),
        doing="listing persons",
    )
    found = [
        PersonName(username=str(name), full_name=" ".join(str(part) for part in (first, last) if part))
        for name, first, last in rows
    ]
    return PersonList(items=tuple(found[:limit]), truncated=len(found) > limit)


def owner_names(session: Session, group_id: int) -> frozenset[str]:
    """User names of a group's active owners."""
    memberships = session.objects(
        "select m from GroupExperimenterMap m join fetch m.parent g join fetch m.child e where g.id = :id",
        {"id": group_id},
        group=ALL_GROUPS,
        doing="asking for a group's owners",
    )
    owners = [_text(m.child.omeName) for m in memberships if bool(unwrap(m.owner))]
    return active_names(session, owners) if owners else frozenset()


def group_of(membership: Any) -> Group:
    """The contract's group from a loaded GroupExperimenterMap."""
    group = membership.parent
    return Group(
        id=int(unwrap(group.id)),
        name=_text(group.name),
        permissions=permission_level(group.details.permissions),
        is_owner=bool(unwrap(membership.owner)),
    )


def permission_level(permissions: Any) -> PermissionLevel:
    """OMERO's four levels, from what *other members of the group* may do."""
    if permissions.isGroupWrite():
        return PermissionLevel.READ_WRITE
    if permissions.isGroupAnnotate():
        return PermissionLevel.READ_ANNOTATE
    if permissions.isGroupRead():
        return PermissionLevel.READ_ONLY
    return PermissionLevel.PRIVATE


def _default_group(session: Session, user_id: int, groups: tuple[Group, ...]) -> int | None:
    with session.doing("asking for the default group"):
        found = int(unwrap(session.admin.getDefaultGroup(user_id).id))
    return found if any(group.id == found for group in groups) else None


def _text(value: Any) -> str:
    return str(unwrap(value) or "")
