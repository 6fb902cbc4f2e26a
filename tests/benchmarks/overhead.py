"""What the bridge itself adds to an order, beside the programs and the server that do the work.

Two measurements in one run, on equal data, taking turns: orders that go through the bridge, and the bare
calls `rsync` and `omero import` that anybody would make by hand. Inside the bridge, the time of its children
and of its conversations with OMERO is taken off each order: what is left is its own.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import text

from server_bridge.contract import Condition
from server_bridge.mover import command
from server_bridge.omero import connection
from server_bridge.omero.connection import Omero
from server_bridge.omero.kept import KeptSession
from server_bridge.omero.session import Session
from server_bridge.orders.models import utcnow
from server_bridge.pipeline.sources import source_of
from server_bridge.processes.runner import ProcessRunner
from tests.benchmarks.measure import Report, cpu_seconds, percentile, span
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.pipeline.world import World, age
from tests.bridge.rsyncd import RsyncDaemon
from tests.bridge.sandbox.conftest import write_tiff

NAME = "overhead"
TITLE = "what the bridge adds to an order"
FILES_EACH = 1


def run(top: Path, quick: bool) -> Report:
    rounds = 2 if quick else 10
    report = Report(NAME, TITLE)
    (top / "omero" / "data").mkdir(parents=True)
    sandbox = RunningSandbox(top / "omero" / "data").start()
    (top / "buffer").mkdir()
    daemon = RsyncDaemon(top / "rsyncd", top / "buffer")
    daemon.start()
    try:
        _measure(World(top, sandbox, daemon), rounds, report)
    finally:
        daemon.stop()
        sandbox.stop()
    report.notes.append(
        f"{rounds} orders of {FILES_EACH} small TIFF (one import unit), one at a time, through the "
        "rsync daemon into the sandbox OMERO, and as many bare runs: one rsync with the bridge's options, "
        "one `omero import` per file. The bridge also lists the source twice and asks `omero import -f`. "
        "The benchmark's own looks at the order are in the bridge's CPU."
    )
    return report


def _measure(world: World, rounds: int, report: Report) -> None:
    bare, through, own, cpu, talking, children = [], [], [], [], [], []
    changed = threading.Event()
    world.context.store.on_change(changed.set)
    with world.running(), _watched() as outside:
        _write(world, "warm")
        _order(world, "warm", changed)
        with span() as idle:
            time.sleep(3)
        idle_cpu = idle.cpu / idle.seconds
        for number in range(rounds):
            bare.append(_bare(world, f"bare{number}"))
            _write(world, f"run{number}")
            outside.reset()
            used = cpu_seconds()
            started = time.monotonic()
            seconds = _order(world, f"run{number}", changed)
            waited = time.monotonic() - started
            talking.append(1000 * outside.client_cpu)
            cpu.append(1000 * (cpu_seconds() - used - idle_cpu * waited - outside.client_cpu))
            through.append(seconds)
            children.append(outside.seconds)
            own.append(1000 * (seconds - outside.seconds))
    report.add("an order through the bridge, p50", percentile(through, 0.5), "s")
    report.add("  of it in rsync, omero and conversations with OMERO, p50", percentile(children, 0.5), "s")
    report.add("the bare calls, p50", percentile(bare, 0.5), "s")
    report.add("through the bridge : bare", percentile(through, 0.5) / percentile(bare, 0.5), "×")
    report.add("the bridge's own wall time per order, p50", percentile(own, 0.5), "ms", 250.0)
    report.add("the bridge's own wall time per order, p99", percentile(own, 0.99), "ms")
    report.add("CPU of the bridge per order, over its idle use, p50", percentile(cpu, 0.5), "ms", 50.0)
    report.add("  beside it: CPU of OMERO's client library in calls, p50", percentile(talking, 0.5), "ms")
    report.add("CPU of the bridge's process when idle", 100 * idle_cpu, "% of a core")


def _order(world: World, name: str, changed: threading.Event) -> float:
    """Seconds from the accepted order to its proof, by the bridge's own clock."""
    order_id = world.order(f"alice/{name}")
    started = utcnow()
    until = time.monotonic() + 300
    asked = text("SELECT proven_at, condition FROM orders WHERE id = :id")
    while True:
        # Looking all the time, and at whole orders, would be measured, too.
        changed.wait(1)
        time.sleep(0.1)
        changed.clear()
        with world.context.store.engine.connect() as connection:
            proven, condition = connection.execute(asked, {"id": order_id}).one()
        if proven is not None:
            break
        assert condition != Condition.ATTENTION, world.story(order_id)
        assert time.monotonic() < until, world.story(order_id)
    ended = world.look(order_id).proven_at
    assert ended is not None
    return (ended - started).total_seconds()


