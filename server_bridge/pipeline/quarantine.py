"""Staged files that nobody may need any more, kept for a while under another name. Nothing is unlinked here.

A move is a rename inside staging's filesystem, row first: what the table names and does not find in
quarantine is still in staging, and the next try moves it. Only files that are the last name of their bytes
are taken, and each one's inode is noted, so that whoever unlinks it later can see that it is still that file.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.errors import NeedsAttention
from server_bridge.mover import staging
from server_bridge.mover.durability import sync_filesystem
from server_bridge.orders.models import Order, OrderFile, QuarantinedFile
from server_bridge.pipeline.places import QUARANTINE, OrderPlaces, places_of

DELETED_IN_OMERO = "deleted_in_omero"
DROPPED_BY_STAFF = "dropped_by_staff"

Write = Callable[[], AbstractContextManager[tuple[Session, Order]]]
"""A writing transaction with the order's row, which may be refused."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What lies in quarantine after a move."""

    files: int
    size_bytes: int


def folder_of(site: SiteConfig, share: str, order_id: str) -> Path:
    """Where an order's files lie in quarantine, each under its share path."""
    return site.staging_dir / QUARANTINE / "deleted" / share / order_id


def standing(session: Session, order_id: str) -> list[QuarantinedFile]:
    """The order's rows whose files were not unlinked."""
    return list(
        session.scalars(
            select(QuarantinedFile)
            .where(QuarantinedFile.order_id == order_id, QuarantinedFile.unlinked_at.is_(None))
            .order_by(QuarantinedFile.path)
        )
    )


def linked_names(places: OrderPlaces, paths: Sequence[str]) -> list[str]:
    """Those of the staged files whose bytes have a second name, or that are no plain file."""
    return [
        str(places.staged(path))
        for path in paths
        if (found := staging.look(places.staged(path))) is not None
        and (found.st_nlink != 1 or not stat.S_ISREG(found.st_mode))
    ]


def move_in(
    site: SiteConfig,
    order: Order,
    paths: Sequence[str],
    write: Write,
    *,
    why: str,
    now: datetime,
    keep_until: datetime,
) -> Moved:
    """Move staged files into quarantine; a repeat goes on where the last try ended.

    Args:
        site: for places.
        order: whose files they are.
        paths: share paths; one that is not staged is left out.
        write: makes a transaction.
        why: noted with each file.
        now: the time.
        keep_until: before this moment nothing of it is unlinked.

    Raises:
        NeedsAttention: ``quarantine_refused`` where a file is not the last name of its bytes, or its place in
            quarantine is taken. Nothing else is moved then.
    """
    places, folder = places_of(site, order.share, order.id), folder_of(site, order.share, order.id)
    with write() as (session, _order):
        known = {row.path: row for row in standing(session, order.id)}
        for path in paths:
            found = staging.look(places.staged(path))
            if found is None:
                continue
            if found.st_nlink != 1 or not stat.S_ISREG(found.st_mode):
                raise _refused(f"{places.staged(path)} is not the only name of its bytes.")
            if path not in known:
                known[path] = QuarantinedFile(
                    order_id=order.id,
                    path=path,
                    quarantine_path=str(folder / path),
                    size_bytes=found.st_size,
                    why=why,
                    at=now,
                    keep_until=keep_until,
                )
                session.add(known[path])
            known[path].at, known[path].keep_until = now, keep_until
            file = session.get(OrderFile, (order.id, path))
            if file is not None:
                file.device, file.inode = found.st_dev, found.st_ino
    for path in paths:
        if path in known:
            _rename(places.staged(path), Path(known[path].quarantine_path))
    sync_filesystem(site.staging_dir)
    kept = [known[path] for path in paths if path in known]
    return Moved(len(kept), sum(row.size_bytes for row in kept))


def move_back(site: SiteConfig, order: Order, rows: Sequence[QuarantinedFile]) -> None:
    """Move files back to where they were staged; rows are the caller's to remove afterwards.

    Raises:
        NeedsAttention: ``quarantine_refused`` where something else lies there.
    """
    places = places_of(site, order.share, order.id)
    staging.make_directories(places.staging, [row.path for row in rows])
    for row in rows:
        _rename(Path(row.quarantine_path), places.staged(row.path))
    sync_filesystem(site.staging_dir)


def _rename(source: Path, target: Path) -> None:
    if staging.look(source) is None:
        return  # moved by an earlier try
    if staging.look(target) is not None:
        raise _refused(f"{target} is there already.")
    target.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
    source.rename(target)


def _refused(detail: str) -> NeedsAttention:
    return NeedsAttention(
        detail,
        code="quarantine_refused",
        title="A staged file cannot be moved into or out of quarantine",
        remedy="Staff look at this file and at its other names, then retry. Nothing was deleted.",
    )
