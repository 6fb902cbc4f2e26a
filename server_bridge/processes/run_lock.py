"""The right to run children for one order, and the end of children that a dead bridge left behind.

A lock file per order is held with ``flock`` on a descriptor that children inherit: as long as any process
that kept it lives, the lock is taken, whatever happened to the bridge. Some programs close inherited
descriptors (Python's ``subprocess``, ssh), so each child also carries the lock's path in its environment
(`LOCK_VARIABLE`), which descendants inherit and /proc shows for processes of our own user.

`RunLock.acquire` first ends what a dead bridge left: marked processes are looked up, looked at again
through a pidfd (a recycled pid is never signalled), and get TERM, then KILL. A *living* run is never
touched: it is `LockBusy`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from server_bridge.errors import TransientFailure

#: Environment variable that marks a child and all its descendants with the lock they run under.
LOCK_VARIABLE = "OMERO_FERRY_LOCK"


class LockBusy(TransientFailure):
    """A live run holds the lock: the caller waits for it or tries again later, and starts nothing."""

    code = "order_busy"
    title = "Another run of this order is still working"

    def __init__(self, lock_path: Path, holders: Sequence[int]) -> None:
        pids = ", ".join(str(pid) for pid in holders) or "a process that cannot be seen from here"
        super().__init__(
            f"{lock_path} is held by {pids}.",
            remedy="Nothing to do: the bridge tries again. If it stays, look at the process named here.",
        )
        self.holders = tuple(holders)


class OrphansRemain(TransientFailure):
    """Processes did not end, even after SIGKILL (typically blocked in a hung mount)."""

    code = "orphans_remain"
    title = "A process of an earlier run cannot be ended"

    def __init__(self, where: str, pids: Sequence[int]) -> None:
        super().__init__(
            f"{where}: pids {', '.join(map(str, pids))} survive SIGKILL; probably a disk hangs.",
            remedy="Check the mounts of share and staging; the order goes on once the process is gone.",
        )
        self.pids = tuple(pids)


@dataclass(frozen=True)
class _Stat:
    state: str
    pgrp: int


def process_stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The command name may hold blanks and brackets: fields are counted after the last bracket.
    fields = text.rpartition(")")[2].split()
    return _Stat(state=fields[0], pgrp=int(fields[2]))


def own_pids() -> Iterator[int]:
    """Every process of this user."""
    uid = os.getuid()
    with os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            try:
                if entry.stat().st_uid == uid:
                    yield int(entry.name)
            except OSError:
                continue


def environment_of(pid: int) -> list[bytes]:
    """``NAME=value`` as the process was started with; nothing where it is gone, a zombie, or not ours to
    read: none of our children then."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _is_marked(pid: int, mark: bytes) -> bool:
    return mark in environment_of(pid)


def _holds(pid: int, device: int, inode: int) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as descriptors:
            for descriptor in descriptors:
                try:
                    found = descriptor.stat()
                except OSError:
                    continue
                if (found.st_dev, found.st_ino) == (device, inode):
                    return True
    except OSError:
        return False
    return False


def group_members(pgid: int) -> list[int]:
    """Living members of a process group; zombies do no harm and are left out."""
    members = []
    for pid in own_pids():
        found = process_stat(pid)
        if found is not None and found.pgrp == pgid and found.state not in "ZX":
            members.append(pid)
    return members


def bytes_moved(pids: Sequence[int]) -> int:
    """Bytes read and written so far by these processes, from /proc/PID/io: files, pipes, sockets."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/io").read_text("ascii").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("rchar:", "wchar:")))
    return total


def _lock_mark(lock_path: Path) -> bytes:
    return f"{LOCK_VARIABLE}={lock_path}".encode("utf-8", "surrogateescape")


def signal_verified(pid: int, number: int, still_ours: Callable[[int], bool]) -> None:
    """Signal a pid that is proven, after pinning it by a pidfd, to be still the process that was meant."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if still_ours(pid):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)


def end_orphans(
    lock_path: Path, timeout_seconds: float = 15.0, grace_seconds: float = 5.0
) -> tuple[int, ...]:
    """End every process that a dead bridge left running under this lock; return the pids that were found.

    Only processes of our own user are looked at, and only those that carry the lock's mark in their
    environment. Raises `LockBusy` if a process without the mark (a living bridge) has the lock file open,
    `OrphansRemain` if some survive ``timeout_seconds``.
    """
    lock_path = lock_path.absolute()
    mark = _lock_mark(lock_path)
    try:
        lock = lock_path.stat()
    except FileNotFoundError:
        lock = None

    def is_orphan(pid: int) -> bool:
        return _is_marked(pid, mark)

    seen: set[int] = set()
    me = os.getpid()
    started = time.monotonic()
    number = signal.SIGTERM
    while True:
        orphans = [pid for pid in own_pids() if pid != me and is_orphan(pid)]
        if lock is not None and orphans:
            owners = [
                pid
                for pid in own_pids()
                if pid != me
                and pid not in orphans
                and _holds(pid, lock.st_dev, lock.st_ino)
                # Between fork and exec a child has no mark yet but a marked, living parent's descriptor.
                and not is_orphan(pid)
            ]
            if owners:
                raise LockBusy(lock_path, owners)
        if not orphans:
            return tuple(sorted(seen))
        elapsed = time.monotonic() - started
        if elapsed > timeout_seconds:
            raise OrphansRemain(str(lock_path), orphans)
        if elapsed > grace_seconds:
            number = signal.SIGKILL
        for pid in orphans:
            # TERM once each: rsync keeps its partial file on the first and dies hard on the second.
            if number == signal.SIGKILL or pid not in seen:
                signal_verified(pid, number, is_orphan)
                # One that was held back when its bridge died takes TERM only when continued.
                signal_verified(pid, signal.SIGCONT, is_orphan)
        seen.update(orphans)
        time.sleep(0.05)


class RunLock:
    """The right to run children for one order. Held by this process and by every child that inherits
    ``fd``.
    """

    #: What this process holds: flock alone cannot tell our own living run from an orphan.
    _held: ClassVar[set[Path]] = set()
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path, fd: int, ended_orphans: tuple[int, ...]) -> None:
        self.path = path
        self.fd = fd
        self.ended_orphans = ended_orphans

    @classmethod
    def acquire(cls, path: Path, orphan_timeout_seconds: float = 15.0) -> RunLock:
        """Take the lock, ending what a dead bridge left running under it.

        Raises `LockBusy` while a living run (of this or another process) has it, `OrphansRemain` when a
        leftover cannot be ended.
        """
        path = path.absolute()
        with cls._guard:
            if path in cls._held:
                raise LockBusy(path, (os.getpid(),))
            cls._held.add(path)
        try:
            return cls._take(path, orphan_timeout_seconds)
        except BaseException:
            with cls._guard:
                cls._held.discard(path)
            raise

    @classmethod
    def _take(cls, path: Path, orphan_timeout_seconds: float) -> RunLock:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Close-on-exec (Python's default) until one child asks for it by pass_fds: no other child may keep
        # it.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            # Also when the lock is free: a descendant that closed the descriptor may still run.
            locked = _try_lock(fd)
            found = end_orphans(path, orphan_timeout_seconds)
            # A child being forked for another order holds every descriptor of ours until its exec: not at
            # once busy.
            patience = time.monotonic() + 1.0
            while not locked:
                locked = _try_lock(fd)
                if not locked and time.monotonic() > patience:
                    raise LockBusy(path, ())
                if not locked:
                    time.sleep(0.02)
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd, found)

    def release(self) -> None:
        """Give the lock back. Call it when no child is left; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            with self._guard:
                self._held.discard(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
