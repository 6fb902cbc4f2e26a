"""A bridge remembers its staging disk from its first start on, and is not talked out of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from server_bridge.config import SiteConfig
from server_bridge.contract import Condition, Stage
from server_bridge.mover.staging_disk import MARKER, StagingAway, read_marker
from server_bridge.orders.models import Order, OrderFile, SiteFact, utcnow
from server_bridge.orders.store import Store
from server_bridge.staging import FACT, require_staging, staging_word
from tests.bridge.bridge_site import make_site, make_store


@dataclass(frozen=True)
class Bridge:
    site: SiteConfig
    store: Store


@pytest.fixture
def bridge(tmp_path: Path) -> Bridge:
    site = make_site(tmp_path)
    return Bridge(site, make_store(site))


def remembered(bridge: Bridge) -> str | None:
    with bridge.store.read() as session:
        fact = session.get(SiteFact, FACT)
    return None if fact is None else fact.value["identity"]


def put_staged_order(store: Store, stage: Stage) -> None:
    now = utcnow()
    with store.write() as session:
        order = Order(
            id=str(uuid.uuid4()), person="alice", ordered_by="alice", share="conf", path="a.tif", kind="file",
            target={}, request_digest="0" * 64, stage=stage, condition=Condition.QUEUED, stage_since=now,
            change=0, created_at=now, updated_at=now,
        )  # fmt: skip
        session.add(order)
        session.flush()
        session.add(OrderFile(order_id=order.id, path="a.tif", size_bytes=1, mtime_ns=1, staged_at=now))
        store.touch(session, order)


def test_the_first_look_marks_the_disk_and_every_later_one_asks_for_the_mark(bridge: Bridge) -> None:
    assert staging_word(bridge) == "ok"
    assert not (bridge.site.staging_dir / MARKER).exists(), "a probe marks nothing"
    require_staging(bridge)
    assert remembered(bridge) == read_marker(bridge.site.staging_dir)
    require_staging(bridge)
    (bridge.site.staging_dir / MARKER).unlink()
    for _ in range(2):
        with pytest.raises(StagingAway) as caught:
            require_staging(bridge)
        assert str(remembered(bridge)) in caught.value.remedy
        assert list(bridge.site.staging_dir.iterdir()) == [], "nothing is made in a bare mount point"
    assert staging_word(bridge) == "away"
    (bridge.site.staging_dir / MARKER).write_text(f"{remembered(bridge)}\n")
    require_staging(bridge)
    bridge.site.staging_dir.rename(bridge.site.staging_dir.with_name("gone"))
    with pytest.raises(StagingAway, match="not a folder"):
        require_staging(bridge)
    assert staging_word(bridge) == "missing"


def test_a_new_database_takes_the_disks_word(bridge: Bridge) -> None:
    (bridge.site.staging_dir / MARKER).write_text("the old one\n")
    require_staging(bridge)
    assert remembered(bridge) == "the old one"


def test_an_empty_staging_directory_of_a_bridge_with_staged_orders_is_never_marked(bridge: Bridge) -> None:
    put_staged_order(bridge.store, Stage.VERIFYING)
    for _ in range(2):
        with pytest.raises(StagingAway):
            require_staging(bridge)
    assert list(bridge.site.staging_dir.iterdir()) == []


@pytest.mark.parametrize("stage", [Stage.RETIRED, Stage.CANCELLED])
def test_orders_that_are_over_need_nothing_in_staging(bridge: Bridge, stage: Stage) -> None:
    put_staged_order(bridge.store, stage)
    require_staging(bridge)


def test_a_bridge_from_before_markers_marks_the_disk_that_holds_its_orders(bridge: Bridge) -> None:
    put_staged_order(bridge.store, Stage.VERIFYING)
    (bridge.site.staging_dir / "conf").mkdir()
    require_staging(bridge)
    assert remembered(bridge) == read_marker(bridge.site.staging_dir)
