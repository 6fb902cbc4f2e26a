"""What lies in staging is kept, adopted or refused, and never written into."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server_bridge.mover import staging
from server_bridge.mover.staging import Space, StagingUnexpected


def test_folders_are_made_with_the_groups_mode_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        made = staging.make_directories(tmp_path / "s" / "o1", ["a/b/c.tif", "top.tif"])
    finally:
        os.umask(old)
    assert made == {tmp_path / "s" / "o1" / "a" / "b", tmp_path / "s" / "o1"}
    for folder in (tmp_path / "s" / "o1", tmp_path / "s" / "o1" / "a", tmp_path / "s" / "o1" / "a" / "b"):
        assert oct(folder.stat().st_mode & 0o7777) == "0o2770"


def test_a_link_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "o1").mkdir()
    (tmp_path / "o1" / "a").symlink_to("/tmp")
    with pytest.raises(StagingUnexpected):
        staging.make_directories(tmp_path / "o1", ["a/b.tif"])


def test_complete_means_regular_and_equal_in_size_and_whole_seconds(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert not staging.is_complete(path, 0, 0)
    path.write_bytes(b"abc")
    os.utime(path, ns=(0, 1_700_000_000_999_999_999))
    assert staging.is_complete(path, 3, 1_700_000_000)
    assert not staging.is_complete(path, 2, 1_700_000_000)
    assert not staging.is_complete(path, 3, 1_700_000_001)
    os.utime(path, ns=(0, -500_000_000))
    assert staging.is_complete(path, 3, -1), "half a second before 1970 is rounded down"
    (tmp_path / "link").symlink_to("x")
    assert not staging.is_complete(tmp_path / "link", 3, -1)


def leftover(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_leftovers_of_a_killed_run_become_partial_files(tmp_path: Path) -> None:
    leftover(tmp_path / ".big.czi.aB3xY9", b"half")
    leftover(tmp_path / ".old.czi.aB3xY9", b"nobody wants it")
    own = leftover(tmp_path / ".mine.abcdef", b"an acquisition's own file", 0o440)
    assert staging.adopt_leftovers([tmp_path], lambda path: path.endswith("/big.czi")) == 1
    assert (tmp_path / ".rsync-partial" / "big.czi").read_bytes() == b"half"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.abcdef", ".rsync-partial"]
    assert own.read_bytes() == b"an acquisition's own file"


def test_the_larger_of_two_leftovers_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".rsync-partial").mkdir()
    partial = leftover(tmp_path / ".rsync-partial" / "a", b"longer one", 0o440)
    leftover(tmp_path / ".a.123456", b"short")
    assert staging.adopt_leftovers([tmp_path], lambda path: True) == 0
    assert partial.read_bytes() == b"longer one"
    assert oct(partial.stat().st_mode & 0o777) == "0o600", "rsync 3.2.7 cannot use a read-only partial file"
    leftover(tmp_path / ".a.123456", b"now the longest")
    assert staging.adopt_leftovers([tmp_path], lambda path: True) == 1
    assert partial.read_bytes() == b"now the longest"


def test_a_leftover_with_a_second_link_is_not_touched(tmp_path: Path) -> None:
    found = leftover(tmp_path / ".a.123456", b"x")
    os.link(found, tmp_path / "elsewhere")
    staging.adopt_leftovers([tmp_path], lambda path: False)
    assert found.exists()


def test_a_file_that_omero_may_hold_is_never_demoted(tmp_path: Path) -> None:
    path = leftover(tmp_path / "a", b"x", 0o440)
    os.link(path, tmp_path / "managed")
    with pytest.raises(StagingUnexpected) as caught:
        staging.demote(path)
    assert caught.value.code == "staging_linked"
    assert oct(path.stat().st_mode & 0o777) == "0o440", (
        "not even its mode changes: it is one inode with OMERO's"
    )


@pytest.mark.parametrize(
    ("needed", "files", "space", "keep", "lacks"),
    [
        (1000, 1, Space(1100, None), 0, False),
        (1000, 1, Space(1099, None), 0, True),
        (1000, 1, Space(2099, 5), 1000, True),
        (0, 3, Space(10, 2), 0, True),
        (0, 3, Space(10, 3), 0, False),
        (0, 0, Space(0, 0), 10**9, False),
    ],
)
def test_room_is_counted_with_reserve_and_names(
    needed: int, files: int, space: Space, keep: int, lacks: bool
) -> None:
    assert (staging.lacking_space(needed, files, space, keep, 0.1) is not None) is lacks


def test_room_is_read_from_the_file_system(tmp_path: Path) -> None:
    assert staging.measure_space(tmp_path).free_bytes > 0


def test_unlisted_names_leave_the_directory_and_nothing_is_overwritten(tmp_path: Path) -> None:
    order, aside = tmp_path / "o1", tmp_path / "aside"
    for content in (b"one", b"two"):
        (order / "a").mkdir(parents=True, exist_ok=True)
        (order / "a" / "x").write_bytes(content)
        (order / "empty").mkdir(exist_ok=True)
        staging.quarantine(order, aside, ["a/x", "empty", "never came"])
    assert not (order / "empty").exists()
    assert [(aside / "a" / name).read_bytes() for name in ("x", "x.1")] == [b"one", b"two"]
