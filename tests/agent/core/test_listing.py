"""Walking an acquisition on real folders: a file, a folder, and a group of entries that lie among others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from agent.core import listing
from server_bridge.contract import place_holds
from tests.wine.here import on_wine

SLIDE = ("img.vsi", "_img_")


def write(top: Path, *paths: str) -> None:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(path.encode())


def walked(top: Path, path: str, members: tuple[str, ...] = (), *, judged: bool = True) -> list[str]:
    return [seen.path for seen in listing.walk(top, path, members=members, judged=judged)]


def test_a_group_is_its_members_with_all_that_is_in_them_and_no_neighbour(share_top: Path) -> None:
    write(share_top, "alice/img.vsi", "alice/_img_/stack1/frame_t_0.ets", "alice/_img_/note.txt")
    write(share_top, "alice/other.vsi", "alice/_other_/stack1/frame_t_0.ets", "alice/_img_2/x", "img.vsi")
    for judged in (True, False):
        assert walked(share_top, "alice/img.vsi", SLIDE, judged=judged) == [
            "alice/img.vsi",
            "alice/_img_/note.txt",
            "alice/_img_/stack1/frame_t_0.ets",
        ]


def test_a_series_in_the_shares_top_is_found_by_its_pattern(share_top: Path) -> None:
    write(share_top, "run1_t2.tif", "run1_t1.tif", "run1_t.log", "deep/run1_t3.tif")
    assert walked(share_top, "run1_t*.tif", ("run1_t*.tif",)) == ["run1_t1.tif", "run1_t2.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="names that differ by case are one file there")
def test_the_case_of_a_name_counts(share_top: Path) -> None:
    write(share_top, "a/IMG.VSI", "a/img.vsi")
    assert walked(share_top, "a/img.vsi", SLIDE) == ["a/img.vsi"]


def test_what_is_walked_is_what_the_order_holds(share_top: Path) -> None:
    write(share_top, "a/x.oir", "a/x_00001", "a/x_2/x.oir", "a/y.oir", "b/x.oir", "x.oir")
    every = sorted(
        (Path(folder) / name).relative_to(share_top).as_posix()
        for folder, _, names in os.walk(share_top)
        for name in names
    )
    members = ("x.oir", "x_*")
    held = [path for path in every if place_holds("a/x.oir", members, path)]
    assert sorted(walked(share_top, "a/x.oir", members)) == held == ["a/x.oir", "a/x_00001", "a/x_2/x.oir"]


def test_a_group_without_a_member_is_gone_whatever_lies_beside_it(share_top: Path) -> None:
    write(share_top, "a/other.vsi")
    inside_a_file = () if on_wine() else ("a/other.vsi/img.vsi",)  # there it is an invalid name
    for path in ("a/img.vsi", "nowhere/img.vsi", *inside_a_file):
        with pytest.raises(listing.Gone):
            walked(share_top, path, SLIDE)


def test_a_group_whose_primary_went_is_what_is_left_of_it(share_top: Path) -> None:
    write(share_top, "a/_img_/frame.ets")
    assert walked(share_top, "a/img.vsi", SLIDE) == ["a/_img_/frame.ets"]


def test_links_among_the_members_are_no_members(share_top: Path, tmp_path: Path) -> None:
    write(share_top, "a/img.vsi")
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere", "secret")
    (share_top / "a" / "_img_").symlink_to(tmp_path / "elsewhere")
    assert walked(share_top, "a/img.vsi", SLIDE) == ["a/img.vsi"]


@pytest.mark.skipif(sys.platform == "win32", reason="mode bits close nothing on Windows")
def test_a_member_folder_that_may_not_be_read_is_said_and_a_neighbours_is_not_looked_into(
    share_top: Path,
) -> None:
    write(share_top, "a/img.vsi", "a/_img_/frame.ets", "a/closed/x")
    (share_top / "a" / "closed").chmod(0)
    assert len(walked(share_top, "a/img.vsi", SLIDE)) == 2
    (share_top / "a" / "_img_").chmod(0)
    with pytest.raises(listing.Unreadable) as told:
        walked(share_top, "a/img.vsi", SLIDE)
    for name in ("closed", "_img_"):
        (share_top / "a" / name).chmod(0o700)
    assert told.value.path == "a/_img_"


def test_a_file_and_a_folder_are_walked_as_before(share_top: Path) -> None:
    write(share_top, "run/b.tif", "run/a.tif", "run/deep/c.tif", "run2/d.tif", "one.czi")
    assert walked(share_top, "run") == ["run/a.tif", "run/b.tif", "run/deep/c.tif"]
    assert walked(share_top, "one.czi") == ["one.czi"]
    with pytest.raises(listing.Gone):
        walked(share_top, "run3")


def test_a_group_walked_by_its_names_is_the_same_as_by_its_patterns(share_top: Path) -> None:
    for name in ("img.vsi", "_img_/b/2.ets", "_img_/a/1.ets", "img2.vsi", "other.txt"):
        path = share_top / "alice" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (share_top / "alice" / "linked").symlink_to(share_top)
    members, names = ("img.vsi", "_img_", "linked"), ("_img_", "img.vsi", "linked", "gone")
    by_patterns = list(listing.walk(share_top, "alice/img.vsi", members=members, judged=True))
    assert list(listing.walk_names(share_top, "alice/img.vsi", names)) == by_patterns
    assert len(by_patterns) == 3
    with pytest.raises(listing.Gone):
        list(listing.walk_names(share_top, "alice/img.vsi", ("gone", "linked")))
