"""Commands through the API: idempotent by their id, refused with a reason, audited."""

from __future__ import annotations

import uuid

import pytest

from server_bridge.contract import Condition, Reason, Stage
from server_bridge.orders.models import AuditEntry, ImportUnit, Order, OrderCommand, OrderFile
from tests.bridge.api.conftest import TARGET, Bridge, Desk

FILES = [("scope1/alice/run1/a.tif", 10, 1), ("scope1/alice/run1/notes.txt", 5, 5)]


@pytest.fixture
def order_id(alice: Desk) -> str:
    order_id, answer = alice.order()
    assert answer.status_code == 201
    assert alice.manifest(order_id, FILES).status_code == 200
    return order_id


def bring(bridge: Bridge, order_id: str, *stages: Stage, attention: str = "") -> None:
    """Let an attempt bring the order along, and stop in ``attention`` with that code."""
    attempt = bridge.store.claim(order_id, bridge.store.order(order_id).created_at)
    assert attempt is not None
    for stage in stages:
        bridge.store.advance(order_id, attempt, stage, "step", keep_running=True)
    if attention:
        bridge.store.attention(order_id, attempt, Reason(code=attention, title="Somebody is needed"))


def test_cancel_is_idempotent_by_its_id(bridge: Bridge, alice: Desk, order_id: str) -> None:
    command_id = str(uuid.uuid4())
    body = {"id": command_id, "kind": "cancel", "note": "no"}
    first = alice.call("POST", f"/v1/orders/{order_id}/commands", json=body)
    again = alice.call("POST", f"/v1/orders/{order_id}/commands", json=body)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    other = alice.call("POST", f"/v1/orders/{order_id}/commands", json={**body, "note": "yes"})
    assert (other.status_code, other.json()["code"]) == (409, "command_differs")
    assert alice.command(order_id, "cancel").json()["code"] == "order_ended"
    with bridge.store.read() as session:
        audited = [row for row in session.query(AuditEntry) if row.action == "order.cancel"]
    assert [(row.who, row.detail["note"]) for row in audited] == [("alice", "no")]


def test_cancelling_takes_the_order_from_a_running_pull(bridge: Bridge, alice: Desk, order_id: str) -> None:
    bring(bridge, order_id, Stage.PULLING)
    attempt = bridge.store.order(order_id).attempt
    assert alice.command(order_id, "cancel").status_code == 200
    assert not bridge.store.still_mine(order_id, attempt)
    assert alice.state(order_id)["stage"] == "cancelled"


def test_retry_starts_a_waiting_order_again_at_once(bridge: Bridge, alice: Desk, order_id: str) -> None:
    assert alice.command(order_id, "retry").json()["code"] == "command_not_now"
    bring(bridge, order_id, Stage.PULLING, attention="rsync_refused")
    state = alice.state(order_id)
    assert (state["condition"], state["reason"]["code"], state["reason"]["contact"]) == (
        "attention", "rsync_refused", "the platform staff",
    )  # fmt: skip
    assert alice.command(order_id, "retry").status_code == 200
    state = alice.state(order_id)
    assert (state["stage"], state["condition"], state["reason"]) == ("pulling", "queued", None)


def test_a_new_target_is_checked_like_the_first(bridge: Bridge, alice: Desk, order_id: str) -> None:
    refused = alice.command(order_id, "retarget", target={"group_id": 3, "container_id": 12})
    assert refused.json()["code"] == "target_not_writable"
    assert alice.command(order_id, "retarget").json()["code"] == "bad_request"
    assert alice.command(order_id, "cancel", target=TARGET).json()["code"] == "bad_request"
    assert (
        alice.command(order_id, "retarget", target={"group_id": 3, "container_name": "new"}).status_code
        == 200
    )
    assert alice.state(order_id)["target"]["container_name"] == "new"


def test_a_new_target_while_verifying_starts_that_step_again(
    bridge: Bridge, alice: Desk, order_id: str
) -> None:
    bring(bridge, order_id, Stage.PULLING, Stage.VERIFYING)
    attempt = bridge.store.order(order_id).attempt
    assert alice.command(order_id, "retarget", target=TARGET).status_code == 200
    assert not bridge.store.still_mine(order_id, attempt)
    assert alice.state(order_id)["condition"] == "queued"


@pytest.mark.parametrize(
    ("unit", "status", "stage"),
    [("pending", 200, "cancelled"), ("importing", 409, "importing"), ("imported", 409, "importing")],
)
def test_an_order_stuck_in_importing_can_be_cancelled_while_nothing_is_in_omero(
    bridge: Bridge, alice: Desk, order_id: str, unit: str, status: int, stage: str
) -> None:
    bring(bridge, order_id, Stage.PULLING, Stage.VERIFYING, Stage.IMPORTING, attention="target_gone")
    with bridge.store.write() as session:
        session.add(
            ImportUnit(
                order_id=order_id, index=0, main_path="x", reader="", spw=False, file_count=1,
                client_path="x", state=unit, tries=1, image_ids=[], plate_ids=[],
            )
        )  # fmt: skip
    assert ("cancel" in alice.state(order_id)["allowed_commands"]) is (status == 200)
    assert alice.command(order_id, "cancel").status_code == status
    assert alice.state(order_id)["stage"] == stage


