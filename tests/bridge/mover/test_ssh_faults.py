"""A buffer behind ssh fails in the middle of a pull, or comes back as somebody else.

Unlike the daemon's connection, ssh's own keep-alives notice a peer that is dead or frozen. What refuses
(another host key, another key, rrsync itself) is for staff; whatever it is, the pull goes on where it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server_bridge.mover.pull import PullLimits, pull
from server_bridge.mover.sources import SshSource
from server_bridge.mover.verdict import VerdictKind
from server_bridge.processes.runner import ProcessRunner
from server_bridge.sandbox.ports import free_port
from tests.bridge.mover.conftest import assert_identical, wanted_in
from tests.bridge.mover.test_pull import FOLDER
from tests.bridge.mover.test_pull_faults import Background
from tests.bridge.rsyncd import LoopbackSshd

pytestmark = pytest.mark.slow


def partial_bytes(staging: Path) -> int:
    return (staging / FOLDER / ".rsync-partial" / "big.czi").stat().st_size


def test_an_sshd_that_is_killed_and_comes_back_is_resumed_from(
    sshd: LoopbackSshd, big: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = sshd.source()
    wanted = wanted_in(source, FOLDER, runner)
    running = Background(source, wanted, staging)
    running.wait_for_bytes()
    sshd.stop()
    outcome = running.result()
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.TRANSIENT, "share_away")
    assert outcome.moved
    kept = partial_bytes(staging)
    away = pull(source, FOLDER, wanted, staging, runner)
    assert (away.verdict.kind, away.verdict.code) == (VerdictKind.TRANSIENT, "share_away")
    assert not away.moved
    assert partial_bytes(staging) == kept
    sshd.start()
    second = pull(source, FOLDER, wanted, staging, runner)
    assert second.verdict.is_done, second.verdict
    assert_identical(second.confirmed, share, staging)


def impatient(sshd: LoopbackSshd) -> SshSource:
    """The documented configuration, with keep-alives every second."""
    source = sshd.source()
    text = source.config_file.read_text()
    assert "ServerAliveInterval 15" in text
    source.config_file.write_text(text.replace("ServerAliveInterval 15", "ServerAliveInterval 1"))
    return source


def test_ssh_itself_notices_a_peer_that_answers_no_more(
    sshd: LoopbackSshd, big: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = impatient(sshd)
    wanted = wanted_in(source, FOLDER, runner)
    # Our own watchdog would take an hour.
    patient = PullLimits(bandwidth_kib_per_second=800, stall_seconds=3600.0, progress_seconds=0.0)
    running = Background(source, wanted, staging, patient)
    running.wait_for_bytes()
    sshd.sigstop()
    try:
        outcome = running.result()
    finally:
        sshd.sigcont()
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.TRANSIENT, "share_away")
    assert partial_bytes(staging) > 500_000
    second = pull(source, FOLDER, wanted, staging, runner)
    assert second.verdict.is_done, second.verdict
    assert_identical(second.confirmed, share, staging)


@pytest.mark.parametrize("what", ["host key", "key", "command"])
def test_a_host_that_comes_back_as_another_one_is_for_staff_and_keeps_what_came(
    what: str, sshd: LoopbackSshd, big: Path, share: Path, staging: Path, runner: ProcessRunner
) -> None:
    source = sshd.source()
    wanted = wanted_in(source, FOLDER, runner)
    running = Background(source, wanted, staging)
    running.wait_for_bytes()
    file, other, code = {
        "host key": ("host_key", "stranger_key", "share_host_key"),
        "key": ("authorized_keys", "stranger_key.pub", "share_auth_failed"),
        "command": ("authorized_keys", "elsewhere", "share_away"),
    }[what]
    right = (sshd.tmp / file).read_bytes()
    sshd.stop()
    running.result()
    kept = partial_bytes(staging)
    if what == "command":
        # rrsync's own word for a disk that is not mounted: an outage, though it comes as a refusal.
        (sshd.tmp / file).write_bytes(right.replace(str(share).encode(), f"{share}-unmounted".encode()))
    else:
        shutil.copy(sshd.tmp / other, sshd.tmp / file)
    sshd.start()
    refused = pull(source, FOLDER, wanted, staging, runner)
    kind = VerdictKind.TRANSIENT if what == "command" else VerdictKind.PERMANENT
    assert (refused.verdict.kind, refused.verdict.code) == (kind, code), refused.verdict
    assert not refused.moved
    assert partial_bytes(staging) == kept
    sshd.stop()
    (sshd.tmp / file).write_bytes(right)
    sshd.start()
    second = pull(source, FOLDER, wanted, staging, runner)
    assert second.verdict.is_done, second.verdict
    assert_identical(second.confirmed, share, staging)


def test_an_rrsync_that_refuses_an_option_is_for_staff(
    sshd: LoopbackSshd, staging: Path, runner: ProcessRunner, tmp_path: Path
) -> None:
    source = sshd.source()
    wanted = wanted_in(source, FOLDER, runner)
    # The refusal that this rrsync has: protected arguments, which the bridge never asks for by itself.
    protecting = tmp_path / "rsync"
    protecting.write_text('#!/bin/sh\nexec rsync --secluded-args "$@"\n')
    protecting.chmod(0o755)
    outcome = pull(source, FOLDER, wanted, staging, runner, rsync=str(protecting))
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.PERMANENT, "rsync_refused")
    assert "secluded" in outcome.said or "-s" in outcome.said, "what it said is kept for the order's log"


def test_a_port_where_nobody_listens_is_an_outage(
    sshd: LoopbackSshd, staging: Path, runner: ProcessRunner
) -> None:
    wanted = wanted_in(sshd.source(), FOLDER, runner)
    source = sshd.source()
    text = source.config_file.read_text()
    source.config_file.write_text(text.replace(f"Port {sshd.port}", f"Port {free_port()}"))
    outcome = pull(source, FOLDER, wanted, staging, runner)
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.TRANSIENT, "share_away")
