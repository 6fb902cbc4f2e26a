"""What heartbeats say, from real rows: who counts, how long, and whose orders a pause covers."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from server_bridge.contract import Condition, Heartbeat, ShareHeartbeat, Stage, WorkstationRegistration
from server_bridge.orders import leases, workstations
from server_bridge.orders.leases import Beat
from server_bridge.orders.models import Order, utcnow
from server_bridge.orders.store import Store
from server_bridge.pipeline.share_pace import SharePaces
from tests.bridge.bridge_site import make_site, make_store

PAUSE = Heartbeat(paused_for_seconds=1800, paused_by="Alice Lindgren")
ACQUIRING = Heartbeat(shares=(ShareHeartbeat(share="conf", answered=True, acquiring=True),))


class Bench:
    """A site with approved workstations whose heartbeats the test sends."""

    def __init__(self, top: Path) -> None:
        self.site = make_site(top)
        self.store: Store = make_store(self.site)
        self.now = utcnow()
        self.paces = SharePaces(self.site, self.store, lambda: self.now)
        # Every look reads.
        self.store.leases._monotonic = iter(range(0, 10_000_000, 100)).__next__

    def workstation(self, name: str, root: str = ".") -> str:
        request = WorkstationRegistration(name=name, key="k" * 40 + name)
        row = workstations.register(self.store, request, self.now, "")
        workstations.approve(self.store, self.site, name, {"conf": root}, "test")
        return row.id

    def beat(self, workstation: str, beat: Heartbeat) -> None:
        self.now += timedelta(seconds=1)
        workstations.heartbeat(self.store, workstation, beat, self.now)

    def beats(self) -> list[Beat]:
        with self.store.read() as session:
            return list(self.store.leases.beats(session))

    def order(self, path: str, workstation: str | None) -> str:
        order_id = str(uuid.uuid4())
        with self.store.write() as session:
            session.add(
                Order(
                    id=order_id, person="alice", ordered_by="alice", workstation_id=workstation, share="conf",
                    path=path, kind="folder", target={}, request_digest="0", stage=Stage.PULLING,
                    condition=Condition.QUEUED, stage_since=self.now, change=0, sealed=True,
                    created_at=self.now, updated_at=self.now,
                )
            )  # fmt: skip
        return order_id

    def due(self) -> set[str]:
        paused = self.paces.paused()
        stages = frozenset({Stage.ACCEPTED, Stage.PULLING})
        found = {order.id for order in self.store.due(self.now, stages, 100, "conf", without=paused)}
        everything = self.store.due(self.now, stages, 100, "conf")
        # The database's word and the dataclass's are one.
        assert found == {order.id for order in everything if not any(one.covers(order) for one in paused)}
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_lease_slows_its_share_and_ends_by_itself(bench: Bench) -> None:
    conf = bench.site.shares[0]
    station = bench.workstation("Confocal SP8")
    assert bench.paces.rate(conf).bytes_per_second is None
    bench.beat(station, ACQUIRING)
    assert bench.paces.rate(conf).acquiring == ("Confocal SP8",)
    bench.now += timedelta(seconds=119)
    assert bench.paces.rate(conf).slowed
    bench.now += timedelta(seconds=2)
    assert bench.paces.rate(conf).bytes_per_second is None, "the workstation died: it slows nobody for ever"


def test_the_end_of_an_acquisition_counts_at_once(bench: Bench) -> None:
    conf = bench.site.shares[0]
    station = bench.workstation("Confocal SP8")
    bench.beat(station, ACQUIRING)
    assert bench.paces.rate(conf).slowed
    bench.beat(station, Heartbeat())
    assert not bench.paces.rate(conf).slowed


def test_only_an_approved_workstation_counts_and_only_for_shares_it_has(bench: Bench) -> None:
    station = bench.workstation("Confocal SP8")
    other = Heartbeat(shares=(ShareHeartbeat(share="other", answered=True, acquiring=True),))
    bench.beat(station, other)
    assert bench.beats()[0].acquiring == frozenset()
    bench.beat(station, ACQUIRING)
    workstations.revoke(bench.store, "Confocal SP8", "test")
    assert bench.beats() == []


def test_pulls_at_a_time_share_the_rate(bench: Bench) -> None:
    conf = bench.site.shares[0]
    bench.beat(bench.workstation("Confocal SP8"), ACQUIRING)
    with bench.paces.pulling(conf) as first:
        alone = first.bytes_per_second()
        with bench.paces.pulling(conf) as second:
            assert first.bytes_per_second() == second.bytes_per_second() == (alone or 0) / 2
        assert first.bytes_per_second() == alone


def test_a_paused_workstations_orders_stay_and_the_others_go_on(bench: Bench) -> None:
    paused, other = bench.workstation("Confocal SP8", "sp8"), bench.workstation("Lattice", "lattice")
    mine = bench.order("sp8/run", paused)
    theirs = bench.order("lattice/run", other)
    staffs_here = bench.order("sp8/old", None)
    staffs_there = bench.order("sp8x/old", None)
    assert bench.due() == {mine, theirs, staffs_here, staffs_there}
    bench.beat(paused, PAUSE)
    assert bench.due() == {theirs, staffs_there}
    bench.beat(paused, Heartbeat())
    assert bench.due() == {mine, theirs, staffs_here, staffs_there}, "resumed"


def test_a_pause_ends_with_its_time_or_with_its_workstation(bench: Bench) -> None:
    station = bench.workstation("Confocal SP8")
    bench.beat(station, PAUSE.model_copy(update={"paused_for_seconds": 60.0}))
    assert bench.paces.paused()
    bench.now += timedelta(seconds=61)
    assert not bench.paces.paused()
    bench.beat(station, PAUSE)
    assert bench.paces.paused()
    bench.now += timedelta(seconds=121)
    assert not bench.paces.paused(), "it was switched off: no microscope needs the room"


def test_who_waits_is_told_why_by_whom_and_until_when(bench: Bench) -> None:
    station = bench.workstation("Confocal SP8")
    bench.beat(station, PAUSE.model_copy(update={"paused_for_programs": ("zen",)}))
    (found,) = leases.paused(bench.beats(), bench.now, bench.site)
    until = bench.now + timedelta(seconds=1800)
    assert found.reason.title == "Paused at the microscope"
    assert found.reason.detail == (
        f"Confocal SP8 was paused by Alice Lindgren until zen ends, until {until:%H:%M} UTC at the latest."
    )


def test_a_heartbeat_is_read_again_only_when_another_came(bench: Bench) -> None:
    station = bench.workstation("Confocal SP8")
    bench.beat(station, ACQUIRING)
    (before,) = bench.beats()
    (again,) = bench.beats()
    assert again is before
    bench.beat(station, Heartbeat())
    assert bench.beats() != [before]
