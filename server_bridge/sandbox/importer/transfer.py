"""Getting one file into the repository: a hard link made by the client, or an upload.

The hard link goes through the original's checks. The server writes 36 bytes into the place, the client must
find them there, readable, equal and deletable; then it links, and the server is asked for the size of what
it sees now.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import omero

from server_bridge.sandbox.faults import Faults
from server_bridge.sandbox.importer import output
from server_bridge.sandbox.importer.connection import Connection
from server_bridge.sandbox.repository import checksum

BLOCK_BYTES = 1 << 20
NAMES = {
    "ln": "HardlinkFileTransfer",
    "ln_s": "SymlinkFileTransfer",
    "cp": "CopyFileTransfer",
    "upload": "UploadFileTransfer",
}
NO_ACCESS = "You likely do not have access to the ManagedRepository for in-place import."


class TransferError(Exception):
    """The file did not get into the repository."""


class Transfer:
    """Transfers the files of one import process."""

    def __init__(self, connection: Connection, method: str, algorithm: str, faults: Faults) -> None:
        self.connection = connection
        self.method = method
        self.algorithm = algorithm
        self.faults = faults

    @property
    def class_name(self) -> str:
        return f"ome.formats.importer.transfers.{NAMES[self.method]}"

    def transfer(self, process: Any, place: int, source: Path) -> str:
        """Bring in the file at that place of the fileset; returns the client's checksum of it.

        Raises TransferError, or what the server says.
        """
        output.log("INFO", f"o.importer.transfers.{NAMES[self.method]}", f"Transferring {source}...")
        output.log("INFO", output.MONITOR, f"FILE_UPLOAD_STARTED: {source}")
        uploader = (
            self._upload(process, place, source)
            if self.method == "upload"
            else self._in_place(process, place, source)
        )
        # The server hashes when it saves, after the client: a client that fails here leaves no checksum.
        digest = self._digest(source)
        uploader.save()
        uploader.close()
        output.log("INFO", output.MONITOR, f"FILE_UPLOAD_COMPLETE: {source}")
        return digest

    def _digest(self, source: Path) -> str:
        try:
            digest = checksum(source, self.algorithm)
        except OSError as error:
            raise TransferError(f"{source}: {error.strerror}") from error
        if self.faults.strike("hash", str(source)) == "wrong_hash":
            return "0" * len(digest)
        return digest

    def _in_place(self, process: Any, place: int, source: Path) -> Any:
        location = self._location(process, place)
        self._check_location(process, place, location, source)
        self.faults.strike("link", str(source))
        try:
            if self.method == "ln_s":
                location.symlink_to(source)
            elif self.method == "cp":
                shutil.copy2(source, location)
            else:
                os.link(source, location)
        except OSError as error:
            # The wording of java.nio.file.FileSystemException.
            raise TransferError(f"{location} -> {source}: {error.strerror}") from error
        return self._check_target(process, place, source)

    def _location(self, process: Any, place: int) -> Path:
        uploader = process.getUploader(place)
        file_id = uploader.getFileId().val
        uploader.close()
        row = self.connection.query.get("OriginalFile", file_id)
        root = self.connection.repository.root()
        return Path(root.path.val, root.name.val, row.path.val.lstrip("/"), row.name.val)

    def _check_location(self, process: Any, place: int, location: Path, source: Path) -> None:
        if os.path.lexists(location):
            raise TransferError(f"{location} exists")
        text = str(uuid.uuid4()).encode()
        uploader = process.getUploader(place)
        uploader.write(text, 0, len(text))
        uploader.close()
        self.faults.strike("check36", str(source))
        problem = ""
        if not location.exists():
            problem = "does not exist"
        elif not os.access(location, os.R_OK):
            problem = "cannot be read"
        elif location.read_bytes() != text:
            problem = "does not match check text"
        elif not os.access(location, os.W_OK):
            problem = "cannot be modified locally"
        if problem:
            raise TransferError(f"Check failed: {location} {problem}! {NO_ACCESS}")
        try:
            location.unlink()
        except OSError as error:
            raise TransferError(f"Check failed: {location} could not be cleaned up! {NO_ACCESS}") from error

    def _check_target(self, process: Any, place: int, source: Path) -> Any:
        self.faults.strike("checkTarget", str(source))
        uploader = process.getUploader(place, self.connection.reading())
        try:
            uploader.size()
        except omero.ServerError as error:
            raise TransferError(
                f"The server could not check the size of the file {source}."
                " Most likely the server process has no read access to it."
            ) from error
        return uploader

    def _upload(self, process: Any, place: int, source: Path) -> Any:
        self.faults.strike("link", str(source))
        uploader = process.getUploader(place)
        position = 0
        with source.open("rb") as handle:
            while block := handle.read(BLOCK_BYTES):
                uploader.write(block, position, len(block))
                position += len(block)
        if uploader.size() != position:
            raise TransferError(f"{source}: not all of {position} bytes arrived")
        return uploader
