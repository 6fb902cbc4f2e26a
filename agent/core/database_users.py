"""Who has a database open: nobody may set a damaged file aside under another session's hands.

On Windows a file that somebody has open cannot be renamed, so nothing more is needed there. Elsewhere it can:
whoever goes on writing then writes into the file that was set aside. A lock on a file beside the database,
shared by all who use it, says whether anybody else does; the kernel drops it with the process.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

TURN_SECONDS = 15.0
"""How long a start waits for another that looks after the same file."""
_LOOK_EVERY_SECONDS = 0.05


class StillLookedAfter(OSError):
    """Another session's start takes too long over the same file."""


class Users:
    """This session's part in the lock, held until :meth:`leave`."""

    def __init__(self, database: Path) -> None:
        """Come in.

        Raises:
            StillLookedAfter: where another session is alone with the file for too long.
            OSError: where the lock's file cannot be made.
        """
        self.alone = True
        """Whether nobody else has it open, nor can open it before :meth:`share`."""
        self._descriptor: int | None = None
        if sys.platform != "win32":
            path = database.with_name(f".{database.name}.users")
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self.alone = self._enter(self._descriptor)
            except BaseException:
                self.leave()
                raise

    if sys.platform != "win32":

        @staticmethod
        def _enter(descriptor: int) -> bool:
            import fcntl

            until = time.monotonic() + TURN_SECONDS
            while True:
                for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
                    try:
                        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    return kind == fcntl.LOCK_EX
                if time.monotonic() > until:
                    raise StillLookedAfter("another session is looking after it")
                time.sleep(_LOOK_EVERY_SECONDS)

    def share(self) -> None:
        """Let others in, and stay."""
        if self._descriptor is not None and sys.platform != "win32":
            import fcntl

            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self.alone = False

    def leave(self) -> None:
        """Go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
