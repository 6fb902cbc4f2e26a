"""A group's whole way through the core: seen, ordered, sealed, with its files and no neighbour's."""

from __future__ import annotations

import pytest

from agent.core import commands
from agent.core.snapshot import CardState
from tests.agent.bridge_stub import BridgeStub
from tests.agent.conftest import Bench, share_json, until
from tests.agent.core.formats import makers
from tests.agent.core.test_engine import TARGET, done, order_of, sign_in, started


@pytest.fixture
def templated(bench: Bench, stub: BridgeStub) -> Bench:
    rule = {"template": "{user}/{acquisition}", "quiet_seconds": 0.6, "incomplete_after_seconds": 1.5}
    stub.shares = [share_json() | {"rule": rule}]
    return bench


def test_an_image_with_its_folder_is_ordered_and_sealed_without_its_neighbours(templated: Bench) -> None:
    bench = started(templated)
    sign_in(bench)
    bench.write("alice/img.vsi", makers.tiff())
    bench.write("alice/_img_/stack1/frame_t_0.ets")
    bench.write("alice/img2.vsi", makers.tiff())
    bench.write("alice/notes.txt")
    card = bench.wait_for("img.vsi", lambda card: card.state is CardState.NEEDS_TARGET, "it asks")
    assert card.suggested is not None and card.suggested.container_name == "img"
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "img.vsi")
    sealed = until(lambda: bench.stub.sealed(order), "a sealed manifest")
    assert {entry["path"] for entry in sealed["files"]} == {
        "alice/img.vsi",
        "alice/_img_/stack1/frame_t_0.ets",
    }
    (put,) = bench.stub.requests("PUT", f"/orders/{order}")[:1]
    asked = put.json
    assert (asked["kind"], asked["path"], asked["members"]) == (
        "group",
        "alice/img.vsi",
        ["img.vsi", "_img_"],
    )


def test_a_standing_target_orders_a_growing_series_once_and_never_a_part_that_waits(templated: Bench) -> None:
    bench = started(templated)
    sign_in(bench)
    done(bench.engine.submit(commands.SetStandingTarget(TARGET)))
    for number in range(3):
        bench.write(f"alice/run_t{number:03}.tif", makers.tiff())
        bench.wait_for("run_t*.tif", lambda card, n=number: card.file_count == n + 1, "it grew")  # type: ignore[misc]
    bench.write("alice/_next_/stack1/frame_t_0.ets")
    order = order_of(bench, "run_t*.tif")
    sealed = until(lambda: bench.stub.sealed(order), "a sealed manifest")
    assert [entry["path"] for entry in sealed["files"]] == [
        f"alice/run_t00{number}.tif" for number in range(3)
    ]
    waits = bench.wait_for(
        "_next_", lambda card: card.state is CardState.ATTENTION, "the part is asked about"
    )
    assert waits.order_id is None and waits.reason is not None and waits.reason.code == "looks_incomplete"
    bench.write("alice/next.vsi", makers.tiff())
    image = order_of(bench, "next.vsi")
    sealed = until(lambda: bench.stub.sealed(image), "the image with its part is sealed")
    assert len(sealed["files"]) == 2
    until(lambda: bench.card("_next_") is None, "the part's own card is gone")


def test_a_person_may_say_that_something_incomplete_is_all_there_will_be(templated: Bench) -> None:
    bench = started(templated)
    sign_in(bench)
    bench.write("alice/a.nd2", makers.nd2(closed=False))
    card = bench.wait_for("a.nd2", lambda card: card.state is CardState.ATTENTION, "it looks incomplete")
    assert card.reason is not None and "no chunk map yet" in card.reason.detail
    assert bench.snapshot is not None and "looks incomplete" in bench.snapshot.log_off.detail
    done(bench.engine.submit(commands.DoneNow(card.id)))
    bench.wait_for("a.nd2", lambda card: card.state is CardState.NEEDS_TARGET, "it counts as finished")
