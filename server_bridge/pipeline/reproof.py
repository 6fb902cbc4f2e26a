"""Proof by reading OMERO's file again, where the names on disk no longer say enough.

An inode proves without reading: the staged name and OMERO's name are one file, so the bytes are those that
were hashed. Moving the storage to other disks gives every file another inode (and may lose the staged name),
and a bit that rots under an unchanged inode is seen by nobody who does not read. Both end here: with the
SHA-1 of what OMERO's file holds now, against the receipt.

What was found is remembered in the file's ``rule``, because the proving step and every release look again:

* :func:`mark_reproved` on a proven file: its bytes were read under another inode; that inode (in ``inode``)
  with that time of change stands in for the staged name;
* :data:`DOUBTED` on a pending file: reading it failed or gave other bytes; it is not proven again before it
  was read again.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from server_bridge.omero.proof import FileProblem, FileProof, NameOnDisk, judge, look
from server_bridge.omero.receipts import ManagedFile
from server_bridge.orders.file_rows import FileRow

DOUBTED = "read again: other bytes than proven"
READABLE_CODES = frozenset({"staged_missing", "inode_differs", "mtime_differs"})
"""Problems of names and times alone: reading OMERO's file settles them."""
BLOCK_BYTES = 4 << 20
_MARK = re.compile(r"re-proved by SHA-1, mtime (-?\d+)\Z")


@dataclass(frozen=True, slots=True)
class Content:
    """What one complete reading of a file gave."""

    sha1: str
    size_bytes: int


def read_content(path: Path, on_bytes: Callable[[int], None] = lambda _count: None) -> Content:
    """SHA-1 of a regular file, from first to last byte; links are not followed.

    Args:
        path: OMERO's file.
        on_bytes: told how many bytes each block had.

    Raises:
        OSError: where it cannot be read, or is no regular file.
    """
    digest, size = hashlib.sha1(usedforsecurity=False), 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(22, "not a regular file", str(path))
        while block := os.read(descriptor, BLOCK_BYTES):
            digest.update(block)
            # Terabytes go through here once: they must not push out what OMERO's readers use.
            os.posix_fadvise(descriptor, size, len(block), os.POSIX_FADV_DONTNEED)
            size += len(block)
            on_bytes(len(block))
    finally:
        os.close(descriptor)
    return Content(digest.hexdigest(), size)


def mark_reproved(mtime_s: int) -> str:
    """The ``rule`` of a file that was proven by reading it under another inode."""
    return f"re-proved by SHA-1, mtime {mtime_s}"


def judge_managed(
    staged_path: str, managed: NameOnDisk | None, mtime_s: int, sha1: str | None, held: ManagedFile
) -> FileProof | FileProblem:
    """Every fact of a proof but the staged name: OMERO's name stands for both. ``mtime_s`` is the one that
    this name must have."""
    if managed is None:
        return FileProblem(
            "managed_missing", "The file is not in OMERO's ManagedRepository", str(held.managed_abs_path)
        )
    both = replace(managed, links=max(managed.links, 2))
    return judge(staged_path, str(held.managed_abs_path), both, both, both.size, mtime_s, sha1, held)


def by_receipt(
    file: FileRow, staged: Path, problem: FileProblem, held: ManagedFile
) -> FileProof | FileProblem:
    """Whether the receipt alone carries a file whose names are not one any more.

    It does in two cases: the buffer copy is gone and we dropped the staged name ourselves, or the file was
    read again under its new inode. In both, OMERO's name must still be the receipt's inode, unchanged in size
    and time. (Only the inode's number is compared: a device's number is another one after every mount.)
    """
    mark = _MARK.match(file.rule)
    dropped = problem.code == "staged_missing" and file.freed_at is not None
    if not dropped and not (mark and problem.code in READABLE_CODES):
        return problem
    mtime_s = int(mark[1]) if mark else file.source_mtime_s
    managed = look(held.managed_abs_path)
    if managed is None or mtime_s is None or managed.inode != file.inode or managed.size != file.size_bytes:
        return problem
    found = judge_managed(str(staged), managed, mtime_s, file.sha1, held)
    return replace(found, rule=file.rule) if isinstance(found, FileProof) else found


def _same(name: NameOnDisk) -> tuple[int, int, int, int]:
    return name.device, name.inode, name.size, name.mtime_s


def read_again(
    file: FileRow, staged: Path, held: ManagedFile, on_bytes: Callable[[int], None] = lambda _count: None
) -> FileProof | FileProblem:
    """Prove a file by what OMERO's file holds now, whatever the names say; reads it completely.

    Raises:
        OSError: where the disk fails at looking. A file that cannot be read is a problem, not an error.
    """
    path = held.managed_abs_path
    managed = look(path)
    if managed is not None and managed.size != file.size_bytes:
        return FileProblem(
            "size_differs",
            "The size is not the same everywhere",
            f"{path}: receipt {file.size_bytes}, now {managed.size} bytes.",
        )
    found = judge_managed(str(staged), managed, managed.mtime_s if managed else 0, file.sha1, held)
    if isinstance(found, FileProblem):
        return found
    try:
        content = read_content(path, on_bytes)
    except OSError as error:
        return FileProblem(
            "unreadable",
            "OMERO's file cannot be read",
            f"{path}: {error.strerror or error}.",
            "Look at the disk, keep the copy on the buffer, and prove the order again afterwards.",
        )
    if (content.sha1, content.size_bytes) != (found.sha1, file.size_bytes):
        return FileProblem(
            "content_differs",
            "OMERO's file holds other bytes than were proven",
            f"{path}: SHA-1 of the receipt {found.sha1}, of the file now {content.sha1}.",
            "Keep the copy on the buffer and restore OMERO's file from it or from a backup, then prove "
            "again.",
        )
    now = look(path)
    if now is None or managed is None or _same(now) != _same(managed):
        return FileProblem(
            "changed_meanwhile", "The file changed while it was read", str(path), "Prove the order again."
        )
    link = look(staged)
    linked = link is not None and (link.device, link.inode) == (found.device, found.inode)
    if linked and found.mtime_s == file.source_mtime_s:
        return found  # the names are one again: nothing has to stand in for them
    return replace(found, rule=mark_reproved(found.mtime_s))
