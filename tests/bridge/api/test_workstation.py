"""Workstations: registering gives nothing, approval gives roots, revoking ends the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from server_bridge.contract import CleaningMode, DeletionMode, SessionPolicy, Workstation, WorkstationStatus
from server_bridge.errors import BadRequest
from server_bridge.orders import workstations
from server_bridge.orders.models import Notice
from server_bridge.orders.models import Workstation as Row
from tests.bridge.api.conftest import Bridge, Desk
from tests.bridge.bridge_site import make_site


def test_a_new_workstation_waits_and_is_told_nothing(bridge: Bridge) -> None:
    desk = bridge.workstation(approved=False)
    answer = desk.call("GET", "/v1/workstation").json()
    assert (answer["status"], answer["shares"]) == ("pending", [])
    for method, path in (("GET", "/v1/orders"), ("POST", "/v1/workstation/heartbeat")):
        found = desk.call(method, path, json={} if method == "POST" else None)
        assert (found.status_code, found.json()["code"]) == (403, "workstation_not_approved")


def test_an_approved_workstation_is_told_its_shares_and_rules(bridge: Bridge) -> None:
    desk = bridge.workstation(root="scope1/data")
    answer = Workstation.model_validate(desk.call("GET", "/v1/workstation").json())
    (share,) = answer.shares
    assert (share.id, share.root, share.marker) == ("conf", "scope1/data", ".omero-ferry-share")
    assert "Thumbs.db" in share.ignore_patterns
    assert answer.contact == "the platform staff"


def test_a_workstation_is_told_when_forgotten_sign_ins_end(tmp_path: Path) -> None:
    own = {"workstations": {"scope-1": {"idle_minutes": 10}}}
    site = make_site(tmp_path, session_policy={"idle_minutes": 30, "end_of_day": "19:00", **own})
    row = Row(id="w", name="scope-1", status="approved", roots={"conf": "."})
    assert workstations.answer(site, row).session_policy == SessionPolicy(idle_minutes=10, end_of_day="19:00")
    row.name = "scope-2"
    assert workstations.answer(site, row).session_policy == SessionPolicy(idle_minutes=30, end_of_day="19:00")


def test_a_workstation_gets_its_own_rule_where_the_site_has_one(tmp_path: Path) -> None:
    share = make_site(tmp_path).shares[0].model_dump()
    share["rule"] = {
        "template": "{user}/{acquisition}",
        "workstations": {"scope-2": {"items": "files", "format_quiet_seconds": {"czi": 900}}},
    }
    site = make_site(tmp_path, shares=(share,))
    rows = [
        Row(id=name, name=name, status=WorkstationStatus.APPROVED, roots={"conf": name})
        for name in ("scope-1", "scope-2")
    ]
    first, second = (workstations.answer(site, row).shares[0].rule for row in rows)
    assert (first.items, first.levels, first.quiet_for("czi")) == ("folders", 2, 300)
    assert (second.items, second.levels, second.quiet_for("czi")) == ("files", 2, 900)


def test_registering_again_with_the_same_key_is_the_same_workstation(bridge: Bridge) -> None:
    desk = bridge.workstation()
    again = bridge.http.post(
        "/v1/workstation", json={"name": desk.name, "key": desk.key, "agent_version": "2.0"}
    )
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (201, desk.id, "approved")


def test_a_name_belongs_to_its_key_until_staff_revoke_it(bridge: Bridge) -> None:
    desk = bridge.workstation()
    other = Desk(bridge, desk.name)
    body = {"name": other.name, "key": other.key}
    taken = bridge.http.post("/v1/workstation", json=body)
    assert (taken.status_code, taken.json()["code"]) == (409, "workstation_name_taken")
    workstations.revoke(bridge.store, desk.name, "test")
    assert desk.call("GET", "/v1/workstation").status_code == 401
    again = bridge.http.post("/v1/workstation", json=body)
    assert again.json()["status"] == "pending"
    assert desk.call("GET", "/v1/workstation").status_code == 401, "the old key stays dead"


def test_strangers_cannot_fill_the_table(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workstations, "MOST_PENDING", 2)
    for name in ("one", "two"):
        bridge.workstation(name, approved=False)
    answer = bridge.http.post("/v1/workstation", json={"name": "three", "key": "k" * 32})
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_workstations")


@pytest.mark.parametrize("key", ["", "wrong", "x" * 32])
def test_a_wrong_key_is_nobody(bridge: Bridge, key: str) -> None:
    desk = bridge.workstation()
    desk.key = key
    for path in ("/v1/workstation", "/v1/orders"):
        assert desk.call("GET", path).status_code == 401


@pytest.mark.parametrize("root", ["/abs", "../up", "a/../b", "a//b", ""])
def test_a_root_is_a_plain_path_below_its_share(bridge: Bridge, root: str) -> None:
    bridge.workstation(approved=False)
    if root == "":
        roots = workstations.checked_roots(bridge.site, {"conf": "a/"})
        assert roots == {"conf": "a"}
        return
    with pytest.raises(BadRequest):
        workstations.approve(bridge.store, bridge.site, "scope-1", {"conf": root}, "test")


def test_a_root_in_an_unknown_share_is_refused(bridge: Bridge) -> None:
    bridge.workstation(approved=False)
    with pytest.raises(BadRequest, match="no share"):
        workstations.approve(bridge.store, bridge.site, "scope-1", {"nowhere": "."}, "test")


def test_a_heartbeat_is_kept_and_answers_with_the_lease(bridge: Bridge) -> None:
    desk = bridge.workstation()
    beat = {
        "agent_version": "1.2",
        "shares": [{"share": "conf", "answered": True, "acquiring": True, "free_bytes": 5, "total_bytes": 9}],
        "unordered": [
            {
                "share": "conf",
                "path": "scope1/alice/x",
                "size_bytes": 1,
                "file_count": 1,
                "first_seen_at": "2026-01-01T00:00:00Z",
                "last_change_at": "2026-01-01T00:00:00Z",
            }
        ],
    }
    answer = desk.call("POST", "/v1/workstation/heartbeat", json=beat)
    assert answer.status_code == 200
    assert answer.json()["acquiring_lease_seconds"] == bridge.site.limits.acquiring_lease_seconds
    with bridge.store.read() as session:
        row = session.query(Row).one()
        assert row.heartbeat is not None
        assert row.heartbeat["shares"][0]["acquiring"] is True
        assert row.agent_version == "1.2"


def test_staff_hear_once_of_damaged_files_at_a_workstation(bridge: Bridge) -> None:
    desk = bridge.workstation("Confocal SP8")

    def beat(damage: str) -> None:
        body = {"agent_version": "1.0", "damage": damage}
        assert desk.call("POST", "/v1/workstation/heartbeat", json=body).status_code == 200

    def told() -> list[tuple[str, bool]]:
        with bridge.store.read() as session:
            found = session.scalars(select(Notice).order_by(Notice.id)).all()
            assert {one.kind for one in found} <= {"workstation"}
            return [(one.reason["detail"], one.for_staff) for one in found]

    beat("")
    assert told() == []
    for _ in range(3):
        beat("It was set aside as outbox.sqlite3.damaged-20261126T1.")
    beat("It was set aside as outbox.sqlite3.damaged-20261127T2.")
    assert [detail[-3:] for detail, _ in told()] == ["T1.", "T2."]
    assert all(for_staff for _, for_staff in told())


def test_a_heartbeat_wakes_no_poll(bridge: Bridge) -> None:
    desk = bridge.workstation()
    woken: list[None] = []
    bridge.store.on_change(lambda: woken.append(None))
    assert desk.call("POST", "/v1/workstation/heartbeat", json={}).status_code == 200
    assert not woken


def test_a_workstation_is_told_who_deletes_when_and_by_which_rule(bridge: Bridge) -> None:
    bridge.workstation()
    share = bridge.site.shares[0].model_copy(
        update={
            "deletion": DeletionMode.AGENT,
            "clean": CleaningMode.WHEN_LOW,
            "clean_below_percent": 15.0,
            "lifetime_days": 30.0,
            "deletion_schedule": "each night",
        }
    )
    site = bridge.site.model_copy(update={"shares": (share,)})
    with bridge.store.read() as session:
        told = workstations.answer(site, workstations.named(session, "scope-1")).shares[0]
    assert (told.cleaning, told.clean_below_percent) == (CleaningMode.WHEN_LOW, 15.0)
    assert (told.lifetime_days, told.deletion_schedule) == (30.0, "each night")
