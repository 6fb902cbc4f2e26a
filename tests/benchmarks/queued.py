"""Ten thousand orders in the queue: what they cost the bridge that has them, and those who look at it.

The API's own code without a network in between, the real engine and dispatcher; an attempt does nothing but
note when it began.
"""

from __future__ import annotations

import io
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select

from server_bridge.api.status import queues
from server_bridge.context import Context
from server_bridge.contract import AcquisitionKind, OrderIntent, Stage, Target
from server_bridge.errors import NeedsAttention
from server_bridge.omero.failures import OmeroAway
from server_bridge.orders import feed, intake, manifest_reader, manifests, view
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Order, utcnow
from server_bridge.orders.store import Store
from server_bridge.pipeline import service
from server_bridge.pipeline.attempt import Attempt
from tests.benchmarks.backlog import fill
from tests.benchmarks.measure import MIB, Report, percentile, rss_bytes, span
from tests.benchmarks.stand_in import StandIn
from tests.bridge.bridge_site import make_site, make_store

NAME = "queued"
TITLE = "10,000 queued orders"
STAFF = Caller(username="staff", is_staff=True)


class _Away(StandIn):
    """No order comes so far as to ask OMERO; what asks about people hears that it is away."""

    @contextmanager
    def service(self) -> Iterator[StandIn]:
        raise OmeroAway("There is none in this measurement.")
        yield self


def run(top: Path, quick: bool) -> Report:
    count = 1_000 if quick else 10_000
    report = Report(NAME, f"{count:,} queued orders")
    buffer = {"kind": "path", "path": str(top / "buffer")}
    site = make_site(top, shares=({"id": "conf", "source": buffer}, {"id": "light", "source": buffer}))
    store = make_store(site)
    early = 20 if quick else 100
    _accepting(store, site, early, report)
    base = rss_bytes()
    fill(store, count)
    _looking(store, site, report, quick)
    _starting(Context(site, store, cast(Any, _Away(site.staging_dir, "staff"))), report, base, early, quick)
    return report


def _accepting(store: Store, site: Any, count: int, report: Report) -> None:
    """Each is two transactions that are synced to the disk: the intent and the sealed manifest."""
    started = time.monotonic()
    for number in range(count):
        _order(store, site, f"staff/early{number}", "light")
    took = 1000 * (time.monotonic() - started) / count
    report.add("accepting and sealing an order", took, "ms")


def _order(store: Store, site: Any, path: str, share: str) -> str:
    order_id = uuid.uuid4()
    intent = OrderIntent(
        share=share, path=path, kind=AcquisitionKind.FOLDER, target=Target(group_id=3, container_id=11)
    )
    intake.accept(store, site, order_id, intent, STAFF, utcnow())
    line = f'{{"path": "{path}/a.tif", "size_bytes": 1, "mtime_ns": 1}}'.encode()
    manifest = manifest_reader.read_manifest(
        io.BytesIO(line), gzipped=False, sealed=True, order_path=path, kind=AcquisitionKind.FOLDER
    )
    manifests.put(store, site, order_id, manifest, 1, STAFF)
    return str(order_id)


def _looking(store: Store, site: Any, report: Report, quick: bool) -> None:
    def page(caller: Caller, after: int) -> None:
        with store.read() as session:
            feed.page(session, site, caller, after, 0.0).model_dump_json()

    with store.read() as session:
        counter = feed.position(session).counter
    page(STAFF, 0)  # reads the queue into memory
    rounds = 10 if quick else 50
    people = [Caller(username=f"person{number}") for number in range(rounds)]
    _each(report, "a person's list of her orders (50)", [lambda c=c: page(c, 0) for c in people], 50.0)
    _each(report, "staff's first page (200 orders)", [lambda: page(STAFF, 0)] * (rounds // 2))
    _each(report, "a person's poll, nothing new", [lambda c=c: page(c, counter) for c in people])

    def one(caller: Caller) -> None:
        with store.read() as session:
            order = session.scalars(select(Order).where(Order.person == caller.username).limit(1)).one()
            view.states(session, site, [order], caller)[0].model_dump_json()

    def status() -> None:
        with store.read() as session:
            queues(session, site)

    _each(report, "one order with its place in the queue", [lambda c=c: one(c) for c in people], 50.0)
    _each(report, "the status page's counts", [status] * (rounds // 2), 50.0)


def _each(report: Report, what: str, calls: list[Any], target: float | None = None) -> None:
    took, cpu = [], []
    for call in calls:
        started, used = time.monotonic(), time.thread_time()
        call()
        took.append(1000 * (time.monotonic() - started))
        cpu.append(1000 * (time.thread_time() - used))
    report.add(f"{what}, p50", percentile(took, 0.5), "ms", target)
    report.add(f"{what}, p99", percentile(took, 0.99), "ms")
    report.add(f"{what}, CPU p50", percentile(cpu, 0.5), "ms")


def _starting(context: Context, report: Report, base: int, early: int, quick: bool) -> None:
    """The lane of the backlog is held by an order that runs; orders of another share come one by one."""
    began: dict[str, float] = {}
    hold = threading.Event()

    def step(attempt: Attempt) -> None:
        began[attempt.order_id] = time.monotonic()
        if attempt.order.share == "conf":
            while not hold.wait(0.2):
                attempt.check()
        raise NeedsAttention("measured", code="measured", title="measured", remedy="none")

    kept = dict(service.STEPS)
    service.STEPS[Stage.ACCEPTED] = step
    running = service.start(context)
    try:
        # The orders of the first measurement go by.
        until = time.monotonic() + 300
        while len(began) < early + 1 and time.monotonic() < until:
            time.sleep(0.1)
        took = []
        for number in range(10 if quick else 60):
            order_id = _order(context.store, context.site, f"staff/late{number}", "light")
            submitted = time.monotonic()
            while order_id not in began and time.monotonic() < submitted + 30:
                time.sleep(0.002)
            took.append(1000 * (began.get(order_id, time.monotonic()) - submitted))
        report.add("sealed to started, p50", percentile(took, 0.5), "ms", 200.0)
        report.add("sealed to started, p99", percentile(took, 0.99), "ms")
        seconds = 3.0 if quick else 10.0
        with span() as idle:
            time.sleep(seconds)
        report.add("CPU of engine and dispatcher while all wait", 100 * idle.cpu / seconds, "% of a core")
        report.add("memory of the bridge over its own without any order", (rss_bytes() - base) / MIB, "MiB")
    finally:
        hold.set()
        running.stop()
        service.STEPS.clear()
        service.STEPS.update(kept)
