"""A night of maintenance is one notice, not one per order; and its end is told to whom it was told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from server_bridge.contract import Reason
from server_bridge.notices.outages import OutageWatch, merge, place_of
from server_bridge.orders.models import utcnow
from server_bridge.orders.store import Store
from tests.bridge.notices.conftest import NOW, PutOrder, standing

AFTER = timedelta(minutes=30)
QUIET = timedelta(minutes=10)


@pytest.fixture
def watch(store: Store) -> OutageWatch:
    return OutageWatch(store, AFTER, QUIET)


def wait(store: Store, order_id: str, code: str, minutes_ago: float = 0.0) -> int:
    later = utcnow() + timedelta(days=3650)
    number = store.claim(order_id, later)
    assert number is not None
    since = NOW - timedelta(minutes=minutes_ago)
    reason = Reason(code=code, title="It is away", detail="no route", remedy="Look at it.", since=since)
    store.wait(order_id, number, reason, later - timedelta(days=1), progressed=True)
    return number


def test_many_orders_that_wait_for_one_thing_are_one_notice(
    store: Store, put: PutOrder, watch: OutageWatch
) -> None:
    for minutes in (31, 5, 12):
        wait(store, put(), "share_away", minutes)
    wait(store, put(), "stalled", 2)
    wait(store, put(share="conf2"), "share_away", 40)
    wait(store, put(), "omero_hung", 29)
    watch.look(NOW)
    assert set(standing(store)) == {"outage:share_away:conf:", "outage:share_away:conf2:"}
    notice = standing(store)["outage:share_away:conf:"]
    words = Reason.model_validate(notice.reason)
    assert (notice.person, notice.for_staff) == ("", True)
    assert words.since == NOW - timedelta(minutes=31)
    assert "4 orders wait" in words.detail
    watch.look(NOW + timedelta(minutes=2))
    assert "outage:omero_away::" in standing(store)
    assert len(standing(store)) == 3


def test_a_fault_of_the_settings_is_told_at_once_and_once(
    store: Store, put: PutOrder, watch: OutageWatch
) -> None:
    for _ in range(5):
        wait(store, put(), "share_auth_failed", 0)
    watch.look(NOW)
    assert set(standing(store)) == {"outage:share_auth_failed:conf:"}


def test_an_order_that_is_tried_again_is_no_end_of_the_outage(
    store: Store, put: PutOrder, watch: OutageWatch
) -> None:
    order_id = put()
    wait(store, order_id, "omero_away", 60)
    watch.look(NOW)
    assert store.claim(order_id, utcnow() + timedelta(days=3650)) is not None  # it runs now
    watch.look(NOW + QUIET / 2)
    assert set(standing(store)) == {"outage:omero_away::"}


def test_the_end_is_told_where_the_outage_was_mailed(store: Store, put: PutOrder, watch: OutageWatch) -> None:
    first, second = put(), put(share="light")
    wait(store, first, "share_away", 60)
    wait(store, second, "share_away", 60)
    watch.look(NOW)
    with store.write() as session:
        session.merge(standing(store)["outage:share_away:conf:"]).mailed_staff_at = NOW
    for order_id in (first, second):
        assert store.claim(order_id, utcnow() + timedelta(days=3650)) is not None
    watch.look(NOW + QUIET)
    assert set(standing(store)) == {"over:outage:share_away:conf:"}
    # It comes back: a new thing, and the word of its end is no longer true.
    third = put()
    wait(store, third, "share_away", 60)
    watch.look(NOW + QUIET)
    assert set(standing(store)) == {"outage:share_away:conf:"}
    assert standing(store)["outage:share_away:conf:"].mailed_staff_at is None


def test_a_restart_of_the_bridge_ends_no_outage(store: Store, put: PutOrder, watch: OutageWatch) -> None:
    order_id = put()
    wait(store, order_id, "omero_away", 60)
    watch.look(NOW)
    assert store.claim(order_id, utcnow() + timedelta(days=3650)) is not None
    store.requeue_running("started anew")
    anew = OutageWatch(store, AFTER, QUIET)
    anew.look(NOW + timedelta(hours=5))
    assert set(standing(store)) == {"outage:omero_away::"}
    anew.look(NOW + timedelta(hours=5) + QUIET)
    assert standing(store) == {}


def test_what_passes_with_the_orders_own_work_is_no_outage(
    store: Store, put: PutOrder, watch: OutageWatch
) -> None:
    for code in ("omero_busy", "order_busy", "source_changed", "files_incomplete"):
        wait(store, put(), code, 600)
    watch.look(NOW)
    assert standing(store) == {}


def test_the_sites_own_things_have_no_share() -> None:
    assert [place_of(code, "conf") for code in ("omero_away", "staging_full", "configuration")] == [""] * 3
    assert place_of("share_host_key", "conf") == "conf"
    one = Reason(code="omero_away", title="away", since=NOW)
    other = Reason(code="omero_hung", title="hung", since=NOW - timedelta(minutes=1))
    (merged,) = merge([("conf", 2, one), ("light", 3, other)])
    assert (merged.orders, merged.reason.title, merged.since) == (5, "hung", other.since)
