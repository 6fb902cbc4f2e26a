"""A cable that is pulled out in the middle of a pull: for a moment, for good, and a far side that goes deaf.

The daemon and rsync live in two networks of their own, joined by a virtual cable. rsync's own time limit does
not see a dead link in the middle of a pull (its keep-alives count as traffic): our watchdog must.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_bridge.mover.pull import PullLimits, pull
from server_bridge.mover.verdict import VerdictKind
from server_bridge.processes.runner import ProcessRunner
from tests.bridge import namespaces
from tests.bridge.mover.conftest import assert_identical, wanted_in
from tests.bridge.mover.test_pull import FOLDER, Sent
from tests.bridge.mover.test_pull_faults import BIG, Background
from tests.bridge.namespaces import Link
from tests.bridge.rsyncd import RsyncDaemon

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces.are_possible(), reason="no unprivileged namespaces on this machine"),
]
#: The watchdog's patience here; far below rsync's own 60 s, which must not be what ends the pull.
CUT = PullLimits(bandwidth_kib_per_second=800, stall_seconds=8.0, progress_seconds=0.0)


@pytest.fixture
def link() -> Iterator[Link]:
    with Link() as made:
        yield made


@pytest.fixture
def far_daemon(tmp_path: Path, share: Path, link: Link) -> Iterator[RsyncDaemon]:
    with RsyncDaemon(tmp_path / "daemon", share, address=Link.FAR, before=link.far.prefix()) as server:
        yield server


@pytest.fixture
def near_rsync(tmp_path: Path, link: Link) -> str:
    """rsync as the site file may name it, at home on the near side of the cable."""
    return str(link.near.program(tmp_path / "near-rsync", "rsync"))


def test_a_link_that_is_gone_for_three_seconds_is_not_even_noticed(
    far_daemon: RsyncDaemon, near_rsync: str, link: Link, big: Path, share: Path, staging: Path,
    mounted: object, runner: ProcessRunner,
) -> None:  # fmt: skip
    wanted = wanted_in(mounted, FOLDER, runner)  # type: ignore[arg-type]
    running = Background(far_daemon.source(), wanted, staging, rsync=near_rsync)
    running.wait_for_bytes()
    link.cut()
    time.sleep(3)
    link.mend()
    outcome = running.result()
    assert outcome.verdict.is_done, outcome.verdict
    assert_identical(outcome.confirmed, share, staging)


@pytest.mark.parametrize("how", ["cut", "swallow"])
def test_a_link_that_is_gone_for_good_ends_by_our_watchdog_and_resumes_when_it_is_back(
    how: str, far_daemon: RsyncDaemon, near_rsync: str, link: Link, big: Path, share: Path, staging: Path,
    mounted: object, runner: ProcessRunner,
) -> None:  # fmt: skip
    wanted = wanted_in(mounted, FOLDER, runner)  # type: ignore[arg-type]
    source = far_daemon.source()
    running = Background(source, wanted, staging, CUT, rsync=near_rsync)
    running.wait_for_bytes()
    getattr(link, how)()
    outcome = running.result()
    assert (outcome.verdict.kind, outcome.verdict.code) == (VerdictKind.TRANSIENT, "stalled")
    assert running.children() == [], "nobody writes into staging any more"
    partial = (staging / FOLDER / ".rsync-partial" / "big.czi").stat().st_size
    assert partial > 500_000

    away = pull(source, FOLDER, wanted, staging, runner, limits=CUT, rsync=near_rsync)
    assert away.verdict.kind is VerdictKind.TRANSIENT, "a try in between fails, and takes nothing away"
    assert (staging / FOLDER / ".rsync-partial" / "big.czi").stat().st_size == partial

    {"cut": link.mend, "swallow": link.answer}[how]()
    far_daemon.kill_transfers()  # its side of the dead connection may live for minutes, and logs at its end
    sent = Sent(far_daemon)
    second = pull(source, FOLDER, wanted, staging, runner, rsync=near_rsync)
    assert second.verdict.is_done, second.verdict
    assert sent.total_bytes() < BIG + 310_000 - partial // 2, "only the rest is sent"
    assert_identical(second.confirmed, share, staging)
