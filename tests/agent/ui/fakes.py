"""A recording stand-in for the engine: the window's only outside, so that no test can reach a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from agent.core.commands import Command
from agent.core.snapshot import Snapshot
from server_bridge.contract import (
    Container,
    ContainerList,
    Group,
    NewContainer,
    Person,
    PersonList,
    PersonName,
    TagList,
    Target,
)
from tests.agent.ui import samples


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


class RecordingTargets:
    """Answers from the samples at once; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None, str]] = []
        self.created: list[NewContainer] = []
        self.recent_targets: Sequence[Target] = samples.RECENTS
        self.known_groups: Sequence[Group] = samples.ALICE.groups
        self.error: Exception | None = None
        self.create_error: Exception | None = None
        self.others: dict[str, Person] = {"bob": samples.BOB}
        self.asked_as: list[str] = []
        """Whose places were searched; empty for her own."""

    def groups(self) -> Sequence[Group]:
        return self.known_groups

    def containers(
        self, group_id: int, kind: str, project_id: int | None = None, query: str = ""
    ) -> Future[ContainerList]:
        self.asked.append((kind, project_id, query))
        if self.error:
            return failed(self.error)
        known: dict[str, tuple[Container, ...]] = {
            "project": samples.PROJECTS,
            "dataset": samples.DATASETS,
            "screen": samples.SCREENS,
        }
        found = tuple(c for c in known[kind] if query.lower() in c.name.lower() and c.group_id == group_id)
        return done(ContainerList(items=found))

    def tags(self, group_id: int, query: str) -> Future[TagList]:
        if self.error:
            return failed(self.error)
        tags = ("LifeAct-GFP", "40x", "siRNA", "plate")
        return done(TagList(items=tuple(t for t in tags if query.lower() in t.lower())))

    def create(self, new: NewContainer) -> Future[Container]:
        self.created.append(new)
        if self.create_error:
            return failed(self.create_error)
        return done(
            Container(
                id=900 + len(self.created),
                kind=new.kind,
                name=new.name,
                group_id=new.group_id,
                owner="alice",
                project_ids=(new.project_id,) if new.project_id else (),
            )
        )

    def persons(self, query: str) -> Future[PersonList]:
        if self.error:
            return failed(self.error)
        everybody = {**self.others, "alice": samples.ALICE}
        items = tuple(
            PersonName(username=name, full_name=one.full_name)
            for name, one in everybody.items()
            if query.casefold() in f"{name} {one.full_name}".casefold()
        )
        return done(PersonList(items=items))

    def person(self, username: str) -> Future[Person]:
        if self.error:
            return failed(self.error)
        return done(self.others[username])

    def of(self, person: Person) -> PlacesOf:
        return PlacesOf(self, person)

    def recents(self) -> Sequence[Target]:
        return self.recent_targets


class PlacesOf:
    """Somebody else's places."""

    def __init__(self, targets: RecordingTargets, person: Person) -> None:
        self._targets = targets
        self._person = person

    def containers(
        self, group_id: int, kind: str, project_id: int | None = None, query: str = ""
    ) -> Future[ContainerList]:
        self._targets.asked_as.append(self._person.username)
        return self._targets.containers(group_id, kind, project_id, query)

    def tags(self, group_id: int, query: str) -> Future[TagList]:
        return self._targets.tags(group_id, query)


class RecordingEngine:
    """Records commands; ``answer`` decides how each ends."""

    def __init__(self) -> None:
        self._targets = RecordingTargets()
        self.commands: list[Command] = []
        self.subscribers: list[Callable[[Snapshot], None]] = []
        self.answer: Callable[[Command], Future[Any]] = lambda _command: done(None)
        self.started = 0
        self.stopped = 0

    @property
    def targets(self) -> RecordingTargets:
        return self._targets

    def subscribe(self, callback: Callable[[Snapshot], None]) -> None:
        self.subscribers.append(callback)

    def submit(self, command: Command) -> Future[Any]:
        self.commands.append(command)
        return self.answer(command)

    def start(self) -> None:
        self.started += 1

    def stop(self) -> None:
        self.stopped += 1


class QuietDesktop:
    """A desktop on which nothing runs in full screen, unless the test says so."""

    def __init__(self) -> None:
        self.free = True
        self.app_id = ""

    def claim_app_id(self, app_id: str) -> None:
        self.app_id = app_id

    def may_interrupt(self) -> bool:
        return self.free
