"""Orders from the command line against a real OMERO protocol, from a CSV file to the proof."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server_bridge.cli import app
from server_bridge.contract import Stage
from server_bridge.orders.models import AuditEntry, Order
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.operations.conftest import as_toml
from tests.bridge.pipeline.conftest import MakeWorld
from tests.bridge.pipeline.conftest import make_world as make_world
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = pytest.mark.slow
HEAD = "share,path,person,group,dataset,tags\n"


@pytest.fixture
def world(make_world: MakeWorld, sandbox: RunningSandbox) -> World:
    """A site of a test's own: what is ordered here is counted."""
    return make_world(sandbox, share={"rule": {"quiet_seconds": 1.0}})


def ferry(world: World, *arguments: str) -> tuple[int, str, str]:
    site = world.top / "site.toml"
    site.write_text(as_toml(world.site))
    done = CliRunner().invoke(
        app, list(arguments), env={"FERRY_SITE": str(site), "COLUMNS": "200", "NO_COLOR": "1"}
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.stdout, done.stderr


def orders(world: World) -> list[Order]:
    with world.context.store.read() as session:
        return session.query(Order).order_by(Order.created_at).all()


def csv_file(world: World, *lines: str) -> str:
    path = world.top / "orders.csv"
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_a_file_of_orders_is_checked_ordered_once_and_proven(world: World) -> None:
    for name in ("one", "two"):
        write_tiff(world.buffer / "alice" / name / "a.tif")
    age(world.buffer / "alice")
    file = csv_file(
        world,
        "conf,alice/one,alice,Cytoskeleton,migrated,old;2019",
        "conf,alice/two,alice,Cytoskeleton,migrated,",
    )
    code, out, _ = ferry(world, "order", "add-many", file, "--dry-run")
    assert (code, orders(world)) == (0, [])
    assert "2 would be ordered, 0 there already, 0 bad." in out
    code, out, _ = ferry(world, "order", "add-many", file)
    assert code == 0, out
    made = orders(world)
    assert [(order.path, order.person, order.seal) for order in made] == [
        ("alice/one", "alice", "bridge"),
        ("alice/two", "alice", "bridge"),
    ]
    assert all(order.ordered_by.startswith("operator ") for order in made)
    with world.context.store.read() as session:
        entry = session.query(AuditEntry).filter_by(action="order.accept").first()
        assert entry is not None
        assert (entry.detail["ground"], entry.detail["seal"]) == ("staff", "bridge")
    code, out, _ = ferry(world, "order", "add-many", file, "--json")
    assert (code, [line["result"] for line in json.loads(out)]) == (0, ["is there", "is there"])
    assert len(orders(world)) == 2
    with world.running():
        proven = [world.wait_proven(order.id) for order in made]
    # One name in one place is one dataset, not one per order.
    assert len({order.target["container_id"] for order in proven}) == 1
    for order in proven:
        world.require_once(order.id, {f"{order.path}/a.tif"})
    code, out, _ = ferry(world, "order", "add-many", file)
    assert (code, len(orders(world))) == (0, 2)


def test_with_bad_lines_all_mistakes_are_told_and_nothing_is_ordered(world: World) -> None:
    file = csv_file(
        world,
        "conf,alice/one,alice,Cytoskeleton,migrated,",
        "conf,alice/one/inner,alice,Cytoskeleton,migrated,",
        "conf,alice/two,nobody,Cytoskeleton,migrated,",
        "conf,alice/three,alice,Screens,migrated,",
        "conf,alice/four,alice,Cytoskeleton,999999,",
        "nowhere,alice/five,alice,Cytoskeleton,migrated,",
        "conf,../etc,alice,Cytoskeleton,migrated,",
        "conf,alice/six,alice,Cytoskeleton,migrated,",
    )
    code, out, _ = ferry(world, "order", "add-many", file)
    assert (code, orders(world)) == (1, [])
    for word in (
        "wish_not_valid", "no_such_person", "not_a_member", "target_gone", "unknown_share", "path_parent",
    ):  # fmt: skip
        assert f"[{word}]" in out
    assert "Line 2 orders the same place" in out
    assert "6 bad" in out and "Nothing was ordered" in out
    code, out, _ = ferry(world, "order", "add-many", file, "--skip-bad")
    assert code == 1, "a script must see that lines were left out"
    assert [order.path for order in orders(world)] == ["alice/one", "alice/six"]


def test_one_order_from_the_command_line(world: World, tmp_path: Path) -> None:
    words = ["order", "add", "--share", "conf", "--path", "alice/run", "--person", "alice"]
    code, _, err = ferry(world, *words, "--group", "Cytoskeleton")
    assert code == 1
    assert "neither a dataset nor a screen" in err
    one = "0b1c1c0a-6a5e-4f62-9b0c-1de1a7c0f7aa"
    full = [*words, "--group", "Cytoskeleton", "--dataset", "migrated", "--id", one]
    assert ferry(world, *full)[1] == f"{one}: ordered\n"
    assert ferry(world, *full)[1] == f"{one}: is there already (accepted)\n"
    code, _, err = ferry(world, *full[:-1], one.replace("0b", "0c"))
    assert code == 1
    assert "This data is ordered already" in err
    assert len(orders(world)) == 1
    assert ferry(world, "order", "cancel", one[:8])[0] == 0
    assert world.look(one).stage == Stage.CANCELLED
