"""What a start of the pipeline puts right before it begins."""

from __future__ import annotations

import os
import subprocess

from server_bridge.pipeline.places import locks_of
from server_bridge.processes.run_lock import LOCK_VARIABLE
from tests.bridge.pipeline.world import World
from tests.loopback.processes import freeze


def test_what_a_former_bridge_left_running_is_ended_before_any_order_goes_on(world: World) -> None:
    lock = locks_of(world.context.site) / "cancelled-long-ago.lock"
    left = subprocess.Popen(["sleep", "300"], env={**os.environ, LOCK_VARIABLE: str(lock)})
    try:
        freeze(left.pid)
        with world.running():
            assert left.poll() is not None
    finally:
        left.kill()
        left.wait()
