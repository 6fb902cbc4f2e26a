"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.conftest_sandbox import RunningSandbox, StartSandbox
from tests.bridge.pipeline.world import World
from tests.bridge.rsyncd import RsyncDaemon

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """``make_world(sandbox, daemon={…}, limits=…, share=…)``: a site whose processes end with the test;
    ``daemon`` is for the buffer's rsync."""
    made: list[World] = []

    def make(sandbox: RunningSandbox, daemon: dict[str, Any] | None = None, **more: Any) -> World:
        buffer = tmp_path / "buffer"
        buffer.mkdir()
        rsyncd = RsyncDaemon(tmp_path / "rsyncd", buffer, **(daemon or {}))
        rsyncd.start()
        world = World(tmp_path, sandbox, rsyncd, **more)
        made.append(world)
        return world

    yield make
    for world in made:
        world.stop_bridge()
        world.rsyncd.stop()


@pytest.fixture
def world(make_world: MakeWorld, sandbox: RunningSandbox) -> World:
    """A site at the shared sandbox (it is not stopped, and no fault may stay armed)."""
    return make_world(sandbox)


@pytest.fixture
def own_world(make_world: MakeWorld, start_sandbox: StartSandbox, tmp_path: Path) -> World:
    """A site with a sandbox of its own, which a test may stop and break."""
    return make_world(start_sandbox(tmp_path / "omero" / "data"))
