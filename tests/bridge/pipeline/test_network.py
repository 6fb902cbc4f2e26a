"""The buffer's daemon and the way to it fail in the middle of an order: it waits, resumes, and is whole.

Each order goes through the real pipeline to its proof. What was there already is not sent again: the bytes
are counted in the daemon's own log.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from server_bridge.contract import Condition, Stage
from tests.bridge import namespaces
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.namespaces import Link
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.world import World, age
from tests.bridge.rsyncd import wait_until
from tests.bridge.sandbox.conftest import write_tiff

#: For an order to come from anywhere to its proof, also on a machine that has other things to do.
PATIENCE = 180.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SIDE = 2200  #: 4.8 million bytes
SLOW = ("--bwlimit=900",)
#: What rsync may send beyond the rest of a file: the block that was under way, listings, its own words.
SPARE = 1_200_000


def big(world: World, name: str = "big.tif") -> str:
    write_tiff(world.buffer / "alice" / name, (SIDE, SIDE))
    age(world.buffer / "alice")
    return f"alice/{name}"


def staged_bytes(world: World, order_id: str) -> int:
    """Bytes of unfinished files in the order's staging now."""
    total = 0
    for path in world.staged(order_id, "").rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # renamed by rsync while we looked
    return total


def in_the_middle(world: World, order_id: str, at_least: int = 1_000_000) -> int:
    """Wait until the pull is well under way; return what has come."""
    wait_until(
        lambda: staged_bytes(world, order_id) > at_least,
        f"the pull is under way: {world.story(order_id)}",
        seconds=90,
    )
    assert world.look(order_id).stage == Stage.PULLING
    return staged_bytes(world, order_id)


def sent_bytes(world: World) -> int:
    """What the daemon says it sent, in all transfers that have ended."""
    return sum(map(int, re.findall(rb"sent (\d+) bytes", world.rsyncd.log.read_bytes())))


def require_whole(world: World, order_id: str, path: str) -> None:
    """In OMERO once, with the buffer's bytes, and the SHA-1 that was noted on the way is theirs."""
    world.require_once(order_id, {path})
    digest = hashlib.sha1((world.buffer / path).read_bytes()).hexdigest()
    assert world.files(order_id)[path].sha1 == digest
    partials = [one for one in world.staged(order_id, "").rglob("*") if ".rsync-partial" in one.parts]
    assert partials == [], "nothing is left of the interrupted pulls"


@pytest.fixture
def slow_world(make_world: MakeWorld, sandbox: RunningSandbox) -> World:
    """A buffer that sends about 900 kB a second: several seconds for one file."""
    return make_world(sandbox, daemon={"arguments": SLOW}, share={"stall_seconds": 6})


def test_a_daemon_that_is_killed_in_the_middle_and_started_again(slow_world: World) -> None:
    world, path = slow_world, big(slow_world)
    order_id = world.order(path)
    with world.running():
        in_the_middle(world, order_id)
        world.rsyncd.stop()
        order = world.wait_reason(order_id, "share_away")
        assert (order.stage, order.condition) == (Stage.PULLING, Condition.WAITING)
        assert order.reason is not None and order.reason["remedy"] and order.next_try_at is not None
        kept = staged_bytes(world, order_id)
        assert kept > 500_000
        tries = order.attempt
        world.wait(order_id, lambda order: order.attempt >= tries + 4)
        assert world.look(order_id).condition != Condition.ATTENTION, "an outage is nobody's task"
        assert staged_bytes(world, order_id) == kept, "tries in between take nothing away"
        before = sent_bytes(world)
        world.rsyncd.start()
        world.wait_proven(order_id, PATIENCE)
    assert sent_bytes(world) - before < SIDE * SIDE - kept + SPARE, "only the rest is sent"
    require_whole(world, order_id, path)


def test_a_daemon_that_freezes_is_noticed_by_the_watchdog(slow_world: World) -> None:
    world, path = slow_world, big(slow_world)
    order_id = world.order(path)
    with world.running():
        in_the_middle(world, order_id)
        world.rsyncd.sigstop()
        try:
            order = world.wait_reason(order_id, "stalled")
            assert (order.stage, order.condition) == (Stage.PULLING, Condition.WAITING)
            assert staged_bytes(world, order_id) > 500_000
        finally:
            world.rsyncd.sigcont()
        world.wait_proven(order_id, PATIENCE)
    require_whole(world, order_id, path)


@pytest.mark.parametrize("how", ["unmounted", "emptied"])
def test_the_buffers_disk_goes_away_in_the_middle(slow_world: World, how: str) -> None:
    """Its mount point stays: with nothing in it, or with another disk that has no marker."""
    world, path = slow_world, big(slow_world)
    order_id = world.order(path)
    disk = world.buffer.with_name("disk")
    with world.running():
        in_the_middle(world, order_id)
        world.buffer.rename(disk)
        world.buffer.mkdir()
        if how == "emptied":
            (world.buffer / "alice").mkdir()
        world.rsyncd.kill_transfers()  # a lazy unmount lets an open file be read to its end: not this time
        order = world.wait_reason(order_id, "share_marker_missing")
        assert (order.stage, order.condition, order.sealed) == (Stage.PULLING, Condition.WAITING, True)
        assert staged_bytes(world, order_id) > 500_000, "an outage takes nothing from staging"
        if how == "emptied":
            (world.buffer / "alice").rmdir()
        world.buffer.rmdir()
        disk.rename(world.buffer)
        world.wait_proven(order_id, PATIENCE)
    require_whole(world, order_id, path)


