"""Starting, watching and ending the site's processes, by pid and never by name."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import requests


class SiteError(RuntimeError):
    """A process of the site did not come up, or ended by itself; the text quotes the end of its log."""


def answers(port: int) -> bool:
    """Whether something accepts connections on that loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def healthy(url: str) -> bool:
    """Whether a bridge at ``url`` says that it is alive."""
    try:
        return requests.get(f"{url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False


def freeze(pid: int, seconds: float = 10.0) -> None:
    """SIGSTOP, and return once no thread of the process runs any more.

    The signal alone is a request: until the thread that takes it is scheduled, the others go on and answer.

    Raises:
        ProcessLookupError: where it ended before.
        SiteError: where a thread still runs after ``seconds``.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + seconds
    while any(_runs(task) for task in Path(f"/proc/{pid}/task").glob("*")):
        if time.monotonic() > deadline:
            raise SiteError(f"process {pid} was told to stop and runs on")
        time.sleep(0.005)


def _runs(task: Path) -> bool:
    """Whether a thread is neither stopped (T, t) nor dead (Z, X)."""
    try:
        return (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "TtZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Program:
    """One long-running command with its output in a log file, in a process group of its own."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        if self._process is None:
            raise SiteError(f"{self.name} is not running")
        return self._process.pid

    def start(self, ready: Callable[[], object], seconds: float = 60.0) -> None:
        """Start it and wait until ``ready`` is true.

        Raises:
            SiteError: where it ends or is not ready in time; with the end of its log.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                how = (
                    f"ended with {self._process.poll()}"
                    if self._process.poll() is not None
                    else "is not ready"
                )
                self.stop()
                raise SiteError(f"{self.name} {how}:\n{self.tail()}")
            time.sleep(0.05)

    def running(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        if not self.log.exists():
            return "(no output)"
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone (not to its children)."""
        os.kill(self.pid, number)

    def stop(self, seconds: float = 15.0) -> None:
        """TERM, then KILL after ``seconds``; the children with it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._kill_group(process)
        self._kill_group(process)

    def kill(self) -> None:
        """kill -9 of the program alone: its children are left as a real crash leaves them."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)

    @staticmethod
    def _kill_group(process: subprocess.Popen[bytes]) -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait(10)


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line that runs one of our modules with this Python."""
    return [sys.executable, "-m", module, *arguments]
