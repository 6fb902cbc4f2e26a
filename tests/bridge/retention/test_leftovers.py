"""Staging that belongs to no living order: told with its size, given up only as far as the buffer has it."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from server_bridge.api.retention_metrics import RetentionCollector
from server_bridge.config import SiteConfig
from server_bridge.context import Context
from server_bridge.contract import Condition, Stage
from server_bridge.errors import Conflict
from server_bridge.mover.listing import ShareAway
from server_bridge.orders.models import AuditEntry, Order, OrderCommand, OrderEvent, OrderFile, utcnow
from server_bridge.pipeline import quarantine
from server_bridge.retention import trimming
from server_bridge.retention.giving_up import drop_staging
from server_bridge.retention.leftovers import UNKNOWN, leftovers, measure
from tests.bridge.bridge_site import make_site, make_store

MARKER = ".omero-ferry-share"


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    found = make_site(tmp_path)
    (tmp_path / "buffer" / MARKER).touch()
    return found


@pytest.fixture
def context(site: SiteConfig) -> Context:
    return Context(site, make_store(site), cast(Any, None))


def order(context: Context, stage: Stage, *names: str) -> str:
    """An order whose files lie on the buffer and in staging."""
    order_id, now = str(uuid.uuid4()), utcnow()
    buffer = context.site.state_dir.parent / "buffer"
    with context.store.write() as session:
        session.add(
            Order(
                id=order_id,
                person="alice",
                ordered_by="alice",
                share="conf",
                path="run",
                kind="folder",
                target={"group_id": 3, "container_id": 1},
                request_digest="0" * 64,
                stage=stage,
                condition=Condition.QUEUED,
                stage_since=now,
                change=0,
                created_at=now,
                updated_at=now,
            )
        )
        session.flush()
        for name in names:
            for top in (buffer, context.site.staging_dir / "conf" / order_id):
                (top / "run").mkdir(parents=True, exist_ok=True)
                (top / "run" / name).write_bytes(b"data " + name.encode())
                os.utime(top / "run" / name, (1000, 1000))
            session.add(
                OrderFile(
                    order_id=order_id,
                    path=f"run/{name}",
                    size_bytes=5 + len(name),
                    mtime_ns=1000 * 10**9,
                    source_mtime_s=1000,
                )
            )
    return order_id


def test_only_what_no_living_order_owns_is_told_and_measured(context: Context) -> None:
    living = order(context, Stage.PULLING, "a")
    cancelled = order(context, Stage.CANCELLED, "b", "cc")
    nobody = context.site.staging_dir / "conf" / str(uuid.uuid4())
    nobody.mkdir()
    (nobody / "x").write_bytes(b"123")
    (nobody / "y").hardlink_to(nobody / "x")
    odd = context.site.staging_dir / "conf" / "by hand"
    odd.mkdir()
    (context.site.staging_dir / ".ferry-quarantine" / "conf").mkdir(parents=True)
    found = {one.path: one for one in leftovers(context.site, context.store)}
    assert {path.name: one.state for path, one in found.items()} == {
        cancelled: "cancelled",
        nobody.name: UNKNOWN,
        "by hand": UNKNOWN,
    }
    assert living not in {path.name for path in found}
    size = measure(nobody)
    assert (size.files, size.size_bytes, size.last_names) == (2, 6, 0)
    assert measure(context.site.staging_dir / "conf" / cancelled).last_names == 2
    told = {
        (family.name, tuple(sample.labels.values())): sample.value
        for family in RetentionCollector(context.site, context.store).collect()
        for sample in family.samples
    }
    assert told["ferry_staging_leftovers", ("unknown",)] == 2
    assert told["ferry_staging_leftovers", ("cancelled",)] == 1
    assert told["ferry_omero_restored", ()] == 0


def test_what_is_given_up_goes_into_quarantine_only_as_far_as_the_buffer_has_it(context: Context) -> None:
    order_id = order(context, Stage.CANCELLED, "same", "changed", "gone")
    buffer, staged = (
        context.site.state_dir.parent / "buffer",
        context.site.staging_dir / "conf" / order_id / "run",
    )
    os.utime(buffer / "run" / "changed", (2000, 2000))
    (buffer / "run" / "gone").unlink()
    now = utcnow()
    done = drop_staging(context, order_id, "operator root", "not wanted", now)
    assert (done.files, done.kept) == (1, 2)
    assert sorted(one.name for one in staged.iterdir()) == ["changed", "gone"]
    with context.store.read() as session:
        (row,) = quarantine.standing(session, order_id)
        audited = session.scalars(select(AuditEntry).where(AuditEntry.action == "staging.given_up")).one()
    assert Path(row.quarantine_path).read_bytes() == b"data same"
    assert row.keep_until == now + timedelta(days=30)
    assert (audited.who, audited.detail["note"]) == ("operator root", "not wanted")


def test_nothing_is_given_up_while_the_share_is_away_or_the_order_lives(context: Context) -> None:
    order_id, living = order(context, Stage.CANCELLED, "a"), order(context, Stage.VERIFYING, "b")
    (context.site.state_dir.parent / "buffer" / MARKER).unlink()
    with pytest.raises(ShareAway):
        drop_staging(context, order_id, "operator", "x", utcnow())
    with pytest.raises(Conflict) as refused:
        drop_staging(context, living, "operator", "x", utcnow())
    assert refused.value.code == "order_lives"
    for one, name in ((order_id, "a"), (living, "b")):
        assert (context.site.staging_dir / "conf" / one / "run" / name).exists()


def test_old_history_goes_and_receipts_and_living_orders_keep_theirs(context: Context) -> None:
    ended, living = order(context, Stage.RETIRED, "a"), order(context, Stage.PROVEN, "b")
    now = utcnow()
    old = now - timedelta(days=context.site.limits.audit_days + 1)
    with context.store.write() as session:
        for one in (ended, living):
            context.store.event(session, context.store.get(session, one), "bridge", "long ago")
            context.store.audit(session, "alice", "order.accept", one)
            session.add(
                OrderCommand(
                    id=str(uuid.uuid4()),
                    order_id=one,
                    kind="retry",
                    request_digest="0" * 64,
                    by="alice",
                    at=old,
                    result={},
                )
            )
        session.flush()
        for table in (OrderEvent, AuditEntry):
            for row in session.scalars(select(table)):
                row.at = old
        session.get_one(Order, ended).updated_at = old
        context.store.audit(session, "alice", "order.accept", "new")
    assert trimming.trim(context, now) == {"audit": 2, "history": 1, "commands": 1}
    assert trimming.trim(context, now) == {}
    assert [file.path for file in context.store.files(ended)] == ["run/a"]
    with context.store.read() as session:
        assert {one.order_id for one in session.scalars(select(OrderEvent))} == {living}
        assert {one.action for one in session.scalars(select(AuditEntry))} == {
            "order.accept",
            "tables.trimmed",
        }
