"""The staging disk is the one that is remembered, or it is away; nothing in between."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from server_bridge.mover import staging_disk
from server_bridge.mover.staging_disk import MARKER, StagingAway, StagingUnlinkable


def test_a_marker_names_its_disk_and_is_never_replaced(tmp_path: Path) -> None:
    assert staging_disk.read_marker(tmp_path) is None
    identity = staging_disk.make_marker(tmp_path)
    assert staging_disk.read_marker(tmp_path) == identity
    staging_disk.require(tmp_path, identity)
    with pytest.raises(FileExistsError):
        staging_disk.make_marker(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MARKER], "no draft is left behind"
    assert staging_disk.read_marker(tmp_path) == identity


def test_a_marker_that_a_person_wrote_by_hand_counts(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("  the-line-of-the-remedy  ")
    staging_disk.require(tmp_path, "the-line-of-the-remedy")


@pytest.mark.parametrize("what", ["nothing", "other", "empty", "folder", "link"])
def test_anything_but_the_remembered_marker_is_an_outage(tmp_path: Path, what: str) -> None:
    marker = tmp_path / MARKER
    match what:
        case "other":
            marker.write_text("another\n")
        case "empty":
            marker.touch()
        case "folder":
            marker.mkdir()
        case "link":
            (tmp_path / "elsewhere").write_text("mine\n")
            marker.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StagingAway) as caught:
        staging_disk.require(tmp_path, "mine")
    assert caught.value.code == "staging_away"
    assert str(marker) in caught.value.detail
    assert caught.value.remedy


def test_a_folder_that_may_not_be_looked_into_is_away_and_not_unmarked(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0)
    try:
        with pytest.raises(StagingAway, match="Permission denied"):
            staging_disk.read_marker(shut)
    finally:
        shut.chmod(0o700)


def test_a_disk_that_cannot_be_marked_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            staging_disk.make_marker(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EXDEV, "not_one_mount"),
        (errno.EPERM, "managed_repository_access"),
        (errno.ENOENT, "managed_repository_away"),
        (errno.EDQUOT, "staging_full"),
        (errno.EROFS, "staging_read_only"),
        (errno.EIO, "managed_repository_access"),
    ],
)
def test_a_refused_trial_link_says_what_the_kernels_word_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def refuse(source: Path, link: Path) -> None:
        raise OSError(number, os.strerror(number), str(source), None, str(link))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StagingUnlinkable) as caught:
        staging_disk.trial_link(tmp_path, tmp_path)
    assert caught.value.code == code
    assert caught.value.title and caught.value.remedy
    assert list(tmp_path.iterdir()) == []
