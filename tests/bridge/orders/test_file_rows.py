"""Rows of files: what is read is small and complete, what is written is fenced piece by piece."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy import bindparam, insert

from server_bridge.contract import Condition
from server_bridge.errors import StaleAttempt
from server_bridge.orders import file_rows
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import OrderFile, utcnow
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.orders.test_queue import put

FILES = 3000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(make_site(tmp_path))


def with_files(store: Store, count: int = FILES) -> str:
    order_id = put(store)
    rows = [
        {
            "order_id": order_id,
            "path": f"alice/a run of some length/plane_{number:06d}.tif",
            "size_bytes": number,
            "mtime_ns": number,
            "status": "proven",
            "rule": "",
            "sha1": f"{number:040x}",
            "omero_sha1": f"{number:040x}",
            "staged_at": utcnow(),
        }
        for number in range(count)
    ]
    with store.write() as session:
        session.execute(insert(OrderFile), rows)
    return order_id


def test_a_row_has_every_column_but_the_orders_id() -> None:
    columns = {column.name for column in OrderFile.__table__.columns}
    assert {field.name for field in fields(FileRow)} == columns - {"order_id"}


def test_rows_are_whole_and_in_order(store: Store) -> None:
    found = store.files(with_files(store, 7))
    assert [file.size_bytes for file in found] == list(range(7))
    assert found[3].sha1 == found[3].omero_sha1 == f"{3:040x}"
    assert found[3].staged_at is not None
    assert found[3].staged_at.tzinfo is not None
    assert (found[3].unit, found[3].status, found[3].freed_at) == (None, "proven", None)


def test_a_file_costs_less_than_a_kilobyte_of_memory(store: Store) -> None:
    order_id = with_files(store)
    store.files(order_id)  # whatever is made once
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = store.files(order_id)
        used, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == FILES
    assert (used - before) / FILES < 700
    assert (peak - before) / FILES < 1400, "rows of the database are not all held beside them"


def test_an_attempt_that_loses_its_order_writes_no_further_piece(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_rows, "WRITTEN_AT_ONCE", 2)
    order_id = with_files(store, 6)
    number = store.claim(order_id, utcnow())
    assert number is not None
    opened = 0

    def transaction():  # type: ignore[no-untyped-def]
        nonlocal opened
        opened += 1
        if opened == 2:
            with store.write() as session:
                order = store.get(session, order_id)
                order.attempt += 1
                store.set_condition(session, order, Condition.QUEUED, who="alice", text="a new manifest")
        return store.attempt_write(order_id, number)

    rows = [{"key": file.path, "index": 7} for file in store.files(order_id)]
    with pytest.raises(StaleAttempt):
        file_rows.write(transaction, {"unit": bindparam("index")}, rows)
    assert [file.unit for file in store.files(order_id)] == [7, 7, None, None, None, None]


def test_nothing_to_write_opens_no_transaction(store: Store) -> None:
    def transaction():  # type: ignore[no-untyped-def]
        raise AssertionError("a transaction for nothing")

    file_rows.write(transaction, {"unit": None}, [])
