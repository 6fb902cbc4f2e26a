"""What surrounds every route: problems, health, metrics, the status page, limits, log lines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from server_bridge.api import workstation as workstation_router
from server_bridge.app import openapi_document
from server_bridge.config import MailConfig
from server_bridge.contract import Condition, Reason
from server_bridge.notices import mail_state
from server_bridge.orders import notices
from server_bridge.orders.models import utcnow
from tests.bridge.api.conftest import Bridge, Desk


def test_an_unknown_address_is_a_problem(bridge: Bridge) -> None:
    answer = bridge.http.get("/v1/nonsense")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"
    wrong = bridge.http.patch("/v1/session")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")


def test_an_unexpected_error_is_a_numbered_problem_without_its_text(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(workstation_router.workstations, "register", broken)
    with capture_logs() as lines:
        answer = bridge.http.post("/v1/workstation", json={"name": "x", "key": "k" * 32})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    number = answer.json()["detail"].split()[1].rstrip(";")
    assert [line for line in lines if line.get("error_id") == number]


def test_validation_never_repeats_what_was_sent(bridge: Bridge) -> None:
    answer = bridge.http.post("/v1/session", json={"username": "alice", "password": "", "pass": "hunter2"})
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


def test_a_large_body_is_refused(bridge: Bridge) -> None:
    answer = bridge.http.post("/v1/session", content=b"x" * (5 * 1024**2))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_health_and_readiness(bridge: Bridge) -> None:
    assert bridge.http.get("/healthz").json()["status"] == "ok"
    ready = bridge.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    bridge.site.staging_dir.rmdir()
    broken = bridge.http.get("/readyz")
    assert (broken.status_code, broken.json()["checks"]["staging"]) == (503, "missing")


def test_mail_that_does_not_go_out_is_degraded_and_counted(bridge: Bridge) -> None:
    assert "mail" not in bridge.http.get("/readyz").json()["checks"]
    mail = MailConfig(
        host="localhost", security="none", sender="ferry@example.org", staff=("staff@example.org",)
    )
    parts = bridge.http.app.state.parts  # type: ignore[attr-defined]
    site = bridge.site.model_copy(update={"mail": mail})
    bridge.http.app.state.parts = replace(  # type: ignore[attr-defined]
        parts, context=replace(parts.context, site=site)
    )
    assert bridge.http.get("/readyz").json()["checks"]["mail"] == "ok"
    now = utcnow()
    failing = Reason(code="mail_away", title="The mail server cannot be reached")
    with bridge.store.write() as session:
        mail_state.write(session, mail_state.MailState(failing=failing), now)
        notices.post(session, now, key="outage:x", kind="outage", reason=failing)
    ready = bridge.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["checks"]["mail"] == "mail_away"
    text = bridge.http.get("/metrics").text
    for line in ("ferry_mail_failing 1.0", 'ferry_notices{kind="outage"} 1.0', "ferry_notices_unmailed 1.0"):
        assert line in text


def test_orders_that_need_somebody_are_counted_by_their_reason(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    with bridge.store.write() as session:
        order = bridge.store.get(session, order_id)
        reason = Reason(code="left_out", title="x")
        bridge.store.set_condition(session, order, Condition.ATTENTION, who="t", text="", reason=reason)
    assert 'ferry_attention_standing{code="left_out"} 1.0' in bridge.http.get("/metrics").text


def test_the_status_page_counts_what_grows_old_without_naming_it(bridge: Bridge, alice: Desk) -> None:
    old = (utcnow() - timedelta(days=50)).isoformat()
    seen = {"share": "conf", "size_bytes": 1, "file_count": 1, "first_seen_at": old, "last_change_at": old}
    beat = {"unordered": [{**seen, "path": "scope1/alice/private"}]}
    assert alice.call("POST", "/v1/workstation/heartbeat", json=beat).status_code == 200
    page = bridge.http.get("/").text
    assert "near the end of its time" in page
    assert "private" not in page and "alice" not in page


def test_omero_away_is_degraded_and_still_ready(bridge: Bridge) -> None:
    bridge.directory.away = True
    ready = bridge.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["checks"]["omero"] == "omero_away"


def test_metrics_count_orders_and_name_nobody(bridge: Bridge, alice: Desk) -> None:
    alice.order()
    text = bridge.http.get("/metrics").text
    assert 'ferry_orders{condition="waiting",stage="accepted"} 1.0' in text
    assert 'ferry_http_requests_total{method="PUT",route="/v1/orders/{order_id}",status="201"}' in text
    assert "alice" not in text


ACQUIRING = {
    "shares": [{"share": "conf", "answered": True, "acquiring": True, "free_bytes": 80, "total_bytes": 100}],
    "load": {"cpu_percent": 0.4, "bytes_per_second": 12000, "entries": 100},
}


def test_an_acquisition_its_rate_and_the_agents_load_are_seen(bridge: Bridge) -> None:
    desk = bridge.workstation()
    assert desk.call("POST", "/v1/workstation/heartbeat", json=ACQUIRING).status_code == 200
    page = bridge.http.get("/").text
    assert "Slowed: scope-1 is acquiring; pulls take 21.0 MB/s at most." in page
    assert "<td>acquiring</td><td>0.4 % CPU, 12.0 kB/s</td>" in page
    text = bridge.http.get("/metrics").text
    assert 'ferry_share_acquiring{share="conf"} 1.0' in text
    assert 'ferry_share_rate_limit_bytes{share="conf"} 2.097152e+07' in text
    assert 'ferry_share_fill_ratio{share="conf"} 0.1' in text
    assert 'ferry_agent_cpu_percent{workstation="scope-1"} 0.4' in text
    assert desk.call("POST", "/v1/workstation/heartbeat", json={}).status_code == 200
    text = bridge.http.get("/metrics").text
    assert 'ferry_share_acquiring{share="conf"} 0.0' in text
    assert "ferry_share_rate_limit_bytes{" not in text, "no limit"


def test_a_pause_is_seen_by_staff_and_names_nobody_on_the_wall(bridge: Bridge) -> None:
    desk = bridge.workstation()
    beat = {"paused_for_seconds": 1800, "paused_by": "Alice Lindgren"}
    assert desk.call("POST", "/v1/workstation/heartbeat", json=beat).status_code == 200
    page = bridge.http.get("/").text
    assert "paused until" in page and "Alice" not in page
    assert 'ferry_workstation_paused{workstation="scope-1"} 1.0' in bridge.http.get("/metrics").text


def test_a_pause_of_a_queued_order_says_who_and_until_when(bridge: Bridge) -> None:
    desk = bridge.workstation().sign_in("alice")
    order_id, _answer = desk.order()
    with bridge.store.write() as session:
        order = bridge.store.get(session, order_id)
        order.sealed, order.condition, order.reason = True, Condition.QUEUED, None
    beat = {"paused_for_seconds": 1800, "paused_by": "Alice Lindgren"}
    desk.call("POST", "/v1/workstation/heartbeat", json=beat, person=False)
    reason = desk.call("GET", f"/v1/orders/{order_id}").json()["reason"]
    assert reason["code"] == "paused_at_microscope"
    assert reason["detail"].startswith("scope-1 was paused by Alice Lindgren until ")


@pytest.mark.parametrize("seconds", [-1, 8 * 3600 + 1])
def test_a_pause_longer_than_eight_hours_is_refused(bridge: Bridge, seconds: float) -> None:
    desk = bridge.workstation()
    answer = desk.call("POST", "/v1/workstation/heartbeat", json={"paused_for_seconds": seconds})
    assert answer.status_code == 422


def test_invented_addresses_become_no_metric(bridge: Bridge) -> None:
    bridge.http.get("/v1/" + "z" * 50)
    assert "z" * 50 not in bridge.http.get("/metrics").text


def test_the_status_page_shows_workstations_and_no_person(bridge: Bridge, alice: Desk) -> None:
    alice.order("scope1/alice/secret-project")
    bridge.workstation("<script>alert(1)</script>", "scope9", approved=False)
    page = bridge.http.get("/")
    assert page.status_code == 200
    assert "scope-1" in page.text
    assert "Confocal" in page.text
    assert "alice" not in page.text
    assert "secret-project" not in page.text
    assert "<script>" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_status_page_shows_what_agents_free(bridge: Bridge, alice: Desk) -> None:
    told = {"share": "conf", "mode": "released", "queued": 2, "freed_bytes": 12_000_000_000}
    elsewhere = {"share": "scope9", "mode": "ask", "freed_bytes": 77_000_000_000}
    beat = {"cleaning": [{**told, "stayed_files": 3}, elsewhere]}
    assert alice.call("POST", "/v1/workstation/heartbeat", json=beat).status_code == 200
    page = bridge.http.get("/").text
    assert "(released): 12.0 GB freed today, 0 B released, 2 under way, 3 files stayed" in page
    assert "77" not in page, "of a share that it has no root in, a workstation knows nothing"


def test_log_lines_carry_the_order_and_no_secret(alice: Desk) -> None:
    import structlog

    from server_bridge.observability import working_on

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        order_id, _ = alice.order()
        alice.state(order_id)
        with working_on("an-order", step="pull"):
            structlog.get_logger("x").info("hello")
    found = [line for line in lines if line.get("path") == f"/v1/orders/{order_id}"]
    assert found
    assert all(line["order"] == order_id for line in found)
    assert [line for line in lines if line.get("order") == "an-order" and line["step"] == "pull"]
    assert alice.token not in str(lines)
    assert alice.key not in str(lines)


def test_the_openapi_document_has_every_endpoint_of_the_design() -> None:
    paths = openapi_document()["paths"]
    wanted = {
        "/v1/session": {"post", "get", "delete"},
        "/v1/workstation": {"post", "get"},
        "/v1/workstation/heartbeat": {"post"},
        "/v1/targets/containers": {"get", "post"},
        "/v1/targets/tags": {"get"},
        "/v1/orders": {"get"},
        "/v1/orders/{order_id}": {"put", "get"},
        "/v1/orders/{order_id}/manifest": {"put"},
        "/v1/orders/{order_id}/commands": {"post"},
        "/v1/orders/{order_id}/receipts": {"get"},
        "/v1/orders/{order_id}/release": {"get"},
        "/v1/orders/{order_id}/freed": {"post"},
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/metrics": {"get"},
    }
    for path, methods in wanted.items():
        assert set(paths[path]) == methods, path
