"""The scanner with formats: groups stay groups, nothing is opened too early, nothing waits silently."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core import listing
from agent.core.acquisition import Acquisition
from agent.core.claims import takes_standing_target
from agent.core.settle import Override
from agent.core.witness import WitnessState
from server_bridge.contract import AcquisitionKind
from tests.agent.conftest import FakeClock, workstation_share
from tests.agent.core.formats import makers
from tests.agent.core.test_scanner import Scene

QUIET_LOOKS = 50
"""Looks of seven seconds: more than the quiet time of five minutes."""


@pytest.fixture
def scene(tmp_path: Path, share_top: Path, clock: FakeClock) -> Iterator[Scene]:
    made = Scene(tmp_path, share_top, clock)
    yield made
    made.store.close()


def with_rule(scene: Scene, **rule: object) -> Scene:
    scene.share = workstation_share(**rule)
    scene.new_scanner()
    return scene


def rest(scene: Scene, looks: int = QUIET_LOOKS) -> dict[str, Acquisition]:
    found = {}
    for _ in range(looks):
        found = scene.look(7)
    return found


class Opened:
    """Notes which files are opened for reading while it is in place."""

    def __init__(self, patch: pytest.MonkeyPatch, top: Path) -> None:
        self.names: list[str] = []
        real = builtins.open

        def noted(file: object, *args: object, **kwargs: object) -> object:
            if str(top) in str(file):  # behind \\\\?\\ on Windows
                self.names.append(Path(str(file)).name)
            return real(file, *args, **kwargs)  # type: ignore[call-overload]

        patch.setattr(builtins, "open", noted)


def test_an_image_and_its_folder_are_one_card_among_their_neighbours(scene: Scene) -> None:
    scene.write("img.vsi", makers.tiff())
    scene.write("_img_/stack1/frame_t_0.ets", b"pixels")
    scene.write("run1/a.tif", makers.tiff())
    found = scene.look()
    assert set(found) == {"img.vsi", "run1"}
    row = found["img.vsi"]
    assert (row.kind, row.file_count, row.format) == (AcquisitionKind.GROUP, 2, "vsi")
    assert row.members == ("img.vsi", "_img_")
    again = scene.new_scanner()
    assert again is scene.scanner
    assert scene.look()["img.vsi"].members == row.members, "members survive a restart"


def test_a_series_that_grows_stays_one_acquisition(scene: Scene) -> None:
    scene.write("exp1_t001.tif", makers.tiff())
    first = scene.look()["exp1_t*.tif"]
    for number in range(2, 6):
        scene.write(f"exp1_t{number:03}.tif", makers.tiff())
        scene.look()
    scene.write("exp10_t001.tif", makers.tiff())
    found = scene.look()
    assert set(found) == {"exp1_t*.tif", "exp10_t*.tif"}
    assert (found["exp1_t*.tif"].id, found["exp1_t*.tif"].file_count) == (first.id, 5)
    finished = rest(scene)["exp1_t*.tif"]
    assert finished.finished_at is not None
    scene.write("exp1_t006.tif", makers.tiff())
    assert scene.look(60)["exp1_t*.tif"].finished_at is None, "a new member un-seals"


def test_nothing_is_opened_before_the_quiet_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(monkeypatch, scene.top)
    for number in range(20):
        scene.write("a.nd2", makers.nd2(closed=False) + b"x" * number)
        opened.names.clear()
        for _ in range(5):
            scene.look(7)
        assert opened.names == []
    scene.write("a.nd2", makers.nd2())
    opened.names.clear()
    assert rest(scene)["a.nd2"].finished_at is not None
    assert opened.names == ["a.nd2"], "once, after the quiet time"
    rest(scene)
    assert opened.names == ["a.nd2"]


def test_a_running_acquisition_program_keeps_the_witness_from_opening_anything(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_rule(scene, acquisition_programs=("zen.exe",))
    scene.platform.programs = frozenset({"zen"})
    scene.write("a.czi", makers.czi())
    opened = Opened(monkeypatch, scene.top)
    assert rest(scene, 100)["a.czi"].finished_at is None
    assert opened.names == []


def test_what_is_incomplete_is_held_with_words_then_a_person_is_asked(scene: Scene) -> None:
    scene.write("a.nd2", makers.nd2(closed=False))
    row = rest(scene)["a.nd2"]
    assert row.finished_at is None and row.holds == ("a.nd2 has no chunk map yet",)
    assert not row.is_incomplete
    row = rest(scene, 300)["a.nd2"]
    assert row.finished_at is None and row.is_incomplete, "half an hour later it is a person's decision"
    scene.store.override(row.id, Override.DONE_NOW, scene.clock.now())
    assert scene.look(7)["a.nd2"].finished_at is not None


def test_an_old_done_now_does_not_speak_for_what_came_later(scene: Scene) -> None:
    scene.write("a.nd2", makers.nd2(closed=False))
    row = rest(scene)["a.nd2"]
    scene.store.override(row.id, Override.DONE_NOW, scene.clock.now())
    assert scene.look(7)["a.nd2"].finished_at is not None
    scene.write("a.nd2", makers.nd2(closed=False) + b"more")
    for _ in range(3):
        scene.look(7)
    scene.write("a.nd2", makers.nd2(closed=False) + b"more and more")
    row = rest(scene, 150)["a.nd2"]
    assert row.finished_at is None and "a.nd2 has no chunk map yet" in row.holds


def test_what_becomes_complete_goes_on_by_itself(scene: Scene) -> None:
    scene.write("a.nd2", makers.nd2(closed=False))
    assert rest(scene, 350)["a.nd2"].is_incomplete
    scene.write("a.nd2", makers.nd2())
    row = rest(scene, 250)["a.nd2"]  # the long pause was learned from: it rests longer now
    assert row.finished_at is not None
    assert [one.words for one in row.witnesses if one.name == "nd2"] == ["a.nd2 has its chunk map"]


def test_what_no_format_knows_falls_back_to_quiet_time(scene: Scene) -> None:
    scene.write("strange.bin", b"data")
    scene.write("broken.czi", b"this is no image")
    found = rest(scene)
    assert found["strange.bin"].finished_at is not None
    assert found["broken.czi"].finished_at is not None
    assert [one.state for one in found["broken.czi"].witnesses if one.name == "czi"] == [WitnessState.UNKNOWN]


def test_a_format_may_have_a_quiet_time_of_its_own(scene: Scene) -> None:
    with_rule(scene, format_quiet_seconds={"czi": 30.0, "lif": 900.0})
    for name, data in (("a.czi", makers.czi()), ("a.lif", makers.lif()), ("a.nd2", makers.nd2())):
        scene.write(name, data)
    found = rest(scene, 8)
    assert [name for name in found if found[name].finished_at] == ["a.czi"]
    found = rest(scene, 45)
    assert sorted(name for name in found if found[name].finished_at) == ["a.czi", "a.nd2"]
    found = rest(scene, 90)
    assert sorted(name for name in found if found[name].finished_at) == ["a.czi", "a.lif", "a.nd2"]


def test_a_folder_that_waits_for_its_image_becomes_part_of_it_and_keeps_its_age(scene: Scene) -> None:
    scene.store.sign_in("session-1", "alice", scene.clock.now())
    scene.write("_img_/stack1/frame_t_0.ets", b"pixels")
    part = scene.look()["_img_"]
    assert part.is_part and part.person_then == "alice"
    assert not takes_standing_target(part, "alice", has_order=False, since=part.first_seen_at)
    scene.store.sign_out("session-1")
    scene.write("img.vsi", makers.tiff())
    scene.look()
    found = scene.look()
    assert set(found) == {"img.vsi"}
    whole = found["img.vsi"]
    assert (whole.first_seen_at, whole.person_then, whole.file_count) == (part.first_seen_at, "alice", 2)
    assert not whole.is_part


def test_a_part_whose_image_never_comes_is_put_to_a_person(scene: Scene) -> None:
    scene.write("_img_/stack1/frame_t_0.ets", b"pixels")
    scene.write("_notes_/a.txt", b"just a folder of somebody")
    found = rest(scene, 350)
    assert found["_img_"].is_incomplete
    assert found["_notes_"].finished_at is not None, "it only looked like one"


def test_what_is_ordered_keeps_its_files_when_a_companion_comes_late(scene: Scene) -> None:
    scene.write("exp_t001.ome.tif", makers.tiff())
    scene.write("exp_t002.ome.tif", makers.tiff())
    row = scene.look()["exp_t*.ome.tif"]
    scene.store.note_ordered(row.id, scene.clock.now())
    scene.write("exp.companion.ome", b"<OME></OME>")
    scene.look()
    found = scene.look()
    assert found["exp_t*.ome.tif"].id == row.id and found["exp_t*.ome.tif"].file_count == 2
    assert found["exp.companion.ome"].file_count == 1


def test_a_late_companion_takes_over_what_nobody_ordered(scene: Scene) -> None:
    scene.write("exp_t001.ome.tif", makers.tiff())
    scene.write("exp_t002.ome.tif", makers.tiff())
    scene.look()
    scene.write("exp.companion.ome", b"<OME></OME>")
    scene.look()
    found = scene.look()
    assert set(found) == {"exp.companion.ome"} and found["exp.companion.ome"].file_count == 3


class TestFilesMode:
    """``items = "files"``: folders are looked into."""

    def test_files_at_any_depth_from_the_rules_on_are_cards(self, scene: Scene) -> None:
        with_rule(scene, items="files", template="{user}/{acquisition}")
        scene.write("alice/a.nd2", makers.nd2())
        scene.write("alice/monday/b.nd2", makers.nd2())
        scene.write("alice/monday/deep/c_t1.tif", makers.tiff())
        scene.write("alice/plate/p.HTD", b"")
        scene.write("alice/plate/TimePoint_1/p_A01_w1.tif", makers.tiff())
        scene.write("stray.nd2", makers.nd2())
        found = scene.look()
        assert {path: row.kind.value for path, row in found.items()} == {
            "alice/a.nd2": "file",
            "alice/monday/b.nd2": "file",
            "alice/monday/deep/c_t*.tif": "group",
            "alice/plate": "folder",
            "stray.nd2": "file",
        }
        assert found["alice/plate"].format == "metaxpress"

    def test_a_plate_is_not_forgotten_while_only_hot_folders_are_looked_into(self, scene: Scene) -> None:
        with_rule(scene, items="files")
        scene.write("plate/p.HTD", b"")
        scene.write("plate/p_A01_w1.tif", makers.tiff())
        first = scene.look()["plate"]
        rest(scene, 350)
        for _ in range(30):
            assert scene.look(7)["plate"].id == first.id

    def test_a_folder_that_turns_out_to_be_one_acquisition_absorbs_its_cards(self, scene: Scene) -> None:
        with_rule(scene, items="files")
        scene.write("run/img_000.tif", makers.tiff())
        assert set(scene.look()) == {"run/img_000.tif"}
        scene.write("run/metadata.txt", b'{"Summary": {}}')
        scene.look(60)
        assert set(scene.look(60)) == {"run"}

    def test_what_is_finished_in_a_folder_is_not_absorbed(self, scene: Scene) -> None:
        with_rule(scene, items="files")
        scene.write("run/a.nd2", makers.nd2())
        rest(scene)
        scene.write("run/metadata.txt", b'{"Summary": {}}')
        scene.look(60)
        assert set(scene.look(60)) == {"run/a.nd2", "run/metadata.txt"}

    def test_a_file_that_goes_is_gone_and_its_folder_is_looked_into_again(self, scene: Scene) -> None:
        with_rule(scene, items="files")
        scene.write("run/a.nd2", makers.nd2())
        scene.look()
        (scene.top / "run/a.nd2").unlink()
        scene.look()
        assert "run/a.nd2" not in scene.look()


def test_a_rule_that_becomes_deeper_lets_go_of_what_was_finished(scene: Scene) -> None:
    scene.write("alice/run1/a.nd2", makers.nd2())
    assert set(rest(scene)) == {"alice"}
    with_rule(scene, depth=2)
    scene.look(60)
    assert set(scene.look(60)) == {"alice/run1"}


def test_many_images_in_one_folder_do_not_list_it_once_each(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        scene.write(f"img{number}.czi", makers.czi())
    listed: list[Path] = []
    real = listing.entries_of

    def counted(folder: Path) -> list[os.DirEntry[str]]:
        listed.append(folder)
        return real(folder)

    monkeypatch.setattr(listing, "entries_of", counted)
    assert len(scene.look()) == 60
    assert len(listed) == 1
