"""File handling that both systems share."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from agent.platform.base import Room


def write_private(path: Path, content: bytes) -> None:
    """Write ``content`` whole or not at all, mode 0600, and on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file 0600, before there is anything in it.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def room(path: Path) -> Room | None:
    """Free and total bytes where ``path`` is, or None."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return Room(free_bytes=usage.free, total_bytes=usage.total)
