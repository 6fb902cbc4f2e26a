"""A mounted share that hangs: it holds up nobody else, can be cancelled, and gathers no processes.

No ordinary user can make a mount that hangs. A stand-in for rsync does what one that waits in the kernel
looks like from outside: it says nothing, moves nothing, and (where a test says so) no signal reaches it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from server_bridge.contract import Condition, Stage
from server_bridge.processes import run_lock, watch
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.test_network import PATIENCE
from tests.bridge.pipeline.world import World, age
from tests.bridge.processes.test_runner import is_alive
from tests.bridge.rsyncd import wait_until
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HUNG = "hung"


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """Where each hanging process writes its number; once a file ``answers`` lies beside it, none hangs."""
    pids = tmp_path / "pids"
    pids.touch()
    program = tmp_path / "rsync"
    program.write_text(
        "#!/bin/sh\n"
        f'case " $* " in *" {tmp_path}/hung/ "*) [ -e {tmp_path}/answers ] || {{\n'
        f"    trap '' TERM; echo $$ >> {pids}; exec sleep 600; }};; esac\n"
        'exec rsync "$@"\n'
    )
    program.chmod(0o755)
    return pids


def make(make_world: MakeWorld, sandbox: RunningSandbox, tmp_path: Path, stall_seconds: float) -> World:
    share = {
        "id": HUNG,
        "source": {"kind": "path", "path": str(tmp_path / "hung")},
        "hold_days": 0,
        "stall_seconds": stall_seconds,
    }
    world = make_world(sandbox, more_shares=(share,), rsync=str(tmp_path / "rsync"))
    # The hung share is a mount of the buffer: the same files, seen through another door.
    (tmp_path / "hung").symlink_to(world.buffer)
    for name in ("behind.tif", "beside.tif"):
        write_tiff(world.buffer / "alice" / name)
    age(world.buffer / "alice")
    return world


def numbers(pids: Path) -> list[int]:
    return [int(word) for word in pids.read_text().split()]


def test_a_share_that_hangs_holds_up_only_itself_and_a_cancel_ends_its_process(
    make_world: MakeWorld, sandbox: RunningSandbox, tmp_path: Path, hanging: Path
) -> None:
    world = make(make_world, sandbox, tmp_path, stall_seconds=3600)
    behind = world.order("alice/behind.tif", share=HUNG)
    with world.running() as running:
        wait_until(lambda: bool(numbers(hanging)), "the listing hangs", seconds=60)
        beside = world.order("alice/beside.tif")
        world.wait_proven(beside, PATIENCE)
        assert world.look(behind).condition == Condition.RUNNING
        world.cancel(behind)
        world.wait(behind, lambda _order: not running._live.keys(), seconds=60)
        assert world.look(behind).stage == Stage.CANCELLED
        assert not any(map(is_alive, numbers(hanging)))


def test_a_process_that_no_signal_reaches_is_one_and_stays_one(
    make_world: MakeWorld,
    sandbox: RunningSandbox,
    tmp_path: Path,
    hanging: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make(make_world, sandbox, tmp_path, stall_seconds=2)
    with monkeypatch.context() as hung:
        hung.setattr(watch.Watch, "_signal", lambda self, number: None)
        for module in (watch, run_lock):
            hung.setattr(module, "signal_verified", lambda pid, number, still: None)
        hung.setattr(watch, "_UNKILLABLE_SECONDS", 0.5)
        behind = world.order("alice/behind.tif", share=HUNG)
        with world.running():
            order = world.wait_reason(behind, "orphans_remain")
            assert order.condition == Condition.WAITING
            assert order.reason is not None and "mounts" in order.reason["remedy"]
            tries = order.attempt
            world.wait(behind, lambda order: order.attempt >= tries + 2)
            assert len(numbers(hanging)) == 1, "a try finds the process, and starts no second one beside it"
            assert world.look(behind).condition != Condition.ATTENTION
            # The mount answers again.
            (tmp_path / "answers").touch()
            hung.undo()
            world.wait_proven(behind, PATIENCE)
    assert not any(map(is_alive, numbers(hanging)))
