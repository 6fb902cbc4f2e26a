"""Run one child process so that it can neither outlive its order's attempt nor run twice.

Every external program of the bridge (rsync, ``omero import``) starts here, in a session of its own, with
stdin closed, no shell, an explicit environment, bounded output, a stall watchdog and a stop signal. Nothing
returns before the child's whole process group is gone.

A kill -9 of the bridge is the hard part: a child survives it, and rsync's receiver (a grandchild) goes on
writing into the staging directory while the restarted bridge would start a second one. Three independent
means close that hole:

* ``setpriv --pdeathsig TERM`` makes the kernel end the child when the *thread* that forked it dies.
  Children are therefore forked by one thread that lives as long as the process (`_Spawner`), never by a
  worker thread that may end earlier, and no Python code runs between fork and exec (a ``preexec_fn`` may
  deadlock in a threaded process). The signal is not inherited by grandchildren, and util-linux may be
  absent: it is only the fast way.
* A lock file per order, inherited by the child, and a mark in its environment: whoever takes the lock next
  first ends what is left (`server_bridge.processes.run_lock`).
"""

from __future__ import annotations

import contextlib
import enum
import os
import queue
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server_bridge.errors import NeedsAttention
from server_bridge.processes.run_lock import (
    LOCK_VARIABLE,
    LockBusy,
    OrphansRemain,
    RunLock,
    bytes_moved,
    end_orphans,
    group_members,
    process_stat,
    signal_verified,
)

__all__ = [
    "ChildResult",
    "Ended",
    "LockBusy",
    "OrphansRemain",
    "ProcessRunner",
    "ProgramMissing",
    "RunLock",
    "StopSignal",
    "end_orphans",
    "run_child",
]

_POLL_SECONDS = 0.1
_READ_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 20
#: A silent group that moves at least this much between two looks is working (hashing a partial file), not
#: stalled. Far above keep-alives: rsync sends 4 bytes every few seconds into a dead connection.
_WORKING_BYTES = 1 << 20
#: How long to wait for a killed process before its disk is called hung.
_UNKILLABLE_SECONDS = 30.0
#: A group whose leader ended by itself gets this long to follow it before it is told to.
_FOLLOW_SECONDS = 1.0

LineHandler = Callable[[bytes], None]


class StopSignal(Protocol):
    """Anything that can be asked whether to stop; `threading.Event` is one."""

    def is_set(self) -> bool: ...


class ProgramMissing(NeedsAttention):
    """The program is not installed or may not be executed: retrying is useless until staff act."""

    code = "program_missing"
    title = "A program the bridge needs cannot be started"

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(
            f"{program}: {reason}",
            remedy=f"Install {program} on the bridge's host or correct its path in the site file.",
        )


class Ended(enum.Enum):
    """Why a child ended."""

    EXITED = "exited"  #: by itself, or by a signal that was not ours
    STOPPED = "stopped"  #: the caller's stop signal was set
    STALLED = "stalled"  #: no output and no work for ``stall_seconds``
    OVERTIME = "overtime"  #: ``deadline_seconds`` passed


@dataclass(frozen=True)
class ChildResult:
    """What is left of a child: exit and bounded output (head and tail, with a note where bytes were left
    out).
    """

    returncode: int  #: as `subprocess.Popen.returncode`: negative is the signal's number
    ended: Ended
    duration_seconds: float
    stdout: bytes
    stderr: bytes
    stdout_bytes: int  #: written by the child, kept or not
    stderr_bytes: int

    @property
    def signal_number(self) -> int | None:
        """The signal that ended the child, if one did."""
        return -self.returncode if self.returncode < 0 else None

    @property
    def stderr_text(self) -> str:
        return self.stderr.decode("utf-8", "backslashreplace")


