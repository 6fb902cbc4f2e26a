"""What the window needs from the outside, as protocols: the engine, its target tree and the desktop.

The window never calls the network or the share. Everything it learns arrives as a snapshot or as the result
of a :class:`concurrent.futures.Future`; both may arrive on any thread (see ``relay.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from agent.core.commands import Command
from agent.core.snapshot import Snapshot
from server_bridge.contract import (
    Container,
    ContainerList,
    Group,
    NewContainer,
    Person,
    PersonList,
    TagList,
    Target,
)


class PlacesPort(Protocol):
    """Containers and tags as one person sees them."""

    def containers(
        self, group_id: int, kind: str, project_id: int | None = None, query: str = ""
    ) -> Future[ContainerList]:
        """Search containers of ``kind`` (``project``, ``dataset``, ``screen``)."""
        ...

    def tags(self, group_id: int, query: str) -> Future[TagList]:
        """Search the tags that the person may use in this group."""
        ...


class TargetsPort(PlacesPort, Protocol):
    """The target tree of the signed-in person, cached by the engine so that it also works offline."""

    def groups(self) -> Sequence[Group]:
        """Return the person's groups; never blocks."""
        ...

    def persons(self, query: str) -> Future[PersonList]:
        """Search whom staff may order for."""
        ...

    def person(self, username: str) -> Future[Person]:
        """Return somebody whom staff order for, with her groups."""
        ...

    def of(self, person: Person) -> PlacesPort:
        """Return the containers and tags that she sees, for staff who order for her."""
        ...

    def create(self, new: NewContainer) -> Future[Container]:
        """Make a container in OMERO now."""
        ...

    def recents(self) -> Sequence[Target]:
        """Return what was chosen lately, latest first; never blocks."""
        ...


class EnginePort(Protocol):
    """The agent's engine as the window sees it."""

    @property
    def targets(self) -> TargetsPort: ...

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Any:
        """Call ``callback`` with every new snapshot, from any thread."""
        ...

    def submit(self, command: Command) -> Future[Any]:
        """Carry out a command; a failure is an :class:`agent.core.errors.AgentError`."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class DesktopPort(Protocol):
    """The few things only the operating system knows."""

    def claim_app_id(self, app_id: str) -> None:
        """Tell the shell which application this is, before the first window (Windows groups by it)."""
        ...

    def may_interrupt(self) -> bool:
        """Return False while something runs in full screen: no toast may cover a live view."""
        ...
