"""Make what was written survive a power loss, before a digest or a receipt about it is committed."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


def _load_syncfs() -> object | None:
    # The C library of this process; musl and glibc >= 2.14 have syncfs, other systems may not.
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


_syncfs = _load_syncfs()


def sync_filesystem(path: Path) -> None:
    """Write the whole file system that holds ``path`` (a directory or file) to disk: syncfs(2).

    One call per acquisition costs far less than an fsync per file. Raises OSError when the disk reports a
    failed write (Linux 5.8 and later do): then nothing about these files may be recorded.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _syncfs is None:
            os.sync()
        elif _syncfs(ctypes.c_int(fd)) != 0:  # type: ignore[operator]
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(fd)


def fsync_dir(path: Path) -> None:
    """Write a directory's entries (a rename, a new or removed name) to disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
