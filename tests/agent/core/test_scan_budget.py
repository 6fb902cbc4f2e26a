"""A pass keeps to its time and its entries, also inside a huge acquisition, and everything gets its turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core import listing
from agent.core.errors import ShareAway
from agent.core.scan_budget import LEAST_BURST_ENTRIES, LEAST_SLICE_ENTRIES, ScanBudget
from agent.core.scanner import Tiers
from tests.agent.conftest import MARKER, FakeClock, workstation_share
from tests.agent.core.test_scanner import Scene

FILES = 3_000
SECONDS_PER_FILE = 0.02
"""A share so slow that one look at all files takes a minute, three times the budget of a pass."""


@pytest.fixture
def slow(
    tmp_path: Path, share_top: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    scene = Scene(tmp_path, share_top, clock)
    real = listing.walk

    def walk(top: Path, path: str, **how: object) -> Iterator[listing.FileSeen]:
        for seen in real(top, path, **how):  # type: ignore[arg-type]
            clock.pass_time(SECONDS_PER_FILE)
            yield seen

    monkeypatch.setattr(listing, "walk", walk)
    yield scene
    scene.store.close()


def write_many(scene: Scene, folder: str, files: int = FILES) -> None:
    top = scene.top / folder
    top.mkdir(parents=True)
    for number in range(files):
        (top / f"plane{number:05d}.tif").write_bytes(b"x")


def one_pass(scene: Scene) -> float:
    """The pass that is due next, as the runner makes it; returns the seconds it took."""
    scene.clock.pass_time(scene.scanner.next_due_in())
    began = scene.clock.monotonic()
    assert scene.scanner.run_due()
    return scene.clock.monotonic() - began


def test_a_look_that_takes_longer_than_a_pass_goes_on_in_the_next_and_ends(slow: Scene) -> None:
    write_many(slow, "huge")
    passes = [one_pass(slow)]
    while not slow.store.acquisitions():
        passes.append(one_pass(slow))
        assert len(passes) < 20
    assert len(passes) > 2, "it took several"
    assert max(passes) < 20 + 64 * SECONDS_PER_FILE, "none was longer than the budget"
    row = slow.store.acquisitions()[0]
    assert (row.path, row.file_count, row.size_bytes) == ("huge", FILES, FILES)
    for _ in range(200):
        one_pass(slow)
        if slow.store.acquisitions()[0].finished_at is not None:
            break
    assert slow.store.acquisitions()[0].finished_at is not None, "and it is finished one day"


def test_also_below_a_folder_that_the_narrow_passes_do_not_list(slow: Scene) -> None:
    slow.share = workstation_share(depth=2)
    slow.write("alice/small/a.tif")
    write_many(slow, "alice/huge")
    slow.new_scanner()
    for _ in range(12):
        one_pass(slow)
    assert {row.path: row.file_count for row in slow.store.acquisitions()}["alice/huge"] == FILES


def test_what_lies_beside_a_huge_one_is_looked_at_in_every_pass(slow: Scene) -> None:
    write_many(slow, "a-huge")
    small = slow.write("small/a.tif")
    one_pass(slow)
    for size in range(2, 8):
        small.write_bytes(b"x" * size)
        slow.clock.pass_time(7)
        slow.scanner.run_due()
        sizes = {row.path: row.size_bytes for row in slow.store.acquisitions()}
        assert sizes["small"] == size, "it does not wait for the huge one"


def test_a_write_behind_the_back_of_a_long_look_keeps_it_from_being_finished(slow: Scene) -> None:
    write_many(slow, "huge")
    first = slow.top / "huge" / "plane00000.tif"
    size = 1
    for _ in range(120):
        one_pass(slow)
        size += 1
        first.write_bytes(b"x" * size)  # read early in the look, written late
        assert all(row.finished_at is None for row in slow.store.acquisitions())


def test_a_long_look_proves_rest_only_between_its_ends(slow: Scene) -> None:
    """Two equal looks of a minute each: what lies before the end of the first is not proven."""
    slow.share = workstation_share(quiet_seconds=100.0)
    slow.new_scanner()
    write_many(slow, "huge")
    while not slow.store.acquisitions():
        one_pass(slow)
    seen_at = slow.clock.monotonic()
    while slow.store.acquisitions()[0].finished_at is None:
        one_pass(slow)
    # The look that finished it began when the quiet time was over, and took another minute.
    assert slow.clock.monotonic() - seen_at >= 100 + FILES * SECONDS_PER_FILE


def test_an_outage_forgets_the_look_under_way(slow: Scene) -> None:
    write_many(slow, "huge")
    one_pass(slow)
    assert slow.scanner._open
    (slow.top / MARKER).unlink()
    slow.clock.pass_time(7)
    with pytest.raises(ShareAway):
        slow.scanner.run_due()
    assert not slow.scanner._open, "what was folded before and what comes after are no one look"
    (slow.top / MARKER).touch()
    for _ in range(20):
        one_pass(slow)
    assert slow.store.acquisitions()[0].file_count == FILES


def test_when_files_are_asked_one_by_one_a_long_look_goes_on_too(slow: Scene) -> None:
    slow.platform.listing_is_truth = False
    write_many(slow, "huge")
    for _ in range(40):
        one_pass(slow)
    assert slow.store.acquisitions()[0].file_count == FILES


def test_entries_per_second_are_kept_on_average(
    tmp_path: Path, share_top: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of a microscope that writes into an acquisition of very many files."""
    monkeypatch.setattr("agent.core.scan_budget.LEAST_BURST_ENTRIES", 1_000.0)
    scene = Scene(tmp_path, share_top, clock)
    rate = 50.0
    scene.new_scanner(Tiers(entries_per_second=rate))
    write_many(scene, "run1")
    seen = 0
    real = listing.walk

    def walk(top: Path, path: str, **how: object) -> Iterator[listing.FileSeen]:
        nonlocal seen
        for one in real(top, path, **how):  # type: ignore[arg-type]
            seen += 1
            yield one

    monkeypatch.setattr(listing, "walk", walk)
    began, number = clock.monotonic(), 0
    while clock.monotonic() - began < 3_600:
        one_pass(scene)
        number += 1
        (scene.top / "run1" / f"more{number}.tif").write_bytes(b"x")
    seconds = clock.monotonic() - began
    assert FILES < seen <= rate * seconds + 30 * rate + LEAST_SLICE_ENTRIES
    assert scene.store.acquisitions()[0].file_count > FILES, "it is still looked at"
    scene.store.close()


def test_a_first_look_at_a_large_tree_may_be_made_at_once(clock: FakeClock) -> None:
    budget = ScanBudget(clock, entries_per_second=5_000, pass_seconds=20)
    budget.begin_pass()
    budget.spend(int(LEAST_BURST_ENTRIES))
    assert not budget.is_spent()
    budget.spend(100_000)
    assert budget.is_spent()
    # What it owes is paid back by waiting.
    assert budget.pause_seconds() == pytest.approx((50_000 + LEAST_SLICE_ENTRIES) / 5_000)
    clock.pass_time(60)
    budget.begin_pass()
    assert not budget.is_spent()
