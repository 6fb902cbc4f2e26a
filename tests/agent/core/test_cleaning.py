"""What decides about cleaning: pure, and the book that keeps it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import cleaning
from agent.core.cleaner import is_allowed
from agent.core.cleaning_book import CleaningBook, Job, JobState
from agent.core.machine_store import MachineStore
from agent.core.sender import REPORT_CHARACTERS, parts_of
from agent.platform.base import Room
from server_bridge.contract import DeletionMode, FreedReport
from tests.agent.conftest import workstation_share
from tests.agent.core.test_cards import FOUND, state

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SHARE = workstation_share().model_copy(update={"deletion": DeletionMode.AGENT})
JOB = Job(
    order_id=str(UUID(int=1)),
    share="scope1",
    path="alice/run1",
    person="alice",
    asked_by="alice",
    asked_at=NOW,
    files_total=3,
    bytes_total=300,
)


@pytest.mark.parametrize(
    ("clean", "free", "wanted"),
    [
        ("ask", 1, False),
        ("released", 99, True),
        ("when-low", 19, True),
        ("when-low", 20, False),
        ("when-low", None, False),
        ("by-the-moon", 1, False),
    ],
)
def test_the_policy_wants_only_what_staff_wrote(clean: str, free: int | None, wanted: bool) -> None:
    room = None if free is None else Room(free, 100)
    share = SHARE.model_copy(update={"clean": clean})
    assert cleaning.is_wanted(share, room) is wanted
    assert not cleaning.is_wanted(share.model_copy(update={"deletion": DeletionMode.STORAGE}), room)


def test_no_job_goes_on_where_staff_took_the_right_away() -> None:
    policy = replace(JOB, asked_by="")
    released = SHARE.model_copy(update={"clean": "released"})
    storage = released.model_copy(update={"deletion": DeletionMode.STORAGE})
    assert is_allowed(JOB, SHARE) and is_allowed(policy, released)
    assert not is_allowed(policy, SHARE) and not is_allowed(JOB, storage)


def test_the_policy_takes_the_oldest_and_rests_on_what_did_not_go() -> None:
    old, new = (state("released").model_copy(update={"id": UUID(int=number)}) for number in (1, 2))
    ended = replace(JOB, state=JobState.DONE, ended_at=NOW - timedelta(hours=1), stayed_count=1)
    assert cleaning.choose([old, new], {}, NOW) is old
    assert cleaning.choose([old, new], {JOB.order_id: JOB}, NOW) is new
    assert cleaning.choose([old, new], {JOB.order_id: ended}, NOW) is new
    assert cleaning.choose([old, new], {JOB.order_id: ended}, NOW + timedelta(hours=6)) is old


def test_a_later_acquisition_at_the_same_place_is_no_candidate() -> None:
    order = state("released")
    here = replace(FOUND, share=order.share, path=order.path, first_seen_at=order.created_at)
    assert cleaning.released_here(order.share, [order], [here])
    later = replace(here, first_seen_at=order.created_at + timedelta(seconds=1))
    assert not cleaning.released_here(order.share, [order], [later])
    assert not cleaning.released_here(order.share, [state("proven")], [here])


def test_our_own_deleting_is_no_acquiring(tmp_path: Path) -> None:
    found = replace(FOUND, path=JOB.path, last_change_at=NOW)
    over = replace(JOB, state=JobState.DONE, ended_at=NOW - timedelta(seconds=5))
    assert cleaning.is_cleaned(found, [replace(JOB, begun=True)], NOW)
    assert cleaning.is_cleaned(found, [over], NOW)
    assert not cleaning.is_cleaned(found, [JOB], NOW), "nothing was deleted yet"
    assert not cleaning.is_cleaned(replace(found, last_change_at=NOW + timedelta(hours=1)), [over], NOW)


def test_the_book_outlives_a_kill_and_persons_come_first(tmp_path: Path) -> None:
    book = CleaningBook(tmp_path / "cleaning.sqlite3")
    policy = replace(JOB, order_id=str(UUID(int=2)), asked_by="", asked_at=NOW - timedelta(hours=1))
    book.ask(policy)
    book.ask(JOB)
    book.begin(JOB.order_id, 3, 300)
    again = CleaningBook(tmp_path / "cleaning.sqlite3")
    found = again.next("scope1", NOW)
    assert found is not None and found.order_id == JOB.order_id and found.begun
    again.forbid([JOB.order_id])
    assert not again.may_delete(JOB.order_id)
    again.end(JOB.order_id, JobState.STOPPED, NOW)
    assert (left := again.next("scope1", NOW)) is not None and left.order_id == policy.order_id
    again.later(policy.order_id, NOW + timedelta(minutes=1), None)
    assert again.next("scope1", NOW) is None and again.next("scope2", NOW) is None
    book.close()
    again.close()


@given(
    paths=st.lists(st.text(min_size=1, max_size=4000), max_size=400, unique=True),
    reasons=st.lists(st.text(max_size=60), max_size=50),
)
def test_a_long_report_goes_in_pieces_that_hold_all_of_it(paths: list[str], reasons: list[str]) -> None:
    skipped = dict(zip(paths, reasons, strict=False))
    report = FreedReport(paths=tuple(path for path in paths if path not in skipped), skipped=skipped)
    parts = list(parts_of(report))
    assert tuple(path for part in parts for path in part.paths) == report.paths
    assert {path: why for part in parts for path, why in part.skipped.items()} == skipped
    assert all(sum(map(len, (*part.paths, *part.skipped))) <= REPORT_CHARACTERS + 4096 for part in parts)


def test_a_hundred_thousand_files_are_reported_in_pieces_that_the_bridge_takes() -> None:
    paths = tuple(f"alice/plate/Images/é{number:06d}-{'x' * 60}.tif" for number in range(100_000))
    parts = list(parts_of(FreedReport(paths=paths)))
    assert len(parts) > 10
    assert max(len(part.model_dump_json().encode()) for part in parts) < 4 * 1024**2


def test_an_order_is_remembered_as_long_as_its_data_lies_there(tmp_path: Path) -> None:
    store = MachineStore(tmp_path / "machine.sqlite3")
    order = state("released").model_copy(update={"updated_at": NOW - timedelta(days=40)})
    found = replace(FOUND, share=order.share, path=order.path)
    store.keep_orders([order])
    store.record([found], [], NOW)
    store.forget_orders(NOW - timedelta(days=14))
    assert [one.id for one in store.orders(NOW - timedelta(days=14))] == [order.id]
    store.record([], [found.id], NOW)
    assert store.orders(NOW - timedelta(days=14)) == []
    store.forget_orders(NOW - timedelta(days=14))
    assert store.order(str(order.id)) is None
    store.close()