def _write(world: World, name: str) -> None:
    for number in range(FILES_EACH):
        write_tiff(world.buffer / "alice" / name / f"image{number}.tif")
    age(world.buffer / "alice" / name)


def _bare(world: World, name: str) -> float:
    """One rsync and one `omero import` per file, into a folder beside staging."""
    _write(world, name)
    site, sandbox = world.site, world.sandbox
    target = site.staging_dir / "bare" / name
    target.mkdir(parents=True)
    names = world.top / "names"
    names.write_bytes(command.files_from(f"alice/{name}/image{number}.tif" for number in range(FILES_EACH)))
    argv = command.pull_command(site.rsync, source_of(site.shares[0]), names, target)
    started = time.monotonic()
    subprocess.run(argv, env=command.environment(), check=True, capture_output=True)
    for path in sorted(target.rglob("*.tif")):
        done = sandbox.omero("import", "--", "--transfer=ln", path)
        assert done.code == 0, done.err
    seconds = time.monotonic() - started
    shutil.rmtree(world.buffer / "alice" / name)
    return seconds


class _Outside:
    """Seconds in which some thread was in a child process or in a conversation with OMERO, and the CPU that
    OMERO's client library took in the threads that called it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._thread = threading.local()
        self.reset()

    def reset(self) -> None:
        self.seconds, self._inside, self._since = 0.0, 0, 0.0
        self.client_cpu = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call of OMERO's client library: its outermost one counts."""
        if getattr(self._thread, "inside", False):
            yield
            return
        self._thread.inside = True
        used = time.thread_time()
        try:
            yield
        finally:
            self._thread.inside = False
            with self._guard:
                self.client_cpu += time.thread_time() - used

    @contextmanager
    def part(self) -> Iterator[None]:
        with self._guard:
            self._inside += 1
            if self._inside == 1:
                self._since = time.monotonic()
        try:
            yield
        finally:
            with self._guard:
                self._inside -= 1
                if self._inside == 0:
                    self.seconds += time.monotonic() - self._since


@contextmanager
def _watched() -> Iterator[_Outside]:
    outside = _Outside()

    def timed(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            with outside.part():
                return original(*arguments, **more)

        return wrapped

    def timed_block(original: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def wrapped(*arguments: Any, **more: Any) -> Iterator[Any]:
            with outside.part(), original(*arguments, **more) as session:
                yield session

        return wrapped

    def called(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            with outside.call():
                return original(*arguments, **more)

        return wrapped

    def called_block(original: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def wrapped(*arguments: Any, **more: Any) -> Iterator[Any]:
            with outside.call(), original(*arguments, **more):
                yield

        return wrapped

    with ExitStack() as patched:
        for owner, name, wrap in (
            (ProcessRunner, "run", timed),
            (Omero, "service", timed_block),
            (Omero, "as_person", timed_block),
            (Omero, "_connected", called),
            (Omero, "_sudo", called),
            (connection, "_end", called),
            (KeptSession, "take", called),
            (KeptSession, "give_back", called),
            (Session, "doing", called_block),
        ):
            patched.enter_context(patch.object(owner, name, wrap(getattr(owner, name))))
        yield outside
