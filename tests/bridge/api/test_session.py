"""Signing in, out, and what a token is good for."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import select

from server_bridge.contract import SubmissionGrant
from server_bridge.orders import sessions
from server_bridge.orders.models import AuditEntry, Base, PersonSession, utcnow
from tests.bridge.api.conftest import Bridge, Desk


def test_a_person_signs_in_and_is_told_who_she_is(alice: Desk) -> None:
    answer = alice.call("GET", "/v1/session")
    assert answer.status_code == 200
    assert answer.json()["person"]["username"] == "alice"
    assert {group["name"] for group in answer.json()["person"]["groups"]} == {"Cytoskeleton", "Platform"}
    assert answer.json()["person"]["is_staff"] is False


def test_staff_are_told_that_they_are_staff(bridge: Bridge) -> None:
    desk = bridge.workstation().sign_in("staff")
    assert desk.call("GET", "/v1/session").json()["person"]["is_staff"] is True


def test_a_wrong_password_is_a_problem_with_a_code_and_a_contact(bridge: Bridge) -> None:
    answer = bridge.http.post("/v1/session", json={"username": "alice", "password": "no"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "wrong_password"
    assert answer.json()["contact"] == "the platform staff"


def test_neither_token_nor_password_is_stored(bridge: Bridge, alice: Desk) -> None:
    with bridge.store.engine.connect() as connection:
        rows = [row for table in Base.metadata.sorted_tables for row in connection.execute(select(table))]
    dump = "\n".join(map(repr, rows))
    assert "alice" in dump
    assert alice.token not in dump
    assert "alice-pw" not in dump
    assert alice.key not in dump


def test_guessing_is_limited_per_account_and_a_right_password_is_no_guess(bridge: Bridge) -> None:
    for _ in range(bridge.site.limits.login_attempts):
        assert (
            bridge.http.post("/v1/session", json={"username": "bob", "password": "bob-pw"}).status_code == 201
        )
    for _ in range(bridge.site.limits.login_attempts):
        assert bridge.http.post("/v1/session", json={"username": "Alice", "password": "x"}).status_code == 401
    before = bridge.directory.logins
    answer = bridge.http.post("/v1/session", json={"username": "alice", "password": "alice-pw"})
    assert answer.status_code == 429
    assert answer.json()["code"] == "too_many_attempts"
    assert int(answer.headers["Retry-After"]) > 0
    assert bridge.directory.logins == before, "OMERO must not be asked"
    assert bridge.http.post("/v1/session", json={"username": "bob", "password": "bob-pw"}).status_code == 201


def test_guessing_is_limited_per_address(bridge: Bridge) -> None:
    statuses = [
        bridge.http.post("/v1/session", json={"username": f"u{number}", "password": "x"}).status_code
        for number in range(4 * bridge.site.limits.login_attempts + 1)
    ]
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {401}


def test_omero_away_is_no_guess(bridge: Bridge) -> None:
    bridge.directory.away = True
    for _ in range(bridge.site.limits.login_attempts + 2):
        answer = bridge.http.post("/v1/session", json={"username": "alice", "password": "alice-pw"})
        assert answer.status_code == 503
        assert answer.json()["code"] == "omero_away"
        assert "Retry-After" in answer.headers


def test_signing_out_ends_the_token_and_leaves_the_grants(bridge: Bridge, alice: Desk) -> None:
    assert alice.call("DELETE", "/v1/session").status_code == 204
    assert alice.call("GET", "/v1/session").status_code == 401
    order_id = uuid.uuid4()
    alice.token = SubmissionGrant.model_validate(alice.grant).for_order(order_id)
    _, answer = alice.order(order_id=str(order_id))
    assert answer.status_code == 201, answer.text
    assert alice.manifest(str(order_id), [("scope1/alice/run1/a.tif", 1, 1)]).status_code == 200


def test_a_grant_is_good_for_its_order_alone(bridge: Bridge, alice: Desk) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    assert alice.order(order_id=str(second))[1].status_code == 201
    alice.token = SubmissionGrant.model_validate(alice.grant).for_order(first)
    assert alice.order(order_id=str(second))[1].status_code == 401
    assert alice.call("GET", f"/v1/orders/{second}").status_code == 401
    for method, path in [
        ("GET", "/v1/session"),
        ("DELETE", "/v1/session"),
        ("GET", "/v1/targets/tags?group=3"),
        ("GET", "/v1/orders"),
    ]:
        assert alice.call(method, path).status_code in (401, 403), path


def test_revoking_a_person_ends_tokens_and_grants(bridge: Bridge, alice: Desk) -> None:
    order_id = uuid.uuid4()
    grant = SubmissionGrant.model_validate(alice.grant).for_order(order_id)
    assert sessions.revoke_person(bridge.store, "alice", "test", utcnow()) == 1
    assert alice.call("GET", "/v1/session").status_code == 401
    alice.token = grant
    assert alice.order(order_id=str(order_id))[1].status_code == 401


def test_a_token_is_good_at_its_own_workstation_only(bridge: Bridge, alice: Desk) -> None:
    other = bridge.workstation("scope-2", "scope2")
    other.token = alice.token
    answer = other.call("GET", "/v1/session")
    assert answer.status_code == 403
    assert answer.json()["code"] == "other_workstation"


@pytest.mark.parametrize(
    "header", ["Bearer nonsense", "Basic YTpi", "Bearer grant.x.y", "Bearer", "Bearer grant."]
)
def test_a_bad_credential_is_never_taken_for_nobody(alice: Desk, header: str) -> None:
    answer = alice.call("GET", "/v1/orders", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_expired_token_is_refused(bridge: Bridge, alice: Desk) -> None:
    with bridge.store.write() as session:
        session.query(PersonSession).update({PersonSession.expires_at: utcnow()})
    assert alice.call("GET", "/v1/session").status_code == 401


def test_sign_ins_and_refusals_are_audited_with_the_address(bridge: Bridge, alice: Desk) -> None:
    bridge.http.post("/v1/session", json={"username": "alice", "password": "wrong"})
    with bridge.store.read() as session:
        actions = [(row.action, row.detail.get("address")) for row in session.query(AuditEntry)]
    assert ("session.sign_in", "testclient") in actions
    assert ("session.refused", "testclient") in actions
