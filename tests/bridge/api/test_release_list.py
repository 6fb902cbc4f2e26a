"""`GET /v1/releases`: who may list, page by page, each order checked as listed; and `POST /v1/backups`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from server_bridge.contract import Reason, ReceiptStatus, Release, ReleasedFile, Stage
from server_bridge.errors import NotFound, Unavailable
from server_bridge.orders.models import OrderFile, utcnow
from server_bridge.retention import release_list
from tests.bridge.api.conftest import Bridge, Desk
from tests.bridge.api.test_releases import let_the_agent_delete


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A stand-in for the re-check: releases everything but what a test names in ``away`` or ``lost``."""
    calls: list[str] = []

    def recheck(context: Any, order_id: str) -> Release:
        calls.append(order_id)
        order = context.store.order(order_id)
        now = utcnow()
        if order.label == "away":
            raise Unavailable(code="omero_away")
        if order.label == "gone":
            raise NotFound(code="no_such_order")
        lost = order.label == "lost"
        return Release(
            order_id=UUID(order_id),
            released=not lost,
            checked_at=now,
            valid_until=None if lost else now + timedelta(minutes=15),
            reason=Reason(code="proof_lost", title="A proof no longer holds") if lost else None,
            share=order.share,
            path=order.path,
            files=() if lost else (ReleasedFile(path=f"{order.path}/a b.tif", size_bytes=3, mtime_ns=5),),
        )

    monkeypatch.setattr(release_list, "recheck", recheck)
    yield calls


def release(bridge: Bridge, desk: Desk, path: str, label: str = "") -> str:
    order_id, answer = desk.order(path, label=label)
    assert answer.status_code == 201, answer.text
    with bridge.store.write() as session:
        order = bridge.store.get(session, order_id)
        order.stage, order.released_at = Stage.RELEASED, utcnow()
    return order_id


def staff_of(bridge: Bridge) -> Desk:
    return Desk(bridge, "none").sign_in("staff")


def test_staff_list_what_may_go_and_what_may_not_is_named(
    bridge: Bridge, alice: Desk, checked: list[str]
) -> None:
    good, lost = release(bridge, alice, "scope1/alice/1"), release(bridge, alice, "scope1/alice/2", "lost")
    gone = release(bridge, alice, "scope1/alice/3", "gone")
    freed = release(bridge, alice, "scope1/alice/4")
    with bridge.store.write() as session:
        bridge.store.get(session, freed).freed_at = utcnow()
    answer = staff_of(bridge).call("GET", "/v1/releases?share=conf")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [one["order_id"] for one in body["releases"]] == [good]
    assert body["releases"][0]["files"][0]["path"] == "scope1/alice/1/a b.tif"
    assert {one["order_id"]: one["reason"]["code"] for one in body["refused"]} == {
        lost: "proof_lost",
        gone: "no_such_order",
    }
    assert (body["next"], set(checked)) == ("", {good, lost, gone})


