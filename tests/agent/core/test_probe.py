"""The probe on real files that are really open."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core import listing
from agent.core.machine_store import MachineStore
from agent.core.probe import FILES_ASKED, chosen, probe
from agent.core.scanner import ShareScanner, Tiers
from agent.core.settle import Override
from agent.core.witness import Witness, WitnessState
from tests.agent.conftest import FakeClock, OwnPlatform, workstation_share


class Asked(OwnPlatform):
    """Notes which files were asked about."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.asked: list[str] = []

    def is_being_written(self, path: Path) -> bool | None:
        self.asked.append(path.name)
        return super().is_being_written(path)


class Scene:
    """One pre-allocated file that a program may hold open."""

    def __init__(self, tmp_path: Path, top: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.platform = Asked(tmp_path)
        self.store = MachineStore(tmp_path / "machine.sqlite3")
        self.share = workstation_share(probe=True)
        self.scanner = ShareScanner(self.share, top, self.store, self.platform, clock, Tiers())
        self.file = top / "run1.czi"
        self.file.write_bytes(b"x" * 100)

    def rest(self, seconds: float) -> None:
        for _ in range(int(seconds // 7)):
            self.clock.pass_time(7)
            self.scanner.run_due()

    @property
    def finished(self) -> bool:
        return self.store.acquisitions()[0].finished_at is not None

    @property
    def witness(self) -> Witness | None:
        found = self.store.acquisitions()[0].witnesses
        return next((one for one in found if one.name == "open"), None)


@pytest.fixture
def scene(tmp_path: Path, share_top: Path, clock: FakeClock) -> Iterator[Scene]:
    made = Scene(tmp_path, share_top, clock)
    yield made
    made.store.close()


def test_a_file_that_a_program_holds_open_is_not_finished_however_long_it_rests(scene: Scene) -> None:
    with scene.file.open("r+b"):
        scene.rest(3600)
        assert not scene.finished
        assert scene.witness == Witness("open", WitnessState.WAITING, "run1.czi is still open in a program")
    scene.rest(320)
    assert scene.finished and scene.witness and scene.witness.state is WitnessState.OK


def test_nothing_is_asked_before_the_quiet_time_and_nothing_twice_without_need(scene: Scene) -> None:
    scene.rest(290)
    assert scene.platform.asked == []
    scene.rest(600)
    assert scene.finished and scene.platform.asked == ["run1.czi"]


def test_what_is_open_is_asked_about_once_per_quiet_time(scene: Scene) -> None:
    with scene.file.open("r+b"):
        scene.rest(300 * 4 + 60)
    assert len(scene.platform.asked) == 4


def test_without_the_rule_nothing_is_asked(scene: Scene, share_top: Path) -> None:
    scene.scanner = ShareScanner(
        workstation_share(), share_top, scene.store, scene.platform, scene.clock, Tiers()
    )
    with scene.file.open("r+b"):
        scene.rest(600)
    assert scene.finished and scene.platform.asked == []


def test_done_now_is_a_persons_word_and_asks_nobody(scene: Scene) -> None:
    scene.rest(14)
    scene.store.override(scene.store.acquisitions()[0].id, Override.DONE_NOW, scene.clock.now())
    scene.rest(14)
    assert scene.finished and scene.platform.asked == []


def test_the_program_may_open_its_file_again_at_once(scene: Scene) -> None:
    assert scene.platform.is_being_written(scene.file) is False
    with scene.file.open("ab") as file:
        assert file.write(b"y") == 1
    assert scene.file.stat().st_size == 101


def test_a_reader_does_not_hold_it(scene: Scene) -> None:
    with scene.file.open("rb"):
        assert scene.platform.is_being_written(scene.file) is False


@pytest.mark.skipif(sys.platform == "win32", reason="mode bits close nothing on Windows")
def test_what_may_not_be_asked_is_unknown_and_holds_nothing(scene: Scene, share_top: Path) -> None:
    scene.file.chmod(0)
    said = probe(scene.platform, share_top, [listing.FileSeen("run1.czi", 100, 0)])
    assert said.state is WitnessState.UNKNOWN
    gone = probe(scene.platform, share_top, listing.walk(share_top, "nowhere", judged=False))
    assert gone.state is WitnessState.UNKNOWN


def test_of_very_many_files_the_newest_and_the_largest_are_asked_about() -> None:
    files = [listing.FileSeen(f"run/{n:05}", 10_000 - n, n) for n in range(5000)]
    names = [seen.path for seen in chosen(iter(files))]
    assert len(names) == 2 * FILES_ASKED
    assert names[0] == "run/00000" and names[-1] == "run/04999"
