"""When is one file proven? One question to the disk, then one pure decision.

A proof says: the bytes that rsync hashed while it read the buffer are the bytes OMERO hashed, under one inode
that both names share, unchanged in size and mtime. Each fact alone can be true by accident; a file is proven
when none is missing.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server_bridge.errors import NeedsAttention
from server_bridge.omero.paths import client_path

if TYPE_CHECKING:
    from server_bridge.omero.receipts import ManagedFile

SHA1_HASHER = "SHA1-160"
CHECK_BYTES = 36
"""The importer's safety check writes 36 bytes where the link will be; [infer] a file of just that size keeps
their hash, because OMERO hashes again only when the size changed."""


@dataclass(frozen=True, slots=True)
class NameOnDisk:
    """One directory entry, never followed where it is a link."""

    device: int
    inode: int
    links: int
    regular: bool
    size: int
    mtime_s: int


@dataclass(frozen=True, slots=True)
class FileProof:
    """The facts of a proven file."""

    sha1: str
    size: int
    mtime_s: int
    device: int
    inode: int
    links: int
    original_file_id: int
    managed_path: str
    rule: str = ""
    """What stands in for the staged name, where the two names are not one any more (pipeline.reproof)."""


@dataclass(frozen=True, slots=True)
class FileProblem:
    """Why a file is not proven. ``code`` is stable."""

    code: str
    title: str
    detail: str
    remedy: str = "Let staff look at this file before anything else is done with it."

    def error(self) -> NeedsAttention:
        """The problem as what stops an order."""
        return NeedsAttention(self.detail, code=self.code, title=self.title, remedy=self.remedy)


def look(path: Path) -> NameOnDisk | None:
    """``lstat`` of a name; None where there is none. Raises OSError for anything else (a disk that fails)."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return NameOnDisk(
        device=found.st_dev,
        inode=found.st_ino,
        links=found.st_nlink,
        regular=stat.S_ISREG(found.st_mode),
        size=found.st_size,
        mtime_s=found.st_mtime_ns // 1_000_000_000,
    )


def prove_file(
    staged: Path, managed: Path, size: int, mtime_s: int, sha1_source: str | None, managed_file: ManagedFile
) -> FileProof | FileProblem:
    """Look at both names and decide.

    Args:
        staged: the file in staging (absolute).
        managed: the file in ManagedRepository, as this host sees it.
        size: bytes, from the bridge's own listing of the source.
        mtime_s: whole seconds since the epoch, from the same listing.
        sha1_source: what rsync computed while it read the buffer; None: lost.
        managed_file: what OMERO's database says about it.
    """
    return judge(
        str(staged), str(managed), look(staged), look(managed), size, mtime_s, sha1_source, managed_file
    )


def judge(
    staged_path: str,
    managed_path: str,
    staged: NameOnDisk | None,
    managed: NameOnDisk | None,
    size: int,
    mtime_s: int,
    sha1_source: str | None,
    managed_file: ManagedFile,
) -> FileProof | FileProblem:
    """The decision behind :func:`prove_file`, on facts alone."""
    if staged is None:
        return FileProblem("staged_missing", "The staged file is not there", staged_path)
    if managed is None:
        return FileProblem("managed_missing", "The file is not in OMERO's ManagedRepository", managed_path)
    if not (staged.regular and managed.regular):
        return FileProblem("not_regular", "A file was replaced by something else", staged_path)
    if managed_file.client_path != client_path(staged_path):
        return FileProblem(
            "other_file",
            "OMERO's file is not this one",
            f"{staged_path}: OMERO has it as {managed_file.client_path}.",
        )
    if (staged.device, staged.inode) != (managed.device, managed.inode) or staged.links < 2:
        return FileProblem(
            "inode_differs",
            "OMERO's file and the staged file are not one",
            f"{staged_path} is inode {staged.inode} with {staged.links} names, {managed_path} inode "
            f"{managed.inode}.",
            "Check that imports link in place (--transfer=ln) and that nothing rewrites staging.",
        )
    if not staged.size == size == managed_file.size:
        return FileProblem(
            "size_differs",
            "The size is not the same everywhere",
            f"{staged_path}: source {size}, staged {staged.size}, OMERO {managed_file.size} bytes.",
        )
    if staged.mtime_s != mtime_s:
        return FileProblem(
            "mtime_differs",
            "The file was changed after it was pulled",
            f"{staged_path}: source {mtime_s}, staged {staged.mtime_s} (seconds since 1970).",
        )
    if not sha1_source:
        return FileProblem(
            "digest_lost",
            "The checksum of the source is not known",
            staged_path,
            "The file has to be pulled again for its checksum.",
        )
    if managed_file.hasher != SHA1_HASHER:
        return FileProblem(
            "not_hashed",
            "OMERO did not compute a SHA-1",
            f"{staged_path}: OMERO's checksum algorithm is {managed_file.hasher or 'none'}.",
            "Set omero.checksum.supported on the OMERO server so that SHA1-160 comes first.",
        )
    if managed_file.sha1 != sha1_source.lower():
        return FileProblem("hash_differs", "OMERO holds other bytes than the buffer", _hashes(
            staged_path, size, sha1_source, managed_file
        ))  # fmt: skip
    return FileProof(
        sha1=managed_file.sha1,
        size=size,
        mtime_s=mtime_s,
        device=staged.device,
        inode=staged.inode,
        links=staged.links,
        original_file_id=managed_file.original_file_id,
        managed_path=managed_path,
    )


def _hashes(staged_path: str, size: int, sha1_source: str, managed_file: ManagedFile) -> str:
    told = f"{staged_path}: SHA-1 of the source {sha1_source}, in OMERO {managed_file.sha1}."
    if size == CHECK_BYTES:
        told += f" Files of exactly {CHECK_BYTES} bytes meet a known weakness of OMERO's in-place import."
    return told