def change_config(world: World, old: str, new: str) -> None:
    text = world.rsyncd.config.read_text()
    assert old in text
    world.rsyncd.config.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("auth users = bridge:ro", "auth users = another:ro", "share_auth_failed"),
        ("list = no", "list = no\nhosts deny = *", "share_unknown"),
        ("[acq]", "[renamed]", "share_unknown"),
    ],
    ids=["secret", "host", "module"],
)
def test_a_daemon_that_refuses_after_its_restart_holds_the_order_up_until_it_is_corrected(
    slow_world: World, old: str, new: str, code: str
) -> None:
    world, path = slow_world, big(slow_world)
    order_id = world.order(path)
    with world.running():
        in_the_middle(world, order_id)
        change_config(world, old, new)
        world.rsyncd.restart()
        # A fault of the site's settings: staff are told once, and no order needs a click of its own.
        order = world.wait_reason(order_id, code)
        assert (order.condition, order.stage) == (Condition.WAITING, Stage.PULLING)
        assert order.reason is not None and order.reason["contact"] == "the platform staff"
        assert staged_bytes(world, order_id) > 500_000
        change_config(world, new, old)
        world.rsyncd.restart()
        world.wait_proven(order_id, PATIENCE)
    require_whole(world, order_id, path)


def test_a_daemon_without_a_free_connection_is_waited_for(
    make_world: MakeWorld, sandbox: RunningSandbox
) -> None:
    world = make_world(sandbox, daemon={"arguments": SLOW, "max_connections": 1}, share={"pulls": 2})
    first, second = big(world, "first.tif"), big(world, "second.tif")
    one = world.order(first)
    with world.running():
        in_the_middle(world, one)
        two = world.order(second)
        order = world.wait_reason(two, "share_busy")
        assert order.condition == Condition.WAITING
        world.wait_proven(one, PATIENCE)
        world.wait_proven(two, PATIENCE)
    require_whole(world, one, first)
    require_whole(world, two, second)


@contextmanager
def instead_of(world: World, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Something else listens on the daemon's port."""
    world.rsyncd.stop()
    with socket.create_server(("127.0.0.1", world.rsyncd.port)) as server:
        server.settimeout(0.2)
        ending = threading.Event()

        def serve() -> None:
            while not ending.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection, suppress(OSError):
                    answer(connection)
                    # Closed with the caller's greeting unread, it would be reset: another fault.
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(5)
                    while connection.recv(4096):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
    world.rsyncd.start()


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        (b"", "The buffer ends the connection before it begins"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "Something else answers in the place of the buffer's rsync"),
        (b"\0\xff" * 5000, "The buffer ends the connection before it begins"),
    ],
    ids=["nothing", "ssh", "noise"],
)
def test_something_else_on_the_daemons_port_is_an_outage(world: World, answer: bytes, title: str) -> None:
    path = big(world)
    order_id = world.order(path)
    # In its place before the bridge begins, which loses no time.
    with ExitStack() as instead:
        instead.enter_context(instead_of(world, lambda connection: connection.sendall(answer)))
        with world.running():
            order = world.wait_reason(order_id, "share_away")
            assert (order.condition, order.sealed) == (Condition.WAITING, True)
            # A connection that is closed at once may also look reset, or broken.
            assert order.reason is not None and (order.reason["title"] == title or not answer)
            instead.close()
            world.wait_proven(order_id, PATIENCE)
    require_whole(world, order_id, path)


def test_a_file_that_the_buffers_disk_cannot_read_is_named_and_never_imported(
    make_world: MakeWorld, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    # The kernel itself answers EIO to the daemon, for this one file, from its tenth read on.
    strace = [
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=read", "-e", "inject=read:error=EIO:when=10+",
        "-P", str(tmp_path / "buffer" / "alice" / "bad.tif"),
    ]  # fmt: skip
    world = make_world(sandbox, daemon={"before": strace})
    bad, good = big(world, "bad.tif"), big(world, "good.tif")
    order_id = world.order("alice")
    with world.running():
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION)
        assert (world.reason(order_id), order.stage) == ("source_damaged", Stage.PULLING)
        assert order.reason is not None
        assert bad in order.reason["detail"] and good not in order.reason["detail"]
        assert world.files(order_id)[good].sha1, "the other file came"
        assert not world.staged(order_id, bad).exists()
        assert world.in_omero(order_id) == []
        world.rsyncd.before = []
        world.rsyncd.restart()
        world.retry(order_id)
        world.wait_proven(order_id, PATIENCE)
    world.require_once(order_id, {bad, good})


@pytest.mark.skipif(not namespaces.are_possible(), reason="no unprivileged namespaces on this machine")
def test_an_order_finishes_by_itself_after_its_link_was_cut_for_good_and_mended(
    make_world: MakeWorld, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    with Link() as link:
        world = make_world(
            sandbox,
            daemon={"address": Link.FAR, "before": link.far.prefix(), "arguments": SLOW},
            share={"stall_seconds": 8},
            rsync=str(link.near.program(tmp_path / "near-rsync", "rsync")),
        )
        path = big(world)
        order_id = world.order(path)
        with world.running():
            in_the_middle(world, order_id)
            link.cut()
            order = world.wait_reason(order_id, "stalled")
            assert (order.stage, order.condition) == (Stage.PULLING, Condition.WAITING)
            # The next tries cannot even connect; they wait, and ask nobody.
            order = world.wait_reason(order_id, "share_away")
            assert order.condition == Condition.WAITING
            kept = staged_bytes(world, order_id)
            link.mend()
            world.wait_proven(order_id, PATIENCE)
            assert kept > 500_000
        require_whole(world, order_id, path)
