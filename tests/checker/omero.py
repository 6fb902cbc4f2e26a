"""What OMERO holds, asked by raw Ice queries as its administrator over all groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import omero
import omero.grid
import omero.sys
from omero.rtypes import unwrap

ALL_GROUPS = {"omero.group": "-1"}


@dataclass(frozen=True, slots=True)
class OmeroFile:
    client_path: str
    managed: Path
    size_bytes: int
    hash: str
    hasher: str
    fileset_id: int
    owner: str
    group: str


@dataclass(slots=True)
class OmeroContent:
    files: list[OmeroFile] = field(default_factory=list)
    images_by_fileset: dict[int, int] = field(default_factory=dict)
    fileset_ids: set[int] = field(default_factory=set)
    finished_uploads: set[int] = field(default_factory=set)
    """Filesets of which OMERO has all files: what becomes of them is no longer up to a client."""

    @property
    def without_images(self) -> set[int]:
        """Filesets that no image belongs to."""
        return self.fileset_ids - set(self.images_by_fileset)


@contextmanager
def session(host: str, port: int, user: str, password: str) -> Iterator[Any]:
    """A logged-in service factory."""
    client = omero.client(host=host, port=port)
    try:
        yield client.createSession(user, password)
    finally:
        client.closeSession()


def managed_root(factory: Any) -> Path:
    """ManagedRepository as OMERO itself reports it."""
    repositories = factory.sharedResources().repositories()
    for description, proxy in zip(repositories.descriptions, repositories.proxies, strict=True):
        if proxy and omero.grid.ManagedRepositoryPrx.checkedCast(proxy):
            return Path(unwrap(description.path) + "/" + unwrap(description.name))
    raise LookupError("OMERO reports no managed repository")


def everything(host: str, port: int, user: str, password: str) -> OmeroContent:
    """All filesets, their files and how many images each has."""
    with session(host, port, user, password) as factory:
        root = managed_root(factory)
        query = factory.getQueryService()
        parameters = omero.sys.ParametersI()
        rows = query.projection(
            "select fe.clientPath, o.path, o.name, o.size, o.hash, h.value, fs.id, e.omeName, g.name "
            "from FilesetEntry fe join fe.fileset fs join fe.originalFile o left outer join o.hasher h "
            "join fs.details.owner e join fs.details.group g",
            parameters,
            ALL_GROUPS,
        )
        found = OmeroContent()
        for row in rows:
            client, path, name, size, digest, hasher, fileset, owner, group = (unwrap(cell) for cell in row)
            found.files.append(
                OmeroFile(
                    client,
                    root / path.strip("/") / name,
                    int(size),
                    digest or "",
                    hasher or "",
                    int(fileset),
                    owner,
                    group,
                )
            )
        for row in query.projection("select fs.id from Fileset fs", parameters, ALL_GROUPS):
            found.fileset_ids.add(int(unwrap(row[0])))
        for row in query.projection(
            "select fs.id, count(i) from Image i join i.fileset fs group by fs.id", parameters, ALL_GROUPS
        ):
            found.images_by_fileset[int(unwrap(row[0]))] = int(unwrap(row[1]))
        found.finished_uploads = _finished_uploads(query, parameters)
        return found


def _finished_uploads(query: Any, parameters: Any) -> set[int]:
    fileset_of = {
        int(unwrap(row[1])): int(unwrap(row[0]))
        for row in query.projection(
            "select l.parent.id, l.child.id from FilesetJobLink l", parameters, ALL_GROUPS
        )
    }
    return {
        fileset_of[int(unwrap(row[0]))]
        for row in query.projection(
            "select j.id, s.value from UploadJob j join j.status s", parameters, ALL_GROUPS
        )
        if unwrap(row[1]) == "Finished" and int(unwrap(row[0])) in fileset_of
    }
