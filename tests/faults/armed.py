"""The files through which a run arms kill points, and reads how often each was passed.

``armed/<point>`` holds a countdown; whoever passes the point for the last time of it is killed. Every pass
is one line of ``passes``, every kill one line of ``kills``, appended at once: they survive the kill.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path


class Book:
    """One run's kill points. Shared by the run and its bridges through ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._armed = folder / "armed"
        self._passes = folder / "passes"
        self._kills = folder / "kills"
        self._guard = threading.Lock()
        self._armed.mkdir(parents=True, exist_ok=True)

    # --- the run's side -------------------------------------------------------------------------------

    def arm(self, point: str, countdown: int = 1) -> None:
        """Kill whoever passes the point for the ``countdown``-th time from now on."""
        half = self._armed / f".{point}"
        half.write_text(str(countdown), encoding="ascii")
        half.replace(self._armed / point)

    def disarm(self) -> None:
        """Let everybody pass."""
        for path in self._armed.iterdir():
            path.unlink(missing_ok=True)

    def passes(self) -> Counter[str]:
        """How often each point was passed, whether or not it killed."""
        return _count(self._passes)

    def kills(self) -> Counter[str]:
        """How often each point killed."""
        return _count(self._kills)

    # --- the bridge's side ----------------------------------------------------------------------------

    def passed(self, point: str) -> None:
        """Note a pass, and die here if this point is armed."""
        _append(self._passes, point)
        path = self._armed / point
        if not path.exists():
            return
        with self._guard:
            try:
                left = int(path.read_text(encoding="ascii"))
            except FileNotFoundError:
                return
            if left > 1:
                self.arm(point, left - 1)
                return
            path.unlink(missing_ok=True)
            _append(self._kills, point)
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # a process is gone before its next instruction; a thread may get a few more


def _append(path: Path, point: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{point}\n".encode())
    finally:
        os.close(descriptor)


def _count(path: Path) -> Counter[str]:
    try:
        return Counter(path.read_text(encoding="ascii").split())
    except FileNotFoundError:
        return Counter()
