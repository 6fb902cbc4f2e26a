"""Files in the repository.

RawFileStore, the managed repository itself, and the shared resources that lead to it.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import omero
import omero.api
import omero.grid
import omero.model
from omero.rtypes import rlong, rstring

from server_bridge.sandbox.model import ENTITIES
from server_bridge.sandbox.objects import load, load_one
from server_bridge.sandbox.repository import DEFAULT_HASHER, HASHERS, RepositoryError, checksum
from server_bridge.sandbox.security import Action
from server_bridge.sandbox.servants.core import Call, Owner, Services, publish, unpublish
from server_bridge.sandbox.sessions import usage, violation
from server_bridge.sandbox.store import now_ms

ORIGINAL_FILE = ENTITIES["OriginalFile"]
CHECK_BYTES = 36


def resource_error(message: str) -> omero.ResourceError:
    return omero.ResourceError(None, "ome.conditions.ResourceError", message)


class RawFile:
    """omero.api.RawFileStore over one OriginalFile of the repository."""

    def __init__(self, services: Services, file_id: int | None = None, writable: bool = False) -> None:
        self.services = services
        self.file_id = file_id
        self.writable = writable
        self.modified = False

    def published(self, call: Call) -> Any:
        """A proxy for the caller's client."""
        owner = Owner(call.caller.session_uuid, call.client)
        return publish(
            self.services, owner, omero.api.RawFileStore, omero.api.RawFileStorePrx, self, str(uuid.uuid4())
        )

    def _path(self) -> Path:
        if self.file_id is None:
            raise usage("RawFileStore has not been initialised: call setFileId first")
        rows = self.services.store.by_ids(ORIGINAL_FILE, [self.file_id])
        if not rows:
            raise resource_error(f"No OriginalFile {self.file_id}")
        return self.services.repository.path_of(rows[0])

    def setFileId(self, call: Call, file_id: int) -> None:
        rows = call.store.by_ids(ORIGINAL_FILE, [file_id])
        if not rows or rows[0]["mimetype"] == "Repository":
            raise resource_error(f"Bad OriginalFile id: {file_id}")
        row = rows[0]
        if not call.caller.sees(row["details_owner"], row["details_group"]):
            raise violation(f"Cannot read OriginalFile {file_id}")
        self.file_id = file_id
        self.writable = call.caller.may(Action.EDIT, row["details_owner"], row["details_group"])

    def getFileId(self, call: Call) -> Any:
        return rlong(self.file_id) if self.file_id is not None else None

    def exists(self, call: Call) -> bool:
        return self._path().exists()

    def size(self, call: Call) -> int:
        try:
            with self._path().open("rb") as handle:
                return handle.seek(0, 2)
        except OSError as error:
            raise resource_error(f"Cannot read {self._path()}: {error.strerror}") from error

    def read(self, call: Call, position: int, length: int) -> bytes:
        try:
            with self._path().open("rb") as handle:
                handle.seek(position)
                return handle.read(length)
        except OSError as error:
            raise resource_error(f"Cannot read {self._path()}: {error.strerror}") from error

    def write(self, call: Call, data: bytes, position: int, length: int) -> None:
        if not self.writable:
            raise violation("The file was opened for reading only")
        path = self._path()
        try:
            with path.open("r+b" if path.exists() else "wb") as handle:
                handle.seek(position)
                handle.write(data[:length])
        except OSError as error:
            raise resource_error(f"Cannot write {path}: {error.strerror}") from error
        self.modified = True

    def truncate(self, call: Call, length: int) -> bool:
        path = self._path()
        if not self.writable or path.stat().st_size <= length:
            return False
        with path.open("r+b") as handle:
            handle.truncate(length)
        self.modified = True
        return True

    def save(self, call: Call) -> Any:
        """Hash the file again if its size is no longer the recorded one.

        That is how OMERO notices the link a client put in place of the 36 bytes it had written; a file of
        exactly 36 bytes therefore keeps the checksum of the check text and is refused later.
        """
        path = self._path()
        row = call.store.by_ids(ORIGINAL_FILE, [self.file_id or 0])[0]
        try:
            stat = path.stat()
            if self.modified or row["size"] != stat.st_size or self._notices_same_size(path, stat.st_size):
                hasher = call.store.value("SELECT value FROM checksumalgorithm WHERE id = ?", [row["hasher"]])
                values = {
                    "hash": checksum(path, hasher or DEFAULT_HASHER),
                    "size": stat.st_size,
                    "mtime": stat.st_mtime_ns // 1_000_000,
                }
                call.store.update(ORIGINAL_FILE, row["id"], values)
        except (OSError, RepositoryError) as error:
            raise resource_error(f"Cannot checksum {path}: {error}") from error
        self.modified = False
        return load_one(call.store, call.caller, "OriginalFile", row["id"], {"hasher": {}})

    def _notices_same_size(self, path: Path, size_bytes: int) -> bool:
        """Whether this is a server without the weakness described at :meth:`save`."""
        return size_bytes == CHECK_BYTES and self.services.faults.strike("save36", str(path)) == "rehash"

    def close(self, call: Call) -> None:
        if self.modified:
            self.save(call)
        unpublish(self.services, call.current)


