"""A pull whose rate changes while it runs: bytes are counted, nothing comes twice, every digest is right.

Rates are judged by what lies in staging against the time that really passed, never by a time limit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server_bridge.mover.pull import PullLimits, PullOutcome, WantedFile, pull
from server_bridge.mover.sources import Source
from server_bridge.processes.runner import ProcessRunner
from tests.bridge.mover.conftest import assert_identical, fill, wanted_in
from tests.bridge.mover.test_pull import FOLDER
from tests.bridge.mover.test_pull_faults import marked
from tests.bridge.rsyncd import LoopbackSshd, RsyncDaemon, wait_until

MIB = 1 << 20
FULL, FLOOR = 30.0 * MIB, 4.0 * MIB
AT_MOST = 2 * FLOOR
"""Without a pace these pulls go a hundred times as fast."""
SIZE = 240 * MIB
MEASURED_SECONDS = 4.0
MEASURED_TIMES = 10
"""A machine that does not schedule the pacer for a quarter of a second lets tens of megabytes through. They
are owed, so that nothing moves for a while; one look of a few seconds may see either."""


class Pace:
    """What the share's rate is, as the test sets it."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate

    def bytes_per_second(self) -> float | None:
        return self.rate


def arrived(staging: Path) -> int:
    """Bytes in staging, in files that are complete and in those under way."""
    total = 0
    for folder, _folders, names in os.walk(staging):
        for name in names:
            try:
                total += Path(folder, name).lstat().st_size
            except FileNotFoundError:
                continue  # it was given its final name meanwhile
    return total


class Running:
    """A pull in a thread of its own."""

    def __init__(self, source: Source, wanted: list[WantedFile], staging: Path, pace: Pace, shards: int = 1):
        self.staging = staging
        self.shown: list[int] = []
        self.outcome: PullOutcome | None = None
        self.error: BaseException | None = None

        def work() -> None:
            try:
                self.outcome = pull(
                    source,
                    FOLDER,
                    wanted,
                    staging,
                    ProcessRunner(),
                    pace=pace,
                    limits=PullLimits(shards=shards, progress_seconds=0.0),
                    on_progress=lambda done, _files: self.shown.append(done),
                )
            except BaseException as error:  # noqa: BLE001 - raised by result()
                self.error = error

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def wait_for(self, count: int) -> None:
        wait_until(
            lambda: arrived(self.staging) >= count or not self._thread.is_alive(), "it moves", seconds=120
        )
        assert self._thread.is_alive(), (self.outcome, self.error)

    def assert_held(self) -> None:
        """It moves, at about the floor, which one of several looks has to show."""
        rates = []
        for _ in range(MEASURED_TIMES):
            began, before = time.monotonic(), arrived(self.staging)
            time.sleep(MEASURED_SECONDS)
            rates.append((arrived(self.staging) - before) / (time.monotonic() - began))
            assert self._thread.is_alive(), ("it was over long before its time", rates)
            if 0 < rates[-1] <= AT_MOST:
                return
        raise AssertionError(f"not held back: {rates} bytes per second")

    def result(self) -> PullOutcome:
        self._thread.join(120)
        assert not self._thread.is_alive(), "the pull does not return"
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome


@pytest.fixture
def huge(share: Path) -> Path:
    return fill(share / FOLDER / "huge.czi", SIZE)


def settled(running: Running) -> None:
    """Until the new rate holds: it is asked for twice a second."""
    time.sleep(1.2)


def test_a_lease_that_comes_slows_a_running_pull_to_the_floor_and_sets_it_free_when_it_goes(
    daemon: RsyncDaemon, huge: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = daemon.source()
    wanted = wanted_in(source, FOLDER, runner)
    pace = Pace(FULL)
    running = Running(source, wanted, staging, pace)
    running.wait_for(12 * MIB)
    pace.rate = FLOOR
    settled(running)
    running.assert_held()
    pace.rate = None
    outcome = running.result()
    assert outcome.verdict.is_done
    assert_identical(outcome.confirmed, share, staging)
    assert running.shown == sorted(running.shown), "the bar never goes back"
    # One run, from the first byte to the last: nothing was ended, nothing came twice.
    assert outcome.new_files == len(wanted)
    assert outcome.said == ""


@pytest.mark.parametrize("kind", ["path", "ssh"])
def test_every_kind_of_source_is_held(
    kind: str, request: pytest.FixtureRequest, huge: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    if kind == "path":
        source: Source = request.getfixturevalue("mounted")
    else:
        sshd: LoopbackSshd = request.getfixturevalue("sshd")
        source = sshd.source()
    pace = Pace(FLOOR)
    running = Running(source, wanted_in(source, FOLDER, runner), staging, pace)
    running.wait_for(2 * MIB)
    settled(running)
    running.assert_held()
    pace.rate = None
    outcome = running.result()
    assert outcome.verdict.is_done
    assert_identical(outcome.confirmed, share, staging)


def test_several_processes_share_the_rate(
    daemon: RsyncDaemon, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    for number in range(4):
        fill(share / FOLDER / f"part{number}.czi", SIZE // 4, seed=number)
    source = daemon.source()
    pace = Pace(FLOOR)
    running = Running(source, wanted_in(source, FOLDER, runner), staging, pace, shards=4)
    running.wait_for(2 * MIB)
    settled(running)
    running.assert_held()
    pace.rate = None
    outcome = running.result()
    assert outcome.verdict.is_done
    assert_identical(outcome.confirmed, share, staging)


BRIDGE = """
import json, sys
from pathlib import Path
from server_bridge.mover.pull import WantedFile, pull
from server_bridge.mover.sources import DaemonSource
from server_bridge.processes.runner import ProcessRunner

class Floor:
    def bytes_per_second(self):
        return 100_000.0

port, password_file, staging, lock, wanted, death = sys.argv[1:]
pull(
    DaemonSource("127.0.0.1", "acq", int(port), "bridge", Path(password_file)),
    "lab/run 1",
    [WantedFile(*file) for file in json.loads(wanted)],
    Path(staging),
    ProcessRunner(death_signal=death == "yes"),
    pace=Floor(),
    lock_path=Path(lock),
)
"""


def states(pids: list[int]) -> set[str]:
    found = set()
    for pid in pids:
        try:
            found.add(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            continue
    return found


@pytest.mark.parametrize("death_signal", ["yes", "no"])
def test_an_rsync_that_is_held_when_its_bridge_is_killed_is_ended_and_its_bytes_are_used(
    death_signal: str,
    daemon: RsyncDaemon,
    huge: Path,
    share: Path,
    staging: Path,
    runner: ProcessRunner,
    tmp_path: Path,
) -> None:
    source = daemon.source()
    wanted = wanted_in(source, FOLDER, runner)
    lock_path = tmp_path / "order.lock"
    manifest = json.dumps([[file.path, file.size_bytes, file.mtime_s] for file in wanted])
    bridge = subprocess.Popen(
        [sys.executable, "-c", BRIDGE, str(daemon.port), str(daemon.password_file), str(staging),
         str(lock_path), manifest, death_signal],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(
            lambda: bool(list(staging.rglob(".huge.czi.??????"))), "the transfer has begun", seconds=60
        )
        held: Callable[[], bool] = lambda: states(marked(lock_path)) == {"T"}  # noqa: E731
        wait_until(held, "it is held back", seconds=60)
    finally:
        bridge.kill()
        bridge.wait()
    outcome = pull(source, FOLDER, wanted, staging, runner, lock_path=lock_path)
    assert outcome.verdict.is_done
    assert_identical(outcome.confirmed, share, staging)
    assert not marked(lock_path)
