"""What a bridge that was killed left running, ended as the next one starts.

Each order's own run ends what is left under its lock. An order that is cancelled meanwhile, or that waits for
days, would otherwise leave an rsync there for as long: one that was held back when its bridge died stays
stopped, with its memory and a connection to the buffer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server_bridge.processes.run_lock import (
    LOCK_VARIABLE,
    LockBusy,
    OrphansRemain,
    end_orphans,
    environment_of,
    own_pids,
)

_log = logging.getLogger(__name__)
_AT_A_TIME = 8
_SECONDS = 15.0


def end_leftovers(folder: Path, timeout_seconds: float = _SECONDS) -> int:
    """End every process that runs under a lock in ``folder`` without a living bridge; returns how many.

    Call it before this process starts children of its own: it could not tell them apart. What does not end
    in time, or belongs to another living process, stays and is logged.
    """
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="ferry-leftovers") as pool:
        return sum(pool.map(lambda lock: _end(lock, timeout_seconds), sorted(_locks_in_use(folder))))


def _locks_in_use(folder: Path) -> set[Path]:
    found = set()
    for pid in own_pids():
        if pid == os.getpid():
            continue
        for lock in _marks(pid):
            if lock.parent == folder.absolute():
                found.add(lock)
    return found


def _marks(pid: int) -> Iterator[Path]:
    prefix = f"{LOCK_VARIABLE}=".encode()
    for variable in environment_of(pid):
        if variable.startswith(prefix):
            yield Path(os.fsdecode(variable.removeprefix(prefix)))


def _end(lock: Path, timeout_seconds: float) -> int:
    try:
        ended = end_orphans(lock, timeout_seconds)
    except (LockBusy, OrphansRemain) as error:
        _log.warning("left running: %s", error)
        return 0
    if ended:
        _log.warning("%s: ended what a former bridge left running: %s", lock.name, ", ".join(map(str, ended)))
    return len(ended)
