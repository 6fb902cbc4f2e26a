"""Deleting on the buffer: only what a fresh release names, and only if it is exactly that."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import ShareAway
from agent.core.freeing import Freed, Halt, NotReleased, Place, free
from server_bridge.contract import Reason, Release, ReleasedFile
from tests.agent.conftest import MARKER, workstation_share
from tests.wine.here import on_wine

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SHARE = workstation_share()
RUN = Place("run1")


def released(top: Path, *paths: str, **more: object) -> Release:
    files = []
    for path in paths:
        status = (top / path).lstat()
        files.append(ReleasedFile(path=path, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns))
    values = {
        "order_id": UUID(int=1),
        "released": True,
        "checked_at": NOW,
        "valid_until": NOW + timedelta(minutes=5),
        "share": "scope1",
        "files": tuple(files),
    }
    return Release.model_validate(values | more)


def run(release: Release, top: Path) -> Freed:
    return free(release, SHARE, top, RUN, lambda: NOW, lambda _freed: None)


def write(top: Path, path: str, content: str = "data") -> Path:
    file = top / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "more",
    [
        {"released": False, "reason": Reason(code="hold", title="Held")},
        {"valid_until": NOW - timedelta(seconds=1)},
        {"valid_until": None},
        {"share": "scope2"},
        {"reason": Reason(code="odd", title="Odd")},
    ],
)
def test_without_a_good_release_nothing_goes(share_top: Path, more: dict[str, object]) -> None:
    file = write(share_top, "run1/a.tif")
    with pytest.raises(NotReleased):
        run(released(share_top, "run1/a.tif", **more), share_top)
    assert file.exists()


def test_what_is_not_named_stays_and_so_does_its_folder(share_top: Path) -> None:
    write(share_top, "run1/deep/a.tif")
    kept = write(share_top, "run1/b.tif")
    done = run(released(share_top, "run1/deep/a.tif"), share_top)
    assert done.paths == ["run1/deep/a.tif"] and not done.skipped
    assert kept.exists() and not (share_top / "run1/deep").exists()


def test_a_file_that_changed_since_stays_with_the_reason(share_top: Path) -> None:
    grown, touched, fine = (write(share_top, f"run1/{name}.tif") for name in ("grown", "touched", "fine"))
    release = released(share_top, "run1/grown.tif", "run1/touched.tif", "run1/fine.tif")
    grown.write_text("more data", encoding="utf-8")
    later = touched.stat().st_mtime + 10
    os.utime(touched, (later, later))
    done = run(release, share_top)
    assert done.paths == ["run1/fine.tif"] and not fine.exists()
    assert "size changed" in done.skipped["run1/grown.tif"]
    assert "written to" in done.skipped["run1/touched.tif"]
    assert grown.exists() and touched.exists()


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/hostname", "run2/a.tif", "run1/../run2/a.tif", "run1\\a"]
)
def test_a_path_outside_the_acquisition_is_never_touched(share_top: Path, path: str) -> None:
    victim = write(share_top, "run2/a.tif")
    outside = write(share_top.parent, "outside")
    status = victim.stat()
    one = ReleasedFile(path=path, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    done = run(released(share_top, files=(one,)), share_top)
    assert done.paths == [] and path in done.skipped
    assert victim.exists() and outside.exists()


@pytest.mark.skipif(on_wine(), reason="wine follows no link that was made in it")
def test_nothing_is_deleted_through_a_link(share_top: Path, tmp_path: Path) -> None:
    victim = write(tmp_path, "elsewhere/a.tif")
    (share_top / "run1").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    done = run(released(share_top, "run1/a.tif"), share_top)
    assert victim.exists() and "link" in done.skipped["run1/a.tif"]


def test_a_share_that_is_away_is_not_a_share_without_files(share_top: Path) -> None:
    write(share_top, "run1/a.tif")
    release = released(share_top, "run1/a.tif")
    (share_top / MARKER).unlink()
    with pytest.raises(ShareAway):
        run(release, share_top)
    assert (share_top / "run1/a.tif").exists()


def test_what_went_before_a_restart_is_reported_as_gone(share_top: Path) -> None:
    gone = write(share_top, "run1/a.tif")
    release = released(share_top, "run1/a.tif")
    gone.unlink()
    assert run(release, share_top).paths == ["run1/a.tif"]


def test_a_release_that_runs_out_in_the_middle_stops_it(share_top: Path) -> None:
    write(share_top, "run1/a.tif")
    write(share_top, "run1/b.tif")
    release = released(share_top, "run1/a.tif", "run1/b.tif")
    times = iter([NOW, NOW, NOW + timedelta(hours=1)])
    done = free(release, SHARE, share_top, RUN, lambda: next(times), lambda _freed: None)
    assert done.paths == ["run1/a.tif"] and (share_top / "run1/b.tif").exists()
    assert done.halt is Halt.RAN_OUT and not done.skipped


def grow(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


def touch(file: Path) -> None:
    later = file.stat().st_mtime + 10
    os.utime(file, (later, later))


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replace_by_link(file: Path) -> None:
    target = file.with_name(f"{file.name}.target")
    file.rename(target)
    file.symlink_to(target)


def come_back(file: Path) -> None:
    """The same name and size, written now."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)


CHANGES = (grow, touch, replace_by_folder, replace_by_link, come_back)
LONG_AGO = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
NAMES = tuple(f"run1/{folder}{name}.tif" for folder in ("", "deep/", "deep/er/") for name in "abc")


