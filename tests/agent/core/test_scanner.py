"""The scanner on real folders with time that passes when a test says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core import listing
from agent.core.acquisition import Acquisition
from agent.core.errors import ShareAway
from agent.core.machine_store import MachineStore
from agent.core.scanner import ShareScanner, Tiers
from agent.core.settle import Override
from server_bridge.contract import AcquisitionKind, WorkstationShare
from tests.agent.conftest import MARKER, FakeClock, OwnPlatform, workstation_share

TIERS = Tiers(hot_seconds=7, today_seconds=60, full_seconds=900, budget_seconds=20)


class Scene:
    """A share, a scanner, a clock."""

    def __init__(self, tmp_path: Path, top: Path, clock: FakeClock) -> None:
        self.top = top
        self.clock = clock
        self.platform = OwnPlatform(tmp_path)
        self.store = MachineStore(tmp_path / "machine.sqlite3")
        self.share: WorkstationShare = workstation_share()
        self.scanner = self.new_scanner()

    def new_scanner(self, tiers: Tiers = TIERS) -> ShareScanner:
        self.scanner = ShareScanner(self.share, self.top, self.store, self.platform, self.clock, tiers)
        return self.scanner

    def write(self, path: str, content: bytes = b"x") -> Path:
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def look(self, seconds: float = 7) -> dict[str, Acquisition]:
        self.clock.pass_time(seconds)
        self.scanner.run_due()
        return {row.path: row for row in self.store.acquisitions()}

    def rest(self) -> dict[str, Acquisition]:
        found = {}
        for _ in range(50):
            found = self.look(7)
        return found


def believe_the_listing(scene: Scene) -> None:
    """As on Linux: one walk for each acquisition, also on Windows."""
    scene.platform.listing_is_truth = True
    scene.new_scanner()


@pytest.fixture
def scene(tmp_path: Path, share_top: Path, clock: FakeClock) -> Iterator[Scene]:
    made = Scene(tmp_path, share_top, clock)
    yield made
    made.store.close()


def test_children_of_the_root_are_acquisitions_files_as_well_as_folders(scene: Scene) -> None:
    scene.write("run1/a.tif", b"12")
    scene.write("run1/deep/b.tif", b"345")
    scene.write("single.nd2")
    scene.write("Thumbs.db")
    (scene.top / "empty").mkdir()
    found = scene.look()
    assert {path: row.kind for path, row in found.items()} == {
        "run1": AcquisitionKind.FOLDER,
        "single.nd2": AcquisitionKind.FILE,
    }
    assert (found["run1"].file_count, found["run1"].size_bytes) == (2, 5)
    assert found["run1"].finished_at is None


def test_with_a_deeper_rule_folders_on_the_way_are_no_acquisitions_but_strays_are(scene: Scene) -> None:
    scene.share = workstation_share(depth=2)
    scene.new_scanner()
    scene.write("alice/run1/a.tif")
    scene.write("stray.tif")
    assert set(scene.look()) == {"alice/run1", "stray.tif"}


def test_only_the_workstations_root_is_looked_at(scene: Scene) -> None:
    scene.share = workstation_share().model_copy(update={"root": "scope1/data"})
    scene.new_scanner()
    scene.write("scope1/data/run1/a.tif")
    scene.write("scope2/data/run1/a.tif")
    assert set(scene.look()) == {"scope1/data/run1"}


def test_links_are_not_followed(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("x", encoding="utf-8")
    (scene.top / "linked").symlink_to(tmp_path / "elsewhere")
    scene.write("run1/a.tif")
    (scene.top / "run1" / "loop").symlink_to(scene.top)
    found = scene.look()
    assert set(found) == {"run1"} and found["run1"].file_count == 1


def test_it_is_finished_after_the_quiet_time_and_a_change_takes_that_back(scene: Scene) -> None:
    scene.write("run1/a.tif")
    assert scene.look()["run1"].finished_at is None
    finished = scene.rest()["run1"]
    assert finished.finished_at is not None
    scene.write("run1/b.tif")
    assert scene.look(60)["run1"].finished_at is None


def test_junk_beside_it_neither_unseals_it_nor_escapes_the_manifest(scene: Scene) -> None:
    scene.write("run1/a.tif")
    before = scene.rest()["run1"]
    scene.write("run1/Thumbs.db")
    after = scene.look(60)["run1"]
    assert after.finished_at == before.finished_at
    assert after.fingerprint == before.fingerprint and after.content != before.content


def test_a_missing_marker_is_an_outage_and_changes_nothing(scene: Scene) -> None:
    scene.write("run1/a.tif")
    before = scene.look()
    (scene.top / MARKER).unlink()
    os.rename(scene.top / "run1", scene.top / "hidden")  # noqa: PTH104
    for _ in range(5):
        with pytest.raises(ShareAway):
            scene.look(900)
    assert {row.path: row for row in scene.store.acquisitions()} == before


def test_a_share_lost_in_mid_pass_changes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.write("run1/a.tif")
    before = scene.look()
    scene.write("run2/a.tif")
    (scene.top / "run1" / "a.tif").unlink()
    real = listing.walk

    def walk_and_lose(*args: object, **kwargs: object) -> Iterator[listing.FileSeen]:
        (scene.top / MARKER).unlink(missing_ok=True)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "walk", walk_and_lose)
    for _ in range(3):
        with pytest.raises(ShareAway):
            scene.look(900)
        (scene.top / MARKER).touch()
    assert {row.path: row for row in scene.store.acquisitions()} == before


def test_gone_takes_two_complete_looks(scene: Scene) -> None:
    scene.write("run1/a.tif")
    scene.look()
    (scene.top / "run1" / "a.tif").unlink()
    (scene.top / "run1").rmdir()
    assert "run1" in scene.look()
    assert "run1" not in scene.look()
    scene.write("run1/a.tif")
    assert scene.look()["run1"].file_count == 1, "a new acquisition may take the place"


def test_a_whole_folder_of_a_person_that_goes_takes_its_acquisitions_with_it(scene: Scene) -> None:
    scene.share = workstation_share(depth=2)
    scene.new_scanner()
    scene.write("alice/run1/a.tif")
    scene.write("bob/run1/a.tif")
    scene.look()
    os.rename(scene.top / "alice", scene.top.parent / "alice")  # noqa: PTH104
    scene.look(60)
    assert set(scene.look(60)) == {"bob/run1"}


def test_cold_acquisitions_are_looked_at_in_the_wide_tiers_only(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.write("old/a.tif")
    scene.rest()
    scene.look(86_400)
    looked: list[str] = []
    real = listing.walk

    def walk(top: Path, path: str, **kwargs: object) -> Iterator[listing.FileSeen]:
        looked.append(path)
        return real(top, path, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "walk", walk)
    for _ in range(20):
        scene.look(7)
    assert looked == []
    scene.look(900)
    assert looked == ["old"]


def test_a_hint_makes_a_cold_acquisition_due_at_once(scene: Scene) -> None:
    file = scene.write("old/a.tif")
    scene.rest()
    scene.look(86_400)
    file.write_bytes(b"more than before")
    assert scene.look(7)["old"].size_bytes == 1
    scene.scanner.hint("old/a.tif")
    assert scene.look(7)["old"].size_bytes == 16


def test_a_pass_keeps_to_its_budget_and_the_next_one_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    believe_the_listing(scene)
    for number in range(6):
        scene.write(f"run{number}/a.tif")
    real = listing.walk

    def slow(*args: object, **kwargs: object) -> Iterator[listing.FileSeen]:
        scene.clock.pass_time(9)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "walk", slow)
    first = set(scene.look())
    assert len(first) == 3
    assert scene.scanner.next_due_in() <= 0.5
    second = set(scene.look())
    assert len(second) == 6


def test_while_the_microscope_acquires_a_pass_keeps_to_a_quarter_of_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    believe_the_listing(scene)
    for number in range(6):
        scene.write(f"run{number}/a.tif")
    real = listing.walk

    def slow(*args: object, **kwargs: object) -> Iterator[listing.FileSeen]:
        scene.clock.pass_time(4)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "walk", slow)
    scene.scanner.stand_back = True
    assert len(scene.look()) == 2
    scene.scanner.stand_back = False
    assert len(scene.look()) == 6
    assert scene.scanner.entries_looked >= 8, "two of them were looked at twice"


@pytest.mark.skipif(sys.platform == "win32", reason="mode bits close nothing on Windows")
def test_one_unreadable_folder_is_said_on_its_card_and_stops_nothing_else(scene: Scene) -> None:
    scene.write("run1/a.tif")
    scene.write("run2/a.tif")
    scene.look()
    (scene.top / "run1").chmod(0)
    try:
        scene.write("run3/a.tif")
        found = scene.look()
    finally:
        (scene.top / "run1").chmod(0o755)
    assert found["run1"].problem and set(found) == {"run1", "run2", "run3"}
    assert scene.look()["run1"].problem == ""


def test_who_was_signed_in_is_noted_and_never_guessed(scene: Scene) -> None:
    scene.write("nobody/a.tif")
    scene.look()
    scene.store.sign_in("session-1", "alice", scene.clock.now())
    scene.write("hers/a.tif")
    scene.look()
    scene.store.sign_in("session-2", "bob", scene.clock.now())
    scene.write("whose/a.tif")
    found = scene.look()
    assert {path: row.person_then for path, row in found.items()} == {
        "nobody": "",
        "hers": "alice",
        "whose": "",
    }


def test_what_was_written_before_she_signed_in_is_not_hers_for_being_found_now(scene: Scene) -> None:
    scene.store.sign_in("session-1", "alice", scene.clock.now())
    old = scene.write("old/a.tif")
    before = scene.clock.now().timestamp() - 3600
    os.utime(old, (before, before))
    assert scene.look()["old"].person_then == ""


def test_a_crashed_session_is_not_present_for_ever(scene: Scene) -> None:
    scene.store.sign_in("session-1", "alice", scene.clock.now())
    scene.clock.pass_time(600)
    assert scene.store.present(scene.clock.now()) == {}


def test_a_restart_keeps_ids_verdicts_and_the_rest_it_had(scene: Scene) -> None:
    scene.write("run1/a.tif")
    scene.write("run2/a.tif")
    before = scene.rest()
    scene.write("run2/b.tif")
    changed = scene.look(60)["run2"]
    scene.new_scanner()
    after = scene.look()
    assert after["run1"] == before["run1"]
    assert after["run2"].id == changed.id and after["run2"].finished_at is None
    assert after["run2"].last_change_at == changed.last_change_at


def test_a_clock_that_is_set_forward_finishes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.write("run1/a.tif")
    scene.look()
    real = scene.clock.now
    monkeypatch.setattr(scene.clock, "now", lambda: real().replace(year=2027))
    scene.look()
    assert scene.look()["run1"].finished_at is None


def test_what_a_person_said_is_heeded_at_the_next_look(scene: Scene) -> None:
    scene.write("run1/a.tif")
    scene.look()
    row = scene.look()["run1"]
    scene.store.override(row.id, Override.DONE_NOW, scene.clock.now())
    assert scene.look()["run1"].finished_at is not None
    scene.store.override(row.id, Override.NOT_YET, scene.clock.now())
    assert scene.look()["run1"].finished_at is None


def test_where_listings_lie_each_file_is_asked_before_it_counts_as_finished(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NTFS shows the size of an open file in its folder only when the handle is closed."""
    scene.platform.listing_is_truth = False
    asked: list[bool] = []
    real = listing.walk

    def walk(
        top: Path, path: str, *, members: tuple[str, ...] = (), judged: bool, beat: listing.Beat
    ) -> Iterator[listing.FileSeen]:
        asked.append(judged)
        for seen in real(top, path, members=members, judged=judged, beat=beat):
            # The listing never shows the growth; the file itself does.
            yield seen if judged else listing.FileSeen(seen.path, 0, 0)

    monkeypatch.setattr(listing, "walk", walk)
    file = scene.write("run1/a.tif")
    scene.look()
    for number in range(60):
        file.write_bytes(b"x" * (number + 2))
        assert scene.look(7)["run1"].finished_at is None
    assert scene.rest()["run1"].finished_at is not None
    asked.clear()
    scene.look(60)
    assert asked == [False], "a finished acquisition whose listing is unchanged costs no call per file"
