"""The end of quarantine: a file is unlinked when its time is over, or goes back into its order.

This is the second and last place where we unlink data. It takes only what a row names, below the quarantine
folder, when the row's time is over, and only if the name still is that regular file: same inode, same size,
no second name. Anything else is left alone for ever and told.
"""

from __future__ import annotations

import logging
import os
import stat
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.context import Context
from server_bridge.contract import Condition, ReceiptStatus, Stage
from server_bridge.errors import Conflict, NotFound
from server_bridge.orders import clock, overlap, places, remembered, stages
from server_bridge.orders.callers import Caller
from server_bridge.orders.manifest_reader import Line
from server_bridge.orders.models import ImportUnit, Order, OrderFile, QuarantinedFile
from server_bridge.orders.store import Store
from server_bridge.pipeline import quarantine
from server_bridge.pipeline.places import QUARANTINE, places_of
from server_bridge.processes.run_lock import RunLock

CAP_PER_PASS = 500
NAMED = 20

_log = logging.getLogger(__name__)


def root_of(site: SiteConfig) -> Path:
    """The quarantine folder; nothing outside it is ever unlinked here."""
    return site.staging_dir / QUARANTINE


def expire(context: Context, now: datetime) -> int:
    """Unlink what was kept long enough, at most a cap. Returns how many files went."""
    root = root_of(context.site)
    if not root.is_dir():
        return 0  # staging is away: nothing may be concluded
    gone = 0
    for order_id, rows in _due(context, now).items():
        gone += _expire_order(context, root, order_id, rows, now)
    return gone


def _due(context: Context, now: datetime) -> dict[str, list[tuple[QuarantinedFile, int | None]]]:
    with context.store.read() as session:
        found = session.execute(
            select(QuarantinedFile, OrderFile.inode)
            .outerjoin(
                OrderFile,
                (OrderFile.order_id == QuarantinedFile.order_id) & (OrderFile.path == QuarantinedFile.path),
            )
            .where(QuarantinedFile.unlinked_at.is_(None), QuarantinedFile.keep_until <= now)
            .order_by(QuarantinedFile.order_id, QuarantinedFile.path)
            .limit(CAP_PER_PASS)
        ).all()
    leaps = clock.observe(context.store) if found else ()
    by_order: defaultdict[str, list[tuple[QuarantinedFile, int | None]]] = defaultdict(list)
    for row, inode in found:
        # Days that passed, not days by which somebody set the clock ahead: these bytes may be the last copy.
        if row.keep_until is not None and row.keep_until + clock.lead_since(row.at, leaps) <= now:
            by_order[row.order_id].append((row, inode))
    return by_order


def _expire_order(
    context: Context,
    root: Path,
    order_id: str,
    rows: Sequence[tuple[QuarantinedFile, int | None]],
    now: datetime,
) -> int:
    store = context.store
    with store.write(notify=False) as session:
        # Before the first unlink: what may happen must be known even if the power fails in the middle.
        store.audit(
            session,
            "bridge",
            "quarantine.unlink",
            order_id,
            files=len(rows),
            bytes=sum(row.size_bytes for row, _inode in rows),
            paths=[row.path for row, _inode in rows[:NAMED]],
        )
    done = [
        (row, unlink_if_same(root, Path(row.quarantine_path), row.size_bytes, inode)) for row, inode in rows
    ]
    with store.write(notify=False) as session:
        for row, said in done:
            kept = session.get_one(QuarantinedFile, row.id)
            if said in ("", "missing"):
                kept.unlinked_at = now
            else:
                kept.keep_until = None
        odd = {row.path: said for row, said in done if said}
        if odd:
            _log.warning("quarantine of %s: %d files are not as they were moved there", order_id, len(odd))
            store.audit(
                session,
                "bridge",
                "quarantine.kept",
                order_id,
                files=len(odd),
                why=dict(list(odd.items())[:NAMED]),
            )
    return sum(1 for _row, said in done if not said)


