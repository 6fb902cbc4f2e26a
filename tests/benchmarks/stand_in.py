"""An OMERO without a server, for orders of a size that the sandbox's importer needs half an hour for.

It answers the few questions that verifying, proving and the release ask, from facts it is given, and pages
them as OMERO does. Nothing else of an order's way is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server_bridge.omero.names import NS_PROVENANCE
from server_bridge.omero.paths import client_path

GROUP_ID, DATASET_ID = 3, 11


class StandIn:
    """Filesets of one person in one group, in memory."""

    def __init__(self, managed: Path, person: str) -> None:
        self.managed_repository = managed
        self.username, self.user_id, self.group_id = person, 5, GROUP_ID
        self.files: dict[int, list[tuple[int, str, str, int, str, str]]] = {}
        """Fileset → (id, path, name, size, sha1, client path) of each file."""

    @contextmanager
    def service(self) -> Iterator[StandIn]:
        yield self

    @contextmanager
    def as_person(self, *_who: object) -> Iterator[StandIn]:
        yield self

    def person(self, _username: str) -> None:
        """Nobody has an address here."""

    def keep_service_session(self) -> None:
        """There is nothing to keep."""

    def let_go(self) -> None:
        """There is nothing to end."""

    def import_unit(self, fileset_id: int, staged: Sequence[tuple[Path, str]]) -> None:
        """Link files in place, as `omero import --transfer=ln` does; ``staged`` are paths and SHA-1s."""
        folder = self.managed_repository / f"{self.username}_{self.user_id}" / str(fileset_id)
        folder.mkdir(parents=True, exist_ok=True)
        held = []
        for number, (path, sha1) in enumerate(staged):
            os.link(path, folder / path.name)
            where = f"{self.username}_{self.user_id}/{fileset_id}/"
            ids = fileset_id * 1_000_000 + number
            held.append((ids, where, path.name, path.lstat().st_size, sha1, client_path(str(path))))
        self.files[fileset_id] = held

    def rows(
        self, hql: str, values: Any = None, *, page: tuple[int, int] | None = None, **_more: object
    ) -> list[tuple[Any, ...]]:
        found = self._answer(hql, values or {})
        return found if page is None else found[page[0] : page[0] + page[1]]

    def _answer(self, hql: str, values: Any) -> list[tuple[Any, ...]]:
        ids = values.get("ids", ())
        if hql.startswith("select fs.id, e.omeName"):
            return [(one, self.username, GROUP_ID) for one in ids if one in self.files]
        if hql.startswith("select fs.id, o.id"):
            return [
                (fileset, number, path, name, size, sha1, "SHA1-160", client)
                for fileset in ids
                for number, path, name, size, sha1, client in self.files.get(fileset, ())
            ]
        if hql.startswith("select fs.id, i.id"):
            return [(one, one * 10) for one in ids if one in self.files]
        if hql.startswith("select l.parent.id, l.child.id from FilesetJobLink"):
            return [(one, one * 10 + 1) for one in ids if one in self.files]
        if "UploadJob" in hql:
            return [(job, "Finished") for job in values["jobs"]]
        if NS_PROVENANCE in str(values) or "Plate" in hql:
            return []
        raise NotImplementedError(hql)
