"""The files of an order as plain values, for the steps that look at all of them.

An order may have a hundred thousand files and more. A mapped object costs ten times the memory and the time
of a tuple, and a step reads every file at least once; so what is read is a frozen row without a session, and
what changes is written by statements over many rows at a time (:func:`write`), in transactions short enough
that nobody else waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session

from server_bridge.orders.models import Order, OrderFile

_READ_AT_ONCE = 2000
WRITTEN_AT_ONCE = 5000
"""Rows in one transaction: a tenth of a second or so, in which other writers wait."""

Write = Callable[[], AbstractContextManager[tuple[Session, Order]]]


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of an order: the columns of :class:`~server_bridge.orders.models.OrderFile`, as they were
    read. Writing to the database does not change it."""

    path: str
    size_bytes: int
    mtime_ns: int
    source_mtime_s: int | None
    sha1: str | None
    staged_at: datetime | None
    unit: int | None
    status: str
    rule: str
    fileset_id: int | None
    original_file_id: int | None
    omero_sha1: str | None
    managed_path: str | None
    device: int | None
    inode: int | None
    proven_at: datetime | None
    freed_at: datetime | None


def pages(
    reading: Callable[[], AbstractContextManager[Session]],
    order_id: str,
    size: int,
    *which: ColumnElement[bool],
) -> Iterator[list[FileRow]]:
    """:func:`read` in lists of at most ``size``, none of them empty, each in a transaction of its own."""
    after: list[ColumnElement[bool]] = []
    while True:
        with reading() as session:
            page = read(session, order_id, *which, *after, limit=size)
        if page:
            after = [OrderFile.path > page[-1].path]
            yield page
        if len(page) < size:
            return


def read(
    session: Session, order_id: str, *which: ColumnElement[bool], limit: int | None = None
) -> list[FileRow]:
    """The files of an order, by path: all, or those for which every condition holds."""
    asked = (
        select(
            OrderFile.path,
            OrderFile.size_bytes,
            OrderFile.mtime_ns,
            OrderFile.source_mtime_s,
            OrderFile.sha1,
            OrderFile.staged_at,
            OrderFile.unit,
            OrderFile.status,
            OrderFile.rule,
            OrderFile.fileset_id,
            OrderFile.original_file_id,
            OrderFile.omero_sha1,
            OrderFile.managed_path,
            OrderFile.device,
            OrderFile.inode,
            OrderFile.proven_at,
            OrderFile.freed_at,
        )
        .where(OrderFile.order_id == order_id, *which)
        .order_by(OrderFile.path)
        .limit(limit)
        .execution_options(yield_per=_READ_AT_ONCE)
    )
    # Statuses and rules are few and times come in batches: each is kept once.
    same: dict[Any, Any] = {}
    once = same.setdefault
    return [
        FileRow(
            path, size, mtime, source, sha1, once(staged, staged), unit, once(status, status),
            once(rule, rule), fileset, original, sha1 if omero_sha1 == sha1 else omero_sha1, managed,
            device, inode, once(proven, proven), once(freed, freed),
        )
        for (
            path, size, mtime, source, sha1, staged, unit, status, rule, fileset, original, omero_sha1,
            managed, device, inode, proven, freed,
        ) in session.execute(asked)
    ]  # fmt: skip


def write(transaction: Write, values: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """Change files one by one, in as many transactions as it takes; each row names its file as ``key``.

    A crash between two of them leaves the first rows changed: only for what a repeat of the step writes
    again. Each transaction proves anew that the order is still the attempt's.

    Args:
        transaction: opens one, e.g. an attempt's ``write``.
        values: column → value, or ``bindparam`` of the name under which each row has it.
        rows: ``key`` is the path; no name may be a column's own.

    Raises:
        StaleAttempt: where the order moved on.
    """
    for piece in pieces(rows):
        with transaction() as (session, order):
            write_here(session, order.id, values, piece)


def write_here(
    session: Session, order_id: str, values: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """:func:`write` inside a transaction that is open already, for few rows."""
    table = OrderFile.__table__
    session.connection().execute(
        update(table)  # type: ignore[arg-type]
        .where(table.c.order_id == order_id, table.c.path == bindparam("key"))
        .values(**values),
        list(rows),
    )


def pieces(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The rows in parts that go into one transaction each; nothing for none."""
    source = iter(rows)
    while piece := list(islice(source, WRITTEN_AT_ONCE)):
        yield piece
