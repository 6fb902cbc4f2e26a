"""A pull brings exactly the listed bytes, says so only after looking, and leaves imported data alone."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from server_bridge.mover.paths import PathRefused
from server_bridge.mover.pull import PulledFile, PullLimits, WantedFile, pull
from server_bridge.mover.room import Room
from server_bridge.mover.sources import PathSource, Source
from server_bridge.mover.staging import Space, StagingUnexpected
from server_bridge.mover.verdict import VerdictKind
from server_bridge.processes.runner import LockBusy, ProcessRunner, RunLock
from tests.bridge.mover.conftest import ODD_NAMES, assert_identical, fill, sha1_of, wanted_in
from tests.bridge.rsyncd import RsyncDaemon, readable_again, wait_until

FOLDER = "lab/run 1"


class Sent:
    """Bytes that a daemon says it sent since this was made."""

    def __init__(self, daemon: RsyncDaemon) -> None:
        # A transfer that was cut writes its closing line only when its server process ends.
        wait_until(lambda: daemon.transfers() == [], "earlier transfers are closed")
        self._log = daemon.log
        self._start = len(self._log.read_bytes())

    def total_bytes(self) -> int:
        """The sum over the transfers that ended since; waits for the first one's line."""
        pattern = re.compile(rb"sent (\d+) bytes")
        wait_until(lambda: bool(pattern.search(self._new())), "the daemon's closing line")
        return sum(map(int, pattern.findall(self._new())))

    def _new(self) -> bytes:
        return self._log.read_bytes()[self._start :]


