"""What lies on a disk: content, identity and the room it takes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One regular file. ``allocated_bytes`` is what the filesystem says it occupies."""

    size_bytes: int
    sha1: str
    device: int
    inode: int
    links: int
    allocated_bytes: int


def sha1_of(path: Path) -> str:
    """SHA-1 of the whole file, read here and now."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()


def regular_files(top: Path) -> Iterator[Path]:
    """Every regular file below ``top`` (no link is followed)."""
    for folder, _dirs, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def facts(path: Path) -> FileFacts:
    """Facts of one file, content included.

    Raises:
        OSError: where it cannot be read.
    """
    status = path.lstat()
    return FileFacts(
        status.st_size,
        sha1_of(path),
        status.st_dev,
        status.st_ino,
        status.st_nlink,
        status.st_blocks * 512,
    )


def content(top: Path) -> dict[str, FileFacts]:
    """Relative POSIX path → facts, for every regular file below ``top``."""
    return {path.relative_to(top).as_posix(): facts(path) for path in regular_files(top)}


def used_bytes(tops: Iterable[Path]) -> int:
    """Bytes the trees occupy, each inode once: two names of one file do not count twice."""
    os.sync()  # delayed allocation: blocks are counted when they are written
    seen: dict[tuple[int, int], int] = {}
    for top in tops:
        for path in regular_files(top):
            status = path.lstat()
            seen[(status.st_dev, status.st_ino)] = status.st_blocks * 512
    return sum(seen.values())
