"""Decisions made while the bridge is away, and those that it refuses: what reaches it, and what she sees."""

from __future__ import annotations

import pytest

from agent.core import commands
from agent.core.errors import AgentError
from agent.core.snapshot import CardState
from tests.agent.bridge_stub import Refusal, Seen
from tests.agent.conftest import Bench, until
from tests.agent.core.test_engine import OTHER, TARGET, done, sign_in, started


def away(seen: Seen) -> Refusal | None:
    return Refusal(503) if "/orders" in seen.path else None


def order_refused(status: int, code: str) -> object:
    """Refuses orders, and nothing that belongs to one."""

    def refuse(seen: Seen) -> Refusal | None:
        is_order = seen.method == "PUT" and seen.path.count("/") == 3
        return Refusal(status, code, "no") if is_order else None

    return refuse


def needs_target(bench: Bench, title: str) -> str:
    started(bench)
    sign_in(bench)
    bench.write(f"alice/{title}/a.tif")
    return bench.wait_for(title, lambda card: card.state is CardState.NEEDS_TARGET, "finished").id


def sealed_in_outbox(bench: Bench) -> bool:
    outbox = bench.engine._outbox
    manifests = [outbox.manifest(entry.id) for entry in outbox.entries()]
    return any(one is not None and one.sealed for one in manifests)


def back_again(bench: Bench, refuse: object = None) -> list[str]:
    """The bridge answers again; returns what it then got for orders, in order."""
    bench.stub.seen.clear()
    bench.stub.refuse = refuse or (lambda _seen: None)  # type: ignore[assignment]
    until(lambda: bench.snapshot and bench.snapshot.outbox_pending == 0, "the outbox is empty")
    asked = [seen for seen in bench.stub.seen if seen.method in ("PUT", "POST") and "/orders/" in seen.path]
    return [seen.path.rpartition("/")[2] if seen.path.count("/") > 3 else "order" for seen in asked]


def test_what_was_taken_back_offline_cannot_begin(bench: Bench) -> None:
    card = needs_target(bench, "run1")
    bench.stub.refuse = away
    done(bench.engine.submit(commands.ChooseTarget(card, TARGET)))
    until(lambda: sealed_in_outbox(bench), "a sealed list waits")
    done(bench.engine.submit(commands.Cancel(card)))
    bench.wait_for("run1", lambda one: one.reason and one.reason.code == "taking_back", "it says so")
    got = back_again(bench)
    assert "commands" in got and "manifest" not in got[: got.index("commands")]
    until(lambda: all(one["stage"] == "cancelled" for one in bench.stub.orders.values()), "cancelled")


def test_another_target_chosen_offline_is_shown_and_comes_before_the_list(bench: Bench) -> None:
    card = needs_target(bench, "run2")
    bench.stub.refuse = away
    done(bench.engine.submit(commands.ChooseTarget(card, TARGET)))
    until(lambda: sealed_in_outbox(bench), "a sealed list waits")
    done(bench.engine.submit(commands.ChooseTarget(card, OTHER)))
    bench.wait_for("run2", lambda one: one.target == OTHER, "the card shows what she chose")
    got = back_again(bench)
    assert got.index("commands") < got.index("manifest")


def test_a_cancel_that_is_refused_late_is_said_on_the_card(bench: Bench) -> None:
    card = needs_target(bench, "run3")
    done(bench.engine.submit(commands.ChooseTarget(card, TARGET)))
    order = bench.wait_for("run3", lambda one: one.state is CardState.QUEUED, "queued").order_id
    assert order is not None
    bench.stub.refuse = away
    done(bench.engine.submit(commands.Cancel(card)))
    bench.wait_for("run3", lambda one: one.reason and one.reason.code == "taking_back", "it says so")
    bench.stub.change(order, stage="importing", condition="running", allowed_commands=[])

    def too_late(seen: Seen) -> Refusal | None:
        late = Refusal(409, "import_started", "The import has started")
        return late if seen.path.endswith("/commands") else None

    back_again(bench, too_late)
    shown = bench.wait_for("run3", lambda one: one.state is CardState.IMPORTING, "it is importing")
    assert shown.reason is not None and shown.reason.code == "import_started"


def test_from_now_on_does_not_bring_back_what_she_gave_up(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.stub.refuse = order_refused(422, "target_not_writable")  # type: ignore[assignment]
    done(bench.engine.submit(commands.SetStandingTarget(TARGET)))
    bench.write("alice/run4/a.tif")
    card = bench.wait_for("run4", lambda one: one.state is CardState.REFUSED, "refused")
    done(bench.engine.submit(commands.Cancel(card.id)))
    bench.wait_for("run4", lambda one: one.state is CardState.NEEDS_TARGET, "it is free again")
    bench.write("alice/run5/a.tif")
    bench.wait_for("run5", lambda one: one.state is CardState.REFUSED, "the clerk went round")
    asked = [seen.json["path"] for seen in bench.stub.requests("PUT", "") if seen.path.count("/") == 3]
    ids = {seen.path for seen in bench.stub.requests("PUT", "") if seen.path.count("/") == 3}
    assert set(asked) == {"alice/run4", "alice/run5"} and len(ids) == 2


def test_a_claim_that_was_refused_leaves_it_for_the_rightful_person(bench: Bench) -> None:
    started(bench)
    bench.write("x/run6/a.tif")
    card = bench.wait_for("run6", lambda one: one.state is CardState.UNCLAIMED, "nobody's")
    sign_in(bench, "alice")
    bench.stub.refuse = order_refused(403, "not_your_data")  # type: ignore[assignment]
    with pytest.raises(AgentError):
        done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    bench.wait_for("run6", lambda one: one.state is CardState.REFUSED, "she is told")
    done(bench.engine.submit(commands.SignOut()))
    bench.stub.refuse = lambda _seen: None
    sign_in(bench, "bob")
    bench.wait_for("run6", lambda one: one.state is CardState.UNCLAIMED, "he may say that it is his")
    done(bench.engine.submit(commands.ChooseTarget(card.id, OTHER)))
    mine = bench.wait_for("run6", lambda one: one.order_id, "ordered")
    assert mine.person == "bob"
