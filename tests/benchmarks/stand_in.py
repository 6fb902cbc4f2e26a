"""An OMERO without a server, for orders of a size that the sandbox's importer needs half an hour for.

It answers the few questions that verifying, proving and the release ask, from facts it is given, and pages
them as OMERO does. Nothing else of an order's way is replaced.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server_bridge.omero.names import NS_PROVENANCE
from server_bridge.omero.paths import client_path

GROUP_ID, DATASET_ID = 3, 11


class StandIn:
    """Filesets of one person in one group, in a file: what OMERO remembers is not the bridge's memory."""

    def __init__(self, managed: Path, person: str) -> None:
        self.managed_repository = managed
        self.username, self.user_id, self.group_id = person, 5, GROUP_ID
        self._files = sqlite3.connect(f"{managed}.sqlite", isolation_level=None, check_same_thread=False)
        self._files.executescript(
            "pragma synchronous=off;"
            "create table files (fileset, id primary key, path, name, size, sha1, client);"
            "create index of_fileset on files (fileset, id)"
        )

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

    def import_unit(self, fileset_id: int, staged: Iterable[tuple[Path, str]]) -> None:
        """Link files in place, as `omero import --transfer=ln` does; ``staged`` are paths and SHA-1s."""
        folder = self.managed_repository / f"{self.username}_{self.user_id}" / str(fileset_id)
        folder.mkdir(parents=True, exist_ok=True)
        held: list[tuple[int | str, ...]] = []
        for number, (path, sha1) in enumerate(staged):
            os.link(path, folder / path.name)
            where = f"{self.username}_{self.user_id}/{fileset_id}/"
            ids = fileset_id * 1_000_000 + number
            size = path.lstat().st_size
            held.append((fileset_id, ids, where, path.name, size, sha1, client_path(str(path))))
        self._files.executemany("insert into files values (?, ?, ?, ?, ?, ?, ?)", held)

    def rows(
        self, hql: str, values: Any = None, *, page: tuple[int, int] | None = None, **_more: object
    ) -> list[tuple[Any, ...]]:
        values = values or {}
        if hql.startswith("select fs.id, o.id"):
            columns = "fileset, id, path, name, size, sha1, 'SHA1-160', client"
            return self._ask(columns, values["ids"], "id", *(page or (0, -1)))
        found = self._answer(hql, values)
        return found if page is None else found[page[0] : page[0] + page[1]]

    def _ask(
        self, what: str, ids: Sequence[int], order: str, offset: int = 0, limit: int = -1
    ) -> list[tuple[Any, ...]]:
        marks = ",".join("?" * len(ids))
        sql = f"select {what} from files where fileset in ({marks}) order by {order} limit ? offset ?"
        return self._files.execute(sql, [*ids, limit, offset]).fetchall()

    def _answer(self, hql: str, values: Any) -> list[tuple[Any, ...]]:
        known = [one for (one,) in self._ask("distinct fileset", values.get("ids", ()), "fileset")]
        if hql.startswith("select fs.id, e.omeName"):
            return [(one, self.username, GROUP_ID) for one in known]
        if hql.startswith("select fs.id, i.id"):
            return [(one, one * 10) for one in known]
        if hql.startswith("select l.parent.id, l.child.id from FilesetJobLink"):
            return [(one, one * 10 + 1) for one in known]
        if "UploadJob" in hql:
            return [(job, "Finished") for job in values["jobs"]]
        if NS_PROVENANCE in str(values) or "Plate" in hql:
            return []
        raise NotImplementedError(hql)
