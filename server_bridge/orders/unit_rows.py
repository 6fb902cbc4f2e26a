"""The import units of an order as plain values, one after the other, for steps that look at all of them.

An order may have as many units as files, and a mapped object of one costs three kilobytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from server_bridge.orders.models import ImportUnit

_READ_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class UnitRow:
    """Columns of :class:`~server_bridge.orders.models.ImportUnit`, as they were read."""

    index: int
    main_path: str
    reader: str
    spw: bool
    client_path: str
    fileset_id: int | None
    image_ids: tuple[int, ...]
    plate_ids: tuple[int, ...]


def each(session: Session, order_id: str) -> Iterator[UnitRow]:
    """All units of an order, by index. The session stays busy until the last one was taken."""
    asked = (
        select(
            ImportUnit.index,
            ImportUnit.main_path,
            ImportUnit.reader,
            ImportUnit.spw,
            ImportUnit.client_path,
            ImportUnit.fileset_id,
            ImportUnit.image_ids,
            ImportUnit.plate_ids,
        )
        .where(ImportUnit.order_id == order_id)
        .order_by(ImportUnit.index)
        .execution_options(yield_per=_READ_AT_ONCE)
    )
    for index, main, reader, spw, client, fileset, images, plates in session.execute(asked):
        yield UnitRow(index, main, reader, spw, client, fileset, tuple(images), tuple(plates))


def fileset_ids(session: Session, order_id: str) -> dict[int, int]:
    """Unit → fileset, of the units that have one, by index."""
    asked = (
        select(ImportUnit.index, ImportUnit.fileset_id)
        .where(ImportUnit.order_id == order_id, ImportUnit.fileset_id.is_not(None))
        .order_by(ImportUnit.index)
    )
    return {index: fileset for index, fileset in session.execute(asked) if fileset is not None}
