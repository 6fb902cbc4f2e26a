"""Data that grows old on a buffer is told of in time, to whom it concerns; what is safe is not."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_bridge.config import SiteConfig
from server_bridge.contract import (
    Condition,
    Heartbeat,
    Reason,
    ShareHeartbeat,
    Stage,
    UnorderedAcquisition,
    WorkstationStatus,
)
from server_bridge.notices import lifetime
from server_bridge.notices.lifetime import Aging, step
from server_bridge.orders.models import AuditEntry, Workstation
from server_bridge.orders.store import Store
from tests.bridge.notices.conftest import NOW, PutOrder, standing

DAY = timedelta(days=1)
LIFETIME = 60


def days_ago(days: float) -> datetime:
    return NOW - days * DAY


def beat(store: Store, *seen: tuple[str, float, float], answered: bool = True) -> None:
    """A workstation's word: (path, first seen, last changed), in days ago."""
    unordered = tuple(
        UnorderedAcquisition(
            share="conf", path=path, size_bytes=10**9, file_count=3,
            first_seen_at=days_ago(first), last_change_at=days_ago(last),
        )
        for path, first, last in seen
    )  # fmt: skip
    said = Heartbeat(shares=(ShareHeartbeat(share="conf", answered=answered),), unordered=unordered)
    with store.write() as session:
        row = session.get(Workstation, "desk") or Workstation(
            id="desk", name="desk", key_digest="", status=WorkstationStatus.APPROVED, roots={"conf": "sp8"},
            created_at=NOW, last_seen_at=NOW,
        )  # fmt: skip
        row.heartbeat = said.model_dump(mode="json")
        session.add(row)


def keys(store: Store) -> set[str]:
    return {key.removeprefix("lifetime:conf:") for key in standing(store, "lifetime")}


@settings(deadline=None)
@given(st.floats(-1000, 1000))
def test_the_steps_are_taken_in_their_order(days_left: float) -> None:
    found = step(days_left)
    assert (found is None) == (days_left > 14)
    assert (found == 0) == (days_left <= 0)
    if found:
        assert days_left <= found
        assert not [days for days in (2, 7) if days < found and days_left <= days]


def test_unordered_data_is_warned_of_at_14_7_and_2_days_and_at_the_end(
    site: SiteConfig, store: Store
) -> None:
    beat(store, ("sp8/alice/run", 45, 45))
    assert lifetime.look(store, site, NOW) == 0
    for later, expected in ((1, "14"), (2, "14"), (8, "7"), (13.5, "2"), (15, "0"), (40, "0")):
        lifetime.look(store, site, NOW + later * DAY)
        assert keys(store) == {f"sp8/alice/run:{expected}"}
    notice = standing(store)["lifetime:conf:sp8/alice/run:0"]
    words = Reason.model_validate(notice.reason)
    assert (notice.person, notice.for_staff, notice.order_id) == ("alice", True, None)
    assert words.code == "lifetime_over"
    assert "deletes nothing" in words.remedy


def test_its_time_counts_from_the_later_of_seen_and_written(site: SiteConfig, store: Store) -> None:
    beat(store, ("sp8/copied", 1, 400), ("sp8/still written", 400, 1), ("sp8/old", 50, 59))
    lifetime.look(store, site, NOW)
    assert keys(store) == {"sp8/old:14"}
    assert standing(store)["lifetime:conf:sp8/old:14"].person == "old", "whose folder it is named after"


def test_what_was_ordered_and_proven_is_warned_of_no_more(
    site: SiteConfig, store: Store, put: PutOrder
) -> None:
    beat(store, ("sp8/alice/run", 55, 55))
    lifetime.look(store, site, NOW)
    assert keys(store) == {"sp8/alice/run:7"}
    order_id = put("sp8/alice/run", first_seen_at=days_ago(55), newest=days_ago(56))
    lifetime.look(store, site, NOW)
    notice = standing(store)["lifetime:conf:sp8/alice/run:7"]
    assert keys(store) == {"sp8/alice/run:7"}, "ordered, and not proven yet"
    with store.write() as session:
        store.get(session, order_id).stage = Stage.PROVEN
    lifetime.look(store, site, NOW)
    assert keys(store) == set()
    assert notice.key == "lifetime:conf:sp8/alice/run:7"


@pytest.mark.parametrize("condition", [Condition.ATTENTION, Condition.WAITING])
def test_an_order_that_stands_still_is_warned_of_by_name(
    site: SiteConfig, store: Store, put: PutOrder, condition: Condition
) -> None:
    order_id = put("sp8/x", person="bob", first_seen_at=days_ago(59), newest=days_ago(80), sealed=False)
    put("sp8/fresh", first_seen_at=days_ago(59), newest=days_ago(2))
    put("sp8/cancelled", first_seen_at=days_ago(59), stage=Stage.CANCELLED)
    with store.write() as session:
        store.get(session, order_id).condition = condition
    lifetime.look(store, site, NOW)
    assert keys(store) == {"sp8/x:2"}
    notice = standing(store)["lifetime:conf:sp8/x:2"]
    assert (notice.person, notice.order_id) == ("bob", order_id)


def test_a_share_that_does_not_answer_takes_nothing_back(site: SiteConfig, store: Store) -> None:
    beat(store, ("sp8/alice/run", 55, 55))
    lifetime.look(store, site, NOW)
    beat(store, answered=False)
    lifetime.look(store, site, NOW)
    assert keys(store) == {"sp8/alice/run:7"}
    beat(store)
    lifetime.look(store, site, NOW)
    assert keys(store) == set()


def test_a_discard_is_named_and_holds_until_somebody_writes_there_again(
    site: SiteConfig, store: Store
) -> None:
    beat(store, ("sp8/run", 70, 70))
    lifetime.look(store, site, NOW)
    files = [("sp8/run/a", 5, 100), ("sp8/run/b", 7, 200)]
    lifetime.record_discard(store, "conf", "sp8/run", files, by="operator ada", reason="calibration", now=NOW)
    assert keys(store) == set()
    assert lifetime.look(store, site, NOW) == 0
    with store.read() as session:
        (entry,) = session.query(AuditEntry).filter(AuditEntry.action == "unordered.discard").all()
    assert (entry.who, entry.subject) == ("operator ada", "conf:sp8/run")
    assert (entry.detail["files"], entry.detail["bytes"], entry.detail["reason"]) == (2, 12, "calibration")
    beat(store, ("sp8/run", 70, -1))
    lifetime.look(store, site, NOW + 61 * DAY)
    assert keys(store) == {"sp8/run:0"}


def test_a_long_path_has_a_notice_of_its_own(site: SiteConfig, store: Store) -> None:
    long = "sp8/" + "x" * 300
    beat(store, (f"{long}/a", 55, 55), (f"{long}/b", 55, 55))
    assert lifetime.look(store, site, NOW) == 2
    assert lifetime.look(store, site, NOW) == 0
    assert max(map(len, standing(store))) <= 255


def test_the_list_puts_the_most_urgent_first(site: SiteConfig, store: Store, put: PutOrder) -> None:
    beat(store, ("sp8/b", 50, 50), ("sp8/a", 61, 61), ("sp8/young", 3, 3))
    put("sp8/ordered", first_seen_at=days_ago(59), newest=days_ago(59))
    with store.read() as session:
        found = lifetime.aging(session, site, NOW)
    assert [one.path for one in found] == ["sp8/a", "sp8/ordered", "sp8/b"]
    assert isinstance(found[0], Aging)
    assert [round(one.days_left(NOW)) for one in found] == [-1, 1, 10]
