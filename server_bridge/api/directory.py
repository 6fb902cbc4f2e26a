"""What the API asks OMERO, and how it keeps a slow OMERO from becoming a slow bridge.

:class:`Directory` is the question list; `server_bridge.api.omero_directory` answers it from OMERO. Every
question runs in one of a few threads of its own with a time limit: when OMERO hangs, questions are answered
503 and everything that needs no OMERO (states, manifests, the feed) goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

import anyio
import anyio.to_thread

from server_bridge.contract import (
    Container,
    ContainerList,
    NewContainer,
    Person,
    PersonList,
    TagList,
    Target,
    TargetKind,
)
from server_bridge.errors import BadRequest, Unavailable
from server_bridge.orders import targets

Kind = Literal["project", "dataset", "screen"]
T = TypeVar("T")
MOST_THREADS = 8


class Directory(Protocol):
    """People and places of one OMERO. Calls block; each raises FerryError with a code for the agent."""

    def login(self, username: str, password: str) -> Person:
        """Let a person in. Raises NotSignedIn ``wrong_password``, Unavailable."""

    def person(self, username: str) -> Person | None:
        """A person as OMERO knows her now."""

    def people(self, text: str, limit: int) -> PersonList:
        """Active persons whose user name or name holds ``text``."""

    def ping(self) -> None:
        """Ask for a sign of life. Raises Unavailable."""

    def containers(
        self, username: str, group_id: int, kind: Kind, project_id: int | None, text: str, limit: int
    ) -> ContainerList:
        """Projects, datasets or screens of a group that this person sees."""

    def container(self, username: str, group_id: int, kind: Kind, container_id: int) -> Container | None:
        """One of them by its id, also of another of her groups; None: she sees none."""

    def tags(self, username: str, group_id: int, text: str, limit: int) -> TagList:
        """Tags of a group."""

    def create(self, username: str, new: NewContainer) -> Container:
        """Make a container as this person."""


def require_person(directory: Directory, username: str) -> Person:
    """The person, as OMERO knows her now.

    Raises:
        BadRequest: ``no_such_person``.
    """
    person = directory.person(username)
    if person is None:
        raise BadRequest(
            f"OMERO knows no active {username!r}.",
            code="no_such_person",
            title="OMERO does not know this person",
            remedy="Check the name as it is spelt in OMERO.",
        )
    return person


def require_target(directory: Directory, username: str, target: Target) -> None:
    """Ask OMERO whether this person may put data there, now.

    Raises:
        BadRequest: ``no_such_person``, ``not_a_member``, ``target_gone``, ``target_in_other_group``,
            ``target_kind``, ``target_not_writable``.
        Unavailable: where OMERO does not answer.
    """
    group = targets.require_member(require_person(directory, username), target)
    container = project = None
    if target.container_id is not None:
        kind: Kind = "screen" if target.kind is TargetKind.SCREEN else "dataset"
        container = directory.container(username, group.id, kind, target.container_id)
    elif target.project_id is not None:
        project = directory.container(username, group.id, "project", target.project_id)
    targets.require_writable(target, group, container, project)


def omero_busy(detail: str) -> Unavailable:
    """The refusal where OMERO did not answer in time."""
    return Unavailable(
        detail,
        code="omero_hung",
        title="OMERO does not answer",
        remedy="Try again in a minute; orders that were accepted are safe.",
    )


class Bounded:
    """Runs blocking questions with a limit on threads and on time."""

    def __init__(self, timeout_seconds: float, most_threads: int = MOST_THREADS) -> None:
        self._timeout_seconds = timeout_seconds
        self._most_threads = most_threads
        self._limiter: anyio.CapacityLimiter | None = None

    async def ask(self, question: Callable[[], T], *, timeout_seconds: float | None = None) -> T:
        """Run ``question`` in a thread.

        Raises:
            Unavailable: ``omero_hung`` after the time limit; the thread ends by itself, by the call timeout
                that the connection has, and until then one thread less is there for others.
        """
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._most_threads)
        limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            with anyio.fail_after(limit):
                return await anyio.to_thread.run_sync(question, abandon_on_cancel=True, limiter=self._limiter)
        except TimeoutError as error:
            raise omero_busy(f"No answer within {limit:.0f} s.") from error
