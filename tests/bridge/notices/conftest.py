"""A site with orders in its table and nobody working on them; times are given, nothing waits."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server_bridge.config import SiteConfig
from server_bridge.contract import Condition, Stage
from server_bridge.orders.models import Notice, Order, OrderFile
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.notices import smtp

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PutOrder = Callable[..., str]


@pytest.fixture
def post() -> Iterator[smtp.Post]:
    with smtp.running() as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, post: smtp.Post) -> SiteConfig:
    """A site that mails at once through the server of the test."""
    return make_site(
        tmp_path,
        mail={
            "host": "localhost",
            "port": post.port,
            "security": "none",
            "sender": "ferry@example.org",
            "staff": ["staff@example.org", "head@example.org"],
            "digest_minutes": 0,
        },
    )


@pytest.fixture
def store(site: SiteConfig) -> Store:
    return make_store(site)


@pytest.fixture
def put(store: Store) -> PutOrder:
    """``put(path=…, person=…, stage=…, share=…, group=…)``: an order, queued and sealed."""

    def make(
        path: str = "",
        *,
        person: str = "alice",
        share: str = "conf",
        stage: Stage = Stage.ACCEPTED,
        group: int = 3,
        sealed: bool = True,
        first_seen_at: datetime | None = None,
        newest: datetime | None = None,
        at: datetime = NOW,
    ) -> str:
        order_id = str(uuid.uuid4())
        with store.write() as session:
            order = Order(
                id=order_id, person=person, ordered_by=person, share=share, path=path or order_id,
                kind="folder",
                target={"group_id": group, "container_id": 11}, request_digest="0", stage=stage,
                condition=Condition.QUEUED if sealed else Condition.WAITING, stage_since=at, change=0,
                sealed=sealed, created_at=at, updated_at=at, first_seen_at=first_seen_at, size_bytes=5,
            )  # fmt: skip
            session.add(order)
            session.flush()
            if newest is not None:
                session.add(
                    OrderFile(
                        order_id=order_id,
                        path=f"{path}/a",
                        size_bytes=5,
                        mtime_ns=int(newest.timestamp() * 1e9),
                    )
                )
        return order_id

    return make


def standing(store: Store, kind: str = "") -> dict[str, Notice]:
    """Notices that stand, by key."""
    with store.read() as session:
        rows = session.query(Notice).filter(Notice.withdrawn_at.is_(None)).all()
        return {row.key: row for row in rows if kind in ("", row.kind)}
