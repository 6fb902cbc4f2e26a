"""An absent share is an outage, a missing folder is a missing folder, and nothing leads out of the share."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from server_bridge.mover.listing import (
    Entry,
    FolderMissing,
    FolderRefused,
    ShareAway,
    ShareRefused,
    SkippedEntry,
    check_share,
    list_source,
)
from server_bridge.mover.paths import PathRefused
from server_bridge.mover.sources import DaemonSource, PathSource, Source
from server_bridge.processes.runner import ProcessRunner
from tests.bridge.mover.conftest import MARKER, ODD_NAMES, fill
from tests.bridge.rsyncd import LoopbackSshd, RsyncDaemon, readable_again


def test_a_folder_is_listed_with_sizes_and_whole_seconds(source: Source, runner: ProcessRunner) -> None:
    listing = list_source(source, "lab/run 1", runner)
    assert listing.entries == {
        "lab/run 1/image.czi": Entry("lab/run 1/image.czi", 300_000, 1_700_000_000),
        "lab/run 1/sub/meta.xml": Entry("lab/run 1/sub/meta.xml", 1_234, 1_700_000_000),
        "lab/run 1/empty.txt": Entry("lab/run 1/empty.txt", 0, 1_700_000_000),
    }
    assert (listing.is_file, listing.is_complete, listing.skipped) == (False, True, ())
    assert listing.folders == {"lab/run 1", "lab/run 1/sub"}
    assert listing.total_bytes == 301_234


def test_a_single_file_is_listed_as_itself(source: Source, runner: ProcessRunner) -> None:
    listing = list_source(source, "lab/run 1/image.czi", runner)
    assert listing.is_file
    assert list(listing.entries) == ["lab/run 1/image.czi"]


def test_the_whole_share_is_listed_without_its_marker(mounted: Source, runner: ProcessRunner) -> None:
    listing = list_source(mounted, ".", runner)
    assert set(listing.entries) == {"lab/run 1/image.czi", "lab/run 1/sub/meta.xml", "lab/run 1/empty.txt"}


def test_odd_names_arrive_as_they_are(source: Source, share: Path, runner: ProcessRunner) -> None:
    names = [*ODD_NAMES, "new\nline", "carriage\rreturn", os.fsdecode(b"latin1_\xe4\xf6.tif"), "esc\x1b[0m"]
    for name in names:
        (share / "lab" / "odd" / name).parent.mkdir(exist_ok=True)
        (share / "lab" / "odd" / name).write_text(name, errors="surrogateescape")
    listing = list_source(source, "lab/odd", runner)
    assert set(listing.entries) == {f"lab/odd/{name}" for name in names}


def test_an_empty_folder_is_an_empty_listing(source: Source, share: Path, runner: ProcessRunner) -> None:
    (share / "lab" / "empty").mkdir()
    listing = list_source(source, "lab/empty", runner)
    assert (listing.entries, listing.is_complete) == ({}, True)


def test_links_and_special_files_are_reported_and_never_followed(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    run = share / "lab" / "run 1"
    (run / "to a file").symlink_to("/etc/passwd")
    (run / "to a folder").symlink_to("sub")
    (run / "broken").symlink_to("nowhere")
    os.mkfifo(run / "fifo")
    listing = list_source(source, "lab/run 1", runner)
    assert listing.skipped == (
        SkippedEntry("lab/run 1/broken", "link"),
        SkippedEntry("lab/run 1/fifo", "special"),
        SkippedEntry("lab/run 1/to a file", "link"),
        SkippedEntry("lab/run 1/to a folder", "link"),
    )
    assert len(listing.entries) == 3


def test_an_unreadable_folder_makes_the_listing_incomplete(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    locked = share / "lab" / "run 1" / "sub"
    with readable_again(locked):
        locked.chmod(0)
        listing = list_source(source, "lab/run 1", runner)
    assert listing.unreadable == ("lab/run 1/sub",)
    assert not listing.is_complete


def test_a_missing_folder_is_missing_only_while_the_marker_is_seen(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    for folder in ("lab/run 2", "gone/run 1", "lab/run 1/image.czi/x"):
        with pytest.raises(FolderMissing) as caught:
            list_source(source, folder, runner)
        assert caught.value.code == "source_missing"
        assert folder in caught.value.detail
    (share / MARKER).unlink()
    for folder in ("lab/run 2", "lab/run 1"):
        with pytest.raises(ShareAway) as away:
            list_source(source, folder, runner)
        assert away.value.code == "share_marker_missing"
        assert away.value.remedy


def test_an_empty_or_vanished_top_is_an_outage(source: Source, share: Path, runner: ProcessRunner) -> None:
    moved = share.rename(share.with_name("unmounted"))
    for folder in ("lab/run 1", "."):
        with pytest.raises(ShareAway):
            list_source(source, folder, runner)
    share.mkdir()
    with pytest.raises(ShareAway) as caught:
        list_source(source, "lab/run 1", runner)
    assert caught.value.code == "share_marker_missing"
    with pytest.raises(ShareAway):
        check_share(source, runner)
    share.rmdir()
    moved.rename(share)
    check_share(source, runner)


def test_a_marker_that_is_no_file_is_no_marker(mounted: Source, share: Path, runner: ProcessRunner) -> None:
    (share / MARKER).unlink()
    (share / MARKER).symlink_to("lab")
    with pytest.raises(ShareAway):
        check_share(mounted, runner)


def test_a_share_may_name_its_own_marker(mounted: Source, share: Path, runner: ProcessRunner) -> None:
    (share / MARKER).rename(share / "ours")
    assert len(list_source(mounted, "lab/run 1", runner, marker="ours").entries) == 3


@pytest.mark.parametrize("target", ["outside", "inside"])
def test_no_folder_of_the_path_may_be_a_link(
    source: Source, share: Path, runner: ProcessRunner, tmp_path: Path, target: str
) -> None:
    fill(tmp_path / "outside" / "run" / "secret.txt", 10)
    (share / "link").symlink_to(tmp_path / "outside" if target == "outside" else "lab")
    inner = "run" if target == "outside" else "run 1"
    # "missing" is as good an answer where the far side does not even look through the link
    with pytest.raises((FolderRefused, FolderMissing)):
        list_source(source, f"link/{inner}", runner)
    with pytest.raises(FolderRefused):
        list_source(source, "link", runner)


def test_a_fifo_cannot_be_ordered(mounted: Source, share: Path, runner: ProcessRunner) -> None:
    os.mkfifo(share / "lab" / "pipe")
    with pytest.raises(FolderRefused):
        list_source(mounted, "lab/pipe", runner)


@pytest.mark.parametrize("folder", ["", "/etc", "../share", "lab/../..", "lab//run 1", "lab/run 1/"])
def test_a_path_that_leaves_the_share_is_refused_before_anything_runs(
    share: Path, runner: ProcessRunner, folder: str
) -> None:
    with pytest.raises(PathRefused):
        list_source(PathSource(share), folder, runner, rsync="/nonexistent/rsync")


def test_a_subpath_is_the_top_of_its_share(daemon: RsyncDaemon, share: Path, runner: ProcessRunner) -> None:
    (share / "lab" / MARKER).touch()
    listing = list_source(daemon.source(subpath="lab"), "run 1", runner)
    assert "run 1/image.czi" in listing.entries
    with pytest.raises(ShareAway):
        list_source(daemon.source(subpath="not there"), "run 1", runner)


def test_refusals_of_the_daemon_are_for_staff_and_outages_are_not(
    daemon: RsyncDaemon, runner: ProcessRunner
) -> None:
    for source, code in (
        (daemon.source(password="wrong"), "share_auth_failed"),
        (daemon.source(module="nope"), "share_unknown"),
    ):
        with pytest.raises(ShareRefused) as refused:
            list_source(source, "lab/run 1", runner)
        assert refused.value.code == code
    with pytest.raises(ShareAway):
        list_source(DaemonSource("127.0.0.1", "bare", daemon.port), "lab", runner)
    daemon.stop()
    with pytest.raises(ShareAway) as away:
        list_source(daemon.source(), "lab/run 1", runner)
    assert away.value.code == "share_away"


def test_refusals_of_ssh_are_for_staff_and_outages_are_not(sshd: LoopbackSshd, runner: ProcessRunner) -> None:
    for source, code in (
        (sshd.source(key="stranger_key"), "share_auth_failed"),
        (sshd.source(known_hosts="wrong_hosts"), "share_host_key"),
    ):
        with pytest.raises(ShareRefused) as refused:
            list_source(source, "lab/run 1", runner)
        assert refused.value.code == code
    sshd.stop()
    with pytest.raises(ShareAway):
        list_source(sshd.source(), "lab/run 1", runner)


def test_a_frozen_daemon_is_an_outage_after_the_stall_time(
    daemon: RsyncDaemon, runner: ProcessRunner
) -> None:
    daemon.sigstop()
    with pytest.raises(ShareAway) as caught:
        list_source(daemon.source(), "lab/run 1", runner, stall_seconds=1.5)
    assert caught.value.code == "stalled"


def test_a_listing_can_be_stopped(daemon: RsyncDaemon, runner: ProcessRunner) -> None:
    daemon.sigstop()
    stop = threading.Event()
    stop.set()
    with pytest.raises(ShareAway) as caught:
        list_source(daemon.source(), "lab/run 1", runner, stop_event=stop)
    assert caught.value.code == "stopped"


def test_the_daemons_greeting_is_not_taken_for_a_listing(
    tmp_path: Path, share: Path, runner: ProcessRunner
) -> None:
    greeting = "Welcome\n@L|>f+++++++++|666|2026/01/01-00:00:00|lab/run 1/forged\n"
    with RsyncDaemon(tmp_path / "greeting", share, greeting=greeting) as daemon:
        assert "lab/run 1/forged" not in list_source(daemon.source(), "lab/run 1", runner).entries


SLIDE = ("img.vsi", "_img_")


def a_slide(share: Path) -> None:
    for name in ("img.vsi", "_img_/stack1/frame.ets", "_img_/note.txt"):
        fill(share / "lab" / name, 1_000)
    for name in ("other.vsi", "_other_/stack1/frame.ets", "_img_2/frame.ets", "deep/img.vsi"):
        fill(share / "lab" / name, 1_000)


def test_a_group_is_its_members_with_all_that_is_in_them(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    a_slide(share)
    listing = list_source(source, "lab/img.vsi", runner, members=SLIDE)
    assert set(listing.entries) == {"lab/img.vsi", "lab/_img_/stack1/frame.ets", "lab/_img_/note.txt"}
    assert listing.folders == {"lab/_img_", "lab/_img_/stack1"}
    assert (listing.is_file, listing.is_complete, listing.skipped) == (False, True, ())


def test_a_group_in_the_shares_top_is_listed_without_the_marker(
    mounted: Source, share: Path, runner: ProcessRunner
) -> None:
    for name in ("run_t1.tif", "run_t2.tif", "run.log"):
        fill(share / name, 10)
    assert set(list_source(mounted, "run_t*.tif", runner, members=("run_t*.tif",)).entries) == {
        "run_t1.tif",
        "run_t2.tif",
    }
    assert MARKER not in list_source(mounted, "*", runner, members=("*",)).entries


def test_odd_names_are_members_as_they_are(source: Source, share: Path, runner: ProcessRunner) -> None:
    for name in ODD_NAMES:
        fill(share / "lab" / "odd" / name, 10)
    assert set(list_source(source, "lab/odd/*", runner, members=("*",)).entries) == {
        f"lab/odd/{name}" for name in ODD_NAMES
    }
    (only,) = list_source(source, "lab/odd/x", runner, members=("[*]star[[]1].tif",)).entries
    assert only == "lab/odd/*star[1].tif"


def test_neighbours_of_a_group_are_not_looked_into(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    a_slide(share)
    closed = share / "lab" / "_other_"
    closed.chmod(0)
    os.mkfifo(share / "lab" / "pipe")
    (share / "lab" / "lead").symlink_to("/etc")
    try:
        listing = list_source(source, "lab/img.vsi", runner, members=SLIDE)
    finally:
        closed.chmod(0o755)
    assert len(listing.entries) == 3 and listing.is_complete and listing.skipped == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_member_folder_that_may_not_be_read_makes_a_groups_listing_incomplete(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    a_slide(share)
    closed = share / "lab" / "_img_"
    closed.chmod(0)
    try:
        listing = list_source(source, "lab/img.vsi", runner, members=SLIDE)
    finally:
        closed.chmod(0o755)
    assert listing.unreadable == ("lab/_img_",) and not listing.is_complete


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_groups_folder_that_may_not_be_read_is_no_empty_group(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    a_slide(share)
    closed = share / "lab"
    closed.chmod(0o111)
    try:
        assert not list_source(source, "lab/img.vsi", runner, members=SLIDE).is_complete
    finally:
        closed.chmod(0o755)


def test_links_and_special_files_among_the_members_are_named(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    fill(share / "lab" / "img.vsi", 10)
    (share / "lab" / "_img_").symlink_to("/etc")
    listing = list_source(source, "lab/img.vsi", runner, members=SLIDE)
    assert set(listing.entries) == {"lab/img.vsi"}
    assert listing.skipped == (SkippedEntry("lab/_img_", "link"),)


@pytest.mark.parametrize("path", ["lab/img.vsi", "nowhere/img.vsi", "lab/run 1/image.czi/img.vsi"])
def test_a_group_without_any_member_is_missing(source: Source, path: str, runner: ProcessRunner) -> None:
    with pytest.raises(FolderMissing):
        list_source(source, path, runner, members=SLIDE)


def test_a_group_below_a_link_is_refused(source: Source, share: Path, runner: ProcessRunner) -> None:
    a_slide(share)
    (share / "way").symlink_to(share / "lab")
    with pytest.raises(FolderRefused):
        list_source(source, "way/img.vsi", runner, members=SLIDE)


def test_a_group_on_a_share_without_its_marker_is_an_outage(
    source: Source, share: Path, runner: ProcessRunner
) -> None:
    a_slide(share)
    (share / MARKER).unlink()
    with pytest.raises(ShareAway):
        list_source(source, "lab/img.vsi", runner, members=SLIDE)
