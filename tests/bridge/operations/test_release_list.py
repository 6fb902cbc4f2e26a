"""What storage staff's job is given: run by a real shell, it deletes what was proven and nothing else."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from server_bridge.contract import Release, ReleasedFile
from server_bridge.operations import release_formats


def as_script(releases: list[Release], tolerance: float) -> str:
    return "".join(release_formats.as_script(releases, tolerance))


ODD = [
    "plain.tif",
    "two words.tif",
    "it's.tif",
    "$(touch owned).tif",
    "-rf",
    "a;b`c`.tif",
    'q"q.tif',
    "été.tif",
]


def release_of(top: Path, *names: str, valid: timedelta = timedelta(minutes=5)) -> Release:
    """A release of these files as they are now."""
    now = datetime.now(UTC)
    files = []
    for name in names:
        found = (top / name).stat()
        files.append(ReleasedFile(path=name, size_bytes=found.st_size, mtime_ns=found.st_mtime_ns))
    return Release(
        order_id=UUID(int=7),
        share="scope1",
        path="run 1",
        released=True,
        checked_at=now,
        valid_until=now + valid,
        files=files,
    )


def run(script: str, top: Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a job would."""
    return subprocess.run(
        ["sh"], input=script, cwd=top, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A share's top with a few oddly named files in a folder."""
    folder = tmp_path / "share"
    (folder / "run 1").mkdir(parents=True)
    for name in ODD:
        (folder / "run 1" / name).write_bytes(b"data of " + name.encode())
    return folder


def test_every_released_file_is_deleted_whatever_it_is_called(top: Path) -> None:
    keep = top / "run 1" / "not released.tif"
    keep.write_bytes(b"mine")
    done = run(as_script([release_of(top, *(f"run 1/{name}" for name in ODD))], 2.0), top)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(top.rglob("*.tif")) == [keep]
    assert sorted(path.name for path in top.iterdir()) == ["run 1"]


def test_a_file_that_changed_or_became_a_link_stays(top: Path) -> None:
    grown, touched, linked, gone = (top / "run 1" / name for name in ODD[:4])
    script = as_script([release_of(top, *(f"run 1/{name}" for name in ODD[:5]))], 2.0)
    grown.write_bytes(grown.read_bytes() + b"!")
    os.utime(touched, (1, 1))
    linked.rename(top / "elsewhere")
    linked.symlink_to(top / "elsewhere")
    gone.unlink()
    done = run(script, top)
    assert grown.exists() and touched.exists() and linked.is_symlink() and (top / "elsewhere").exists()
    assert not (top / "run 1" / ODD[4]).exists()
    assert len(done.stderr.splitlines()) == 4


def test_an_answer_that_is_too_old_deletes_nothing(top: Path) -> None:
    done = run(as_script([release_of(top, "run 1/plain.tif", valid=timedelta(seconds=-1))], 2.0), top)
    assert done.returncode == 75
    assert "ask the bridge again" in done.stderr
    assert (top / "run 1" / "plain.tif").exists()


def test_nothing_released_is_a_script_that_does_nothing(top: Path) -> None:
    done = run(as_script([], 2.0), top)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list((top / "run 1").iterdir())) == len(ODD)


def test_the_lists_for_programs_keep_every_name(top: Path) -> None:
    (top / "run 1" / "two\nlines").write_bytes(b"x")
    names = [f"run 1/{name}" for name in [*ODD, "two\nlines"]]
    release = release_of(top, *names)
    assert "".join(release_formats.as_nul([release])).split("\0") == [*names, ""]
    rows = list(csv.DictReader(io.StringIO("".join(release_formats.as_csv([release])))))
    assert [row["path"] for row in rows] == names
    assert {row["order"] for row in rows} == {str(release.order_id)}


def test_emptied_folders_go_with_the_acquisition_and_nothing_above_it(top: Path) -> None:
    deep = top / "run 1" / "well A" / "-odd"
    deep.mkdir(parents=True)
    (deep / "x.tif").write_bytes(b"x")
    (top / ".omero-ferry-share").touch()
    release = release_of(top, "run 1/well A/-odd/x.tif", *(f"run 1/{name}" for name in ODD))
    assert release_formats.folders_of(release) == ["run 1/well A/-odd", "run 1/well A", "run 1"]
    done = run(as_script([release], 2.0), top)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in top.iterdir()] == [".omero-ferry-share"]


def test_a_folder_with_something_left_or_above_the_acquisition_stays(top: Path) -> None:
    (top / "run 1" / "mine.txt").write_bytes(b"mine")
    (top / "run 1" / "sub").mkdir()
    (top / "run 1" / "sub" / "x.tif").write_bytes(b"x")
    release = release_of(top, "run 1/sub/x.tif", *(f"run 1/{name}" for name in ODD))
    assert run(as_script([release], 2.0), top).returncode == 0
    assert sorted(path.name for path in (top / "run 1").iterdir()) == ["mine.txt"]
    # A single file has no folder of its own, and the share's top is never named.
    lone = release_of(top, "run 1/mine.txt").model_copy(update={"path": "run 1/mine.txt"})
    assert release_formats.folders_of(lone) == []
    assert release_formats.folders_of(lone.model_copy(update={"path": "."})) == []


def test_each_order_ends_with_its_own_validity(top: Path) -> None:
    good = release_of(top, "run 1/plain.tif")
    old = release_of(top, "run 1/two words.tif", valid=timedelta(seconds=-1))
    done = run(as_script([good, old], 2.0), top)
    assert done.returncode == 75
    assert not (top / "run 1" / "plain.tif").exists()
    assert (top / "run 1" / "two words.tif").exists()


def test_a_hundred_thousand_files_are_written_order_by_order() -> None:
    now = datetime.now(UTC)
    taken = []

    def many() -> Iterator[Release]:
        for number in range(100):
            taken.append(number)
            yield Release(
                order_id=UUID(int=number),
                share="scope1",
                path=f"run {number}",
                released=True,
                checked_at=now,
                valid_until=now + timedelta(minutes=5),
                files=tuple(
                    ReleasedFile(path=f"run {number}/{one:04}.tif", size_bytes=1, mtime_ns=0)
                    for one in range(1000)
                ),
            )

    pieces = release_formats.as_script(many(), 2.0)
    next(pieces), next(pieces)
    assert taken == [0], "the second order is checked when it is its turn, not before"
    assert sum(piece.count("\nfree ") for piece in pieces) == 99_000
