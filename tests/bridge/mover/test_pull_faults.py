"""Whatever is killed, cut, frozen, refused or full: nothing is lost, and the next pull goes on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from server_bridge.mover.pull import PullLimits, PullOutcome, WantedFile, pull
from server_bridge.mover.sources import DaemonSource, PathSource, Source
from server_bridge.mover.verdict import VerdictKind
from server_bridge.processes.run_lock import LOCK_VARIABLE
from server_bridge.processes.runner import ProcessRunner
from tests.bridge.mover.conftest import assert_identical, wanted_in
from tests.bridge.mover.test_pull import FOLDER, Sent
from tests.bridge.rsyncd import LoopbackSshd, RsyncDaemon, wait_until

BIG = 6_000_000
#: Slow enough that a fault always hits the middle of the file.
SLOW = PullLimits(bandwidth_kib_per_second=800, stall_seconds=30.0, progress_seconds=0.0)


class Background:
    """A pull in its own thread, so that the test can do something to it."""

    def __init__(
        self,
        source: Source,
        wanted: list[WantedFile],
        staging: Path,
        limits: PullLimits = SLOW,
        rsync: str = "rsync",
    ) -> None:
        self.stop = threading.Event()
        self.bytes_done = 0
        self.outcome: PullOutcome | None = None
        self.error: BaseException | None = None
        self._arguments = (source, FOLDER, wanted, staging, ProcessRunner(grace_seconds=3.0))
        self._limits = limits
        self._rsync = rsync
        self._lock_path = staging.with_name("order.lock")
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.outcome = pull(
                *self._arguments,
                on_progress=self._progress,
                stop_event=self.stop,
                limits=self._limits,
                lock_path=self._lock_path,
                rsync=self._rsync,
            )
        except BaseException as error:  # noqa: BLE001 - raised by result()
            self.error = error

    def _progress(self, done: int, files: int) -> None:
        self.bytes_done = done

    def wait_for_bytes(self, count: int = 1_000_000) -> None:
        wait_until(
            lambda: self.bytes_done >= count or not self._thread.is_alive(), "the transfer moves", seconds=60
        )
        assert self._thread.is_alive(), (self.outcome, self.error)

    def result(self) -> PullOutcome:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the pull does not return"
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome

    def children(self) -> list[int]:
        """Processes that run under this pull's lock."""
        return marked(self._lock_path)


def marked(lock_path: Path) -> list[int]:
    mark = f"{LOCK_VARIABLE}={lock_path}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_stopped_pull_ends_its_processes_and_resumes(
    daemon: RsyncDaemon, big: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = daemon.source()
    wanted = wanted_in(source, FOLDER, runner)
    running = Background(source, wanted, staging)
    running.wait_for_bytes()
    running.stop.set()
    outcome = running.result()
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.KILLED, "stopped")
    assert outcome.duration_seconds < 60
    assert running.children() == []
    assert [path.name for path in (staging.parent / ".ferry").iterdir()] == [], "no lists are left behind"
    assert not (staging / FOLDER / "big.czi").exists(), "half a file never has the final name"
    partial = (staging / FOLDER / ".rsync-partial" / "big.czi").stat().st_size
    assert partial > 0
    sent = Sent(daemon)
    second = pull(source, FOLDER, wanted, staging, runner)
    assert second.verdict.is_done
    assert sent.total_bytes() < BIG + 310_000 - partial // 2, "only the rest is sent"
    assert_identical(second.confirmed, share, staging)


def test_a_pull_that_is_stopped_before_its_start_moves_nothing(
    mounted: PathSource, staging: Path, runner: ProcessRunner
) -> None:
    stop = threading.Event()
    stop.set()
    wanted = wanted_in(mounted, FOLDER, runner)
    outcome = pull(mounted, FOLDER, wanted, staging, runner, stop_event=stop)
    assert outcome.verdict.kind in {VerdictKind.KILLED, VerdictKind.DONE}
    assert len(outcome.confirmed) + len(outcome.pending) == len(wanted)


