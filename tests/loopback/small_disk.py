"""A small disk for a test, without any privilege: a tmpfs in a mount namespace of its own."""

from __future__ import annotations

import os
from pathlib import Path


def on_small_disk(place: Path, size: str, command: list[str]) -> list[str]:
    """The command, for which ``place`` is a disk of that size (``8m``); nobody else sees it.

    The inner user namespace gives the user's own number back: the bridge refuses to be root.
    """
    inner = (
        f'mount -t tmpfs -o size={size},mode=0700 none "$0" && '
        f'exec unshare --user --map-user={os.getuid()} --map-group={os.getgid()} "$@"'
    )
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner, str(place), *command]


def fill(file: Path) -> None:
    """Take the last byte of the disk that ``file`` is on."""
    with file.open("ab", buffering=0) as stream:
        size = 65536
        while size:
            try:
                stream.write(b"x" * size)
            except OSError:
                size //= 2
