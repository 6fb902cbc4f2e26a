"""What the whole agent costs a workstation: memory, processor while nothing happens, time to the window, and
how soon a settled acquisition is a sealed order.

The agent is a process of its own with the paces it ships with; the bridge is a small stand-in on loopback in
this process, whose processor time does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.core import commands
from agent.core.engine import Engine
from agent.core.machine_store import MachineStore
from agent.core.settings import AgentSettings
from server_bridge.contract import Target
from tests.agent.bridge_stub import BridgeStub
from tests.agent.conftest import MARKER, OwnPlatform
from tests.benchmarks.agent_scan import PEOPLE, RUNS, make_flat, make_tree
from tests.benchmarks.measure import MIB, Report, cpu_seconds_of, peak_bytes, rss_bytes

NAME = "agent"
TITLE = "the whole agent"
PROJECT = Path(__file__).parents[2]
QUIET_SECONDS = 5.0
TARGET = Target(group_id=3, group_name="Cytoskeleton", container_name="embryos", project_name="Actin")


def run(top: Path, quick: bool) -> Report:
    files = 10_000 if quick else 100_000
    report = Report(NAME, f"the whole agent on a share with {files:,} files")
    share = top / "share"
    share.mkdir()
    make_tree(share, files)
    _age(share)
    with BridgeStub(longest_wait=25.0) as stub:
        stub.shares = [_share_json()]
        _idle(report, "headless", top, share, stub, ["-m", "agent.headless"], 10.0 if quick else 60.0)
        _idle(report, "with window", top, share, stub, ["-m", "agent", "--show"], 10.0 if quick else 60.0)
        _window(report, top, share, stub, 2 if quick else 5)
        _sealing(report, top, stub, 1_000 if quick else 10_000)
    return report


def _share_json(**rule: object) -> dict[str, Any]:
    return {
        "id": "scope1",
        "title": "Bench",
        "root": ".",
        "marker": MARKER,
        "rule": {"depth": 2, "quiet_seconds": QUIET_SECONDS, **rule},
        "deletion": "storage",
    }


def _age(share: Path) -> None:
    """As a share is found: all of it was written long ago."""
    long_ago = time.time() - 30 * 86_400
    for folder, _folders, names in os.walk(share):
        for name in names:
            os.utime(os.path.join(folder, name), (long_ago, long_ago))  # noqa: PTH118 - there are many


def _settings(top: Path, share: Path, stub: BridgeStub, name: str) -> Path:
    path = top / f"{name}.toml"
    path.write_text(
        f'bridge_url = "{stub.url}"\nworkstation_name = "{name}"\n'
        f'machine_dir = "{top / name}/machine"\nuser_dir = "{top / name}/user"\n'
        f'[shares]\nscope1 = "{share}"\n',
        encoding="utf-8",
    )
    return path


@contextmanager
def _process(words: list[str], top: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "QT_QPA_PLATFORM": "offscreen"}
    with (top / "agent.log").open("ab") as log:
        running = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(10)


def _idle(
    report: Report, of: str, top: Path, share: Path, stub: BridgeStub, words: list[str], seconds: float
) -> None:
    name = of.replace(" ", "-")
    settings = _settings(top, share, stub, name)
    with _process([*words, "--settings", str(settings)], top) as agent:
        started = time.monotonic()
        store = _store(top / name / "machine" / "machine.sqlite3", agent)
        while sum(row.finished_at is not None for row in store.acquisitions()) < PEOPLE * RUNS:
            assert agent.poll() is None, (top / "agent.log").read_text()[-2000:]
            assert time.monotonic() - started < 180, "the share is not known"
            time.sleep(0.25)
        report.add("start until everything was found and judged", time.monotonic() - started, "s", None, of)
        time.sleep(5)
        used, began = cpu_seconds_of(agent.pid), time.monotonic()
        time.sleep(seconds)
        idle = 100 * (cpu_seconds_of(agent.pid) - used) / (time.monotonic() - began)
        report.add(f"idle CPU over {seconds:.0f} s", idle, "% of a core", 0.5, of)
        report.add("resident memory while idle", rss_bytes(agent.pid) / MIB, "MiB", 120.0, of)
        report.add("resident memory at its peak", peak_bytes(agent.pid) / MIB, "MiB", None, of)
        store.close()


def _store(path: Path, agent: subprocess.Popen[bytes]) -> MachineStore:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert agent.poll() is None and time.monotonic() < deadline, "the agent does not start"
        time.sleep(0.05)
    time.sleep(1)
    return MachineStore(path)


SHOWN = """
import sys, time
from PySide6.QtCore import QTimer
import agent.ui.window as module
def told(self, event, original=module.MainWindow.showEvent):
    original(self, event)
    # Behind what is queued by now: the window is painted and takes clicks.
    QTimer.singleShot(0, lambda: (print("usable", flush=True)))
module.MainWindow.showEvent = told
from agent.__main__ import main
sys.exit(main(["--show", "--settings", sys.argv[1]]))
"""


def _window(report: Report, top: Path, share: Path, stub: BridgeStub, rounds: int) -> None:
    """From the start of the process until the window is shown and the event loop runs."""
    settings = _settings(top, share, stub, "with-window")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "QT_QPA_PLATFORM": "offscreen"}
    took = []
    for _ in range(rounds):
        started = time.monotonic()
        running = subprocess.Popen(
            [sys.executable, "-c", SHOWN, str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
            cwd="/",
        )
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"usable\n"
            took.append(time.monotonic() - started)
        finally:
            running.terminate()
            running.wait(20)
    report.add("start until the window is usable, median", sorted(took)[len(took) // 2], "s", 1.0,
               "with window")  # fmt: skip


def _sealing(report: Report, top: Path, stub: BridgeStub, files: int) -> None:
    """In this process, with the paces the agent ships with, and an order made while it was written."""
    share = top / "sealing"
    share.mkdir()
    (share / MARKER).touch()
    platform = OwnPlatform(top / "sealing-agent")
    settings = AgentSettings(
        bridge_url=stub.url, workstation_name="sealing", shares={"scope1": share}, heartbeat_seconds=5
    )
    engine = Engine(settings, platform, version="bench")
    engine.start()
    try:
        engine.submit(commands.SignIn("alice", stub.persons["alice"])).result(30)
        engine.submit(commands.SetStandingTarget(TARGET)).result(30)
        make_flat(share / "alice" / "run", files)
        written = time.monotonic()
        sealed = _sealed(engine, written)
        row = next(row for row in engine._machine.acquisitions() if row.path == "alice/run")
        assert row.finished_at is not None and row.file_count == files
        late = time.time() - row.last_change_at.timestamp() - QUIET_SECONDS - (time.monotonic() - sealed)
        report.add(f"{files:,} files: quiet over until sealed", late, "s", 2.0, "headless")
        whole = sealed - written - QUIET_SECONDS
        report.add("the same from the last write, quiet time taken off", whole, "s", None, "headless")
    finally:
        engine.stop()


def _sealed(engine: Engine, written: float) -> float:
    while time.monotonic() - written < 120:
        for entry in engine._outbox.entries():
            manifest = engine._outbox.manifest(entry.id)
            if manifest is not None and manifest.sealed:
                return time.monotonic()
        time.sleep(0.02)
    raise AssertionError("it was not sealed")