def test_a_killed_client_leaves_an_orphan_that_is_used_again(
    daemon: RsyncDaemon, big: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = daemon.source()
    wanted = wanted_in(source, FOLDER, runner)
    running = Background(source, wanted, staging)
    running.wait_for_bytes()
    for pid in running.children():
        os.kill(pid, signal.SIGKILL)
    outcome = running.result()
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.TRANSIENT, "rsync_interrupted")
    (orphan,) = (staging / FOLDER).glob(".big.czi.??????")
    size = orphan.stat().st_size
    assert size > 0
    sent = Sent(daemon)
    second = pull(source, FOLDER, wanted, staging, runner)
    assert second.verdict.is_done
    assert not orphan.exists()
    assert sent.total_bytes() < BIG + 310_000 - size // 2, "only the rest is sent"
    assert_identical(second.confirmed, share, staging)


def test_a_killed_sender_is_transient_and_the_partial_is_kept(
    daemon: RsyncDaemon, big: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = daemon.source()
    wanted = wanted_in(source, FOLDER, runner)
    running = Background(source, wanted, staging)
    running.wait_for_bytes()
    daemon.kill_transfers()
    outcome = running.result()
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.TRANSIENT, "share_away")
    assert outcome.moved
    assert (staging / FOLDER / ".rsync-partial" / "big.czi").stat().st_size > 0
    second = pull(source, FOLDER, wanted, staging, runner)
    assert second.verdict.is_done
    assert_identical(second.confirmed, share, staging)


def test_a_cut_ssh_connection_is_transient_and_resumes(
    sshd: LoopbackSshd, big: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = sshd.source()
    wanted = wanted_in(source, FOLDER, runner)
    running = Background(source, wanted, staging)
    running.wait_for_bytes()
    sshd.kill_transfers()
    assert running.result().verdict.kind is VerdictKind.TRANSIENT
    second = pull(source, FOLDER, wanted, staging, runner)
    assert second.verdict.is_done
    assert_identical(second.confirmed, share, staging)


def test_a_frozen_sender_is_ended_by_the_watchdog_and_resumed_later(
    daemon: RsyncDaemon, big: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = daemon.source()
    wanted = wanted_in(source, FOLDER, runner)
    limits = PullLimits(bandwidth_kib_per_second=800, stall_seconds=4.0, progress_seconds=0.0)
    running = Background(source, wanted, staging, limits)
    running.wait_for_bytes()
    daemon.sigstop()
    outcome = running.result()
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.TRANSIENT, "stalled")
    assert running.children() == []
    daemon.sigcont()
    second = pull(source, FOLDER, wanted, staging, runner)
    assert second.verdict.is_done
    assert_identical(second.confirmed, share, staging)


def test_a_file_that_is_cut_short_during_the_pull_is_not_confirmed(
    daemon: RsyncDaemon, big: Path, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(daemon.source(), FOLDER, runner)
    running = Background(daemon.source(), wanted, staging)
    running.wait_for_bytes()
    facts = big.stat()
    os.truncate(big, 2_500_000)
    os.utime(big, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    outcome = running.result()
    assert [left.path for left in outcome.pending] == [f"{FOLDER}/big.czi"]
    assert outcome.verdict.kind is VerdictKind.RECONCILE
    assert outcome.verdict.code in {"source_changed", "verification_failed", "source_unreadable"}


BRIDGE = """
import json, sys
from pathlib import Path
from server_bridge.mover.pull import PullLimits, WantedFile, pull
from server_bridge.mover.sources import DaemonSource
from server_bridge.processes.runner import ProcessRunner
port, password_file, staging, lock, wanted = sys.argv[1:]
pull(
    DaemonSource("127.0.0.1", "acq", int(port), "bridge", Path(password_file)),
    "lab/run 1",
    [WantedFile(*file) for file in json.loads(wanted)],
    Path(staging),
    ProcessRunner(death_signal=False),
    limits=PullLimits(bandwidth_kib_per_second=300),
    lock_path=Path(lock),
)
"""


def test_the_rsync_of_a_killed_bridge_is_ended_before_the_next_one_starts(
    daemon: RsyncDaemon, big: Path, share: Path, staging: Path, runner: ProcessRunner, tmp_path: Path
) -> None:
    source = daemon.source()
    wanted = wanted_in(source, FOLDER, runner)
    lock_path = tmp_path / "order.lock"
    manifest = json.dumps([[file.path, file.size_bytes, file.mtime_s] for file in wanted])
    bridge = subprocess.Popen(
        [sys.executable, "-c", BRIDGE, str(daemon.port), str(daemon.password_file), str(staging),
         str(lock_path), manifest],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: bool(list(staging.rglob(".big.czi.??????"))), "the transfer has begun", seconds=60)
    finally:
        bridge.kill()
        bridge.wait()
    orphans = marked(lock_path)
    assert len(orphans) >= 2, "rsync and its receiver survive their bridge"
    outcome = pull(source, FOLDER, wanted, staging, runner, lock_path=lock_path)
    assert set(orphans) <= set(outcome.ended_orphans)
    assert outcome.verdict.is_done
    assert_identical(outcome.confirmed, share, staging)
    assert not [path for path in staging.rglob(".*") if path.is_file()], "nothing of the orphan is left"


# --- refusals and outages


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"password": "wrong"}, VerdictKind.PERMANENT, "share_auth_failed"),
        ({"module": "nope"}, VerdictKind.PERMANENT, "share_unknown"),
        ({"subpath": "gone"}, VerdictKind.TRANSIENT, "share_away"),
    ],
)
def test_refusals_get_their_verdict_and_every_file_stays_pending(
    daemon: RsyncDaemon,
    staging: Path,
    runner: ProcessRunner,
    change: dict[str, str],
    kind: VerdictKind,
    code: str,
) -> None:
    wanted = wanted_in(daemon.source(), FOLDER, runner)
    outcome = pull(daemon.source(**change), FOLDER, wanted, staging, runner)
    assert (outcome.verdict.kind, outcome.verdict.code) == (kind, code)
    assert len(outcome.pending) == len(wanted)
    assert not outcome.moved


