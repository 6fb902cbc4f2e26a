"""People and places of a small made-up OMERO, in memory, with the two ways it can be away."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from server_bridge.api.directory import Kind
from server_bridge.contract import (
    Container,
    ContainerList,
    Group,
    NewContainer,
    PermissionLevel,
    Person,
    PersonList,
    PersonName,
    TagList,
)
from server_bridge.errors import NotSignedIn, Unavailable

CYTOSKELETON = Group(id=3, name="Cytoskeleton", permissions=PermissionLevel.READ_ANNOTATE)
PLATFORM = Group(id=4, name="Platform", permissions=PermissionLevel.PRIVATE)
PEOPLE = {
    "alice": (CYTOSKELETON, PLATFORM),
    "bob": (CYTOSKELETON,),
    "carol": (PLATFORM,),
    "staff": (PLATFORM,),
    "dora": (CYTOSKELETON.model_copy(update={"is_owner": True}),),
}


def _person(name: str) -> Person:
    groups = PEOPLE[name]
    return Person(username=name, full_name=name.title(), groups=groups, default_group_id=groups[0].id)


@dataclass
class FakeDirectory:
    """Answers like `server_bridge.api.directory.Directory`."""

    away: bool = False
    hung: threading.Event | None = None
    logins: int = 0
    checks: int = 0
    asked_as: list[str] = field(default_factory=list)
    """As whom places were listed."""
    places: list[Container] = field(
        default_factory=lambda: [
            Container(id=10, kind="project", name="Actin", group_id=3, owner="alice"),
            Container(id=11, kind="dataset", name="embryos", group_id=3, owner="alice", project_ids=(10,)),
            Container(id=12, kind="dataset", name="bobs", group_id=3, owner="bob", may_add=False),
            Container(id=13, kind="dataset", name="secret", group_id=4, owner="alice"),
            Container(id=14, kind="screen", name="plates", group_id=3, owner="alice"),
        ]
    )

    def _answer(self) -> None:
        if self.hung is not None:
            self.hung.wait(30)
        if self.away:
            raise Unavailable("No connection.", code="omero_away", title="OMERO is away")

    def login(self, username: str, password: str) -> Person:
        self.logins += 1
        self._answer()
        if username not in PEOPLE or password != f"{username}-pw":
            raise NotSignedIn("OMERO refused.", code="wrong_password", title="Wrong name or password")
        return _person(username)

    def person(self, username: str) -> Person | None:
        self.checks += 1
        self._answer()
        return _person(username) if username in PEOPLE else None

    def people(self, text: str, limit: int) -> PersonList:
        self._answer()
        found = [PersonName(username=one, full_name=one.title()) for one in PEOPLE if text in one]
        return PersonList(items=tuple(found[:limit]), truncated=len(found) > limit)

    def ping(self) -> None:
        self._answer()

    def containers(
        self, username: str, group_id: int, kind: Kind, project_id: int | None, text: str, limit: int
    ) -> ContainerList:
        self.asked_as.append(username)
        self._answer()
        found = [
            place
            for place in self.places
            if place.group_id == group_id
            and place.kind == kind
            and text.casefold() in place.name.casefold()
            and (project_id is None or project_id in place.project_ids)
        ]
        return ContainerList(items=tuple(found[:limit]), truncated=len(found) > limit)

    def container(self, username: str, group_id: int, kind: Kind, container_id: int) -> Container | None:
        self._answer()
        groups = {group.id for group in PEOPLE[username]}
        return next(
            (
                place
                for place in self.places
                if place.id == container_id and place.kind == kind and place.group_id in groups
            ),
            None,
        )

    def tags(self, username: str, group_id: int, text: str, limit: int) -> TagList:
        self.asked_as.append(username)
        self._answer()
        return TagList(items=tuple(tag for tag in ("actin", "mitosis") if text in tag)[:limit])

    def create(self, username: str, new: NewContainer) -> Container:
        self._answer()
        made = Container(
            id=100 + len(self.places), kind=new.kind, name=new.name, group_id=new.group_id, owner=username
        )
        self.places.append(made)
        return made