@given(
    fates=st.dictionaries(st.sampled_from(NAMES), st.sampled_from((*CHANGES, Path.unlink, None)), min_size=1),
    gone_before=st.sets(st.sampled_from(NAMES), max_size=3),
    may_delete=st.booleans(),
    stop_after=st.integers(0, 12),
)
def test_whatever_happens_between_release_and_deletion_what_changed_stays(
    fates: dict[str, object], gone_before: set[str], may_delete: bool, stop_after: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        (top / MARKER).touch()
        for path in fates:
            os.utime(write(top, path), (LONG_AGO, LONG_AGO))
        release = released(top, *fates)
        for path, change in fates.items():
            if callable(change):
                change(top / path)
        before = {path: os.path.lexists(top / path) for path in fates}
        asked: list[None] = []

        def halt() -> Halt | None:
            asked.append(None)
            return Halt.ASKED if len(asked) > stop_after else None

        notes: list[list[str]] = []
        done = free(
            release,
            SHARE,
            top,
            RUN,
            lambda: NOW,
            lambda freed: notes.append(list(freed.paths)),
            gone_before=frozenset(gone_before),
            may_delete=may_delete,
            halt=halt,
        )
        after = {path: os.path.lexists(top / path) for path in fates}
        looked = list(fates)[:stop_after]
        for path, change in fates.items():
            may_go = path in looked and may_delete and change is None and path not in gone_before
            assert after[path] == (before[path] and not may_go), path
        # What is said to be gone is gone, or was freed by an earlier run; and nothing that went is not said.
        assert all(not after[path] or path in gone_before for path in done.paths)
        assert {path for path in looked if before[path] and not after[path]} <= set(done.paths)
        assert set(done.paths) | set(done.skipped) == set(looked)
        assert notes[-1] == done.paths


def test_an_outage_in_the_middle_is_no_file_s_own_problem(
    share_top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(share_top, "run1/a.tif")
    release = released(share_top, "run1/a.tif")

    def network_gone(_self: Path, _missing_ok: bool = False) -> None:
        (share_top / MARKER).rename(share_top.parent / MARKER)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "unlink", network_gone)
    with pytest.raises(ShareAway):
        run(release, share_top)


def test_another_volume_with_a_marker_is_not_a_share_without_files(
    share_top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(share_top, "run1/a.tif")
    release = released(share_top, "run1/a.tif")
    file.unlink()
    devices = iter([1, 2])
    monkeypatch.setattr("agent.core.freeing.marker_present", lambda _top, _marker: next(devices))
    notes: list[list[str]] = []
    with pytest.raises(ShareAway, match="Another volume"):
        free(release, SHARE, share_top, RUN, lambda: NOW, lambda freed: notes.append(list(freed.paths)))
    assert notes == [[]]


def test_notes_of_many_files_grow_slower_than_their_number(share_top: Path) -> None:
    names = [f"run1/{number}.tif" for number in range(2000)]
    for name in names:
        write(share_top, name)
    notes: list[int] = []
    free(
        released(share_top, *names), SHARE, share_top, RUN, lambda: NOW, lambda d: notes.append(len(d.paths))
    )
    assert notes[0] == 1 and notes[-1] == 2000 and sum(notes) < 5 * 2000


SLIDE = Place("alice/img.vsi", ("img.vsi", "_img_"))


def test_a_groups_own_files_and_folders_go_and_no_neighbour(share_top: Path) -> None:
    ours = ("alice/img.vsi", "alice/_img_/stack1/frame.ets")
    for path in (*ours, "alice/other.vsi", "alice/_other_/frame.ets"):
        write(share_top, path)
    release = released(share_top, *ours, "alice/other.vsi", "alice/_other_/frame.ets")
    done = free(release, SHARE, share_top, SLIDE, lambda: NOW, lambda _freed: None)
    assert sorted(done.paths) == sorted(ours)
    assert set(done.skipped) == {"alice/other.vsi", "alice/_other_/frame.ets"}
    assert not (share_top / "alice/_img_").exists() and (share_top / "alice/_other_/frame.ets").exists()


def test_the_folder_that_a_group_lay_in_stays_though_it_is_empty(share_top: Path) -> None:
    write(share_top, "alice/img.vsi")
    write(share_top, "alice/_img_/frame.ets")
    release = released(share_top, "alice/img.vsi", "alice/_img_/frame.ets")
    free(release, SHARE, share_top, SLIDE, lambda: NOW, lambda _freed: None)
    assert list((share_top / "alice").iterdir()) == []


@pytest.mark.parametrize("path", ["alice/_img_/../other.vsi", "img.vsi", "alice/_img_2/x", "bob/img.vsi"])
def test_a_path_that_is_no_member_is_never_touched(share_top: Path, path: str) -> None:
    for victim in ("alice/other.vsi", "img.vsi", "alice/_img_2/x", "bob/img.vsi", "alice/_img_/x"):
        write(share_top, victim)
    one = ReleasedFile(path=path, size_bytes=4, mtime_ns=(share_top / path).stat().st_mtime_ns)
    done = free(released(share_top, files=(one,)), SHARE, share_top, SLIDE, lambda: NOW, lambda _freed: None)
    assert done.paths == [] and set(done.skipped) == {path}
    assert (share_top / path).exists()
