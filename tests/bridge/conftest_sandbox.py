"""A sandbox OMERO for tests: the real server process, the real ``omero`` command against it.

Use the session-wide ``sandbox`` where a test only adds to it, and ``start_sandbox`` where it stops,
restarts, freezes or breaks one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server_bridge.sandbox.seed import USERS
from tests.loopback.processes import freeze

ROOT = Path(__file__).parents[2]
PASSWORDS = {user.name: user.password for user in USERS}
START_SECONDS = 60


@dataclass
class RunningSandbox:
    """One sandbox process and where it is."""

    data: Path
    managed: Path | None = None
    extra: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    host: str = ""
    ssl_port: int = 0
    tcp_port: int = 0
    omerodir: Path = field(default_factory=Path)
    java_dir: Path = field(default_factory=Path)

    @property
    def log(self) -> Path:
        return self.data.with_name(f"{self.data.name}.log")

    @property
    def env(self) -> dict[str, str]:
        """The environment in which ``omero`` finds the sandbox's importer and keeps its own session files."""
        home = self.data.with_name(f"{self.data.name}-home")
        home.mkdir(exist_ok=True)
        programs = Path(sys.executable).parent
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("OMERO")},
            "HOME": str(home),
            "OMERODIR": str(self.omerodir),
            "OMERO_USERDIR": str(home / "omero"),
            "PATH": f"{self.java_dir}:{programs}:{os.environ.get('PATH', '')}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self) -> RunningSandbox:
        """Start the process and wait until it says that it is ready."""
        command = [sys.executable, "-m", "server_bridge.sandbox", "--data", str(self.data), *self.extra]
        if self.managed is not None:
            command += ["--managed", str(self.managed)]
        (self.data / "sandbox.json").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
            )
        deadline = time.monotonic() + START_SECONDS
        while not (self.data / "sandbox.json").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the sandbox did not start: {self.log.read_text()}")
            time.sleep(0.05)
        ready = json.loads((self.data / "sandbox.json").read_text())
        self.host, self.ssl_port, self.tcp_port = ready["host"], ready["ssl_port"], ready["tcp_port"]
        self.managed = Path(ready["managed_repository"])
        self.omerodir, self.java_dir = Path(ready["omerodir"]), Path(ready["java_path_dir"])
        return self

    def stop(self) -> int:
        """End it in an orderly way; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def restart(self) -> RunningSandbox:
        """Stop it if it runs, then start it on the same data and ports."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        return self.start()

    def sigstop(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        assert self.process is not None
        freeze(self.process.pid)

    def sigcont(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def omero(self, *arguments: str | Path, user: str | None = "alice", group: str | None = None) -> Outcome:
        """Run the real ``omero`` command, signed in as ``user`` (None: without any login arguments)."""
        command: list[str] = ["omero", *(str(one) for one in arguments)]
        if user is not None:
            login = ["-s", "localhost", "-p", str(self.ssl_port), "-u", user, "-w", PASSWORDS[user], "-C"]
            if group is not None:
                login += ["-g", group]
            # The options of the login belong to the subcommand, before anything behind "--".
            command[2:2] = login
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


StartSandbox = Callable[..., RunningSandbox]


@pytest.fixture
def start_sandbox() -> Iterator[StartSandbox]:
    """A factory ``start_sandbox(data, managed=None, *extra)``; what it started is ended with the test."""
    started: list[RunningSandbox] = []

    def start(data: Path, managed: Path | None = None, *extra: str) -> RunningSandbox:
        running = RunningSandbox(data, managed, extra)
        data.mkdir(parents=True, exist_ok=True)
        started.append(running)
        return running.start()

    yield start
    for running in started:
        if running.process is not None and running.process.poll() is None:
            running.stop()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """One sandbox for the whole run: add to it, but do not stop it and leave no faults armed."""
    data = tmp_path_factory.mktemp("sandbox") / "data"
    data.mkdir()
    running = RunningSandbox(data).start()
    yield running
    running.stop()
