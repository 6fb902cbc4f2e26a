"""The directory as OMERO itself answers it, each question in a session as the person who asks."""

from __future__ import annotations

from server_bridge.api.directory import Kind
from server_bridge.contract import Container, ContainerList, NewContainer, Person, PersonList, TagList
from server_bridge.omero import directory
from server_bridge.omero.connection import Omero


class OmeroDirectory:
    """Implements `server_bridge.api.directory.Directory`. Safe between threads: each call opens its own
    session."""

    def __init__(self, omero: Omero) -> None:
        self._omero = omero

    def login(self, username: str, password: str) -> Person:
        """Let a person in by her OMERO password."""
        return self._omero.login(username, password)

    def person(self, username: str) -> Person | None:
        """A person as OMERO knows her now."""
        return self._omero.person(username)

    def people(self, text: str, limit: int) -> PersonList:
        """Active persons, by name."""
        return self._omero.people(text, limit)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._omero.ping()

    def containers(
        self, username: str, group_id: int, kind: Kind, project_id: int | None, text: str, limit: int
    ) -> ContainerList:
        """Containers of a group, as this person sees them."""
        with self._omero.as_person(username, group_id) as session:
            return directory.list_containers(session, kind, project_id=project_id, text=text, limit=limit)

    def container(self, username: str, group_id: int, kind: Kind, container_id: int) -> Container | None:
        """One container by its id, in any of her groups."""
        with self._omero.as_person(username, group_id) as session:
            return directory.find_container(session, kind, container_id)

    def tags(self, username: str, group_id: int, text: str, limit: int) -> TagList:
        """Tags of a group, hers first."""
        with self._omero.as_person(username, group_id) as session:
            return directory.list_tags(session, text, limit)

    def create(self, username: str, new: NewContainer) -> Container:
        """Make a container as this person."""
        with self._omero.as_person(username, new.group_id) as session:
            return directory.create_container(session, new)
