"""The bridge was restored from an older backup: what a running agent does about the orders it holds."""

from __future__ import annotations

from agent.core import commands
from agent.core.snapshot import CardState
from tests.agent.conftest import Bench, until
from tests.agent.core.test_engine import TARGET, done, order_of, sign_in, started


def sealed_order(bench: Bench) -> str:
    started(bench)
    sign_in(bench)
    bench.write("alice/run1/a.tif")
    card = bench.wait_for("run1", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run1")
    until(lambda: bench.stub.sealed(order), "sealed")
    bench.wait_for("run1", lambda card: card.state is CardState.QUEUED, "queued")
    return order


def test_orders_are_put_again_though_the_feed_went_on(bench: Bench) -> None:
    order = sealed_order(bench)
    before = bench.stub.intents[order]
    bench.stub.restore()
    until(lambda: order in bench.stub.orders and bench.stub.sealed(order), "put and sealed again")
    assert bench.stub.intents[order] == before
    assert len(bench.stub.orders) == 1
    bench.wait_for("run1", lambda card: card.state is CardState.QUEUED, "queued again")


def test_a_manifest_that_the_bridge_lost_is_sent_again(bench: Bench) -> None:
    order = sealed_order(bench)
    puts = len(bench.stub.requests("PUT", f"/v1/orders/{order}"))
    bench.stub.restore(False, manifest_revision=0, sealed=False, condition="waiting", file_count=0)
    found = until(lambda: bench.stub.sealed(order), "sealed again")
    assert found and [entry["path"] for entry in found["files"]] == ["alice/run1/a.tif"]
    assert len(bench.stub.requests("PUT", f"/v1/orders/{order}")) == puts, "the order itself was known"


def test_a_cancelled_order_stays_cancelled_whatever_the_backup_knows(bench: Bench) -> None:
    order = sealed_order(bench)
    card = bench.wait_for("run1", lambda card: card.order_id, "ordered")
    done(bench.engine.submit(commands.Cancel(card.id)))
    until(lambda: bench.stub.orders[order]["stage"] == "cancelled", "cancelled")
    until(lambda: not bench.engine._outbox.pending_commands(), "answered")
    puts = len(bench.stub.requests("PUT", f"/v1/orders/{order}"))
    cancels = len(bench.stub.requests("POST", f"/v1/orders/{order}/commands"))

    # It is live again in the backup: the cancel goes out once more, with its id.
    bench.stub.restore(False, stage="accepted", condition="waiting")
    until(lambda: bench.stub.orders[order]["stage"] == "cancelled", "cancelled again")
    sent = bench.stub.requests("POST", f"/v1/orders/{order}/commands")
    assert len(sent) > cancels
    assert len({seen.json["id"] for seen in sent}) == 1

    # The backup does not know it: nobody orders what a person cancelled.
    asked = len(bench.stub.requests("POST", f"/v1/orders/{order}/commands"))
    bench.stub.restore()
    until(lambda: len(bench.stub.requests("POST", f"/v1/orders/{order}/commands")) > asked, "asked once more")
    looks = len(bench.stub.requests("GET", "/v1/orders"))
    until(lambda: len(bench.stub.requests("GET", "/v1/orders")) > looks + 2, "the feed goes on")
    assert order not in bench.stub.orders
    assert len(bench.stub.requests("PUT", f"/v1/orders/{order}")) == puts