class _Kept:
    """Head and tail of a stream within a budget; the middle is counted, not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._half = max(limit_bytes // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._half:
            del self._tail[: len(self._tail) - self._half]

    def value(self) -> bytes:
        tail = bytes(self._tail[-self._half :])
        lost = self.total - len(self._head) - len(tail)
        if lost <= 0:
            return bytes(self._head) + tail
        return bytes(self._head) + b"\n[... %d bytes left out ...]\n" % lost + tail


class _Lines:
    """Cut a stream into lines at CR and LF (rsync's progress ends in CR); empty pieces are dropped."""

    def __init__(self, handler: LineHandler) -> None:
        self._handler = handler
        self._rest = b""

    def feed(self, data: bytes) -> None:
        pieces = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = pieces.pop()
        for piece in pieces:
            if piece:
                self._handler(piece)
        if len(self._rest) > _LONGEST_LINE_BYTES:
            self.finish()

    def finish(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._handler(rest)


class _Spawner:
    """Fork every child from one thread that never ends before the process does (see the module's first
    lines).
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[
            tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]
        ] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def start(self, make: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._guard:
            if self._thread is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._jobs = queue.SimpleQueue()
                self._thread = threading.Thread(target=self._work, name="child-spawner", daemon=True)
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((make, future))
        return future.result()

    def _work(self) -> None:
        while True:
            make, future = self._jobs.get()
            try:
                future.set_result(make())
            except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
                future.set_exception(error)


_spawner = _Spawner()


@dataclass(frozen=True)
class ProcessRunner:
    """Runs children. One instance serves all threads; it holds settings only."""

    grace_seconds: float = 5.0  #: between TERM and KILL
    death_signal: bool = True  #: ask the kernel to end children with us, where setpriv is installed

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        lock: RunLock | None = None,
        lock_path: Path | None = None,
        on_stdout_line: LineHandler | None = None,
        on_stderr_line: LineHandler | None = None,
        stall_seconds: float | None = None,
        deadline_seconds: float | None = None,
        stop_event: StopSignal | None = None,
        stdout_limit_bytes: int = 1 << 20,
        stderr_limit_bytes: int = 1 << 18,
    ) -> ChildResult:
        """Run ``argv`` to its end and return what is left of it.

        ``env`` is the whole environment (nothing is inherited). Secrets belong in files or in ``env``,
        never in ``argv``. ``lock`` is an order's lock already held (several children may share it);
        ``lock_path`` takes and releases one for this run. Line handlers get bytes without the line end, in
        the calling thread; an exception from one ends the child and is raised here. Output limits bound
        what is *kept* (head and tail), not what handlers see. ``stall_seconds``: no output on either stream
        and less than a mebibyte moved by the whole group. A set ``stop_event`` sends TERM within a tenth of
        a second, KILL after ``grace_seconds``.

        Raises `ProgramMissing`, `LockBusy`, `OrphansRemain`.
        """
        if lock_path is not None:
            if lock is not None:
                raise ValueError("give lock or lock_path, not both")
            with RunLock.acquire(lock_path) as own:
                return self.run(
                    argv,
                    env=env,
                    cwd=cwd,
                    lock=own,
                    on_stdout_line=on_stdout_line,
                    on_stderr_line=on_stderr_line,
                    stall_seconds=stall_seconds,
                    deadline_seconds=deadline_seconds,
                    stop_event=stop_event,
                    stdout_limit_bytes=stdout_limit_bytes,
                    stderr_limit_bytes=stderr_limit_bytes,
                )
        started = time.monotonic()
        child = self._spawn(argv, env, cwd, lock)
        watch = _Watch(
            child,
            on_stdout_line,
            on_stderr_line,
            stop_event,
            stall_seconds,
            None if deadline_seconds is None else started + deadline_seconds,
            self.grace_seconds,
            _Kept(stdout_limit_bytes),
            _Kept(stderr_limit_bytes),
        )
        try:
            watch.follow()
        finally:
            watch.clear()
        return ChildResult(
            returncode=child.returncode,
            ended=watch.ended,
            duration_seconds=time.monotonic() - started,
            stdout=watch.stdout.value(),
            stderr=watch.stderr.value(),
            stdout_bytes=watch.stdout.total,
            stderr_bytes=watch.stderr.total,
        )

    def _spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, lock: RunLock | None
    ) -> subprocess.Popen[bytes]:
        program = shutil.which(argv[0], path=env.get("PATH", os.defpath))
        if program is None:
            raise ProgramMissing(argv[0], "not found, or not executable for this user")
        command = [program, *argv[1:]]
        setpriv = shutil.which("setpriv") if self.death_signal else None
        if setpriv is not None:
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        environment = dict(env)
        if lock is not None:
            environment[LOCK_VARIABLE] = str(lock.path)

        def make() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=cwd,
                start_new_session=True,
                pass_fds=() if lock is None else (lock.fd,),
            )

        try:
            return _spawner.start(make)
        except OSError as error:
            raise ProgramMissing(argv[0], str(error)) from error


class _Watch:
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
        stdout: _Kept,
        stderr: _Kept,
    ) -> None:
        self._child = child
        self._lines = {
            "stdout": None if on_stdout_line is None else _Lines(on_stdout_line),
            "stderr": None if on_stderr_line is None else _Lines(on_stderr_line),
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
                for key, _ in selector.select(_POLL_SECONDS) if selector.get_map() else ():
                    read += self._read(selector, key)
                now = time.monotonic()
                if read:
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
                    time.sleep(_POLL_SECONDS)
                self._decide(now)
        for lines in self._lines.values():
            if lines is not None:
                lines.finish()

    def clear(self) -> None:
        """End whatever is left of the group, close the pipes, reap the child. Raises `OrphansRemain`."""
        group = self._child.pid
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


def run_child(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None = None,
    lock_path: Path | None = None,
    on_stdout_line: LineHandler | None = None,
    stall_seconds: float | None = None,
    stop_event: StopSignal | None = None,
    stdout_limit_bytes: int = 1 << 20,
) -> ChildResult:
    """`ProcessRunner.run` with its default settings, for a caller that runs one program now and then."""
    return ProcessRunner().run(
        argv,
        env=env,
        cwd=cwd,
        lock_path=lock_path,
        on_stdout_line=on_stdout_line,
        stall_seconds=stall_seconds,
        stop_event=stop_event,
        stdout_limit_bytes=stdout_limit_bytes,
    )
