"""Follow one child to its end: read what it writes, watch the clock, stop it, and leave nobody of its group.

Why a child ends is one of four things (`Ended`). Whatever it is, the last step is the same: the whole
process group must be empty before the caller goes on, because a grandchild (rsync's receiver, the importer's
Java) that lives on would write beside the next attempt.
"""

from __future__ import annotations

import contextlib
import enum
import os
import selectors
import signal
import subprocess
import time
from typing import Protocol

from server_bridge.processes.pace import Pace, Pacer
from server_bridge.processes.run_lock import (
    OrphansRemain,
    bytes_moved,
    group_members,
    process_stat,
    signal_verified,
)
from server_bridge.processes.streams import Kept, LineHandler, Lines

_POLL_SECONDS = 0.1
_READ_BYTES = 1 << 16
#: A silent group that moves at least this much between two looks is working (hashing a partial file), not
#: stalled. Far above keep-alives: rsync sends 4 bytes every few seconds into a dead connection.
_WORKING_BYTES = 1 << 20
#: How long to wait for a killed process before its disk is called hung.
_UNKILLABLE_SECONDS = 30.0
#: A group whose leader ended by itself gets this long to follow it before it is told to.
_FOLLOW_SECONDS = 1.0


class StopSignal(Protocol):
    """Anything that can be asked whether to stop; `threading.Event` is one."""

    def is_set(self) -> bool: ...


class Ended(enum.Enum):
    """Why a child ended."""

    EXITED = "exited"  #: by itself, or by a signal that was not ours
    STOPPED = "stopped"  #: the caller's stop signal was set
    STALLED = "stalled"  #: no output and no work for ``stall_seconds``
    OVERTIME = "overtime"  #: ``deadline_seconds`` passed


class Watch:
    """Follows one child to its end: reads, watches the clock, stops it, and empties its group."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        on_stdout_line: LineHandler | None,
        on_stderr_line: LineHandler | None,
        stop_event: StopSignal | None,
        stall_seconds: float | None,
        deadline: float | None,
        grace_seconds: float,
        stdout: Kept,
        stderr: Kept,
        pace: Pace | None = None,
    ) -> None:
        self._child = child
        self._pacer = None if pace is None else Pacer(child.pid, pace)
        self._lines = {
            "stdout": None if on_stdout_line is None else Lines(on_stdout_line),
            "stderr": None if on_stderr_line is None else Lines(on_stderr_line),
        }
        self.stdout = stdout
        self.stderr = stderr
        self.ended = Ended.EXITED
        self._stop_event = stop_event
        self._stall_seconds = stall_seconds
        self._deadline = deadline
        self._grace_seconds = grace_seconds
        self._active_at = time.monotonic()
        self._moved = 0
        self._look_at = self._active_at + (stall_seconds or 0.0) / 2
        self._told = False
        self._kill_at: float | None = None

    def follow(self) -> None:
        """Read both streams until the child has ended and its pipes are empty."""
        streams = {"stdout": self._child.stdout, "stderr": self._child.stderr}
        exited_at: float | None = None
        with selectors.DefaultSelector() as selector:
            for name, stream in streams.items():
                assert stream is not None
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, name)
            while True:
                read = 0
                wait = self._keep_pace(exited_at is not None)
                for key, _ in selector.select(wait) if selector.get_map() else ():
                    read += self._read(selector, key)
                now = time.monotonic()
                if read or (self._pacer is not None and self._pacer.is_holding):
                    self._active_at = now
                if self._has_exited():
                    exited_at = exited_at or now
                    # A grandchild may keep a pipe open after the leader's end: what it says in the grace
                    # time is still read, then the group is cleared.
                    if not selector.get_map() or (
                        not read and now - exited_at > min(1.0, self._grace_seconds)
                    ):
                        break
                elif self._kill_at is not None and now > self._kill_at + _UNKILLABLE_SECONDS:
                    break
                elif not selector.get_map():
                    time.sleep(wait)
                self._decide(now)
        for lines in self._lines.values():
            if lines is not None:
                lines.finish()

    def _keep_pace(self, exited: bool) -> float:
        """Hold the group back where it has a rate. Returns how long the streams may be waited for."""
        if self._pacer is None:
            return _POLL_SECONDS
        if exited or self._kill_at is not None:
            # What was told to end must be able to.
            self._pacer.release()
            return _POLL_SECONDS
        return min(_POLL_SECONDS, self._pacer.tick())

    def clear(self) -> None:
        """End whatever is left of the group, close the pipes, reap the child. Raises `OrphansRemain`."""
        group = self._child.pid
        if self._pacer is not None:
            self._pacer.release()
        if not self._has_exited() and not self._told:  # only after an exception of a line handler
            self._tell()
        now = time.monotonic()
        tell_at = now + _FOLLOW_SECONDS
        kill_at = self._kill_at or tell_at + self._grace_seconds

        def in_group(pid: int) -> bool:
            found = process_stat(pid)
            return found is not None and found.pgrp == group

        # The leader is not reaped yet: its zombie reserves the group's number, so nobody else can be hit.
        while members := group_members(group):
            now = time.monotonic()
            if now > kill_at + _UNKILLABLE_SECONDS:
                self._close()
                raise OrphansRemain(str(self._child.args), members)
            if now > kill_at:
                for pid in members:
                    signal_verified(pid, signal.SIGKILL, in_group)
            elif now > tell_at and not self._told:
                self._tell()
            time.sleep(0.02)
        self._close()
        self._child.wait()

    def _close(self) -> None:
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def _read(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> int:
        try:
            data = os.read(key.fd, _READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            selector.unregister(key.fileobj)
            return 0
        name = str(key.data)
        (self.stdout if name == "stdout" else self.stderr).add(data)
        lines = self._lines[name]
        if lines is not None:
            lines.feed(data)
        return len(data)

    def _decide(self, now: float) -> None:
        if self._kill_at is not None:
            if now >= self._kill_at:
                self._signal(signal.SIGKILL)
            return
        if self._stop_event is not None and self._stop_event.is_set():
            self._end(Ended.STOPPED, now)
        elif self._deadline is not None and now >= self._deadline:
            self._end(Ended.OVERTIME, now)
        elif self._stall_seconds is not None and now >= self._look_at:
            self._look(now, self._stall_seconds)

    def _look(self, now: float, stall_seconds: float) -> None:
        self._look_at = now + min(stall_seconds / 4, 5.0)
        moved = bytes_moved(group_members(self._child.pid))
        if now - self._active_at >= stall_seconds / 4 and abs(moved - self._moved) >= _WORKING_BYTES:
            self._active_at = now
            self._moved = moved
        elif now - self._active_at < stall_seconds / 4:
            self._moved = moved
        if now - self._active_at >= stall_seconds:
            self._end(Ended.STALLED, now)

    def _end(self, why: Ended, now: float) -> None:
        self.ended = why
        self._kill_at = now + self._grace_seconds
        self._tell()

    def _tell(self) -> None:
        # Once: rsync keeps its partial file on the first TERM and gives up on a second.
        self._told = True
        self._signal(signal.SIGTERM)
        # A stopped process (SIGSTOP, a debugger) would take TERM only when continued.
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    def _has_exited(self) -> bool:
        # WNOWAIT leaves the zombie, and with it the group's number, in place until `clear` has looked.
        if self._child.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