def test_a_refused_option_is_for_staff(
    tmp_path: Path, share: Path, mounted: PathSource, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(mounted, FOLDER, runner)
    with RsyncDaemon(tmp_path / "strict", share, refused="partial-dir times") as strict:
        outcome = pull(strict.source(), FOLDER, wanted, staging, runner)
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.PERMANENT, "rsync_refused")


def test_a_busy_daemon_is_tried_again(
    tmp_path: Path, share: Path, big: Path, staging: Path, runner: ProcessRunner
) -> None:
    with RsyncDaemon(tmp_path / "busy", share, max_connections=1) as busy:
        wanted = wanted_in(busy.source(), FOLDER, runner)
        running = Background(busy.source(), wanted, staging)
        running.wait_for_bytes(200_000)
        outcome = pull(busy.source(), FOLDER, wanted, staging.with_name("order-2"), runner)
        assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.TRANSIENT, "share_busy")
        running.stop.set()
        running.result()


def test_an_unmounted_share_looks_like_missing_files_and_is_left_to_the_next_listing(
    daemon: RsyncDaemon, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(daemon.source(), FOLDER, runner)
    share.rename(share.with_name("unmounted"))
    share.mkdir()
    outcome = pull(daemon.source(), FOLDER, wanted, staging, runner)
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.RECONCILE, "source_missing")
    daemon.stop()
    away = pull(daemon.source(), FOLDER, wanted, staging, runner)
    assert (away.verdict.kind, away.verdict.code) == (VerdictKind.TRANSIENT, "share_away")
    nobody = DaemonSource("127.0.0.1", "acq", daemon.port)
    assert pull(nobody, FOLDER, wanted, staging, runner).verdict.code == "share_away"


def test_a_disk_that_fills_up_during_the_pull_waits_for_space(
    mounted: PathSource, big: Path, staging: Path, runner: ProcessRunner, tmp_path: Path
) -> None:
    # A small disk of rsync's own: a tmpfs in a mount namespace that only it sees.
    small = tmp_path / "rsync"
    small.write_text(
        "#!/bin/sh\n"
        'exec unshare -Urm /bin/sh -c \'mount -t tmpfs -o size=4m none "$0" && exec rsync "$@"\' '
        f'"{staging}" "$@"\n'
    )
    small.chmod(0o755)
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0:
        pytest.skip("no unprivileged user namespaces here; test_verdict covers the recorded text")
    wanted = wanted_in(mounted, FOLDER, runner)
    outcome = pull(mounted, FOLDER, wanted, staging, runner, rsync=str(small))
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.SPACE, "staging_full")
    assert [left.path for left in outcome.pending] == sorted(file.path for file in wanted)
