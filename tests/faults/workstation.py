"""A workstation for faults of the share: real agents without a window, as processes, and a small bridge.

What the agents found is read from the machine's file, as another session would. Nothing here looks at the
share for them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.core.acquisition import Acquisition
from agent.core.machine_store import MachineStore
from tests.agent.bridge_stub import BridgeStub
from tests.agent.conftest import MARKER, until
from tests.loopback.processes import Program, python_module

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
QUIET_SECONDS = 4.0
LOOKS_HERE = "this process looks at "


def share_json(share: str, quiet_seconds: float = QUIET_SECONDS) -> dict[str, Any]:
    return {
        "id": share,
        "title": share,
        "root": ".",
        "marker": MARKER,
        "rule": {"depth": 1, "quiet_seconds": quiet_seconds},
        "deletion": "storage",
    }


class Session:
    """The agent of one Windows user: her own folder, the machine's in common."""

    def __init__(
        self,
        place: Workstation,
        name: str,
        before: Sequence[str] = (),
        *,
        orders: bool = False,
        **settings: object,
    ) -> None:
        self.name = name
        self.user_dir = place.top / f"user-{name}"
        self._output = place.top / f"{name}.log"
        file = place.top / f"{name}.toml"
        values = {
            "bridge_url": place.stub.url,
            "workstation_name": "Confocal SP8",
            "machine_dir": str(place.machine_dir),
            "user_dir": str(self.user_dir),
            "hot_seconds": 0.3,
            "today_seconds": 0.6,
            "full_seconds": 2.0,
            "stuck_seconds": 1.5,
            "heartbeat_seconds": 1.0,
            **settings,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines += ["[shares]", *(f'{share} = "{top}"' for share, top in place.shares.items())]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._ready = '"workstation"'
        command = python_module("agent.headless", "--settings", str(file))
        if orders:
            self._ready = "ordering"
            person = (name, place.stub.persons[name])
            command = python_module("tests.faults.ordering_agent", str(file), *person)
        environment = {"PYTHONPATH": str(PROJECT), "XDG_SESSION_ID": name, "PYTHONUNBUFFERED": "1"}
        self.program = Program(name, [*before, *command], self._output, environment)

    def start(self) -> Session:
        self.program.start(lambda: self._ready in self.output, PATIENCE)
        return self

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""

    def looks_at(self, share: str) -> bool:
        """Whether it became the process that scans this share."""
        return f"{LOOKS_HERE}{share}" in self.output

    @property
    def said(self) -> dict[str, Any]:
        """Its last line for people."""
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return found

    @property
    def agent_pid(self) -> int:
        """The agent itself, where it was started through other programs."""
        pid = self.program.pid
        while True:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if not children:
                return pid
            pid = int(children[0])

    def kill(self) -> None:
        """kill -9, as a crash or the task manager."""
        os.kill(self.agent_pid, signal.SIGKILL)
        self.program.stop()


class Workstation:
    """One machine with its shares, one bridge, and the sessions that are started on it."""

    def __init__(self, top: Path, shares: Sequence[str] = ("scope1",), *, make: bool = True) -> None:
        self.top = top
        self.machine_dir = top / "machine"
        self.shares = {share: top / share for share in shares}
        for folder in self.shares.values():
            folder.mkdir()
            if make:
                (folder / MARKER).touch()
        self.stub = BridgeStub()
        self.stub.shares = [share_json(share) for share in shares]
        self.sessions: list[Session] = []
        self._store: MachineStore | None = None

    def __enter__(self) -> Workstation:
        self.stub.start()
        return self

    def __exit__(self, *_: object) -> None:
        for session in self.sessions:
            session.program.stop()
        if self._store is not None:
            self._store.close()
        self.stub.stop()

    def session(self, name: str, before: Sequence[str] = (), **settings: object) -> Session:
        """Start an agent; ``before`` is written before its command: it then lives elsewhere, or is traced."""
        made = Session(self, name, before, **settings)
        self.sessions.append(made)
        return made.start()

    def ordering_session(self, name: str, before: Sequence[str] = ()) -> Session:
        """An agent with this person signed in, whose every acquisition has a target from now on."""
        made = Session(self, name, before, orders=True)
        self.sessions.append(made)
        return made.start()

    def is_sealed(self, path: str) -> bool:
        """Whether the bridge has an order for it whose manifest is sealed."""
        return any(
            self.stub.sealed(order) for order, intent in self.stub.intents.items() if intent["path"] == path
        )

    @property
    def store(self) -> MachineStore:
        if self._store is None:
            file = self.machine_dir / "machine.sqlite3"
            until(file.exists, "the machine's file", PATIENCE)
            self._store = MachineStore(file)
        return self._store

    def found(self, share: str = "scope1") -> dict[str, Acquisition]:
        """What is known of a share."""
        return {row.path: row for row in self.store.acquisitions(share)}

    def status(self, share: str = "scope1") -> dict[str, Any]:
        """How the scanning process says the share answers."""
        return dict(self.store.share_statuses().get(share, {}))

    def answers(self, share: str = "scope1") -> bool:
        return bool(self.status(share).get("answered"))

    def another_look(self, share: str = "scope1") -> None:
        """Wait until a pass that begins from now on has ended well."""
        for _ in range(2):
            last = self.status(share).get("last_answer_at")
            self.until(lambda last=last: self.status(share).get("last_answer_at") != last, "another look")

    def until(self, look: Callable[[], object], what: str, seconds: float = PATIENCE) -> Any:
        """Wait for something; says what the agents said where it does not come."""
        try:
            return until(look, what, seconds)
        except AssertionError as error:
            said = "\n".join(f"{one.name}: {one.program.tail(15)}" for one in self.sessions)
            raise AssertionError(f"{error}\n{self.status()}\n{said}") from None


def gone_ids(store: MachineStore) -> set[str]:
    """Acquisitions that somebody judged gone."""
    rows = store._database.connection().execute("SELECT id FROM acquisitions WHERE gone_at IS NOT NULL")
    return {row["id"] for row in rows}


def has_ended(pid: int) -> bool:
    """Whether a process has exited, also where a tracer keeps it from being buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


class Hang:
    """Calls of one process to one path that do not return: strace delays them in the kernel's door.

    Ending it lets them return, as a server that answers again does.
    """

    def __init__(self, pid: int, path: Path, output: Path) -> None:
        calls = "newfstatat,statx,stat,lstat,openat,open,access,faccessat2,statfs"
        options = ["-f", "-qq", "-p", str(pid), "-P", str(path), "-e", f"trace={calls}", "-o", str(output)]
        self._command = ["strace", *options, "-e", f"inject={calls}:delay_enter=600s"]
        self._strace: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Hang:
        self._strace = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """The share answers again."""
        if self._strace is not None:
            self._strace.terminate()
            try:
                self._strace.wait(5)
            except subprocess.TimeoutExpired:
                # It waits for a thread that has ended while it held it.
                self._strace.kill()
                self._strace.wait(30)
            self._strace = None
