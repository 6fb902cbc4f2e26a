"""The target tree for the dialog: asked in threads of its own, remembered, and still there offline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pydantic import BaseModel

from agent.core.bridge_client import BridgeClient, Credentials
from agent.core.clock import Clock
from agent.core.errors import BridgeAway
from agent.core.outbox import Outbox
from agent.core.sign_in import Session, SignInDesk
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

FRESH_SECONDS = 30.0
ListModel = TypeVar("ListModel", ContainerList, TagList)
Answered = TypeVar("Answered", bound=BaseModel)


class PlacesOf:
    """Somebody's places, for staff who order for her. Nothing is made in OMERO through it: a new container's
    name travels with the order, and the bridge makes it as hers."""

    def __init__(self, tree: TargetTree, person: Person) -> None:
        self._tree = tree
        self._person = person

    def containers(
        self, group_id: int, kind: str, project_id: int | None = None, query: str = ""
    ) -> Future[ContainerList]:
        """Search her projects, datasets or screens."""
        return self._tree.containers(group_id, kind, project_id, query, self._person.username)

    def tags(self, group_id: int, query: str) -> Future[TagList]:
        """Search tags as she sees them."""
        return self._tree.tags(group_id, query, self._person.username)


class TargetTree:
    """Groups, containers and tags of the signed-in person; signing out forgets them. Methods never block;
    futures may fail with :class:`agent.core.errors.AgentError`."""

    def __init__(
        self,
        client: BridgeClient,
        desk: SignInDesk,
        outbox: Outbox,
        clock: Clock,
        workstation: Callable[[], str],
    ) -> None:
        self._client = client
        self._desk = desk
        self._outbox = outbox
        self._clock = clock
        self._workstation = workstation
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="ferry-targets")
        self._lock = threading.Lock()
        self._cache: dict[str, tuple[float, BaseModel]] = {}
        self._era = 0
        """Raised by :meth:`forget`: an answer that was under way then is nobody's any more."""

    def close(self) -> None:
        """Take no more questions."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def forget(self) -> None:
        """Another person signs in: what the last one may see is not hers."""
        with self._lock:
            self._cache.clear()
            self._era += 1

    def groups(self) -> Sequence[Group]:
        """The person's groups, her default group first; empty where nobody is signed in."""
        session = self._desk.current()
        if session is None:
            return ()
        person = session.person
        return sorted(person.groups, key=lambda group: (group.id != person.default_group_id, group.name))

    def recents(self) -> Sequence[Target]:
        """What she chose lately, latest first."""
        session = self._desk.current()
        return self._outbox.recents(session.person.username) if session else ()

    def containers(
        self, group_id: int, kind: str, project_id: int | None = None, query: str = "", person: str = ""
    ) -> Future[ContainerList]:
        """Search projects, datasets or screens; for staff also as another ``person`` sees them."""
        query = query.strip()
        whole = f"containers:{group_id}:{kind}:{project_id}:"

        def ask(credentials: Credentials) -> ContainerList:
            return self._client.containers(credentials, group_id, kind, project_id, query, person)

        if person:
            return self._pool.submit(self._ask_as_staff, ask)
        return self._pool.submit(self._ask, ContainerList, whole, query, ask, _containers_with)

    def tags(self, group_id: int, query: str, person: str = "") -> Future[TagList]:
        """Search tags; for staff also as another ``person`` sees them."""
        query = query.strip()

        def ask(credentials: Credentials) -> TagList:
            return self._client.tags(credentials, group_id, query, person)

        if person:
            return self._pool.submit(self._ask_as_staff, ask)
        return self._pool.submit(self._ask, TagList, f"tags:{group_id}:", query, ask, _tags_with)

    def persons(self, query: str) -> Future[PersonList]:
        """Search whom staff may order for."""
        return self._pool.submit(
            self._ask_as_staff, lambda credentials: self._client.persons(credentials, query.strip())
        )

    def person(self, username: str) -> Future[Person]:
        """Somebody whom staff order for, with her groups."""
        return self._pool.submit(
            self._ask_as_staff, lambda credentials: self._client.person(credentials, username)
        )

    def of(self, person: Person) -> PlacesOf:
        """The tree as ``person`` sees it, for staff who order for her."""
        return PlacesOf(self, person)

    def _ask_as_staff(self, ask: Callable[[Credentials], Answered]) -> Answered:
        """Never kept: what others may see stays in the bridge."""
        return ask(self._credentials(self._desk.require()))

    def create(self, new: NewContainer) -> Future[Container]:
        """Make a container in OMERO now."""

        def make() -> Container:
            made = self._client.create_container(new, self._credentials(self._desk.require()))
            self.forget()
            return made

        return self._pool.submit(make)

    def _credentials(self, session: Session) -> Credentials:
        return Credentials(workstation=self._workstation(), bearer=session.token)

    def _ask(
        self,
        model: type[ListModel],
        whole: str,
        query: str,
        ask: Callable[[Credentials], ListModel],
        narrow: Callable[[ListModel, str], ListModel],
    ) -> ListModel:
        """Ask the bridge; while it is away, answer from what it said last.

        Args:
            whole: Key of the unsearched list, the one that is kept on the disk.
            narrow: Searches in that list.
        """
        session = self._desk.require()
        me, key = session.person.username, whole + query
        now = self._clock.monotonic()
        with self._lock:
            era = self._era
            at, known = self._cache.get(key, (float("-inf"), None))
        if isinstance(known, model) and now - at < FRESH_SECONDS:
            return known
        try:
            found = ask(self._credentials(session))
        except BridgeAway:
            if isinstance(known, model):
                return known
            kept = self._outbox.fact_of(me, whole)
            offline = narrow(model.model_validate_json(kept), query) if kept else None
            if offline is None or (query and not offline.items):
                raise  # what is not in a list that may be shortened may still be in OMERO
            return offline
        with self._lock:
            if era != self._era:
                return found
            self._cache[key] = (now, found)
        if not query and found != known:
            self._outbox.set_fact_of(me, key, found.model_dump_json())
        return found


def _containers_with(kept: ContainerList, query: str) -> ContainerList:
    items = tuple(one for one in kept.items if query.casefold() in one.name.casefold())
    return ContainerList(items=items, truncated=kept.truncated)


def _tags_with(kept: TagList, query: str) -> TagList:
    return TagList(items=tuple(one for one in kept.items if query.casefold() in one.casefold()))
