"""Orders whose place the bridge lists itself: who may make them, and what is refused of them."""

from __future__ import annotations

import pytest

from server_bridge.contract import AcquisitionKind, Condition, OrderIntent, Stage, Target
from server_bridge.orders.intake import request_digest
from tests.bridge.api.conftest import Bridge, Desk

OF_AN_EARLIER_BRIDGE = "e9230177083a5c70acdeb5c6e31005fff6fa849463c2b36fd5a46e7a7530d1f0"


@pytest.fixture
def staff(bridge: Bridge) -> Desk:
    return Desk(bridge, "none").sign_in("staff")


def test_staff_order_it_and_nobody_sends_a_manifest(bridge: Bridge, staff: Desk) -> None:
    order_id, answer = staff.order("old/run", owner="alice", seal="bridge", first_seen_at=None)
    assert answer.status_code == 201, answer.text
    state = answer.json()
    assert (state["condition"], state["reason"]["code"], state["sealed"]) == ("waiting", "watching", False)
    assert state["reason"]["next_try_at"]
    assert {"cancel", "retry"} <= set(state["allowed_commands"])
    refused = staff.manifest(order_id, [("old/run/a.tif", 1, 1)])
    assert (refused.status_code, refused.json()["code"]) == (409, "bridge_seals")
    assert refused.json()["remedy"]
    row = bridge.store.order(order_id)
    assert (row.manifest_revision, row.sealed, row.seal) == (0, False, "bridge")
    assert staff.command(order_id, "retry").status_code == 200
    assert bridge.store.order(order_id).condition == Condition.QUEUED
    assert staff.state(order_id)["queue"] is None, "looking needs no place in the queue of pulls"


def test_a_person_seals_at_her_workstation(bridge: Bridge, alice: Desk) -> None:
    _, answer = alice.order(seal="bridge")
    assert (answer.status_code, answer.json()["code"]) == (403, "seal_is_staffs")
    assert alice.order(seal="agent")[1].status_code == 201
    assert alice.order("scope1/alice/run2", seal="nobody")[1].json()["code"] == "bad_request"


def test_only_what_is_due_and_the_bridges_own_is_watched(bridge: Bridge, alice: Desk, staff: Desk) -> None:
    alice.order()
    order_id, _ = staff.order("old/run", owner="alice", seal="bridge")
    store = bridge.store
    row = store.order(order_id)
    assert row.next_try_at is not None
    now = row.next_try_at
    among = frozenset({Stage.ACCEPTED})
    assert [one.id for one in store.due(now, among, 10, "conf", unsealed=True)] == [order_id]
    assert store.due(now, among, 10, "conf") == []
    assert store.claim(order_id, now) is None
    assert store.claim(order_id, now, unsealed=True) == 1


def test_the_longest_wait_has_the_next_turn(bridge: Bridge, staff: Desk) -> None:
    store = bridge.store
    ids = [staff.order(f"old/run{n}", owner="alice", seal="bridge")[0] for n in range(3)]
    later = store.order(ids[2]).next_try_at
    assert later is not None
    with store.write() as session:
        # The oldest was looked at a moment ago.
        store.get(session, ids[0]).next_try_at = later.replace(year=later.year + 1)
    found = store.due(later.replace(year=later.year + 2), frozenset({Stage.ACCEPTED}), 3, unsealed=True)
    assert [one.id for one in found] == [ids[1], ids[2], ids[0]]


def test_a_request_of_an_earlier_agent_has_the_digest_it_had() -> None:
    plain = OrderIntent(
        share="conf",
        path="scope1/run",
        kind=AcquisitionKind.FOLDER,
        target=Target(group_id=3, container_id=11),
    )
    assert request_digest(plain) == OF_AN_EARLIER_BRIDGE
    watched = plain.model_copy(update={"seal": "bridge"})
    assert request_digest(watched) != request_digest(plain)
