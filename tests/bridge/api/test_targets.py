"""Places in OMERO as the person sees them, and an OMERO that hangs."""

from __future__ import annotations

import threading

from server_bridge.api.directory import Bounded
from tests.bridge.api.conftest import Bridge, Desk


def test_containers_are_listed_by_group_kind_project_and_text(alice: Desk) -> None:
    def names(query: str) -> list[str]:
        answer = alice.call("GET", f"/v1/targets/containers?{query}")
        assert answer.status_code == 200, answer.text
        return [item["name"] for item in answer.json()["items"]]

    assert names("group=3&kind=project") == ["Actin"]
    assert names("group=3&kind=dataset") == ["embryos", "bobs"]
    assert names("group=3&kind=dataset&project=10") == ["embryos"]
    assert names("group=3&kind=dataset&q=BOB") == ["bobs"]
    assert names("group=3&kind=screen") == ["plates"]
    assert (
        alice.call("GET", "/v1/targets/containers?group=3&kind=dataset&limit=1").json()["truncated"] is True
    )


def test_a_bad_question_names_the_field(alice: Desk) -> None:
    for query, field in (
        ("", "group"),
        ("group=x", "group"),
        ("group=3&kind=plate", "kind"),
        ("group=3&limit=0", "limit"),
    ):
        problem = alice.call("GET", f"/v1/targets/containers?{query}").json()
        assert problem["code"] == "bad_request"
        assert field in problem["detail"]


def test_tags(alice: Desk) -> None:
    assert alice.call("GET", "/v1/targets/tags?group=3&q=act").json()["items"] == ["actin"]


def test_a_container_is_made_as_the_person_at_an_approved_workstation(bridge: Bridge, alice: Desk) -> None:
    body = {"kind": "dataset", "group_id": 3, "name": "new", "project_id": 10}
    made = alice.call("POST", "/v1/targets/containers", json=body)
    assert (made.status_code, made.json()["owner"]) == (201, "alice")
    assert alice.call("POST", "/v1/targets/containers", json={**body, "kind": "screen"}).status_code == 422
    pending = bridge.workstation("other", approved=False).sign_in("alice")
    assert pending.call("POST", "/v1/targets/containers", json=body).status_code == 403


def test_staff_look_for_persons_and_ask_as_one_of_them(bridge: Bridge, alice: Desk) -> None:
    staff = bridge.workstation("staffs").sign_in("staff")
    found = staff.call("GET", "/v1/persons?q=al")
    assert found.status_code == 200, found.text
    assert found.json()["items"] == [{"username": "alice", "full_name": "Alice"}]
    assert staff.call("GET", "/v1/persons?limit=2").json()["truncated"] is True
    groups = staff.call("GET", "/v1/persons/bob").json()["groups"]
    assert [group["name"] for group in groups] == ["Cytoskeleton"]
    unknown = staff.call("GET", "/v1/persons/nobody")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "no_such_person")
    for question in ("containers?group=3&kind=dataset", "tags?group=3"):
        assert staff.call("GET", f"/v1/targets/{question}&person=bob").status_code == 200
        assert bridge.directory.asked_as[-1] == "bob"
        staff.call("GET", f"/v1/targets/{question}")
        assert bridge.directory.asked_as[-1] == "staff"


def test_others_are_nobodys_business_but_the_staffs(alice: Desk) -> None:
    for question in (
        "/v1/persons",
        "/v1/persons/bob",
        "/v1/targets/containers?group=3&person=bob",
        "/v1/targets/tags?group=3&person=bob",
    ):
        refused = alice.call("GET", question)
        assert (refused.status_code, refused.json()["code"]) == (403, "staff_only"), question
    assert alice.call("GET", "/v1/targets/tags?group=3&person=alice").status_code == 200


def test_targets_are_for_people(bridge: Bridge) -> None:
    desk = bridge.workstation()
    assert desk.call("GET", "/v1/targets/tags?group=3").status_code == 401


def test_a_hung_omero_is_answered_and_the_rest_goes_on(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    bridge.directory.hung = threading.Event()
    parts = bridge.http.app.state.parts  # type: ignore[attr-defined]
    bounded = Bounded(0.3, most_threads=1)
    object.__setattr__(parts, "bounded", bounded)
    try:
        for _ in range(3):  # also when every thread for OMERO is taken
            answer = alice.call("GET", "/v1/targets/tags?group=3")
            assert (answer.status_code, answer.json()["code"]) == (503, "omero_hung")
        assert alice.state(order_id)["stage"] == "accepted"
        assert alice.order("scope1/alice/other")[1].status_code == 201
    finally:
        bridge.directory.hung.set()
