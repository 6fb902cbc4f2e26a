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

import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from server_bridge.errors import NeedsAttention
from server_bridge.processes.pace import Pace
from server_bridge.processes.run_lock import LOCK_VARIABLE, LockBusy, OrphansRemain, RunLock, end_orphans
from server_bridge.processes.streams import Kept, LineHandler
from server_bridge.processes.watch import Ended, StopSignal, Watch

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


class ProgramMissing(NeedsAttention):
    """The program is not installed or may not be executed: retrying is useless until staff act."""

    code = "program_missing"
    title = "A program the bridge needs cannot be started"

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(
            f"{program}: {reason}",
            remedy=f"Install {program} on the bridge's host or correct its path in the site file.",
        )


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
        pace: Pace | None = None,
    ) -> ChildResult:
        """Run ``argv`` to its end and return what is left of it.

        ``env`` is the whole environment (nothing is inherited). Secrets belong in files or in ``env``,
        never in ``argv``. ``lock`` is an order's lock already held (several children may share it);
        ``lock_path`` takes and releases one for this run. Line handlers get bytes without the line end, in
        the calling thread; an exception from one ends the child and is raised here. Output limits bound
        what is *kept* (head and tail), not what handlers see. ``stall_seconds``: no output on either stream
        and less than a mebibyte moved by the whole group. A set ``stop_event`` sends TERM within a tenth of
        a second, KILL after ``grace_seconds``. ``pace`` holds the group back to a rate that may change.

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
                    pace=pace,
                )
        started = time.monotonic()
        child = self._spawn(argv, env, cwd, lock)
        watch = Watch(
            child,
            on_stdout_line,
            on_stderr_line,
            stop_event,
            stall_seconds,
            None if deadline_seconds is None else started + deadline_seconds,
            self.grace_seconds,
            Kept(stdout_limit_bytes),
            Kept(stderr_limit_bytes),
            pace,
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