def test_files_outside_omero_are_accepted_by_name(bridge: Bridge, alice: Desk, order_id: str) -> None:
    bring(bridge, order_id, Stage.PULLING, Stage.VERIFYING, Stage.IMPORTING, attention="left_out")
    with bridge.store.write() as session:
        session.get_one(Order, order_id).asks_left_out = True
        session.get_one(OrderFile, (order_id, FILES[0][0])).unit = 0
    state = alice.state(order_id)
    assert state["left_out"] == [FILES[1][0]]
    assert "accept-left-out" in state["allowed_commands"]
    assert alice.command(order_id, "accept-left-out", paths=[FILES[0][0]]).json()["code"] == "not_asked"
    assert alice.command(order_id, "accept-left-out", paths=[FILES[1][0]]).status_code == 200
    state = alice.state(order_id)
    assert (state["left_out"], state["condition"]) == ([], "queued")
    receipts = alice.call("GET", f"/v1/orders/{order_id}/receipts").json()["receipts"]
    assert [(row["status"], row["rule"]) for row in receipts] == [
        ("pending", ""),
        ("left_out", "accepted by alice"),
    ]


def test_discarding_is_staffs_and_needs_a_reason(bridge: Bridge, alice: Desk, order_id: str) -> None:
    assert alice.command(order_id, "discard", note="x").json()["code"] == "staff_only"
    staff = Desk(bridge, "none").sign_in("staff")
    assert staff.command(order_id, "discard").json()["code"] == "bad_request"
    assert "discard" in staff.state(order_id)["allowed_commands"]
    assert "discard" not in alice.state(order_id)["allowed_commands"]
    assert staff.command(order_id, "discard", note="left the institute").status_code == 200
    assert alice.state(order_id)["stage"] == "discarded"


def test_an_unsealed_order_has_nothing_to_retry(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order("scope1/alice/open")
    assert bridge.store.order(order_id).condition == Condition.WAITING
    assert "retry" not in alice.state(order_id)["allowed_commands"]
    assert alice.command(order_id, "retry").json()["code"] == "not_sealed"


def test_after_the_import_began_cancel_is_refused_and_says_why(
    bridge: Bridge, alice: Desk, order_id: str
) -> None:
    bring(bridge, order_id, Stage.PULLING, Stage.VERIFYING, Stage.IMPORTING)
    before = bridge.store.order(order_id)
    for kind, more in (("cancel", {}), ("retarget", {"target": TARGET})):
        answer = alice.command(order_id, kind, **more)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (409, "import_started")
        assert problem["title"] and problem["remedy"] and problem["contact"]
        assert kind not in alice.state(order_id)["allowed_commands"]
    after = bridge.store.order(order_id)
    assert (after.stage, after.condition, after.attempt, after.revision) == (
        before.stage, before.condition, before.attempt, before.revision,
    )  # fmt: skip


def test_a_command_is_repeated_with_its_first_answer_whatever_became_of_the_order(
    bridge: Bridge, alice: Desk, order_id: str
) -> None:
    bring(bridge, order_id, Stage.PULLING, attention="rsync_memory")
    retry = {"id": str(uuid.uuid4()), "kind": "retry"}
    first = alice.call("POST", f"/v1/orders/{order_id}/commands", json=retry)
    assert alice.command(order_id, "cancel").status_code == 200
    again = alice.call("POST", f"/v1/orders/{order_id}/commands", json=retry)
    assert (again.status_code, again.json()) == (200, first.json())
    assert alice.state(order_id)["stage"] == "cancelled", "the repeat changed nothing"
    elsewhere, _ = alice.order("scope1/alice/other")
    stolen = alice.call("POST", f"/v1/orders/{elsewhere}/commands", json=retry)
    assert (stolen.status_code, stolen.json()["code"]) == (409, "command_differs")


def test_what_is_no_command_or_names_no_order_is_refused_before_anything_is_written(
    bridge: Bridge, alice: Desk, order_id: str
) -> None:
    assert alice.command(order_id, "explode").status_code == 422
    assert alice.command(str(uuid.uuid4()), "cancel").json()["code"] == "no_such_order"
    body = {"id": "not-a-uuid", "kind": "cancel"}
    assert alice.call("POST", f"/v1/orders/{order_id}/commands", json=body).status_code == 422
    with bridge.store.read() as session:
        assert session.query(OrderCommand).count() == 0
