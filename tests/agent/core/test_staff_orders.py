"""Staff bring somebody else's data to OMERO: it stays hers, whoever clicks."""

from __future__ import annotations

import os
import time

import pytest

from agent.core import commands
from agent.core.command_desk import NotYours
from agent.core.snapshot import Card, CardState, LogOff
from tests.agent.conftest import Bench, until
from tests.agent.core.test_engine import OTHER, TARGET, done, sign_in, started


def owners_sent(bench: Bench) -> list[str]:
    return [seen.json["owner"] for seen in bench.stub.requests("PUT", "") if seen.path.count("/") == 3]


def unclaimed(bench: Bench, title: str) -> Card:
    started(bench)
    bench.write(f"loose/{title}/a.tif")
    return bench.wait_for(title, lambda card: card.state is CardState.UNCLAIMED, "nobody's")


def test_staff_give_unclaimed_data_to_its_person(bench: Bench) -> None:
    card = unclaimed(bench, "run1")
    sign_in(bench, "sam")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET, from_now_on=True, owner="bob")))
    shown = bench.wait_for("run1", lambda one: one.state is CardState.QUEUED, "queued")
    assert owners_sent(bench) == ["bob"]
    assert (shown.person, shown.whose) == ("bob", "bob")
    assert bench.snapshot is not None and bench.snapshot.standing_target is None, "his place is not hers"
    assert bench.engine.targets.recents() == [], "nor is it among what she chooses for herself"
    until(lambda: bench.stub.manifests, "its list goes out with her grant")
    # Another target later on: the order keeps its person.
    done(bench.engine.submit(commands.ChooseTarget(card.id, OTHER)))
    assert [one["person"] for one in bench.stub.orders.values()] == ["bob"]
    # The rightful person sees and steers it, on the same machine.
    done(bench.engine.submit(commands.SignOut()))
    sign_in(bench, "bob")
    shown = bench.wait_for("run1", lambda one: one.state is CardState.QUEUED, "he sees it")
    assert shown.whose == "" and "Cancel" in shown.actions
    done(bench.engine.submit(commands.Cancel(card.id)))
    bench.wait_for("run1", lambda one: one.state is CardState.CANCELLED, "he took it back")


def test_what_is_known_to_be_hers_is_ordered_for_her_without_asking(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run2/a.tif")
    card = bench.wait_for("run2", lambda one: one.state is CardState.NEEDS_TARGET, "hers")
    done(bench.engine.submit(commands.SignOut()))
    sign_in(bench, "sam")
    shown = bench.wait_for("run2", lambda one: one.state is CardState.NEEDS_TARGET, "staff see it")
    assert shown.whose == "alice"
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    bench.wait_for("run2", lambda one: one.state is CardState.QUEUED, "queued")
    assert owners_sent(bench) == ["alice"]


def test_her_own_folder_is_hers_whoever_sat_there(bench: Bench) -> None:
    bench.stub.shares[0]["rule"]["template"] = "{user}/{acquisition}"
    started(bench)
    sign_in(bench, "bob")
    bench.write("alice/run4/a.tif")
    card = bench.wait_for("run4", lambda one: one.state is CardState.NEEDS_TARGET, "he sat there")
    done(bench.engine.submit(commands.SignOut()))
    sign_in(bench)
    shown = bench.wait_for("run4", lambda one: one.state is CardState.NEEDS_TARGET, "it is hers")
    assert shown.person == "alice"
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    bench.wait_for("run4", lambda one: one.state is CardState.QUEUED, "queued")
    assert owners_sent(bench) == [""]


def test_what_was_there_before_keeps_nobody_from_logging_off(bench: Bench) -> None:
    bench.stub.shares[0]["rule"]["template"] = "{user}/{acquisition}"
    old = bench.write("alice/run5/a.tif")
    long_ago = time.time() - 30 * 86_400
    os.utime(old, (long_ago, long_ago))
    started(bench)
    sign_in(bench)
    card = bench.wait_for("run5", lambda one: one.state is CardState.UNCLAIMED, "nobody's yet")
    assert bench.snapshot is not None and bench.snapshot.log_off.may is LogOff.YES
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    bench.wait_for("run5", lambda one: one.state is CardState.QUEUED, "she may order it")


def test_nobody_else_orders_for_others(bench: Bench) -> None:
    card = unclaimed(bench, "run3")
    sign_in(bench)
    with pytest.raises(NotYours):
        done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET, owner="bob")))
    assert owners_sent(bench) == []
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET, owner="alice")))
    bench.wait_for("run3", lambda one: one.state is CardState.QUEUED, "her own she may")
    assert owners_sent(bench) == [""]


def test_staff_look_for_persons_and_their_places(bench: Bench) -> None:
    started(bench)
    sign_in(bench, "sam")
    tree = bench.engine.targets
    assert [one.username for one in tree.persons("bo").result(10).items] == ["bob"]
    bob = tree.person("bob").result(10)
    assert [group.name for group in bob.groups] == ["Cytoskeleton"]
    places = tree.of(bob)
    assert places.containers(3, "dataset").result(10).items
    assert places.tags(3, "").result(10).items == ("LifeAct",)
    asked = [seen for seen in bench.stub.seen if seen.path.startswith("/v1/targets/")]
    assert {seen.query.get("person") for seen in asked} == {"bob"}
    # Nothing of him stays in her outbox.
    assert bench.engine._outbox.fact_of("sam", "containers:3:dataset:None:") is None
