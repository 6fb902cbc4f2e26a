"""Threads that never die silently, a share that hangs, a workstation that is sent away."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from agent.core import scanner as scanner_module
from agent.core import share_runner
from agent.core.clock import SystemClock
from agent.core.errors import BridgeAway
from agent.core.machine_store import MachineStore
from agent.core.scanner import Tiers
from agent.core.share_runner import ShareRunner
from agent.core.station import KEY_FILE, KeyUnreadable, own_key
from agent.core.workers import Worker
from server_bridge.contract import Reason
from tests.agent.bridge_stub import Refusal
from tests.agent.conftest import Bench, OwnPlatform, until, workstation_share


def test_a_step_that_fails_is_told_tried_again_and_the_recovery_is_told_too() -> None:
    told: list[Reason | None] = []
    steps = iter([ValueError("a defect"), BridgeAway("away")])

    def step() -> float:
        error = next(steps, None)
        if error is not None:
            raise error
        return 60.0

    worker = Worker("test", step, told.append)
    worker.start()
    until(lambda: len(told) == 3, "two failures and a recovery")
    worker.stop()
    assert worker.join(5)
    first, second, third = told
    assert first is not None and first.code == "agent_fault" and "a defect" in first.detail
    assert second is not None and second.code == "bridge_away" and third is None


def test_a_share_that_hangs_is_noticed_while_the_call_hangs(
    tmp_path: Path, share_top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = threading.Event()
    monkeypatch.setattr(scanner_module.listing, "marker_present", lambda *_: hang.wait(30))
    store = MachineStore(tmp_path / "machine.sqlite3")
    runner = ShareRunner(
        workstation_share(),
        share_top,
        store=store,
        platform=OwnPlatform(tmp_path),
        clock=SystemClock(),
        tiers=Tiers(hot_seconds=0.1),
        stuck_seconds=0.3,
        use_hints=False,
        changed=lambda: None,
    )
    runner.start()
    try:
        until(
            lambda: (problem := runner.status(None).problem) and problem.code == "share_stuck",
            "it is noticed",
        )
        status = runner.status(None)
        assert not status.answered and status.problem is not None
        assert "has not answered for" in status.problem.title
    finally:
        hang.set()
        runner.stop()
        runner.join(10)
    store.close()


def test_rules_that_change_while_a_call_hangs_add_no_threads_and_the_lock_is_not_lost(
    tmp_path: Path, share_top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change replaces the runner; the hung one's thread cannot be ended."""
    hang = threading.Event()
    looks: list[str] = []

    def marker(*_: object) -> int:
        if threading.current_thread().name.endswith("-hung"):
            looks.append(threading.current_thread().name)
            hang.wait(60)
        return 1

    monkeypatch.setattr(scanner_module.listing, "marker_present", marker)
    monkeypatch.setattr(share_runner, "LOCK_SECONDS", 0.05)
    store = MachineStore(tmp_path / "machine.sqlite3")
    served: list[str] = []

    def runner(quiet_seconds: float) -> ShareRunner:
        made = ShareRunner(
            # A name of its own: threads that another test left behind look at another share.
            workstation_share(quiet_seconds=quiet_seconds).model_copy(update={"id": "hung"}),
            share_top,
            store=store,
            platform=OwnPlatform(tmp_path),
            clock=SystemClock(),
            tiers=Tiers(hot_seconds=0.1),
            stuck_seconds=0.2,
            use_hints=True,
            changed=lambda: None,
            serve=lambda share: (served.append(share), 0.1)[1],
        )
        made.start()
        return made

    first = current = runner(5.0)
    until(lambda: first.status(None).problem, "it hangs")
    before = threading.active_count()
    for number in range(10):
        current.stop()
        current = runner(6.0 + number)
        problem = current.status(current._kept()).problem
        assert problem is not None and problem.code == "share_stuck", "the next one knows it from the first"
    until(lambda: threading.active_count() <= before + 2, "the last one's two threads, and no more")
    assert looks == ["ferry-scan-hung"], "nobody else called the share that hangs"
    assert served == []
    hang.set()
    until(lambda: len(looks) > 2 and served, "the last one looks and serves when the call has returned")
    current.stop()
    assert current.join(10) and first.join(10)
    store.close()


def test_all_sessions_of_a_machine_use_one_key_and_a_damaged_one_is_never_replaced(tmp_path: Path) -> None:
    platform = OwnPlatform(tmp_path)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(own_key(platform))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(set(found)) == 1 and len(found) == 4
    path = platform.machine_dir() / KEY_FILE
    assert sys.platform == "win32" or path.stat().st_mode & 0o077 == 0
    path.write_text("short", encoding="ascii")
    with pytest.raises(KeyUnreadable):
        own_key(platform)


def test_a_revoked_workstation_stops_and_says_so(bench: Bench) -> None:
    bench.engine.start()
    until(lambda: bench.snapshot and bench.snapshot.bridge.workstation_status == "approved", "approved")

    def revoked() -> None:
        bench.stub.refuse = lambda seen: (
            Refusal(401, "workstation_unknown", "Not registered") if seen.method == "GET" else None
        )
        bench.stub.approved = False

    revoked()
    bench.engine._station.look_now()
    until(lambda: bench.snapshot and bench.snapshot.bridge.workstation_status == "pending", "sent away")
    until(lambda: bench.snapshot and bench.snapshot.shares == (), "its shares are gone")


def test_a_name_that_another_machine_has_is_said(bench: Bench) -> None:
    bench.stub.refuse = lambda seen: (
        Refusal(409, "workstation_name_taken", "This workstation name is taken")
        if seen.method == "POST" and seen.path == "/v1/workstation"
        else None
    )
    bench.engine.start()
    until(
        lambda: (
            bench.snapshot
            and bench.snapshot.bridge.problem
            and bench.snapshot.bridge.problem.code == "workstation_name_taken"
        ),
        "the reason in the header",
    )
