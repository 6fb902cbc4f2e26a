"""Taking an order over: by an owner of its group or by staff, and by nobody else."""

from __future__ import annotations

import uuid

import pytest

from server_bridge.contract import Reason, Stage
from server_bridge.orders import people
from server_bridge.orders.models import AuditEntry, ImportUnit, utcnow
from tests.bridge.api.conftest import Bridge, Desk
from tests.bridge.api.test_commands import FILES, bring


@pytest.fixture
def left(bridge: Bridge, alice: Desk) -> str:
    """An order of alice, who can no longer sign in to OMERO."""
    order_id, _ = alice.order()
    assert alice.manifest(order_id, FILES).status_code == 200
    return order_id


def leave(bridge: Bridge) -> None:
    people.departed(bridge.store, "alice", {3: frozenset({"dora"})}, utcnow(), "the platform staff")


def ids(desk: Desk) -> list[str]:
    return [order["id"] for order in desk.call("GET", "/v1/orders").json()["orders"]]


def someone(bridge: Bridge, name: str) -> Desk:
    return bridge.workstation(f"desk of {name}", root="other").sign_in(name)


def test_only_owners_of_the_group_and_staff_see_it_and_only_they_may_take_it(
    bridge: Bridge, alice: Desk, left: str
) -> None:
    dora, bob, staff = (someone(bridge, name) for name in ("dora", "bob", "staff"))
    assert ids(dora) == [] and dora.command(left, "take-over").status_code == 404
    assert staff.command(left, "take-over").json()["code"] == "person_is_active"
    leave(bridge)
    assert ids(bob) == []
    assert bob.command(left, "take-over").status_code == 404
    assert alice.call("GET", f"/v1/orders/{left}").status_code == 401, "her token is dead"
    assert ids(dora) == [left]
    assert dora.state(left)["allowed_commands"] == ["take-over"]
    assert dora.state(left)["reason"]["code"] == "person_deactivated"
    for refused in ("cancel", "retry"):
        assert dora.command(left, refused).json()["code"] == "not_your_order"
    assert dora.command(left, "take-over", taker="bob").json()["code"] == "taker_is_staffs"
    assert "take-over" in staff.state(left)["allowed_commands"]
    assert staff.command(left, "take-over", taker="carol").json()["code"] == "not_a_member"
    assert staff.command(left, "take-over", taker="alice2").json()["code"] == "no_such_person"
    assert staff.command(left, "retry", taker="bob").json()["code"] == "bad_request"


def test_before_the_import_the_data_becomes_the_takers(bridge: Bridge, left: str) -> None:
    dora = someone(bridge, "dora")
    leave(bridge)
    body = {"id": str(uuid.uuid4()), "kind": "take-over", "note": "she left"}
    first = dora.call("POST", f"/v1/orders/{left}/commands", json=body)
    again = dora.call("POST", f"/v1/orders/{left}/commands", json=body)
    assert (first.status_code, again.json()) == (200, first.json())
    state = dora.state(left)
    assert (state["person"], state["stage"], state["condition"]) == ("dora", "accepted", "queued")
    assert "cancel" in state["allowed_commands"] and "take-over" not in state["allowed_commands"]
    with bridge.store.read() as session:
        (entry,) = session.query(AuditEntry).filter(AuditEntry.action == "order.take-over").all()
    assert (entry.who, entry.detail["taker"], entry.detail["note"]) == ("dora", "dora", "she left")
    assert entry.detail["was"] == {"person": "alice", "ordered_by": "alice"}
    # A repeat after the order has ended is still the first answer; a new command is refused.
    assert dora.command(left, "cancel").status_code == 200
    assert dora.call("POST", f"/v1/orders/{left}/commands", json=body).json() == first.json()
    assert dora.command(left, "take-over").json()["code"] == "order_ended"


@pytest.mark.parametrize(
    ("unit", "stage", "person"), [("pending", "verifying", "dora"), ("imported", "importing", "alice")]
)
def test_what_omero_holds_stays_the_former_persons(
    bridge: Bridge, left: str, unit: str, stage: str, person: str
) -> None:
    bring(bridge, left, Stage.PULLING, Stage.VERIFYING, Stage.IMPORTING)
    with bridge.store.write() as session:
        session.add(
            ImportUnit(
                order_id=left, index=0, main_path="x", reader="", spw=False, file_count=1, client_path="x",
                state=unit, tries=1, image_ids=[], plate_ids=[],
            )
        )  # fmt: skip
    dora = someone(bridge, "dora")
    leave(bridge)
    assert dora.command(left, "take-over").status_code == 200
    order = bridge.store.order(left)
    assert (order.stage, order.person, order.ordered_by) == (stage, person, "dora")
    assert ids(dora) == [left], "she is asked from now on"
    assert "take-over" not in dora.state(left)["allowed_commands"]


def test_staff_give_it_to_a_member_of_the_group(bridge: Bridge, left: str) -> None:
    leave(bridge)
    staff = Desk(bridge, "none").sign_in("staff")
    assert staff.command(left, "take-over").json()["code"] == "not_a_member", "staff is not in that group"
    assert staff.command(left, "take-over", taker="bob").status_code == 200
    assert bridge.store.order(left).person == "bob"


def test_an_owner_who_owns_the_group_no_more_may_not(
    bridge: Bridge, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.bridge.api import fake_directory

    dora = someone(bridge, "dora")
    leave(bridge)
    monkeypatch.setitem(fake_directory.PEOPLE, "dora", (fake_directory.CYTOSKELETON,))
    assert dora.command(left, "take-over").json()["code"] == "not_group_owner"
    assert bridge.store.order(left).person == "alice"


def test_a_person_who_left_the_group_alone_can_be_followed_too(bridge: Bridge, left: str) -> None:
    dora = someone(bridge, "dora")
    bring(bridge, left, Stage.PULLING, Stage.VERIFYING, attention="not_a_member")
    assert ids(dora) == [left]
    assert dora.command(left, "take-over").status_code == 200
    assert bridge.store.order(left).person == "dora"


def test_an_old_command_is_recognised_though_commands_have_more_fields_now(
    bridge: Bridge, alice: Desk, left: str
) -> None:
    """The digest of a command that names no taker is what it was before there were takers."""
    import hashlib
    import json

    from server_bridge.contract import CommandKind, CommandRequest
    from server_bridge.orders import commands

    request = CommandRequest(id=uuid.uuid4(), kind=CommandKind.CANCEL, note="no")
    old = {"id": str(request.id), "kind": "cancel", "target": None, "paths": [], "note": "no"}
    assert commands._digest(request) == hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()


def test_retrying_such_an_order_asks_again(bridge: Bridge, left: str) -> None:
    leave(bridge)
    staff = Desk(bridge, "none").sign_in("staff")
    assert staff.command(left, "retry").status_code == 200
    number = bridge.store.claim(left, utcnow())
    assert number is not None
    bridge.store.attention(left, number, Reason(code="person_deactivated", title="x"))
    assert "take-over" in staff.state(left)["allowed_commands"]
