"""Hold a child back to a rate that may change at any moment, without ending it.

rsync's own ``--bwlimit`` is fixed at its start. To change it one would have to end rsync and start it again,
and that is paid for by the very disk that is to be spared: the new rsync has the source read everything that
the partial file already holds, as fast as it can, to find out that it need not be sent. For a file of some
hundred gigabytes that is minutes of full load each time an acquisition begins or ends, and an rsync that is
ended again while it does so keeps a *shorter* partial file than there was.

So the child's whole process group is stopped and continued many times a second (a token bucket over what it
has read, from ``/proc/PID/io``). While it is stopped, its socket is full after a few megabytes and the
sender at the buffer waits: nothing is read there that does not fit. Nothing is sent twice, no digest is
lost, and a new rate holds from the next tick on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from server_bridge.processes.run_lock import group_members

SLICE_SECONDS = 0.02
_SHORTEST_SLICE_SECONDS = 0.002
"""How long a paced group runs between two looks at what it has read: the faster the link, the shorter."""
BURST_SECONDS = 0.1
"""So much of the rate may be saved up while nothing comes: the average then stays the rate."""
_ASK_SECONDS = 0.5
_LONGEST_HOLD_SECONDS = 20.0
"""Far below rsync's time limit on the other side (60 s); what is still owed then is owed further on."""
_LONGEST_WAIT_SECONDS = 0.1
_LEAST_BYTES_PER_SECOND = 1024.0


class Pace(Protocol):
    """Tells how fast a child may go; asked twice a second from the thread that follows the child."""

    def bytes_per_second(self) -> float | None:
        """The rate, or None for "as fast as it goes"."""
        ...


class Bucket:
    """Counts what may still be read. Pure: times and counters are arguments."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._credit = 0.0

    def take(self, now: float, rate: float, moved_bytes: float) -> float:
        """Note ``moved_bytes`` read since the last call; returns what may be read now (negative: owed)."""
        earned = rate * max(0.0, now - self._at)
        self._at = now
        self._credit = min(self._credit + earned - moved_bytes, rate * BURST_SECONDS)
        return self._credit


class Pacer:
    """Stops and continues one process group. One thread calls :meth:`tick`, at the end :meth:`release`."""

    def __init__(self, group: int, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._pace = pace
        self._clock = clock
        self._rate: float | None = None
        self._asked_at = float("-inf")
        self._bucket: Bucket | None = None
        self._counted: dict[int, int] = {}
        self._ran_at = 0.0
        self._speed = 0.0
        self._held_at: float | None = None

    @property
    def is_holding(self) -> bool:
        """Whether the group is stopped now, by us. It has moved bytes just before: it is not stalled."""
        return self._held_at is not None

    def tick(self) -> float:
        """Stop or continue the group as its rate asks. Returns the seconds until the next call is wanted."""
        now = self._clock()
        if now - self._asked_at >= _ASK_SECONDS:
            self._asked_at = now
            self._rate = self._pace.bytes_per_second()
        if self._rate is None:
            self.release()
            self._bucket = None
            return _LONGEST_WAIT_SECONDS
        rate = max(_LEAST_BYTES_PER_SECOND, self._rate)
        if self._bucket is None:
            self._bucket = Bucket(now)
            self._counted = {}
            self._moved(first=True)
            self._ran_at = now
        moved = self._moved()
        credit = self._bucket.take(now, rate, moved)
        if self._held_at is None:
            self._speed = moved / max(_SHORTEST_SLICE_SECONDS, now - self._ran_at)
            self._ran_at = now
            if credit > 0:
                return self._slice(rate)
            self._signal(signal.SIGSTOP)
            self._held_at = now
        elif credit > 0 or now - self._held_at >= _LONGEST_HOLD_SECONDS:
            self.release()
            self._ran_at = now
            return self._slice(rate)
        return min(max(_SHORTEST_SLICE_SECONDS, -credit / rate), _LONGEST_WAIT_SECONDS)

    def _slice(self, rate: float) -> float:
        """How long it may run before the next look, if it goes on as fast as it last did."""
        wanted = rate * BURST_SECONDS / self._speed if self._speed else _SHORTEST_SLICE_SECONDS
        return min(max(_SHORTEST_SLICE_SECONDS, wanted), SLICE_SECONDS)

    def release(self) -> None:
        """Let it run."""
        if self._held_at is not None:
            self._held_at = None
            self._signal(signal.SIGCONT)

    def _moved(self, *, first: bool = False) -> int:
        """What came since the last call: of the process that read most, so that data which passes through
        several of them (ssh, a local sender, the receiver) counts once."""
        most = 0
        for pid in _family(self._group):
            read = _bytes_read(pid)
            if read is None:
                continue
            # A process that joins later did all its reading since; one that was there before did not.
            before = self._counted.get(pid, read if first else 0)
            self._counted[pid] = read
            most = max(most, read - before)
        return most

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, number)


def _family(leader: int) -> list[int]:
    """The group's leader and its descendants. Asked many times a second: all of /proc would be too much."""
    found = [leader]
    for pid in found:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
        except FileNotFoundError:
            if pid == leader and Path(f"/proc/{pid}/task").exists():
                return group_members(leader)  # a kernel without CONFIG_PROC_CHILDREN
            continue
        except OSError:
            continue
        found += map(int, children.split())
    return found


def _bytes_read(pid: int) -> int | None:
    """Bytes that the process has read so far, from files, pipes and sockets; None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/io").read_text("ascii")
    except OSError:
        return None
    return int(text.split(None, 2)[1])
