"""Who may ask for a release and report what was freed; the checks themselves are tested with retention."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from server_bridge.contract import DeletionMode, FreedAccepted, FreedReport, Release
from server_bridge.errors import Unavailable
from server_bridge.orders.models import utcnow
from tests.bridge.api.conftest import Bridge, Desk


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, ...]]]:
    """Stand-ins that note who asked for what."""
    calls: list[tuple[str, ...]] = []

    def recheck(context: Any, order_id: str) -> Release:
        calls.append(("recheck", order_id))
        if context.site.name == "away":
            raise Unavailable(code="omero_away")
        return Release(order_id=UUID(order_id), released=False, checked_at=utcnow(), share="conf")

    def record_freed(_context: Any, order_id: str, report: FreedReport, by: str) -> FreedAccepted:
        calls.append(("freed", order_id, by, *report.paths))
        return FreedAccepted(order_id=UUID(order_id), freed_bytes=1, remaining_files=0)

    for name, function in (("release", recheck), ("freed", record_freed)):
        module = types.ModuleType(f"server_bridge.retention.{name}")
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield calls


def let_the_agent_delete(bridge: Bridge) -> None:
    share = bridge.site.shares[0].model_copy(update={"deletion": DeletionMode.AGENT})
    parts = bridge.http.app.state.parts  # type: ignore[attr-defined]
    site = bridge.site.model_copy(update={"shares": (share,)})
    object.__setattr__(parts.context, "site", site)


def test_the_person_and_the_orders_workstation_ask_and_others_see_nothing(
    bridge: Bridge, alice: Desk, asked: list[tuple[str, ...]]
) -> None:
    order_id, _ = alice.order()
    for person in (True, False):
        answer = alice.call("GET", f"/v1/orders/{order_id}/release", person=person)
        assert (answer.status_code, answer.json()["released"]) == (200, False)
    other = bridge.workstation("scope-2", "scope2").sign_in("bob")
    assert other.call("GET", f"/v1/orders/{order_id}/release").status_code == 404
    assert bridge.http.get(f"/v1/orders/{order_id}/release").status_code == 401
    assert asked == [("recheck", order_id)] * 2, "each question is a check of its own"


def test_where_staff_delete_the_workstation_may_not_say_that_it_did(
    bridge: Bridge, alice: Desk, asked: list[tuple[str, ...]]
) -> None:
    order_id, _ = alice.order()
    answer = alice.call("POST", f"/v1/orders/{order_id}/freed", json={"paths": ["scope1/alice/run1/a"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "deletion_is_storages")
    staff = Desk(bridge, "none").sign_in("staff")
    assert staff.call("POST", f"/v1/orders/{order_id}/freed", json={"paths": ["a"]}).status_code == 200
    assert asked == [("freed", order_id, "staff", "a")]


def test_the_orders_own_workstation_reports_where_the_agent_deletes(
    bridge: Bridge, alice: Desk, asked: list[tuple[str, ...]]
) -> None:
    order_id, _ = alice.order()
    let_the_agent_delete(bridge)
    body = {"paths": ["scope1/alice/run1/a"], "skipped": {"scope1/alice/run1/b": "changed"}}
    assert alice.call("POST", f"/v1/orders/{order_id}/freed", person=False, json=body).status_code == 200
    elsewhere = bridge.workstation("scope-2", "scope1").sign_in("alice")
    answer = elsewhere.call("POST", f"/v1/orders/{order_id}/freed", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_your_order")
    bad = alice.call("POST", f"/v1/orders/{order_id}/freed", person=False, json={"paths": ["../x"]})
    assert (bad.status_code, bad.json()["code"]) == (422, "path_parent")
    assert asked == [("freed", order_id, "workstation scope-1", "scope1/alice/run1/a")]
