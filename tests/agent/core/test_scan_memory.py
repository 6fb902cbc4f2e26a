"""A restart neither finishes anything too early, nor forgets what changed while the agent was off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.core import listing, scan_memory
from agent.core.errors import ShareAway
from agent.core.scanner import Tiers
from agent.core.settle import Override
from tests.agent.conftest import MARKER, FakeClock
from tests.agent.core.test_scanner import Scene


@pytest.fixture
def scene(tmp_path: Path, share_top: Path, clock: FakeClock) -> Iterator[Scene]:
    made = Scene(tmp_path, share_top, clock)
    yield made
    made.store.close()


def restart(scene: Scene, off_seconds: float = 20, *, crash: bool = False) -> None:
    if not crash:
        scene.scanner.remember()
    scene.clock.pass_time(off_seconds)
    scene.new_scanner()


def looks_until_finished(scene: Scene, path: str = "run1") -> float:
    """Seconds from now until it is judged finished."""
    began = scene.clock.monotonic()
    while scene.look(7)[path].finished_at is None:
        assert scene.clock.monotonic() - began < 2_000
    return scene.clock.monotonic() - began


def test_the_rest_that_was_watched_counts_after_a_restart(scene: Scene) -> None:
    scene.write("run1/a.tif")
    for _ in range(30):
        scene.look(7)
    restart(scene)
    assert 80 <= looks_until_finished(scene) <= 110, "203 of 300 seconds were watched"


def test_after_a_crash_half_a_minute_of_it_is_lost_at_most(scene: Scene) -> None:
    scene.write("run1/a.tif")
    for _ in range(30):
        scene.look(7)
    restart(scene, crash=True)
    assert looks_until_finished(scene) <= 110 + scan_memory.SAVE_SECONDS + 7


def test_a_night_with_the_agent_off_is_no_rest(scene: Scene) -> None:
    """Nobody looked: it may have been written to and put back, and the clock may have been set."""
    scene.write("run1/a.tif")
    scene.look(7)
    scene.look(7)
    restart(scene, off_seconds=40_000)
    assert looks_until_finished(scene) >= 280


def test_a_clock_that_is_set_forward_while_the_agent_is_off_finishes_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.write("run1/a.tif")
    scene.look(7)
    scene.look(7)
    real = scene.clock.now
    monkeypatch.setattr(scene.clock, "now", lambda: real() + timedelta(days=400))
    restart(scene)
    assert looks_until_finished(scene) >= 270


def test_what_changed_while_the_agent_was_off_is_found_and_rests_anew(scene: Scene) -> None:
    file = scene.write("run1/a.tif")
    finished = scene.rest()["run1"]
    assert finished.finished_at is not None
    scene.write("run2/a.tif")
    for _ in range(30):
        scene.look(7)
    scene.scanner.remember()
    file.write_bytes(b"changed while nobody looked")
    scene.write("run2/b.tif")
    restart(scene)
    found = scene.look(7)
    assert found["run1"].finished_at is None and found["run1"].id == finished.id
    assert looks_until_finished(scene, "run2") >= 290, "the rest before belonged to another content"


def test_done_now_said_before_a_restart_does_not_cover_what_was_written_while_it_was_off(
    scene: Scene,
) -> None:
    scene.write("run1/a.tif")
    row = scene.look(7)["run1"]
    scene.store.override(row.id, Override.DONE_NOW, scene.clock.now())
    scene.write("run1/b.tif")
    restart(scene)
    assert looks_until_finished(scene) >= 290


def test_restarts_in_a_row_do_not_always_look_at_the_same_part_of_a_large_share(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PC that is switched off before a full pass has ended, day after day."""
    for number in range(20):
        scene.write(f"run{number:02d}/a.tif")
    scene.rest()
    real = listing.walk
    looked: set[str] = set()

    def walk(top: Path, path: str, **how: object) -> Iterator[listing.FileSeen]:
        looked.add(path)
        scene.clock.pass_time(9)
        return real(top, path, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "walk", walk)
    for _ in range(10):
        restart(scene, off_seconds=200_000)
        scene.look(7)
    assert len(looked) == 20


