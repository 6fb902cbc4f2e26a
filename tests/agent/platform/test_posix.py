"""Linux behind the protocol: mode bits, and priorities as its kernel tells them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("about Linux", allow_module_level=True)

from agent.platform.posix import PosixPlatform


def test_a_system_that_does_not_tell_idle_time_says_so(tmp_path: Path) -> None:
    assert PosixPlatform(tmp_path, tmp_path).idle_seconds() is None


def test_private_files_are_whole_and_for_their_owner_only(tmp_path: Path) -> None:
    platform = PosixPlatform(tmp_path / "m", tmp_path / "u")
    path = tmp_path / "m" / "key"
    platform.write_private(path, b"first")
    platform.write_private(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_one_thread_steps_back_and_the_others_keep_their_priority() -> None:
    platform = PosixPlatform()
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    found: list[tuple[int, str]] = []

    def work() -> None:
        platform.lower_thread()
        me = threading.get_native_id()
        told = subprocess.run(
            ["ionice", "-p", str(me)], capture_output=True, text=True, check=True, timeout=60
        )
        found.append((os.getpriority(os.PRIO_PROCESS, me), told.stdout.strip()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(19, "idle")]
    assert os.getpriority(os.PRIO_PROCESS, 0) == nice
