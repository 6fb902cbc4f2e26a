"""Deleting on the buffer: only what a fresh release names, and only if it is exactly that."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from agent.core.errors import ShareAway
from agent.core.freeing import Freed, NotReleased, Place, free
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
