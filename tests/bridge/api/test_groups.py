"""Ordering a group: what its patterns may be, whose data it is, and that two orders never meet in a file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from server_bridge.contract import OrderIntent, Stage
from server_bridge.orders.intake import request_digest
from server_bridge.orders.models import Order
from tests.bridge.api.conftest import TARGET, Bridge, Desk
from tests.bridge.api.test_orders import count_orders

FOLDER = "scope1/alice"
SLIDE = ("img.vsi", "_img_")
FILES = [(f"{FOLDER}/img.vsi", 10, 10**18), (f"{FOLDER}/_img_/stack1/frame.ets", 5, 10**18)]


def group(
    desk: Desk, name: str, *members: str, folder: str = FOLDER, **more: Any
) -> tuple[str, httpx.Response]:
    return desk.order(f"{folder}/{name}", kind="group", members=list(members), **more)


def taken(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json().get("code")) == (409, "place_taken")


def end(bridge: Bridge, order_id: str, stage: Stage) -> None:
    with bridge.store.write() as session:
        order = bridge.store.get(session, order_id)
        order.stage, order.condition = stage, "queued"


def test_a_group_is_accepted_and_tells_its_members(bridge: Bridge, alice: Desk) -> None:
    order_id, answer = group(alice, "img.vsi", *SLIDE)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["kind"], answer.json()["members"]) == ("group", list(SLIDE))
    with bridge.store.read() as session:
        assert session.get_one(Order, order_id).members == list(SLIDE)
    assert alice.manifest(order_id, FILES).json()["file_count"] == 2
    assert group(alice, "img.vsi", *SLIDE, order_id=order_id, first_seen_at=None)[1].status_code == 409


def test_a_repeat_is_a_repeat_and_other_members_are_another_request(alice: Desk) -> None:
    seen = datetime.now(UTC).isoformat()
    order_id, _ = group(alice, "img.vsi", *SLIDE, first_seen_at=seen)
    assert group(alice, "img.vsi", *SLIDE, order_id=order_id, first_seen_at=seen)[1].status_code == 200
    other = group(alice, "img.vsi", "img.vsi", order_id=order_id, first_seen_at=seen)[1]
    assert other.json()["code"] == "order_differs"


def test_the_digest_of_a_file_or_folder_is_what_it_was_before_there_were_groups() -> None:
    body = {"share": "conf", "path": "a/run", "kind": "folder", "target": TARGET, "label": "run"}
    intent = OrderIntent.model_validate(body)
    # As the bridge computed it before it knew groups: a repeat after an upgrade stays a repeat.
    assert request_digest(intent) == "5868a171c61e7da010a3ab83e8212787da3d621802dcf5438add34180ec1385e"
    assert "members" not in intent.model_dump_json()


@pytest.mark.parametrize(
    ("members", "code"),
    [
        (["a/b"], "bad_request"),
        ([], "bad_request"),
        (["*"] * 33, "bad_request"),
        ([".."], "path_parent"),
        (["a\n"], "path_control"),
        ([".rsync-partial"], "path_reserved"),
    ],
)
def test_patterns_that_are_refused(bridge: Bridge, alice: Desk, members: list[str], code: str) -> None:
    _, answer = group(alice, "x", *members)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert count_orders(bridge) == 0


def test_the_bridge_does_not_seal_groups_and_no_group_takes_the_marker(bridge: Bridge) -> None:
    staff = bridge.workstation("office", ".").sign_in("staff")
    _, answer = group(staff, "img.vsi", *SLIDE, seal="bridge")
    assert (answer.status_code, answer.json()["code"]) == (422, "group_needs_agent"), answer.text
    _, answer = staff.order("all", kind="group", members=["*"])
    assert (answer.status_code, answer.json()["code"]) == (422, "members_not_valid"), answer.text


@pytest.mark.parametrize(
    "entries",
    [
        [(f"{FOLDER}/other.vsi", 1, 1)],
        [(f"{FOLDER}/_img_2/x", 1, 1)],
        [("scope1/img.vsi", 1, 1)],
        [(f"{FOLDER}/deep/img.vsi", 1, 1)],
        [(f"{FOLDER}/IMG.vsi", 1, 1)],
    ],
)
def test_a_manifest_names_members_only(alice: Desk, entries: list[tuple[str, int, int]]) -> None:
    order_id, _ = group(alice, "img.vsi", *SLIDE)
    answer = alice.manifest(order_id, [*FILES, *entries])
    assert (answer.status_code, answer.json()["code"]) in [(422, "manifest_outside"), (422, "path_collision")]
    assert alice.state(order_id)["manifest_revision"] == 0


@pytest.mark.parametrize("path", [FOLDER, f"{FOLDER}/img.vsi", f"{FOLDER}/_img_", f"{FOLDER}/_img_/stack1"])
def test_a_group_and_what_lies_at_above_or_in_it_are_one_place(alice: Desk, path: str) -> None:
    order_id, _ = group(alice, "img.vsi", *SLIDE)
    assert taken(alice.order(path)[1]) and order_id in alice.order(path)[1].json()["detail"]
    alice.command(order_id, "cancel")
    assert alice.order(path)[1].status_code == 201
    assert taken(group(alice, "img.vsi", *SLIDE)[1])


def test_neighbours_of_a_group_are_free(alice: Desk) -> None:
    assert group(alice, "img.vsi", *SLIDE)[1].status_code == 201
    assert group(alice, "two.vsi", "two.vsi", "_two_")[1].status_code == 201
    assert alice.order(f"{FOLDER}/run1")[1].status_code == 201
    assert alice.order(f"{FOLDER}/note.txt", kind="file")[1].status_code == 201


def test_two_groups_that_name_one_entry_are_one_place(alice: Desk) -> None:
    assert group(alice, "img.vsi", *SLIDE)[1].status_code == 201
    assert taken(group(alice, "all", "*.vsi")[1])
    assert taken(group(alice, "_img_", "_img_")[1])
    assert group(alice, "run_*", "run_*", "log.txt")[1].status_code == 201
    assert taken(group(alice, "r*", "run_*")[1])


def test_groups_whose_patterns_do_not_decide_are_told_apart_by_their_files(
    bridge: Bridge, alice: Desk
) -> None:
    first, _ = group(alice, "x_*.tif", "x_*.tif")
    second, answer = group(alice, "*_1.tif", "*_1.tif")
    assert answer.status_code == 201
    assert (
        alice.manifest(first, [(f"{FOLDER}/x_1.tif", 1, 1), (f"{FOLDER}/x_2.tif", 1, 1)]).status_code == 200
    )
    refused = alice.manifest(second, [(f"{FOLDER}/x_1.tif", 1, 1), (f"{FOLDER}/y_1.tif", 1, 1)])
    assert taken(refused) and first in refused.json()["detail"] and "x_1.tif" in refused.json()["detail"]
    assert alice.state(second)["manifest_revision"] == 0
    assert alice.manifest(second, [(f"{FOLDER}/y_1.tif", 1, 1)]).status_code == 200
    end(bridge, second, Stage.PROVEN)
    third, answer = group(alice, "y*", "y*")
    assert answer.status_code == 201
    assert alice.manifest(third, [(f"{FOLDER}/y_1.tif", 1, 1)]).json()["code"] == "already_imported"


def test_a_file_of_a_proven_group_is_not_brought_twice_by_any_kind_of_order(
    bridge: Bridge, alice: Desk
) -> None:
    first, _ = group(alice, "img.vsi", *SLIDE)
    alice.manifest(first, FILES)
    end(bridge, first, Stage.PROVEN)
    for order_id, files in (
        (alice.order(f"{FOLDER}/img.vsi", kind="file")[0], FILES[:1]),
        (alice.order(f"{FOLDER}/_img_")[0], FILES[1:]),
    ):
        assert alice.manifest(order_id, files).json()["code"] == "already_imported"
        alice.command(order_id, "cancel")
    again, _ = group(alice, "img.vsi", *SLIDE, import_again=True)
    assert alice.manifest(again, FILES).status_code == 200


def test_a_groups_name_makes_it_nobodys(alice: Desk, bridge: Bridge) -> None:
    """`alice` is whose folder ``scope1/alice`` is; a group that is only called so is not hers by that."""
    _, answer = group(alice, "alice", "*", folder="scope1", first_seen_at=None)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_your_data")
    assert count_orders(bridge) == 0


@pytest.mark.parametrize("pattern", ["bob", "b*", "*", "BOB", "[a-c]ob"])
def test_a_group_above_the_persons_folders_takes_in_nobody_elses(
    bridge: Bridge, alice: Desk, pattern: str
) -> None:
    bridge.workstation("scope-2", "scope1").sign_in("bob")
    _, answer = group(alice, "x", pattern, folder="scope1")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_your_data")
    assert group(alice, "stray.vsi", "stray.vsi", "_stray_", folder="scope1")[1].status_code == 201


def test_a_group_in_somebody_elses_folder_is_refused(bridge: Bridge, alice: Desk) -> None:
    bridge.workstation("scope-2", "scope1").sign_in("bob")
    _, answer = group(alice, "img.vsi", *SLIDE, folder="scope1/bob")
    assert answer.json()["code"] == "not_your_data"
    assert group(alice, "img.vsi", *SLIDE, folder="scope2/alice")[1].json()["code"] == "outside_root"


def test_an_unordered_group_is_told_and_its_neighbour_stays_told(bridge: Bridge, alice: Desk) -> None:
    from server_bridge.notices import lifetime

    def one(name: str, *members: str) -> dict[str, Any]:
        seen = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
        found: dict[str, Any] = {
            "share": "conf",
            "path": f"{FOLDER}/{name}",
            "size_bytes": 1,
            "file_count": 1,
            "first_seen_at": seen,
            "last_change_at": seen,
        }
        return found | ({"members": list(members)} if members else {})

    beat = {
        "shares": [{"share": "conf", "answered": True}],
        "unordered": [one("img.vsi", *SLIDE), one("other.vsi"), one("run_*", "run_*")],
    }
    assert alice.call("POST", "/v1/workstation/heartbeat", person=False, json=beat).status_code == 200
    # An order of the file alone says nothing of the group's other members; that of another group neither.
    file_order, _ = alice.order(f"{FOLDER}/img.vsi", kind="file")
    group(alice, "run_*", "run_*")
    with bridge.store.read() as session:
        told = {found.path: found for found in lifetime.unordered(session, bridge.site)[0]}
        assert set(told) == {f"{FOLDER}/img.vsi", f"{FOLDER}/other.vsi"}
        assert {found.person for found in told.values()} == {"alice"}
        assert lifetime.members_told(session, bridge.site, "conf", f"{FOLDER}/img.vsi") == SLIDE
        assert lifetime.members_told(session, bridge.site, "conf", f"{FOLDER}/other.vsi") == ()
    alice.command(file_order, "cancel")
    assert group(alice, "img.vsi", *SLIDE, order_id=str(uuid4()))[1].status_code == 201
    with bridge.store.read() as session:
        assert [found.path for found in lifetime.unordered(session, bridge.site)[0]] == [
            f"{FOLDER}/other.vsi"
        ]