def test_pages_are_bounded_and_miss_and_repeat_nothing(
    bridge: Bridge, alice: Desk, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {release(bridge, alice, f"scope1/alice/{number}") for number in range(5)}
    monkeypatch.setattr(release_list, "LIMITS", release_list.Limits(orders=2))
    staff, seen, after, pages = staff_of(bridge), [], "", 0
    while True:
        answer = staff.call("GET", f"/v1/releases?share=conf{after}")
        assert answer.status_code == 200, answer.text
        seen += [one["order_id"] for one in answer.json()["releases"]]
        pages += 1
        if not answer.json()["next"]:
            break
        after = f"&after={answer.json()['next']}"
    assert (set(seen), len(seen), pages) == (made, 5, 3)


def test_a_page_ends_when_it_has_taken_long_or_holds_many_files(
    bridge: Bridge, alice: Desk, checked: list[str]
) -> None:
    for number in range(3):
        release(bridge, alice, f"scope1/alice/{number}")
    context = bridge.http.app.state.parts.context  # type: ignore[attr-defined]
    ticks = iter([0.0, 100.0])
    late = release_list.page(context, "conf", clock=lambda: next(ticks))
    assert (len(late.releases), late.next) == (1, str(late.releases[0].order_id))
    full = release_list.page(context, "conf", limits=release_list.Limits(files=2))
    assert (len(full.releases), bool(full.next)) == (2, True)


def test_while_omero_is_away_there_is_no_list(bridge: Bridge, alice: Desk, checked: list[str]) -> None:
    release(bridge, alice, "scope1/alice/1", "away")
    answer = staff_of(bridge).call("GET", "/v1/releases?share=conf")
    assert (answer.status_code, answer.json()["code"]) == (503, "omero_away")


def test_other_forms_are_those_of_the_command(bridge: Bridge, alice: Desk, checked: list[str]) -> None:
    order_id = release(bridge, alice, "scope1/alice/1")
    staff = staff_of(bridge)
    assert staff.call("GET", "/v1/releases?share=conf&format=nul").content == b"scope1/alice/1/a b.tif\0"
    table = staff.call("GET", "/v1/releases?share=conf&format=csv")
    assert table.text.splitlines()[1].startswith(f"{order_id},conf,scope1/alice/1/a b.tif,3,5,")
    script = staff.call("GET", "/v1/releases?share=conf&format=sh")
    assert "free './scope1/alice/1/a b.tif' 3 0" in script.text
    assert "empty ./scope1/alice/1" in script.text
    assert script.headers["Ferry-Next"] == ""
    assert staff.call("GET", "/v1/releases?share=conf&format=xml").status_code == 422


def test_the_share_decides_who_deletes_and_who_may_list(
    bridge: Bridge, alice: Desk, checked: list[str]
) -> None:
    order_id = release(bridge, alice, "scope1/alice/1")
    staff = staff_of(bridge)

    def ask(desk: Desk, person: bool = True) -> tuple[int, str]:
        answer = desk.call("GET", "/v1/releases?share=conf", person=person)
        return answer.status_code, answer.json().get("code", "")

    assert ask(alice, person=False) == (403, "deletion_is_storages")
    assert bridge.http.get("/v1/releases?share=conf").status_code == 401
    assert ask(Desk(bridge, "none").sign_in("bob")) == (403, "staff_only")
    answer = staff.call("GET", "/v1/releases?share=nowhere")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_share")
    assert checked == []

    let_the_agent_delete(bridge)
    assert ask(staff) == (409, "deletion_is_agents")
    mine = alice.call("GET", "/v1/releases?share=conf", person=False).json()
    assert [one["order_id"] for one in mine["releases"]] == [order_id]
    other = bridge.workstation("scope-2", "scope2")
    assert other.call("GET", "/v1/releases?share=conf", person=False).json()["releases"] == []


def test_staff_report_a_backup_and_nobody_else_does(bridge: Bridge, alice: Desk) -> None:
    began = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    staff = staff_of(bridge)
    answer = staff.call("POST", "/v1/backups", json={"began_at": began, "note": "tape 7"})
    assert (answer.status_code, answer.json()["is_new"]) == (201, True)
    assert staff.call("POST", "/v1/backups", json={"began_at": began}).json()["is_new"] is False
    future = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    answer = staff.call("POST", "/v1/backups", json={"began_at": future})
    assert (answer.status_code, answer.json()["code"]) == (422, "backup_time")
    assert "in the future" in answer.json()["detail"]
    answer = alice.call("POST", "/v1/backups", json={"began_at": began})
    assert (answer.status_code, answer.json()["code"]) == (403, "staff_only")
    assert bridge.http.post("/v1/backups", json={"began_at": began}).status_code == 401


def test_an_order_says_that_it_waits_for_a_backup(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    with bridge.store.write() as session:
        order = bridge.store.get(session, order_id)
        order.stage, order.proven_at, order.reason = Stage.PROVEN, utcnow(), None
        session.add(
            OrderFile(
                order_id=order_id,
                path="scope1/alice/run1/a",
                size_bytes=1,
                mtime_ns=0,
                status=ReceiptStatus.PROVEN,
                proven_at=utcnow(),
            )
        )
    assert alice.state(order_id)["reason"] is None
    parts = bridge.http.app.state.parts  # type: ignore[attr-defined]
    share = bridge.site.shares[0].model_copy(update={"require_backup": True})
    object.__setattr__(parts.context, "site", bridge.site.model_copy(update={"shares": (share,)}))
    state = alice.state(order_id)
    assert (state["reason"]["code"], state["stage"]) == ("backup_missing", "proven")
    assert state["release_not_before"] is not None
    began = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    assert staff_of(bridge).call("POST", "/v1/backups", json={"began_at": began}).status_code == 201
    assert alice.state(order_id)["reason"] is None