class ManagedRepository:
    """omero.grid.ManagedRepository."""

    def root(self, call: Call) -> Any:
        return load_one(call.store, call.caller, "OriginalFile", call.services.repository.row_id)

    def importFileset(self, call: Call, fileset: Any, settings: Any) -> Any:
        # Here and not above: an import process hands out files, and files lead to the repository.
        from server_bridge.sandbox.servants.imports import begin

        return begin(call, fileset, settings)

    def listImports(self, call: Call) -> list[Any]:
        from server_bridge.sandbox.servants.imports import running

        return running(call)

    def listChecksumAlgorithms(self, call: Call) -> list[Any]:
        return [_algorithm(name) for name in HASHERS]

    def suggestChecksumAlgorithm(self, call: Call, supported: list[Any]) -> Any:
        theirs = [one.value.val for one in supported or []]
        for name in HASHERS:
            if not theirs or name in theirs:
                return _algorithm(name)
        return None

    def verifyChecksums(self, call: Call, file_ids: list[int]) -> list[int]:
        """The ids of the files whose bytes no longer have the recorded checksum."""
        wrong = []
        for row in call.store.by_ids(ORIGINAL_FILE, file_ids):
            hasher = call.store.value("SELECT value FROM checksumalgorithm WHERE id = ?", [row["hasher"]])
            path = call.services.repository.path_of(row)
            if hasher and (not path.exists() or checksum(path, hasher) != row["hash"]):
                wrong.append(row["id"])
        return wrong

    def fileExists(self, call: Call, path: str) -> bool:
        return call.services.repository.absolute(path).exists()

    def list(self, call: Call, path: str) -> Any:
        directory = call.services.repository.absolute(path)
        return sorted(f"{path.rstrip('/')}/{entry.name}" for entry in directory.iterdir())

    def listFiles(self, call: Call, path: str) -> Any:
        inside = f"{path.strip('/')}/"
        rows = call.store.rows("SELECT id FROM originalfile WHERE path = ? AND repo IS NOT NULL", [inside])
        return load(call.store, call.caller, ORIGINAL_FILE, [row["id"] for row in rows])

    def fileById(self, call: Call, file_id: int) -> Any:
        store = RawFile(call.services)
        store.setFileId(call, file_id)
        return store.published(call)

    def mimetype(self, call: Call, path: str) -> str:
        return "application/octet-stream"


def _algorithm(name: str) -> Any:
    made = omero.model.ChecksumAlgorithmI()
    made.value = rstring(name)
    return made


class SharedResources:
    """omero.grid.SharedResources, as far as repositories go."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    def repositories(self, call: Call) -> Any:
        repository = publish(
            call.services,
            self.owner,
            omero.grid.ManagedRepository,
            omero.grid.ManagedRepositoryPrx,
            ManagedRepository(),
            "ManagedRepository",
        )
        description = ManagedRepository().root(call)
        proxy = omero.grid.RepositoryPrx.uncheckedCast(repository)
        return omero.grid.RepositoryMap([description], [proxy])

    def areTablesEnabled(self, call: Call) -> bool:
        return False


def resources(call: Call, owner: Owner) -> Any:
    return publish(
        call.services,
        owner,
        omero.grid.SharedResources,
        omero.grid.SharedResourcesPrx,
        SharedResources(owner),
        "SharedResources",
    )


def register_file(
    call: Call, path: str, name: str, *, event: int, hasher: str = DEFAULT_HASHER, mimetype: str | None = None
) -> int:
    """A row for a file of the repository that has no content yet."""
    return call.store.insert(
        "OriginalFile",
        call.caller,
        path=path,
        name=name,
        repo=call.services.repository.uuid,
        size=0,
        mtime=now_ms(),
        hasher=call.store.enumeration("ChecksumAlgorithm", hasher),
        mimetype=mimetype or "application/octet-stream",
        details_creation=event,
    )