def unlink_if_same(root: Path, path: Path, size_bytes: int, inode: int | None) -> str:
    """Unlink one name if it still is that file; returns why not, empty where it was done.

    The folder is opened first and the name is looked at and unlinked in it, so that nothing above it can be
    exchanged in between.
    """
    if inode is None or ".." in path.parts or root not in path.parents:
        return "not below the quarantine folder" if inode is not None else "its inode is not known"
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    try:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return "not a regular file"
        if (found.st_ino, found.st_size) != (inode, size_bytes):
            return "another file"
        if found.st_nlink != 1:
            return "it has a second name"
        os.unlink(path.name, dir_fd=folder)
    except FileNotFoundError:
        return "missing"
    finally:
        os.close(folder)
    return ""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a restore brought back."""

    files: int
    size_bytes: int


def restore(context: Context, order_id: str, caller: Caller, note: str = "") -> Brought:
    """Bring an order's files back out of quarantine: what was deleted in OMERO is then imported again from
    staging; the staged copy of an order that was given up only lies there again.

    Raises:
        NotFound: ``not_in_quarantine``.
        Conflict: ``place_taken``, ``already_imported`` where the same data was ordered again meanwhile;
            ``order_busy`` where the order is at work.
        NeedsAttention: ``quarantine_refused`` where something lies where a file was.
    """
    store = context.store
    with store.read() as session:
        order = store.get(session, order_id)
        rows = quarantine.standing(session, order_id)
        given_up = bool(rows) and all(row.why == quarantine.DROPPED_BY_STAFF for row in rows)
        if not given_up:
            _require_restorable(session, context.site, order, rows, caller)
    with RunLock.acquire(places_of(context.site, order.share, order.id).lock):
        quarantine.move_back(context.site, order, rows)
        with store.write() as session:
            row = store.get(session, order_id)
            text = f"{len(rows)} files came back out of quarantine"
            if given_up:
                store.event(session, row, caller.who, text)
                store.touch(session, row)
            else:
                _require_restorable(session, context.site, row, rows, caller)
                _import_again(store, session, row, caller.who, f"{text}; they are imported again")
            for moved in rows:
                session.delete(session.get_one(QuarantinedFile, moved.id))
            size = sum(moved.size_bytes for moved in rows)
            store.audit(
                session, caller.who, "quarantine.restored", order_id, files=len(rows), bytes=size, note=note
            )
    return Brought(len(rows), size)


def _import_again(store: Store, session: Session, order: Order, who: str, text: str) -> None:
    _bring_units_back(session, order)
    order.proven_at = order.released_at = None
    order.attempt += 1
    if order.stage == Stage.PROVING:
        store.set_condition(session, order, Condition.QUEUED, who=who, text=text)
    else:
        store.set_stage(session, order, Stage.PROVING, stages.Cause.STAFF, who=who, text=text)


def _require_restorable(
    session: Session, site: SiteConfig, order: Order, rows: Sequence[QuarantinedFile], caller: Caller
) -> None:
    if not any(row.why == quarantine.DELETED_IN_OMERO for row in rows):
        raise NotFound(
            f"Order {order.id} has no file in quarantine that was deleted in OMERO.",
            code="not_in_quarantine",
            title="Nothing to bring back",
            remedy="See `ferry-bridge quarantine`.",
        )
    stage = Stage(order.stage)
    if stage not in (Stage.DISCARDED, Stage.PROVING, Stage.PROVEN, Stage.RELEASED) or (
        order.condition == Condition.RUNNING
    ):
        raise Conflict(
            f"Order {order.id} is {order.stage} and {order.condition}.",
            code="order_busy",
            title="The order is at work",
            remedy="Wait a moment and try again.",
        )
    if stage is Stage.DISCARDED:
        places.require_free(session, order.id, order.share, overlap.place_of(order), caller)
    share = site.share(order.share)
    entries = _entries(session, order.id, {row.path for row in rows})
    if stage is Stage.DISCARDED:
        places.require_own_files(session, order, entries, caller)
    found = places.already_imported(
        session, order, entries, share.mtime_tolerance_seconds if share is not None else 0.0
    )
    if found:
        raise Conflict(
            f"{found[0].path!r} came to OMERO again by order {found[0].order_id}.",
            code="already_imported",
            title="This data is in OMERO again",
            remedy="Leave it in quarantine: the other order brought it.",
        )


def _entries(session: Session, order_id: str, wanted: set[str]) -> list[Line]:
    rows = session.execute(
        select(OrderFile.path, OrderFile.size_bytes, OrderFile.mtime_ns).where(OrderFile.order_id == order_id)
    )
    return [Line(path=path, size_bytes=size, mtime_ns=mtime) for path, size, mtime in rows if path in wanted]


def _bring_units_back(session: Session, order: Order) -> None:
    """Units that were taken out of the order stand in it again, not imported; the others are as they were."""
    name = remembered.deleted_units(order.id)
    described: list[dict[str, Any]] = (remembered.recall(session, name) or {}).get("units", [])
    for one in described:
        paths: list[str] = one["paths"]
        session.add(
            ImportUnit(
                order_id=order.id,
                index=one["index"],
                main_path=one["main_path"],
                reader=one["reader"],
                spw=one["spw"],
                file_count=len(paths),
                client_path=one["client_path"],
                state="pending",
                image_ids=[],
                plate_ids=[],
            )
        )
        session.flush()
        for start in range(0, len(paths), 400):
            session.execute(
                update(OrderFile)
                .where(OrderFile.order_id == order.id, OrderFile.path.in_(paths[start : start + 400]))
                .values(unit=one["index"], status=ReceiptStatus.PENDING.value, rule="")
            )
    if described:
        remembered.forget(session, name)
        order.asks_left_out = False
