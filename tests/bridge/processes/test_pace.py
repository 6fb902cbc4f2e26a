"""Holding a child back: the arithmetic with a clock of its own, and real children that copy."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from server_bridge.processes.pace import BURST_SECONDS, Bucket
from server_bridge.processes.runner import Ended, ProcessRunner

COPY = """
import os, sys, time
while len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
with open(sys.argv[1], "rb") as source:
    while source.read(1 << 16):
        time.sleep(0.002)  # slow enough for whoever holds it to look before it has everything
print("done")
"""
MIB = 1 << 20


class Wish:
    """A rate that the test sets."""

    def __init__(self, rate: float | None, asked: Path | None = None) -> None:
        self.rate = rate
        self._asked = asked

    def bytes_per_second(self) -> float | None:
        if self._asked is not None:
            self._asked.touch()
        return self.rate


@given(
    rate=st.floats(1e3, 1e9),
    ticks=st.lists(st.tuples(st.floats(0.001, 5.0), st.floats(0.0, 1.0)), min_size=1, max_size=60),
    slice_bytes=st.floats(0.0, 1e8),
)
def test_whatever_comes_when_it_runs_the_average_stays_the_rate(
    rate: float, ticks: list[tuple[float, float]], slice_bytes: float
) -> None:
    now = moved = 0.0
    bucket, credit = Bucket(0.0), 0.0
    for seconds, part in ticks:
        now += seconds
        came = slice_bytes * part if credit > 0 else 0.0  # a held group reads nothing
        moved += came
        credit = bucket.take(now, rate, came)
    # What was saved up, and the slice that overshot last.
    assert moved <= rate * (now + BURST_SECONDS) + slice_bytes + 1.0


def test_nothing_is_saved_up_while_nothing_comes() -> None:
    bucket = Bucket(0.0)
    assert bucket.take(3600.0, 1000.0, 0.0) == 1000.0 * BURST_SECONDS


def test_a_child_is_held_to_its_rate_and_set_free(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"x" * (16 * MIB))
    asked = tmp_path / "asked"
    started = time.monotonic()
    command = [sys.executable, "-c", COPY, str(file), str(asked)]
    child = ProcessRunner().run(command, env={}, pace=Wish(4 * MIB, asked))
    assert (child.returncode, child.stdout) == (0, b"done\n")
    # What it read before the first look is not held against it.
    assert time.monotonic() - started >= 16 / 4 * 0.75


def test_a_child_that_is_held_back_is_not_called_stalled(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"x" * (2 * MIB))
    child = ProcessRunner().run(
        [sys.executable, "-c", COPY, str(file)], env={}, pace=Wish(MIB / 2), stall_seconds=1.0
    )
    assert (child.ended, child.returncode) == (Ended.EXITED, 0)


def test_a_child_that_does_nothing_is_called_stalled_at_any_rate() -> None:
    child = ProcessRunner().run(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={}, pace=Wish(MIB), stall_seconds=1.5
    )
    assert child.ended is Ended.STALLED


def test_a_held_child_ends_when_it_is_told_to(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"x" * (64 * MIB))

    class Soon:
        at = time.monotonic() + 1.5

        def is_set(self) -> bool:
            return time.monotonic() > self.at

    child = ProcessRunner(grace_seconds=60).run(
        [sys.executable, "-c", COPY, str(file)], env={}, pace=Wish(2048.0), stop_event=Soon()
    )
    assert child.ended is Ended.STOPPED
    assert child.signal_number == 15, "TERM reached it: it was continued"
