"""An order that needs somebody is told once, in the transaction that says so; leaving that unsays it."""

from __future__ import annotations

import uuid
from uuid import UUID

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from server_bridge.contract import CommandKind, CommandRequest, Condition, Reason
from server_bridge.observability import REGISTRY
from server_bridge.orders import commands
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Notice, OrderCommand, utcnow
from server_bridge.orders.store import Store
from tests.bridge.notices.conftest import PutOrder, standing

STAFF = Caller(username="staff", is_staff=True)


def need(store: Store, order_id: str, code: str) -> None:
    number = store.claim(order_id, utcnow())
    assert number is not None
    store.attention(order_id, number, Reason(code=code, title="Somebody is needed", detail="alice/secret"))


def counted(code: str) -> float:
    return REGISTRY.get_sample_value("ferry_attention_total", {"code": code}) or 0.0


def test_attention_is_told_and_leaving_it_withdraws_the_notice(store: Store, put: PutOrder) -> None:
    order_id, before = put(), counted("left_out")
    with capture_logs() as logs:
        need(store, order_id, "left_out")
    notice = standing(store)[f"attention:{order_id}:left_out"]
    assert (notice.kind, notice.person, notice.for_staff, notice.order_id) == (
        "attention", "alice", True, order_id,
    )  # fmt: skip
    assert Reason.model_validate(notice.reason).since is not None
    assert counted("left_out") == before + 1
    assert b'ferry_attention_total{code="left_out"}' in generate_latest(REGISTRY)
    (line,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert (line["order"], line["code"], line["title"]) == (order_id, "left_out", "Somebody is needed")
    assert "alice" not in str(line)

    retry = CommandRequest(id=uuid.uuid4(), kind=CommandKind.RETRY)
    commands.give(store, UUID(order_id), retry, STAFF, utcnow())
    assert standing(store) == {}
    need(store, order_id, "left_out")
    assert standing(store)[f"attention:{order_id}:left_out"].mailed_staff_at is None


def test_another_reason_takes_the_place_of_the_first(store: Store, put: PutOrder) -> None:
    order_id = put()
    need(store, order_id, "target_gone")
    with store.write() as session:
        order = store.get(session, order_id)
        reason = Reason(code="left_out", title="x")
        store.set_condition(session, order, Condition.ATTENTION, who="bridge", text="x", reason=reason)
    assert set(standing(store)) == {f"attention:{order_id}:left_out"}


def test_what_is_rolled_back_was_never_told(store: Store, put: PutOrder) -> None:
    order_id, before = put(), counted("import_failed")
    with capture_logs() as logs, pytest.raises(RuntimeError), store.write() as session:
        order = store.get(session, order_id)
        reason = Reason(code="import_failed", title="x")
        store.set_condition(session, order, Condition.ATTENTION, who="bridge", text="x", reason=reason)
        raise RuntimeError
    assert (standing(store), counted("import_failed")) == ({}, before)
    assert [entry for entry in logs if entry["log_level"] == "warning"] == []


def test_who_took_an_order_over_is_asked_from_then_on(store: Store, put: PutOrder) -> None:
    order_id = put()
    with store.write() as session:
        store.get(session, order_id).ordered_by = "carol"
    need(store, order_id, "left_out")
    assert standing(store)[f"attention:{order_id}:left_out"].person == "alice"
    with store.write() as session:
        session.add(
            OrderCommand(id="x", order_id=order_id, kind="take-over", request_digest="", by="carol",
                         at=utcnow(), result={})
        )  # fmt: skip
    commands.give(
        store, UUID(order_id), CommandRequest(id=uuid.uuid4(), kind=CommandKind.RETRY), STAFF, utcnow()
    )
    need(store, order_id, "left_out")
    assert standing(store)[f"attention:{order_id}:left_out"].person == "carol"
    with store.read() as session:
        assert session.query(Notice).count() == 1
