"""The disk of the state folder fills while orders run and new ones come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import on_postgresql
from tests.loopback.site import PROJECT
from tests.loopback.small_disk import on_small_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_full_state_disk_loses_nothing_and_accepts_nothing_it_cannot_keep(tmp_path: Path) -> None:
    if on_postgresql():
        pytest.skip("the orders are not on that disk")
    state = tmp_path / "site" / "state"
    state.mkdir(parents=True)
    done = subprocess.run(
        on_small_disk(state, "12m", [sys.executable, "-m", "tests.faults.full_disk", str(tmp_path / "site")]),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    logs = tmp_path / "site" / "logs" / "bridge.log"
    tail = logs.read_text(errors="replace")[-4000:] if logs.exists() else ""
    assert done.returncode == 0, f"{done.stdout[-1500:]}{done.stderr[-3000:]}\n--- bridge ---\n{tail}"
    assert "accepted while filling" in done.stdout
