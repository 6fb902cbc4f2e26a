"""What a killed bridge left running ends with the next start, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server_bridge.processes.leftovers import end_leftovers
from server_bridge.processes.run_lock import LOCK_VARIABLE
from tests.bridge.processes.test_runner import is_alive, read_pid, start_bridge
from tests.loopback.processes import freeze


@contextmanager
def killed_bridge(tmp_path: Path, name: str, script: str = "exec sleep 300") -> Iterator[int]:
    """The child of a bridge that is no more; its lock is ``locks/<name>.lock``."""
    here = tmp_path / name
    here.mkdir()
    (tmp_path / "locks").mkdir(exist_ok=True)
    bridge, pid_file = start_bridge(here, tmp_path / "locks" / f"{name}.lock", script)
    child = read_pid(pid_file)
    bridge.kill()
    bridge.wait()
    try:
        yield child
    finally:
        if is_alive(child):
            os.kill(child, signal.SIGKILL)


def test_children_that_were_held_back_end_too(tmp_path: Path) -> None:
    with killed_bridge(tmp_path, "one") as running, killed_bridge(tmp_path, "two") as held:
        freeze(held)
        assert end_leftovers(tmp_path / "locks") == 2
        assert not is_alive(running) and not is_alive(held)
    assert end_leftovers(tmp_path / "locks") == 0


def test_other_sites_and_living_bridges_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "locks").mkdir()
    living, pid_file = start_bridge(tmp_path, tmp_path / "locks" / "living.lock", "exec sleep 300")
    try:
        child = read_pid(pid_file)
        with killed_bridge(other, "orphan") as orphan:
            assert end_leftovers(tmp_path / "locks") == 0
            assert is_alive(child) and is_alive(orphan)
            assert "left running" in caplog.text and str(living.pid) in caplog.text
    finally:
        living.kill()
        living.wait()
    assert end_leftovers(tmp_path / "locks") == 1
    assert not is_alive(child)


def test_one_that_takes_no_notice_is_killed(tmp_path: Path) -> None:
    with killed_bridge(tmp_path, "deaf", "trap '' TERM; while :; do sleep 0.1; done") as deaf:
        assert end_leftovers(tmp_path / "locks") >= 1
        assert not is_alive(deaf)


def test_a_mark_that_names_no_lock_of_ours_means_nothing(tmp_path: Path) -> None:
    marks = (b"", b"relative.lock", os.fsencode(tmp_path / "locks" / "deeper" / "x.lock"), b"\xff\xfe")
    programs = [
        subprocess.Popen(["sleep", "300"], env={b"PATH": b"/usr/bin:/bin", LOCK_VARIABLE.encode(): mark})
        for mark in marks
    ]
    try:
        assert end_leftovers(tmp_path / "locks") == 0
        assert all(program.poll() is None for program in programs)
    finally:
        for program in programs:
            program.kill()
            program.wait()
