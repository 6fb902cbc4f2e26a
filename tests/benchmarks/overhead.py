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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server_bridge.contract import Condition
from server_bridge.mover import command
from server_bridge.omero.connection import Omero
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
        "one `omero import` per file. The bridge also lists the source twice and asks `omero import -f`."
    )
    return report


def _measure(world: World, rounds: int, report: Report) -> None:
    bare, through, own, cpu, children = [], [], [], [], []
    changed = threading.Event()
    world.context.store.on_change(changed.set)
    with world.running(), _watched() as outside:
        _order(world, "warm", changed)
        with span() as idle:
            time.sleep(3)
        idle_cpu = idle.cpu / idle.seconds
        for number in range(rounds):
            bare.append(_bare(world, f"bare{number}"))
            outside.reset()
            used = cpu_seconds()
            started = time.monotonic()
            seconds = _order(world, f"run{number}", changed)
            waited = time.monotonic() - started
            cpu.append(1000 * (cpu_seconds() - used - idle_cpu * waited))
            through.append(seconds)
            children.append(outside.seconds)
            own.append(1000 * (seconds - outside.seconds))
    report.add("an order through the bridge, p50", percentile(through, 0.5), "s")
    report.add("  of it in rsync, omero and conversations with OMERO, p50", percentile(children, 0.5), "s")
    report.add("the bare calls, p50", percentile(bare, 0.5), "s")
    report.add("through the bridge : bare", percentile(through, 0.5) / percentile(bare, 0.5), "×")
    report.add("the bridge's own wall time per order, p50", percentile(own, 0.5), "ms", 250.0)
    report.add("the bridge's own wall time per order, p99", percentile(own, 0.99), "ms")
    report.add(
        "CPU of the bridge's process per order, over its idle use, p50", percentile(cpu, 0.5), "ms", 50.0
    )
    report.add("CPU of the bridge's process when idle", 100 * idle_cpu, "% of a core")


def _order(world: World, name: str, changed: threading.Event) -> float:
    """Seconds from the accepted order to its proof, by the bridge's own clock."""
    _write(world, name)
    order_id = world.order(f"alice/{name}")
    started = utcnow()
    until = time.monotonic() + 300
    while (order := world.look(order_id)).proven_at is None:
        assert order.condition != Condition.ATTENTION, world.story(order_id)
        assert time.monotonic() < until, world.story(order_id)
        changed.wait(1)  # looking all the time would be measured, too
        changed.clear()
    return (order.proven_at - started).total_seconds()


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
    """Seconds in which some thread was in a child process or in a conversation with OMERO."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.seconds, self._inside, self._since = 0.0, 0, 0.0

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
    run_child: Callable[..., Any] = ProcessRunner.run
    service: Callable[..., Any] = Omero.service
    as_person: Callable[..., Any] = Omero.as_person

    def watched_run(*arguments: Any, **more: Any) -> Any:
        with outside.part():
            return run_child(*arguments, **more)

    @contextmanager
    def watched_service(*arguments: Any, **more: Any) -> Iterator[Any]:
        with outside.part(), service(*arguments, **more) as session:
            yield session

    @contextmanager
    def watched_person(*arguments: Any, **more: Any) -> Iterator[Any]:
        with outside.part(), as_person(*arguments, **more) as session:
            yield session

    kept = (ProcessRunner.run, Omero.service, Omero.as_person)
    replaced: Any = (watched_run, watched_service, watched_person)
    ProcessRunner.run, Omero.service, Omero.as_person = replaced  # type: ignore[method-assign]
    try:
        yield outside
    finally:
        ProcessRunner.run, Omero.service, Omero.as_person = kept  # type: ignore[method-assign]
