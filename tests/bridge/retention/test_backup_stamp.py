"""What a share that asks for a backup waits for, and what a report of one must look like."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from server_bridge.context import Context
from server_bridge.contract import ReceiptStatus, Stage
from server_bridge.errors import BadRequest
from server_bridge.orders import backup_stamps
from server_bridge.orders.models import AuditEntry, utcnow
from server_bridge.retention.guard import ReleaseFacts, may_be_released
from server_bridge.retention.releaser import Releaser
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.retention.test_leftovers import order

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOURS = st.one_of(st.none(), st.integers(-48, 48))


@given(covered=HOURS, required=st.booleans())
def test_only_a_backup_that_began_after_the_last_import_counts(covered: int | None, required: bool) -> None:
    facts = ReleaseFacts(
        stage=Stage.PROVEN,
        proven_at=NOW,
        hold_days=0,
        statuses=[ReceiptStatus.PROVEN],
        backup_required=required,
        imported_at=NOW,
        backup_covers_until=None if covered is None else NOW + timedelta(hours=covered),
    )
    reason = may_be_released(facts, NOW + timedelta(days=3))
    waits = required and (covered is None or covered < 0)
    assert (reason is not None) == waits
    if reason is not None:
        assert reason.code == "backup_missing"
        assert ("none was reported" in reason.detail) == (covered is None)


def test_a_report_is_kept_once_and_audited_and_the_newest_beginning_counts(tmp_path: Path) -> None:
    store = make_store(make_site(tmp_path))
    with store.read() as session:
        assert backup_stamps.covered_until(session) is None
    assert backup_stamps.record(store, NOW - timedelta(hours=2), "operator root", "tape 7", NOW)
    assert not backup_stamps.record(store, NOW - timedelta(hours=2), "operator root", "tape 7", NOW)
    # Reported later, begun earlier: a long backup that only ends now covers less.
    assert backup_stamps.record(store, NOW - timedelta(days=2), "operator root", "", NOW)
    with store.read() as session:
        assert backup_stamps.covered_until(session) == NOW - timedelta(hours=2)
        audited = session.scalars(select(AuditEntry).where(AuditEntry.action == "backup.done")).all()
    assert [one.who for one in audited] == ["operator root"] * 2


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (NOW + timedelta(minutes=5), "in the future"),
        (NOW - timedelta(days=31), "30 days ago"),
        (NOW.replace(tzinfo=None), "no time zone"),
    ],
)
def test_a_moment_that_cannot_be_is_refused(tmp_path: Path, at: datetime, said: str) -> None:
    store = make_store(make_site(tmp_path))
    with pytest.raises(BadRequest) as refused:
        backup_stamps.record(store, at, "staff", "", NOW)
    assert refused.value.code == "backup_time"
    assert said in refused.value.detail and refused.value.remedy
    with store.read() as session:
        assert backup_stamps.latest(session) is None


def test_a_proven_order_is_looked_at_when_a_stamp_comes_and_not_before(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    share = site.shares[0].model_copy(update={"require_backup": True, "hold_days": 0.0})
    context = Context(site.model_copy(update={"shares": (share,)}), make_store(site), cast(Any, None))
    order_id = order(context, Stage.PROVEN, "a")
    now = utcnow()
    with context.store.write() as session:
        context.store.get(session, order_id).proven_at = now - timedelta(hours=1)
    releaser = Releaser(context)
    assert releaser._due(now) == []
    backup_stamps.record(context.store, now - timedelta(hours=2), "operator", "", now)
    assert releaser._due(now) == [], "it began before the import"
    backup_stamps.record(context.store, now - timedelta(minutes=5), "operator", "", now)
    assert releaser._due(now) == [order_id]
    releaser._next_look[order_id] = now + timedelta(hours=1)  # looked at, and something else held it
    assert releaser._due(now) == []
    backup_stamps.record(context.store, now - timedelta(minutes=1), "operator", "", now)
    assert releaser._due(now) == [order_id]
