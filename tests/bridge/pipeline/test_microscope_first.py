"""The whole path while a microscope acquires and while somebody has paused: slower, or not at all."""

from __future__ import annotations

import numpy
import tifffile
from sqlalchemy import update

from server_bridge.contract import (
    Condition,
    Heartbeat,
    Progress,
    ShareHeartbeat,
    Stage,
    WorkstationRegistration,
)
from server_bridge.orders import view, workstations
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Order, OrderEvent, utcnow
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.world import SHARE, World, age

NAME = "Confocal SP8"
ACQUIRING = Heartbeat(shares=(ShareHeartbeat(share=SHARE, answered=True, acquiring=True),))
PAUSED = Heartbeat(paused_for_seconds=600, paused_by="Alice")
PATH = "alice/big.tif"


class Microscope:
    """A workstation that tells what the test wants."""

    def __init__(self, world: World, name: str = NAME) -> None:
        self._store = world.context.store
        request = WorkstationRegistration(name=name, key=f"{name:k<40}")
        row = workstations.register(self._store, request, utcnow(), "")
        workstations.approve(self._store, world.site, name, {SHARE: "."}, "test")
        self.id = row.id

    def says(self, beat: Heartbeat) -> None:
        workstations.heartbeat(self._store, self.id, beat, utcnow())

    def orders(self, order_id: str) -> None:
        with self._store.write() as session:
            session.execute(update(Order).where(Order.id == order_id).values(workstation_id=self.id))


def progress(world: World, order_id: str) -> Progress | None:
    return world.context.store.progress([order_id]).get(order_id)


def reason_shown(world: World, order_id: str) -> str:
    with world.context.store.read() as session:
        order = world.context.store.get(session, order_id)
        (state,) = view.states(session, world.site, [order], Caller(username="staff", is_staff=True))
        return state.reason.code if state.reason else ""


def events(world: World, order_id: str) -> list[str]:
    with world.context.store.read() as session:
        found = session.query(OrderEvent).filter(OrderEvent.order_id == order_id).order_by(OrderEvent.id)
        return [event.text for event in found]


def test_a_pull_is_slowed_then_paused_then_goes_on_and_is_proven(
    make_world: MakeWorld, sandbox: RunningSandbox
) -> None:
    world = make_world(sandbox, share={"full_rate_mib_s": 4.0, "floor_rate_mib_s": 1.0})
    (world.buffer / "alice").mkdir()
    pixels = numpy.random.default_rng(7).integers(0, 255, (20, 1024, 2048), dtype=numpy.uint8)
    tifffile.imwrite(world.buffer / PATH, pixels)
    age(world.buffer / "alice")
    scope = Microscope(world)
    order_id = world.order(PATH)
    scope.orders(order_id)
    with world.running():
        world.wait(order_id, lambda _order: (now := progress(world, order_id)) and now.bytes_done > 0)
        scope.says(ACQUIRING)
        world.wait(
            order_id,
            lambda _order: (
                (now := progress(world, order_id)) and now.slowed == f"Slowed: {NAME} is acquiring"
            ),
        )
        scope.says(PAUSED)
        stopped = world.wait(order_id, lambda order: order.condition == Condition.QUEUED)
        assert (stopped.stage, stopped.idle_tries) == (Stage.PULLING, 0)
        assert reason_shown(world, order_id) == "paused_at_microscope"
        attempts = stopped.attempt
        scope.says(Heartbeat())
        world.wait_proven(order_id)
    world.require_once(order_id, {PATH})
    done = world.look(order_id)
    assert done.attempt <= attempts + 3, "no try was spent on waiting"
    told = [text for text in events(world, order_id) if "paused by Alice" in text]
    assert len(told) == 1, world.story(order_id)
    assert not [text for text in events(world, order_id) if "acquiring" in text], "a lease writes no history"


def test_an_order_of_a_paused_workstation_does_not_start_and_others_do(world: World) -> None:
    (world.buffer / "alice").mkdir()
    for name in (PATH, "alice/other.tif"):
        tifffile.imwrite(world.buffer / name, numpy.zeros((16, 16), dtype=numpy.uint8))
    age(world.buffer / "alice")
    scope, lattice = Microscope(world), Microscope(world, "Lattice")
    scope.says(PAUSED)
    mine, other = world.order(PATH), world.order("alice/other.tif")
    scope.orders(mine)
    lattice.orders(other)
    with world.running():
        world.wait_proven(other)
        assert world.look(mine).attempt == 0
        assert reason_shown(world, mine) == "paused_at_microscope"
        scope.says(Heartbeat())
        world.wait_proven(mine)
