"""The five conditions before a staged name is dropped."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server_bridge.contract import ReceiptStatus
from server_bridge.omero.proof import NameOnDisk
from server_bridge.orders.models import OrderFile
from server_bridge.retention.reconcile import APART, Sighting, may_be_dropped

AT = datetime(2026, 3, 1, tzinfo=UTC)
NAME = NameOnDisk(device=1, inode=7, links=2, regular=True, size=5, mtime_s=0)


def ask(**changed: Any) -> bool:
    facts: dict[str, Any] = {
        "status": ReceiptStatus.PROVEN,
        "freed_at": AT,
        "first": frozenset(),
        "second": frozenset(),
        "apart": APART,
        "staged": NAME,
        "managed": NAME,
        **changed,
    }
    file = OrderFile(path="run/a.tif", status=facts["status"], freed_at=facts["freed_at"])
    return may_be_dropped(
        file,
        Sighting(AT, facts["first"]),
        Sighting(AT + facts["apart"], facts["second"]),
        facts["staged"],
        facts["managed"],
    )


def test_all_conditions_hold() -> None:
    assert ask()


@pytest.mark.parametrize(
    "changed",
    [
        {"first": frozenset({"run/a.tif"})},
        {"second": frozenset({"run/a.tif"})},
        {"apart": APART - timedelta(seconds=1)},
        {"status": ReceiptStatus.KEPT},
        {"status": ReceiptStatus.PENDING},
        {"freed_at": None},
        {"staged": None},
        {"managed": None},
        {"staged": replace(NAME, links=1)},
        {"staged": replace(NAME, inode=8)},
        {"managed": replace(NAME, device=2)},
        {"managed": replace(NAME, regular=False)},
        {"staged": replace(NAME, regular=False)},
    ],
)
def test_one_that_does_not_hold_keeps_the_name(changed: dict[str, Any]) -> None:
    assert not ask(**changed)
