"""Orders by the thousand, written as accepted and sealed orders stand in the table."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, update

from server_bridge.contract import Condition, Stage
from server_bridge.orders.models import FeedCounter, Order, OrderFile, utcnow
from server_bridge.orders.store import Store

FILES_EACH = 3


def fill(
    store: Store,
    count: int,
    *,
    people: int = 200,
    share: str = "conf",
    stage: Stage = Stage.ACCEPTED,
    condition: Condition = Condition.QUEUED,
    more: dict[str, Any] | None = None,
) -> list[str]:
    """Write that many orders of that many people, oldest first; returns their ids."""
    now = utcnow()
    with store.write() as session:
        counter = session.get_one(FeedCounter, 1).value
        rows = [
            {
                "id": str(uuid.uuid4()),
                "person": f"person{number % people}",
                "ordered_by": f"person{number % people}",
                "share": share,
                "path": f"person{number % people}/run{number}",
                "kind": "folder",
                "label": "",
                "target": {"group_id": 3, "container_id": 11, "kind": "dataset"},
                "import_again": False,
                "request_digest": "0" * 64,
                "stage": stage.value,
                "condition": condition.value,
                "stage_since": now,
                "attempt": 0,
                "idle_tries": 0,
                "revision": 1,
                "change": counter + number + 1,
                "manifest_revision": 1,
                "manifest_digest": "",
                "sealed": True,
                "file_count": FILES_EACH,
                "size_bytes": FILES_EACH * 1000,
                "asks_left_out": False,
                "created_at": now - timedelta(seconds=count - number),
                "updated_at": now,
                **(more or {}),
            }
            for number in range(count)
        ]
        session.execute(insert(Order), rows)
        session.execute(
            insert(OrderFile),
            [
                {
                    "order_id": row["id"],
                    "path": f"{row['path']}/plane{number}.tif",
                    "size_bytes": 1000,
                    "mtime_ns": 0,
                    "status": "pending",
                    "rule": "",
                }
                for row in rows
                for number in range(FILES_EACH)
            ],
        )
        session.execute(update(FeedCounter).values(value=counter + count))
    return [row["id"] for row in rows]
