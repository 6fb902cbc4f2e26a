"""What looking costs a workstation: a first look, an unchanged one, one huge acquisition, a storm of hints.

A real tree on the local disk and the real scanner and its SQLite file, in this process, without a network.
The first look starts with the tree in the kernel's cache: what is measured is ours.
"""

from __future__ import annotations

import time
from pathlib import Path

from agent.core.machine_store import MachineStore
from agent.core.scanner import ShareScanner, Tiers
from agent.platform.posix import PosixPlatform
from server_bridge.contract import AcquisitionRule, WorkstationShare
from tests.agent.conftest import MARKER, FakeClock
from tests.benchmarks.measure import MIB, Report, span

NAME = "scan"
TITLE = "looking at a share"
PEOPLE, RUNS, FOLDERS = 20, 10, 5


class PassingClock(FakeClock):
    """Real seconds, and more where the benchmark says so: passes are due without waiting for them."""

    def __init__(self) -> None:
        super().__init__()
        self._real = time.monotonic()

    def monotonic(self) -> float:
        return super().monotonic() + time.monotonic() - self._real


def make_tree(top: Path, files: int) -> None:
    """``files`` files of one byte in 200 acquisitions of 20 people, five folders deep."""
    (top / MARKER).touch()
    each = files // (PEOPLE * RUNS * FOLDERS)
    for person in range(PEOPLE):
        for run in range(RUNS):
            folder = top / f"person{person:02d}" / f"run{run:02d}"
            for depth in range(FOLDERS):
                folder = folder / f"position{depth}"
                folder.mkdir(parents=True)
                for number in range(each):
                    (folder / f"image_t{number:05d}_z000_c0.tif").write_bytes(b"x")


def make_flat(folder: Path, files: int) -> None:
    """One folder that holds all of them."""
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"image_t{number:06d}_z000_c0.tif").write_bytes(b"x")


def share_of(depth: int = 2, quiet_seconds: float = 300.0) -> WorkstationShare:
    return WorkstationShare(
        id="bench",
        title="Bench",
        root=".",
        marker=MARKER,
        rule=AcquisitionRule(depth=depth, quiet_seconds=quiet_seconds),
    )


def run(top: Path, quick: bool) -> Report:
    files = 10_000 if quick else 100_000
    report = Report(NAME, f"looking at {files:,} files")
    share = top / "share"
    share.mkdir()
    make_tree(share, files)
    clock = PassingClock()
    platform = PosixPlatform(top / "machine", top / "user")
    store = MachineStore(platform.machine_dir() / "machine.sqlite3")
    scanner = ShareScanner(share_of(), share, store, platform, clock, Tiers())
    with span() as first:
        _until_nothing_waits(scanner, clock)
    _add(report, "first look", first.seconds, first.cpu, 2.0)
    report.add("first look, memory at its peak over before", first.peak_over_bytes / MIB, "MiB")
    clock.pass_time(1_000)
    with span() as unchanged:
        _until_nothing_waits(scanner, clock)
    _add(report, "look at everything, unchanged", unchanged.seconds, unchanged.cpu, 1.0)
    found = store.acquisitions()
    assert sum(row.file_count for row in found) == files and len(found) == PEOPLE * RUNS
    platform.listing_is_truth = False
    clock.pass_time(1_000)
    scanner.look_now()
    with span() as asked:
        _until_nothing_waits(scanner, clock)
    _add(report, "the same, each file asked (as on Windows)", asked.seconds, asked.cpu)
    platform.listing_is_truth = True
    _hot_passes(report, scanner, store, clock)
    store.close()
    _huge(top, files, report)
    return report


def _add(report: Report, what: str, seconds: float, cpu: float, target: float | None = None) -> None:
    report.add(what, seconds, "s", target)
    report.add(f"{what}, CPU", cpu, "s")


def _until_nothing_waits(scanner: ShareScanner, clock: FakeClock) -> None:
    """One full pass, and what it left over."""
    assert scanner.run_due()
    while scanner.waiting():
        scanner.run_due()


def _hot_passes(report: Report, scanner: ShareScanner, store: MachineStore, clock: FakeClock) -> None:
    """What the few seconds' pace costs when nothing happens, and everything is judged finished."""
    for _ in range(60):
        clock.pass_time(30)
        scanner.run_due()
    assert all(row.finished_at is not None for row in store.acquisitions())
    clock.pass_time(90_000)
    _until_nothing_waits(scanner, clock)
    rounds = 20
    with span() as hot:
        for _ in range(rounds):
            clock.pass_time(8)
            assert scanner.run_due()
    report.add("a pass of the shortest pace, nothing hot, CPU", 1000 * hot.cpu / rounds, "ms")
    with span() as storm:
        for number in range(100_000):
            scanner.hint(f"person{number % PEOPLE:02d}/new{number}/a.tif")
    report.add("100,000 hints, CPU", storm.cpu, "s")
    report.add("100,000 hints, memory", storm.peak_over_bytes / MIB, "MiB")


def _huge(top: Path, files: int, report: Report) -> None:
    """All files in one folder of one acquisition, which a small budget takes apart."""
    share = top / "flat"
    make_flat(share / "person" / "run", files)
    (share / MARKER).touch()
    clock = PassingClock()
    platform = PosixPlatform(top / "machine2", top / "user2")
    store = MachineStore(platform.machine_dir() / "machine.sqlite3")
    scanner = ShareScanner(share_of(), share, store, platform, clock, Tiers())
    with span() as one:
        _until_nothing_waits(scanner, clock)
    _add(report, "first look at one folder that holds all", one.seconds, one.cpu, 2.0)
    report.add("the same, memory at its peak over before", one.peak_over_bytes / MIB, "MiB")
    store.close()
