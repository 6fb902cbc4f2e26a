"""The managed repository on disk: where imported files live and how their checksums are made.

Directories and files are made with the process's umask, as OMERO does; removing a file removes one name
only, so a staged hard link keeps the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from server_bridge.sandbox.security import ROOT, USER_GROUP, Caller
from server_bridge.sandbox.store import Store, now_ms

DEFAULT_HASHER = "SHA1-160"
HASHERS = ("SHA1-160", "MD5-128", "CRC-32", "Adler-32", "File-Size-64")
CHUNK_BYTES = 1 << 20


class RepositoryError(Exception):
    """A path or an algorithm that the repository does not take."""


def checksum(path: Path, hasher: str) -> str:
    """The checksum of a file as OMERO writes it.

    Raises RepositoryError for an algorithm the sandbox lacks.
    """
    if hasher == "File-Size-64":
        return f"{path.stat().st_size:016x}"
    if hasher in ("CRC-32", "Adler-32"):
        function: Callable[[bytes, int], int] = zlib.crc32 if hasher == "CRC-32" else zlib.adler32
        value = 0 if hasher == "CRC-32" else 1
        with path.open("rb") as handle:
            while chunk := handle.read(CHUNK_BYTES):
                value = function(chunk, value)
        return f"{value:08x}"
    names = {"SHA1-160": "sha1", "MD5-128": "md5"}
    if hasher not in names:
        raise RepositoryError(f"the sandbox cannot compute {hasher}")
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, names[hasher]).hexdigest()


class Repository:
    """``ManagedRepository``: one directory tree and the row that stands for it."""

    def __init__(self, root: Path, store: Store) -> None:
        self.root = root
        self.store = store
        self._lock = threading.Lock()
        # Import processes that are open, by their name; the values belong to servants.imports.
        self.imports: dict[str, Any] = {}
        root.mkdir(parents=True, exist_ok=True)
        (root.parent / "Files").mkdir(exist_ok=True)
        self.uuid = str(store.setting("database.uuid")) + "-managed"
        self.row_id = self._register()

    def _register(self) -> int:
        known = self.store.row(
            "SELECT * FROM originalfile WHERE mimetype = 'Repository' AND hash = ?", [self.uuid]
        )
        path = f"{self.root.parent}/"
        if known is not None:
            self.store.execute(
                "UPDATE originalfile SET path = ?, name = ? WHERE id = ?", [path, self.root.name, known["id"]]
            )
            return int(known["id"])
        return self.store.insert(
            "OriginalFile",
            None,
            path=path,
            name=self.root.name,
            size=0,
            mtime=now_ms(),
            hash=self.uuid,
            mimetype="Repository",
            details_owner=ROOT,
            details_group=USER_GROUP,
        )

    def absolute(self, relative: str) -> Path:
        """The file behind a repository path; raises RepositoryError for a path that leads out of it."""
        pure = PurePosixPath(relative.lstrip("/"))
        if ".." in pure.parts or "\0" in relative:
            raise RepositoryError(f"illegal path: {relative}")
        return self.root.joinpath(*pure.parts)

    def path_of(self, row: sqlite3.Row) -> Path:
        """The file of an OriginalFile row: in the repository, or an attachment in ``Files`` beside it."""
        if row["repo"] is None:
            return self.root.parent / "Files" / str(row["id"])
        return self.absolute(f"{row['path']}{row['name']}")

    def new_directory(self, caller: Caller, now: datetime | None = None) -> str:
        """Make the directory of a new fileset.

        ``%user%_%userId%//%year%-%month%/%day%/%time%`` with a final slash.
        """
        now = now or datetime.now(UTC)
        stem = (
            now.strftime(f"{caller.user_name}_{caller.user_id}/%Y-%m/%d/%H-%M-%S.")
            + f"{now.microsecond // 1000:03d}"
        )
        with self._lock:
            name, attempt = stem, 0
            while self.absolute(name).exists() or self.absolute(f"{name}.log").exists():
                attempt += 1
                name = f"{stem}__{attempt}"
            self.absolute(name).mkdir(parents=True)
        return f"{name}/"

    def forget_client(self, client: str) -> None:
        """A client is gone: the processes it had open are nobody's.

        What the server took over still goes on.
        """
        for name, process in list(self.imports.items()):
            if process.work.client == client:
                self.imports.pop(name, None)

    @staticmethod
    def remove(path: Path) -> None:
        """Unlink one file's managed name; its directories stay, as OMERO leaves them."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