def test_every_kind_of_source_brings_identical_bytes_and_their_sha1(
    source: Source, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(source, FOLDER, runner)
    confirmed: list[PulledFile] = []
    outcome = pull(source, FOLDER, wanted, staging, runner, on_file=confirmed.append)
    assert outcome.verdict.is_done
    assert outcome.pending == ()
    assert {pulled.path for pulled in outcome.confirmed} == {file.path for file in wanted}
    assert sorted(confirmed, key=lambda pulled: pulled.path) == list(outcome.confirmed)
    assert (outcome.bytes_done, outcome.new_files, outcome.moved) == (301_234, 3, True)
    assert_identical(outcome.confirmed, share, staging)
    for folder in (staging, staging / "lab", staging / FOLDER, staging / FOLDER / "sub"):
        assert oct(folder.stat().st_mode & 0o7777) == "0o2770"
    assert not list(staging.rglob(".rsync-partial"))


def test_odd_names_arrive_with_their_bytes(
    source: Source, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    for number, name in enumerate(ODD_NAMES):
        fill(share / "lab" / "odd" / name, 100 + number)
    for name in ("#top", ";top", "-top"):
        fill(share / name, 17)
    wanted = wanted_in(source, "lab/odd", runner)
    outcome = pull(source, "lab/odd", wanted, staging, runner)
    assert outcome.verdict.is_done
    assert len(outcome.confirmed) == len(ODD_NAMES)
    assert_identical(outcome.confirmed, share, staging)
    for name in ("#top", ";top", "-top"):
        single = pull(source, name, wanted_in(source, name, runner), staging, runner)
        assert single.verdict.is_done
        assert_identical(single.confirmed, share, staging)


def test_several_processes_share_the_work(
    daemon: RsyncDaemon, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    for number in range(40):
        fill(share / FOLDER / f"t{number % 7}" / f"{number}.tif", 5_000 * (number % 9), number)
    wanted = wanted_in(daemon.source(), FOLDER, runner)
    steps: list[tuple[int, int]] = []
    outcome = pull(
        daemon.source(),
        FOLDER,
        wanted,
        staging,
        runner,
        limits=PullLimits(shards=3, progress_seconds=0.0),
        on_progress=lambda done, files: steps.append((done, files)),
    )
    assert outcome.verdict.is_done
    assert_identical(outcome.confirmed, share, staging)
    assert steps == sorted(steps), "progress only grows"
    assert steps[-1] == (sum(file.size_bytes for file in wanted), len(wanted))


def test_confirmed_files_with_known_digests_are_not_pulled_again(
    mounted: PathSource, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(mounted, FOLDER, runner)
    first = pull(mounted, FOLDER, wanted, staging, runner)
    known = {pulled.path: pulled.sha1 for pulled in first.confirmed}
    again = pull(mounted, FOLDER, wanted, staging, runner, known_digests=known, rsync="/no/rsync/is/run")
    assert again.confirmed == first.confirmed
    assert (again.verdict.is_done, again.new_files, again.moved) == (True, 0, False)


def test_a_lost_digest_is_computed_anew_from_the_source_without_sending_the_data_again(
    daemon: RsyncDaemon, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    fill(share / FOLDER / "big.czi", 3_000_000)
    source = daemon.source()
    wanted = wanted_in(source, FOLDER, runner)
    first = pull(source, FOLDER, wanted, staging, runner)
    known = {done.path: done.sha1 for done in first.confirmed if not done.path.endswith("big.czi")}
    sent = Sent(daemon)
    again = pull(source, FOLDER, wanted, staging, runner, known_digests=known)
    assert again.verdict.is_done
    assert again.confirmed == first.confirmed
    assert again.new_files == 1
    assert sent.total_bytes() < 100_000, "block sums and matches only"
    assert_identical(again.confirmed, share, staging)


def test_a_lost_digest_does_not_hide_damage_in_staging(
    mounted: PathSource, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(mounted, FOLDER, runner)
    pull(mounted, FOLDER, wanted, staging, runner)
    victim = staging / FOLDER / "image.czi"
    times = victim.stat().st_mtime_ns
    victim.chmod(0o600)
    with victim.open("r+b") as file:
        file.seek(1000)
        file.write(b"damaged")
    victim.chmod(0o440)
    os.utime(victim, ns=(times, times))
    again = pull(mounted, FOLDER, wanted, staging, runner)
    assert again.verdict.is_done
    assert_identical(again.confirmed, share, staging)


def test_data_of_an_import_is_never_touched(
    mounted: PathSource, share: Path, staging: Path, runner: ProcessRunner, tmp_path: Path
) -> None:
    wanted = wanted_in(mounted, FOLDER, runner)
    first = pull(mounted, FOLDER, wanted, staging, runner)
    managed = tmp_path / "managed.czi"
    os.link(staging / FOLDER / "image.czi", managed)
    before = managed.stat()
    fill(share / FOLDER / "image.czi", 300_000, seed=9)
    for known in ({}, {pulled.path: pulled.sha1 for pulled in first.confirmed}):
        with pytest.raises(StagingUnexpected) as caught:
            pull(mounted, FOLDER, wanted_in(mounted, FOLDER, runner), staging, runner, known_digests=known)
        assert caught.value.code == "staging_linked"
    after = managed.stat()
    assert (after.st_mtime_ns, after.st_mode, after.st_nlink) == (before.st_mtime_ns, before.st_mode, 2)
    assert sha1_of(managed) == {done.path: done.sha1 for done in first.confirmed}[f"{FOLDER}/image.czi"]


def test_a_new_version_replaces_the_staged_file_with_a_new_inode(
    mounted: PathSource, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    pull(mounted, FOLDER, wanted_in(mounted, FOLDER, runner), staging, runner)
    old = (staging / FOLDER / "image.czi").stat().st_ino
    fill(share / FOLDER / "image.czi", 310_000, seed=2)
    outcome = pull(mounted, FOLDER, wanted_in(mounted, FOLDER, runner), staging, runner)
    assert outcome.verdict.is_done
    assert (staging / FOLDER / "image.czi").stat().st_ino != old
    assert_identical(outcome.confirmed, share, staging)


# --- files that do not come


def test_missing_and_unreadable_files_are_named_and_the_rest_arrives(
    source: Source, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(source, FOLDER, runner)
    (share / FOLDER / "sub" / "meta.xml").unlink()
    locked = share / FOLDER / "image.czi"
    with readable_again(locked):
        locked.chmod(0)
        outcome = pull(source, FOLDER, wanted, staging, runner)
    assert [(left.path, left.code) for left in outcome.pending] == [
        (f"{FOLDER}/image.czi", "source_unreadable"),
        (f"{FOLDER}/sub/meta.xml", "source_missing"),
    ]
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.RECONCILE, "source_unreadable")
    assert [done.path for done in outcome.confirmed] == [f"{FOLDER}/empty.txt"]
    assert pull(source, FOLDER, wanted, staging, runner).verdict.code == "source_missing"


def test_a_file_that_changed_since_its_listing_is_pending(
    mounted: PathSource, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(mounted, FOLDER, runner)
    fill(share / FOLDER / "image.czi", 300_001)
    os.utime(share / FOLDER / "empty.txt", (1_700_000_005, 1_700_000_005))
    outcome = pull(mounted, FOLDER, wanted, staging, runner)
    assert {(left.path, left.code) for left in outcome.pending} == {
        (f"{FOLDER}/image.czi", "source_changed"),
        (f"{FOLDER}/empty.txt", "source_changed"),
    }
    assert outcome.verdict.code == "source_changed"


def test_a_file_that_grows_during_the_pull_shows_in_the_next_listing(
    daemon: RsyncDaemon, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = daemon.source()
    growing = fill(share / FOLDER / "big.czi", 2_000_000)
    wanted = wanted_in(source, FOLDER, runner)
    grown = threading.Event()

    def grow(done: int, files: int) -> None:
        if done > 0 and not grown.is_set():
            with growing.open("ab") as file:
                file.write(b"more")
            grown.set()

    limits = PullLimits(bandwidth_kib_per_second=1500, progress_seconds=0.0)
    outcome = pull(source, FOLDER, wanted, staging, runner, on_progress=grow, limits=limits)
    assert grown.is_set()
    relisted = {file.path: file for file in wanted_in(source, FOLDER, runner)}
    changed = [file for file in wanted if relisted[file.path] != file]
    assert [file.path for file in changed] == [f"{FOLDER}/big.czi"]
    for done in outcome.confirmed:  # whatever was confirmed is what was listed, byte for byte
        staged = (staging / done.path).read_bytes()
        assert (len(staged), hashlib.sha1(staged).hexdigest()) == (done.size_bytes, done.sha1)


def test_a_listed_file_that_became_a_link_or_a_folder_is_not_followed(
    source: Source, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(source, FOLDER, runner)
    (share / FOLDER / "image.czi").unlink()
    (share / FOLDER / "image.czi").symlink_to("/etc/passwd")
    (share / FOLDER / "empty.txt").unlink()
    fill(share / FOLDER / "empty.txt" / "huge.czi", 1000)
    (share / FOLDER / "sub" / "meta.xml").unlink()
    os.mkfifo(share / FOLDER / "sub" / "meta.xml")
    outcome = pull(source, FOLDER, wanted, staging, runner)
    assert outcome.confirmed == ()
    assert len(outcome.pending) == 3
    assert not [path for path in staging.rglob("*") if not path.is_dir() or path.is_symlink()]


def test_names_that_nobody_asked_for_leave_the_directory(
    mounted: PathSource, staging: Path, runner: ProcessRunner, tmp_path: Path
) -> None:
    # A far end that sends more than the list asks for: --trust-sender lets it, so we look ourselves.
    lying = tmp_path / "rsync"
    lying.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case $word in --files-from=*) list=${word#--files-from=};; esac; done\n'
        f"printf './{FOLDER}/empty.txt\\0./{FOLDER}/sub/meta.xml\\0' >> \"$list\"\n"
        'exec rsync "$@"\n'
    )
    lying.chmod(0o755)
    wanted = [file for file in wanted_in(mounted, FOLDER, runner) if file.path.endswith("image.czi")]
    outcome = pull(
        mounted, FOLDER, wanted, staging, runner, rsync=str(lying), quarantine_dir=tmp_path / "aside"
    )
    assert outcome.verdict.is_done
    assert set(outcome.unlisted) == {f"{FOLDER}/empty.txt", f"{FOLDER}/sub", f"{FOLDER}/sub/meta.xml"}
    staged = [path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file()]
    assert staged == [f"{FOLDER}/image.czi"]
    assert (tmp_path / "aside" / FOLDER / "sub" / "meta.xml").is_file()


# --- before anything starts


def test_paths_outside_the_acquisition_or_colliding_are_refused(staging: Path, runner: ProcessRunner) -> None:
    source = PathSource(Path("/nonexistent"))
    for names, code in (
        (["other/x"], "path_outside"),
        (["lab/run 10/x"], "path_outside"),
        ([f"{FOLDER}/../x"], "path_parent"),
        ([f"{FOLDER}/A", f"{FOLDER}/a"], "path_collision"),
        ([f"{FOLDER}/" + "/".join(["x" * 200] * 20)], "path_too_long"),
    ):
        with pytest.raises(PathRefused) as caught:
            pull(source, FOLDER, [WantedFile(name, 1, 1) for name in names], staging, runner)
        assert caught.value.code == code
    with pytest.raises(PathRefused) as caught:
        members = ("img.vsi", "_img_")
        names = ["lab/img.vsi", "lab/_img_/frame.ets", "lab/_img_2/frame.ets"]
        wanted = [WantedFile(name, 1, 1) for name in names]
        pull(source, "lab/img.vsi", wanted, staging, runner, members=members)
    assert caught.value.code == "path_outside" and "_img_2" in caught.value.detail
    assert not staging.exists()


def test_a_full_disk_is_told_before_the_start(
    mounted: PathSource, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(mounted, FOLDER, runner)
    outcome = pull(
        mounted,
        FOLDER,
        wanted,
        staging,
        runner,
        rsync="/never/run",
        room=Room(lambda path: Space(301_234, None)),
    )
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.SPACE, "staging_full")
    assert len(outcome.pending) == 3
    assert "30,123" in outcome.verdict.detail, "says how much is missing"


def test_a_second_pull_of_the_same_order_does_not_start(
    mounted: PathSource, staging: Path, runner: ProcessRunner, tmp_path: Path
) -> None:
    wanted = wanted_in(mounted, FOLDER, runner)
    with RunLock.acquire(tmp_path / "order.lock"), pytest.raises(LockBusy):
        pull(mounted, FOLDER, wanted, staging, runner, lock_path=tmp_path / "order.lock")


def test_a_folder_where_a_file_belongs_needs_somebody(
    mounted: PathSource, staging: Path, runner: ProcessRunner
) -> None:
    (staging / FOLDER / "image.czi").mkdir(parents=True)
    with pytest.raises(StagingUnexpected):
        pull(mounted, FOLDER, wanted_in(mounted, FOLDER, runner), staging, runner)


def test_an_error_of_a_handler_ends_the_transfer_and_is_raised(
    daemon: RsyncDaemon, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    for number in range(6):
        fill(share / FOLDER / f"{number}.tif", 200_000, number)

    def broken(pulled: PulledFile) -> None:
        raise RuntimeError("the database is away")

    wanted = wanted_in(daemon.source(), FOLDER, runner)
    for shards in (1, 2):
        with pytest.raises(RuntimeError, match="the database is away"):
            pull(
                daemon.source(),
                FOLDER,
                wanted,
                staging,
                runner,
                on_file=broken,
                limits=PullLimits(shards=shards),
            )
    outcome = pull(daemon.source(), FOLDER, wanted, staging, runner)
    assert outcome.verdict.is_done


def test_an_empty_manifest_is_done_at_once(mounted: PathSource, staging: Path, runner: ProcessRunner) -> None:
    outcome = pull(mounted, FOLDER, [], staging, runner, rsync="/never/run")
    assert (outcome.verdict.is_done, outcome.confirmed) == (True, ())


def test_staged_files_are_readable_by_owner_and_group_only(
    mounted: PathSource, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    (share / FOLDER / "image.czi").chmod(0o4777)
    outcome = pull(mounted, FOLDER, wanted_in(mounted, FOLDER, runner), staging, runner)
    modes = {stat.S_IMODE((staging / done.path).stat().st_mode) for done in outcome.confirmed}
    assert modes == {0o440}
