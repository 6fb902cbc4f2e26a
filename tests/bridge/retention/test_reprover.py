"""Storage was moved: the bridge proves by itself, at a bounded rate, and only what holds the same bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server_bridge.contract import Condition, Stage
from server_bridge.orders.models import utcnow
from server_bridge.pipeline import service
from server_bridge.retention import reprover
from server_bridge.retention.release import recheck
from server_bridge.retention.releaser import Releaser
from server_bridge.retention.reprover import Reprover, Throttle
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.operations.conftest import replace_by_copy
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.world import age
from tests.bridge.sandbox.conftest import write_tiff


def test_reading_keeps_to_its_rate_and_ends_with_the_bridge() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    waits: list[float] = []
    throttle = Throttle(3600, lambda seconds: bool(waits.append(seconds)), lambda: at)
    throttle.spend(10)
    throttle.spend(5)
    assert waits == [10.0, 15.0], "a byte a second, and the clock stands"
    ending = Throttle(3600, lambda _seconds: True, lambda: at)
    with pytest.raises(reprover._Ending):
        ending.spend(1)


@pytest.mark.slow
def test_an_order_whose_storage_moved_goes_on_and_one_with_other_bytes_keeps_asking(
    make_world: MakeWorld, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test gives the turns.
    monkeypatch.setattr(service, "Reprover", lambda context: Reprover(context, every_seconds=3600))
    world = make_world(sandbox, share={"hold_days": 1})
    orders = {}
    for name in ("moved", "other"):
        write_tiff(world.buffer / "alice" / f"{name}.tif")
        age(world.buffer / "alice")
        orders[name] = world.order(f"alice/{name}.tif")
    with world.running():
        for order_id in orders.values():
            world.wait_proven(order_id)
    with world.context.store.write() as session:
        for order_id in orders.values():
            order = world.context.store.get(session, order_id)
            assert order.proven_at is not None
            order.proven_at -= timedelta(days=2)
    for name, order_id in orders.items():
        managed = Path(str(world.files(order_id)[f"alice/{name}.tif"].managed_path))
        data = managed.read_bytes()
        replace_by_copy(managed, data=data if name == "moved" else data[:-1] + bytes([data[-1] ^ 1]))
        assert managed.stat().st_nlink == 1
    turns = Reprover(world.context)
    with world.running():
        Releaser(world.context).tick(utcnow())
        for order_id in orders.values():
            world.wait_reason(order_id, "inode_differs")
        now = utcnow()
        assert {turns.tick(now), turns.tick(now)} == set(orders.values())
        assert turns.tick(now) is None, "what was read and did not hold is not read again at once"
        world.wait_proven(orders["moved"])
        asked = world.wait(orders["other"], lambda one: one.condition == Condition.ATTENTION)
    assert asked.stage == Stage.PROVING
    assert recheck(world.context, orders["moved"]).released
    assert not recheck(world.context, orders["other"]).released