def test_a_memory_that_cannot_be_read_only_makes_things_rest_anew(scene: Scene) -> None:
    scene.write("run1/a.tif")
    for _ in range(30):
        scene.look(7)
    scene.scanner.remember()
    scene.store.set_fact("scan:scope1", "another version's")
    scene.new_scanner()
    assert looks_until_finished(scene) >= 290


def test_memory_holds_nothing_per_file(scene: Scene) -> None:
    for number in range(2_000):
        scene.write(f"run1/plane{number}.tif")
    scene.look(7)
    scene.scanner.remember()
    assert len(scene.store.fact("scan:scope1") or "") < 500


def test_a_pass_that_fails_after_a_listing_changed_does_not_hide_the_change(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: the listing is compared with the one before, and asks files only where it differs."""
    scene.platform.listing_is_truth = False
    file = scene.write("run1/a.tif")
    assert scene.rest()["run1"].finished_at is not None
    file.write_bytes(b"changed")
    real, calls = listing.marker_present, 0

    def goes_away_behind_the_looks(top: Path, marker: str) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ShareAway("gone")
        return real(top, marker)

    monkeypatch.setattr(listing, "marker_present", goes_away_behind_the_looks)
    with pytest.raises(ShareAway):
        scene.look(60)
    assert scene.look(60)["run1"].finished_at is None, "the change is noticed after all"


def test_another_volume_in_mid_pass_is_an_outage(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.write("run1/a.tif")
    before = scene.look()
    scene.write("run2/a.tif")
    devices = iter([1, 2, 2, 2])
    monkeypatch.setattr(listing, "marker_present", lambda *_: next(devices))
    with pytest.raises(ShareAway, match="volume"):
        scene.look(60)
    assert {row.path: row for row in scene.store.acquisitions()} == before
    assert "run2" in scene.look(60)


def test_lost_notices_make_a_look_at_everything_due_but_not_one_after_the_other(scene: Scene) -> None:
    old = scene.write("old/a.tif")
    scene.rest()
    scene.look(90_000)
    old.write_bytes(b"changed, and nobody told")
    full = 0
    real = scene.scanner._pass

    def counted(tier: object) -> None:
        nonlocal full
        full += tier == "full"
        real(tier)  # type: ignore[arg-type]

    scene.scanner._pass = counted  # type: ignore[method-assign,assignment]
    for _ in range(60):
        scene.scanner.hints.lost()
        scene.look(2)
    assert full <= 3, "at most one a minute"
    assert {row.path: row.size_bytes for row in scene.store.acquisitions()}["old"] > 1


def test_a_storm_of_hints_costs_one_look_at_everything(scene: Scene) -> None:
    scene.new_scanner(Tiers(hot_seconds=7, today_seconds=60, full_seconds=900, budget_seconds=20))
    scene.write("run1/a.tif")
    scene.look()
    passes: list[object] = []
    real = scene.scanner._pass

    def counted(tier: object) -> None:
        passes.append(tier)
        real(tier)  # type: ignore[arg-type]

    scene.scanner._pass = counted  # type: ignore[method-assign,assignment]
    scene.clock.pass_time(60)
    for number in range(100_000):
        scene.scanner.hint(f"run{number}/a.tif")
    scene.scanner.run_due()
    assert passes == ["full"]
    assert scene.scanner.next_due_in() > 1, "nothing is left over"


def test_what_somebody_waits_for_is_looked_at_now_also_when_it_is_hot(scene: Scene) -> None:
    file = scene.write("run1/a.tif")
    scene.look()
    file.write_bytes(b"more")
    scene.clock.pass_time(0.5)
    assert not scene.scanner.run_due()
    scene.scanner.hint("run1/a.tif")
    assert not scene.scanner.run_due(), "a hint does not speed up what has the shortest pace already"
    scene.scanner.look_at("run1")
    assert scene.scanner.next_due_in() < 0.1
    assert scene.scanner.run_due()
    assert scene.store.acquisitions()[0].size_bytes == 4


def test_old_data_at_a_first_look_does_not_have_the_pace_of_what_is_being_written(scene: Scene) -> None:
    file = scene.write("old/a.tif")
    long_ago = scene.clock.now().timestamp() - 86_400 * 30
    os.utime(file, (long_ago, long_ago))
    scene.look()
    scene.look()
    looked: list[str] = []
    real = scene.scanner._look

    def look(path: str, *more: object) -> object:
        looked.append(path)
        return real(path, *more)  # type: ignore[arg-type]

    scene.scanner._look = look  # type: ignore[method-assign,assignment]
    for _ in range(30):
        scene.look(7)
    assert len(looked) <= 4, "a minute's pace"
    assert looks_until_finished(scene, "old") <= 110, "and it is finished on time"


def test_the_marker_in_a_volume_that_came_back_is_enough(scene: Scene) -> None:
    scene.write("run1/a.tif")
    before = scene.look()
    (scene.top / MARKER).unlink()
    with pytest.raises(ShareAway):
        scene.look(7)
    (scene.top / MARKER).touch()
    after = scene.look(7)
    assert after["run1"].id == before["run1"].id


def test_what_cannot_be_read_does_not_make_one_pass_after_the_other(scene: Scene) -> None:
    scene.write("run1/a.tif")
    scene.look()
    (scene.top / "run1").chmod(0)
    try:
        passes = 0
        began = scene.clock.monotonic()
        while scene.clock.monotonic() - began < 700:
            scene.clock.pass_time(scene.scanner.next_due_in())
            passes += scene.scanner.run_due()
    finally:
        (scene.top / "run1").chmod(0o755)
    assert passes <= 700 / 7 + 5


def test_when_the_quiet_time_is_over_nobody_waits_for_the_next_pace(scene: Scene) -> None:
    scene.new_scanner(Tiers(hot_seconds=50, today_seconds=600, full_seconds=9_000))
    scene.write("run1/a.tif")
    scene.look(50)
    began = scene.clock.monotonic()
    while scene.store.acquisitions()[0].finished_at is None:
        scene.clock.pass_time(scene.scanner.next_due_in())
        scene.scanner.run_due()
    assert 300 <= scene.clock.monotonic() - began <= 301


def test_one_file_that_gives_an_error_does_not_keep_the_share_from_being_looked_at(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file, one that a virus scanner holds: the share itself answers."""
    scene.write("bad/a.tif")
    scene.write("good/a.tif")
    before = scene.look()
    real = listing.walk

    def walk(top: Path, path: str, **how: object) -> Iterator[listing.FileSeen]:
        if path == "bad":
            raise listing.away(OSError(5, "Input/output error"))
        yield from real(top, path, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "walk", walk)
    scene.write("new/a.tif")
    after = scene.look(60)
    assert set(after) == {"bad", "good", "new"}
    assert "Input/output error" in after["bad"].problem and after["bad"].id == before["bad"].id
    assert scene.rest()["bad"].finished_at is None
    monkeypatch.undo()
    assert scene.look(60)["bad"].problem == ""


def test_an_error_while_the_share_is_away_is_the_shares(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.write("run1/a.tif")
    before = scene.look()

    def walk(top: Path, path: str, **how: object) -> Iterator[listing.FileSeen]:
        (top / MARKER).unlink(missing_ok=True)
        raise listing.away(OSError(5, "Input/output error"))
        yield

    monkeypatch.setattr(listing, "walk", walk)
    with pytest.raises(ShareAway):
        scene.look(7)
    assert {row.path: row for row in scene.store.acquisitions()} == before
