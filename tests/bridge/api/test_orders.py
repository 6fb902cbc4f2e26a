"""Ordering: what is accepted, what is refused and why, and that a refusal writes nothing."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from server_bridge.contract import Stage
from server_bridge.orders.models import Order, OrderEvent, OrderFile
from tests.bridge.api.conftest import TARGET, Bridge, Desk

FILES = [("scope1/alice/run1/a.tif", 10, 1_700_000_000_000_000_000), ("scope1/alice/run1/sub/b.tif", 5, 5)]


def count_orders(bridge: Bridge) -> int:
    with bridge.store.read() as session:
        return session.scalar(select(func.count()).select_from(Order)) or 0


def test_an_order_is_accepted_and_waits_for_its_seal(alice: Desk) -> None:
    order_id, answer = alice.order(label="Embryos")
    assert answer.status_code == 201
    state = answer.json()
    assert (state["id"], state["stage"], state["condition"]) == (order_id, "accepted", "waiting")
    assert state["reason"]["code"] == "writing"
    assert state["workstation"] == "scope-1"
    assert state["person"] == "alice"
    assert "cancel" in state["allowed_commands"]


def test_a_repeat_is_answered_with_the_state_and_other_content_with_409(bridge: Bridge, alice: Desk) -> None:
    seen = datetime.now(UTC).isoformat()
    order_id, _ = alice.order(first_seen_at=seen)
    _, again = alice.order(order_id=order_id, first_seen_at=seen)
    assert again.status_code == 200
    _, other = alice.order(order_id=order_id, first_seen_at=seen, label="other")
    assert other.status_code == 409
    assert other.json()["code"] == "order_differs"
    assert count_orders(bridge) == 1


def test_a_repeat_needs_no_omero(bridge: Bridge, alice: Desk) -> None:
    seen = datetime.now(UTC).isoformat()
    order_id, _ = alice.order(first_seen_at=seen)
    bridge.directory.away = True
    assert alice.order(order_id=order_id, first_seen_at=seen)[1].status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"path": "../etc"}, 422, "path_parent"),
        ({"path": "/etc/passwd"}, 422, "path_absolute"),
        ({"path": "scope1/../scope2/x"}, 422, "path_parent"),
        ({"path": "scope1/a\x00b"}, 422, "path_control"),
        ({"path": "."}, 422, "path_form"),
        ({"path": "scope1"}, 403, "outside_root"),
        ({"path": "scope2/alice/run"}, 403, "outside_root"),
        ({"path": "scope11/alice"}, 403, "outside_root"),
        ({"share": "nowhere"}, 422, "unknown_share"),
        ({"target": {"group_id": 77, "container_name": "x"}}, 422, "not_a_member"),
        ({"target": {"group_id": 3, "container_id": 13}}, 422, "target_in_other_group"),
        ({"target": {"group_id": 3, "container_id": 12}}, 422, "target_not_writable"),
        ({"target": {"group_id": 3, "container_id": 999}}, 422, "target_gone"),
        ({"target": {"group_id": 3}}, 422, "bad_request"),
        ({"owner": "bob"}, 403, "owner_is_staffs"),
        ({"surprise": 1}, 422, "bad_request"),
        ({"kind": "heap"}, 422, "bad_request"),
        ({"first_seen_at": "2026-01-01T00:00:00"}, 422, "bad_request"),
        ({"first_seen_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}, 422, "clock_differs"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_written(
    bridge: Bridge, alice: Desk, change: dict[str, Any], status: int, code: str
) -> None:
    _, answer = alice.order(**change)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert problem["title"]
    assert problem["contact"] == "the platform staff"
    assert count_orders(bridge) == 0


def test_a_bad_field_is_named(alice: Desk) -> None:
    problem = alice.order(surprise=1)[1].json()
    assert "surprise" in problem["detail"]


def test_an_order_without_an_approved_workstation_is_refused(bridge: Bridge) -> None:
    pending = bridge.workstation("new", approved=False).sign_in("alice")
    assert pending.order()[1].json()["code"] == "workstation_not_approved"
    nowhere = Desk(bridge, "none").sign_in("alice")
    assert nowhere.order()[1].json()["code"] == "workstation_needed"
    assert bridge.http.put(f"/v1/orders/{uuid.uuid4()}", json={}).status_code == 422


def test_the_workstations_key_alone_may_not_order(bridge: Bridge) -> None:
    desk = bridge.workstation()
    _, answer = desk.order()
    assert answer.status_code == 401
    assert count_orders(bridge) == 0


def test_data_first_seen_while_nobody_or_somebody_else_was_signed_in(bridge: Bridge, alice: Desk) -> None:
    before = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    _, nobody = alice.order("scope1/misc/run", first_seen_at=before)
    assert nobody.json()["code"] == "not_your_data"
    _, mine = alice.order("scope1/misc/run")
    assert mine.status_code == 201
    alice.call("DELETE", "/v1/session")
    during_alice = datetime.now(UTC).isoformat()
    bob = Desk(bridge, alice.name, key=alice.key, id=alice.id).sign_in("bob")
    _, not_bobs = bob.order(
        "scope1/alice/run2", first_seen_at=during_alice, target={**TARGET, "container_id": 12}
    )
    assert not_bobs.json()["code"] == "not_your_data"
    _, no_time = bob.order("scope1/misc/other", first_seen_at=None)
    assert no_time.json()["code"] == "not_your_data"


def test_staff_order_for_others_and_without_a_workstation(bridge: Bridge) -> None:
    staff = Desk(bridge, "none").sign_in("staff")
    _, answer = staff.order("anywhere/run", owner="alice")
    assert answer.status_code == 201, answer.text
    assert answer.json()["person"] == "alice"
    _, unknown = staff.order("anywhere/run2", owner="nobody")
    assert unknown.json()["code"] == "no_such_person"
    _, not_hers = staff.order("anywhere/run3", owner="carol")
    assert not_hers.json()["code"] == "not_a_member"


@pytest.mark.parametrize(
    "path", ["scope1/alice/run1", "scope1/ALICE/Run1", "scope1/alice", "scope1/alice/run1/sub"]
)
def test_one_live_order_per_place(alice: Desk, path: str) -> None:
    order_id, _ = alice.order()
    _, answer = alice.order(path)
    assert answer.status_code == 409
    assert answer.json()["code"] == "place_taken"
    assert order_id in answer.json()["detail"], "she may know: it is her own"
    assert alice.command(order_id, "cancel").status_code == 200
    assert alice.order(path)[1].status_code == 201


def test_who_holds_a_place_is_not_told_to_others(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order("scope1/shared/run1")
    bob = bridge.workstation("scope-2", "scope1").sign_in("bob")
    new = {"group_id": 3, "container_name": "new"}
    problem = bob.order("scope1/shared/run1", target=new)[1].json()
    assert problem["code"] == "place_taken"
    assert "alice" not in problem["detail"] + problem["remedy"]
    assert order_id not in problem["detail"]
    staff = bridge.workstation("scope-3", "scope1").sign_in("staff")
    assert (
        "alice"
        in staff.order("scope1/shared/run1", target={"group_id": 4, "container_name": "x"})[1].json()[
            "detail"
        ]
    )


def test_neighbours_are_no_overlap(alice: Desk) -> None:
    assert alice.order("scope1/alice/run1")[1].status_code == 201
    assert alice.order("scope1/alice/run10")[1].status_code == 201


def test_omero_away_does_not_stop_an_order_into_a_known_group(bridge: Bridge, alice: Desk) -> None:
    bridge.directory.away = True
    assert alice.order()[1].status_code == 201
    _, unknown = alice.order("scope1/alice/run2", target={"group_id": 77, "container_name": "x"})
    assert unknown.status_code == 503


def test_a_sealed_manifest_queues_the_order_and_an_open_one_does_not(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    open_one = alice.manifest(order_id, FILES[:1], revision=1, sealed=False)
    assert open_one.json() == {
        "order_id": order_id, "revision": 1, "sealed": False, "file_count": 1, "size_bytes": 10,
    }  # fmt: skip
    assert alice.state(order_id)["condition"] == "waiting"
    assert alice.manifest(order_id, FILES, revision=2).status_code == 200
    state = alice.state(order_id)
    assert (state["condition"], state["sealed"], state["file_count"], state["size_bytes"]) == (
        "queued",
        True,
        2,
        15,
    )
    assert state["queue"] == {"ahead": 0, "ahead_by_workstation": {}}
    with bridge.store.read() as session:
        rows = session.execute(select(OrderFile.path, OrderFile.size_bytes, OrderFile.mtime_ns)).all()
    assert sorted(tuple(row) for row in rows) == sorted(FILES)


def test_manifest_revisions(alice: Desk) -> None:
    order_id, _ = alice.order()
    assert alice.manifest(order_id, FILES, revision=3).status_code == 200
    assert alice.manifest(order_id, FILES, revision=3).status_code == 200
    assert alice.manifest(order_id, FILES, revision=2).json()["revision"] == 3
    for revision in (2, 3):
        answer = alice.manifest(order_id, FILES[:1], revision=revision)
        assert (answer.status_code, answer.json()["code"]) == (409, "manifest_revision")
    assert alice.manifest(order_id, FILES[:1], revision=4).json()["file_count"] == 1


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], "manifest_empty"),
        ([("scope1/alice/run2/a.tif", 1, 1)], "manifest_outside"),
        ([("scope1/alice/run1", 1, 1)], "manifest_outside"),
        ([("scope1/alice/run1/../run2/a", 1, 1)], "path_parent"),
        ([("/scope1/alice/run1/a", 1, 1)], "path_absolute"),
        ([("scope1/alice/run1/a", 1, 1), ("scope1/alice/run1/A", 1, 1)], "path_collision"),
        ([("scope1/alice/run1/a", 1, 1), ("scope1/alice/run1/a", 1, 1)], "path_twice"),
        ([("scope1/alice/run1/a", -1, 1)], "manifest_not_valid"),
        ([("scope1/alice/run1/a", 2**64, 1)], "manifest_outside"),
        ([("scope1/alice/run1/" + "x" * 256, 1, 1)], "name_too_long"),
    ],
)
def test_a_manifest_that_may_not_be(bridge: Bridge, alice: Desk, entries: list[Any], code: str) -> None:
    order_id, _ = alice.order()
    answer = alice.manifest(order_id, entries)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert alice.state(order_id)["manifest_revision"] == 0
    with bridge.store.read() as session:
        assert session.scalar(select(func.count()).select_from(OrderFile)) == 0


@pytest.mark.parametrize("body", [b"no gzip", b"\x1f\x8b\x08\x00truncated"])
def test_a_body_that_is_no_gzip(alice: Desk, body: bytes) -> None:
    order_id, _ = alice.order()
    answer = alice.call(
        "PUT",
        f"/v1/orders/{order_id}/manifest?revision=1&sealed=true",
        content=body,
        headers={"Content-Encoding": "gzip"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "manifest_not_valid")


def _set_stage(bridge: Bridge, order_id: str, stage: Stage, condition: str = "running") -> None:
    """Put an order where a pipeline would have brought it."""
    with bridge.store.write() as session:
        order = bridge.store.get(session, order_id)
        order.stage, order.condition = stage, condition
        order.attempt += 1
        bridge.store.touch(session, order)


@pytest.mark.parametrize("stage", [Stage.PULLING, Stage.VERIFYING])
def test_a_changed_manifest_puts_the_order_back_and_fences_the_attempt(
    bridge: Bridge, alice: Desk, stage: Stage
) -> None:
    order_id, _ = alice.order()
    alice.manifest(order_id, FILES)
    _set_stage(bridge, order_id, stage)
    attempt = bridge.store.order(order_id).attempt
    with bridge.store.write() as session:
        for row in session.query(OrderFile):
            row.sha1 = "0" * 40
    changed = [FILES[0], (FILES[1][0], 6, 6)]
    assert alice.manifest(order_id, changed, revision=2).status_code == 200
    state = alice.state(order_id)
    assert (state["stage"], state["condition"]) == ("accepted", "queued")
    assert not bridge.store.still_mine(order_id, attempt)
    rows = {row.path: row.sha1 for row in bridge.store.files(order_id)}
    assert rows == {FILES[0][0]: "0" * 40, FILES[1][0]: None}


def test_the_same_content_again_does_not_disturb_a_pull(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    alice.manifest(order_id, FILES)
    _set_stage(bridge, order_id, Stage.PULLING)
    attempt = bridge.store.order(order_id).attempt
    assert alice.manifest(order_id, FILES, revision=2).json()["revision"] == 2
    assert bridge.store.still_mine(order_id, attempt)
    assert bridge.store.order(order_id).stage == Stage.PULLING


@pytest.mark.parametrize(
    "stage", [Stage.IMPORTING, Stage.PROVING, Stage.ANNOTATING, Stage.PROVEN, Stage.RELEASED]
)
def test_from_the_import_on_neither_manifest_nor_cancel(bridge: Bridge, alice: Desk, stage: Stage) -> None:
    order_id, _ = alice.order()
    alice.manifest(order_id, FILES)
    _set_stage(bridge, order_id, stage)
    assert alice.manifest(order_id, FILES[:1], revision=2).json()["code"] == "import_started"
    cancel = alice.command(order_id, "cancel")
    assert (cancel.status_code, cancel.json()["code"]) == (409, "import_started")
    assert "cancel" not in alice.state(order_id)["allowed_commands"]


def test_data_that_is_in_omero_needs_an_explicit_again(bridge: Bridge, alice: Desk) -> None:
    first, _ = alice.order()
    alice.manifest(first, FILES)
    _set_stage(bridge, first, Stage.PROVEN, "queued")
    second, answer = alice.order()
    assert answer.status_code == 201
    nearly = [(path, size, mtime + 1_000_000_000) for path, size, mtime in FILES]
    refused = alice.manifest(second, nearly)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_imported")
    assert alice.manifest(second, [("scope1/alice/run1/new.tif", 1, 1)]).status_code == 200
    alice.command(second, "cancel")
    third, _ = alice.order(import_again=True)
    assert alice.manifest(third, FILES).status_code == 200


def test_the_history_says_who_did_what(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    alice.manifest(order_id, FILES)
    alice.command(order_id, "cancel", note="wrong group")
    with bridge.store.read() as session:
        lines = [(row.who, row.text) for row in session.query(OrderEvent).order_by(OrderEvent.id)]
    assert lines == [
        ("alice", "ordered"),
        ("alice", "manifest 1: 2 files, sealed"),
        ("alice", "cancelled: wrong group"),
    ]


def test_somebody_elses_order_is_not_there(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    bob = bridge.workstation("scope-2", "scope2").sign_in("bob")
    for method, path, body in [
        ("GET", "", None),
        ("GET", "/receipts", None),
        ("POST", "/commands", {"id": str(uuid.uuid4()), "kind": "cancel"}),
    ]:
        answer = bob.call(method, f"/v1/orders/{order_id}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_order"), path
    assert bob.manifest(order_id, FILES).status_code == 404


def test_the_workstation_sees_the_orders_made_at_it_and_may_not_change_them(
    bridge: Bridge, alice: Desk
) -> None:
    order_id, _ = alice.order()
    alice.token = ""
    state = alice.state(order_id)
    assert state["allowed_commands"] == []
    assert alice.command(order_id, "cancel").status_code == 401
    assert alice.manifest(order_id, FILES).status_code == 401


def test_receipts_list_every_file(alice: Desk) -> None:
    order_id, _ = alice.order()
    alice.manifest(order_id, FILES)
    found = alice.call("GET", f"/v1/orders/{order_id}/receipts").json()["receipts"]
    assert [(row["path"], row["status"], row["same_inode"]) for row in found] == [
        (path, "pending", False) for path, _, _ in sorted(FILES)
    ]
