"""One world with a real rsync daemon and a sandbox OMERO for a whole module, and proven orders in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from server_bridge.cli import app
from server_bridge.config import SiteConfig
from server_bridge.contract import Stage
from server_bridge.orders.models import OrderFile
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.pipeline.world import World, age
from tests.bridge.rsyncd import RsyncDaemon
from tests.bridge.sandbox.conftest import write_tiff

Ferry = Callable[..., tuple[int, str, str]]


def as_toml(site: SiteConfig) -> str:
    """The site as the file that a command reads."""

    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{key} = {value(it)}" for key, it in one.items() if it is not None) + "}"
        if isinstance(one, list):
            return "[" + ", ".join(map(value, one)) + "]"
        return json.dumps(one)

    values = site.model_dump(mode="json")
    return "".join(f"{key} = {value(it)}\n" for key, it in values.items())


@pytest.fixture(scope="module")
def world(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A site that keeps data a day, so that a proven order stays proven."""
    top = tmp_path_factory.mktemp("operations")
    (top / "buffer").mkdir()
    daemon = RsyncDaemon(top / "rsyncd", top / "buffer")
    daemon.start()
    yield World(top, sandbox, daemon, share={"hold_days": 1})
    daemon.stop()


@pytest.fixture
def ferry(world: World) -> Ferry:
    """Run a command against the world's site: exit code, stdout, stderr."""
    site = world.top / "site.toml"
    site.write_text(as_toml(world.site))

    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(
            app, list(arguments), env={"FERRY_SITE": str(site), "COLUMNS": "200", "NO_COLOR": "1"}
        )
        unexpected = done.exception is not None and not isinstance(done.exception, SystemExit)
        assert not unexpected, repr(done.exception)
        return done.exit_code, done.stdout, done.stderr

    return run


ORDERS = 2
"""One that is put right after each test, and one for the test that uses it up, the module's last."""


@pytest.fixture(scope="module")
def stock(world: World) -> list[str]:
    """Proven orders of two images and a junk file each."""
    made = []
    for number in range(ORDERS):
        run = world.buffer / "alice" / f"run {number}"
        write_tiff(run / "a.tif")
        write_tiff(run / "b.tif")
        (run / "Thumbs.db").write_bytes(b"junk")
        age(run)
        made.append(world.order(f"alice/run {number}"))
    with world.running():
        for order_id in made:
            world.wait_stage(order_id, Stage.PROVEN)
    return made


@pytest.fixture
def proven(world: World, stock: list[str]) -> Iterator[str]:
    """A proven order to break: its files and rows are as they were when the test has ended."""
    order_id = stock[0]
    with world.context.store.read() as session:
        rows = session.scalars(
            select(OrderFile).where(OrderFile.order_id == order_id, OrderFile.managed_path.is_not(None))
        ).all()
    order = world.look(order_id)
    contents = {row.path: world.staged(order_id, row.path).read_bytes() for row in rows}
    yield order_id
    for row in rows:
        staged, managed = world.staged(order_id, row.path), Path(str(row.managed_path))
        staged.chmod(0o640)
        staged.write_bytes(contents[row.path])
        os.utime(staged, (row.source_mtime_s or 0, row.source_mtime_s or 0))
        managed.unlink(missing_ok=True)
        managed.hardlink_to(staged)
    with world.context.store.write() as session:
        now = world.context.store.get(session, order_id)
        # These only ever grow: the engine hands out each attempt once.
        order.attempt, order.revision, order.change = now.attempt, now.revision, now.change
        for made in (order, *rows):
            session.merge(made)
    assert world.look(order_id).stage == Stage.PROVEN


@pytest.fixture
def other(stock: list[str]) -> str:
    """Another proven order; only the module's last test may break it."""
    return stock[1]


def replace_by_copy(path: Path, *, keep_time: bool = True, data: bytes | None = None) -> None:
    """What moving storage does to a name: another inode, by default with the same bytes and time."""
    before = path.stat()
    copy = path.with_name("copy-of-a-migration")
    copy.write_bytes(path.read_bytes() if data is None else data)
    if keep_time:
        os.utime(copy, ns=(before.st_mtime_ns, before.st_mtime_ns))
    copy.replace(path)
