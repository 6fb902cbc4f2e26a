"""Staff's word that the staged copy of an order that was given up is not needed: named and audited.

Nothing is unlinked by it. Only files whose copy on the buffer is seen there now, as it was pulled, leave the
order's folder, and they go into quarantine for the share's ``quarantine_days``; every other file stays, since
it may be the last copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from server_bridge.context import Context
from server_bridge.contract import Stage
from server_bridge.errors import Conflict, Unavailable
from server_bridge.mover import staging
from server_bridge.mover.listing import FolderMissing, Listing, list_source
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import Order
from server_bridge.pipeline import quarantine
from server_bridge.pipeline.places import OrderPlaces, places_of
from server_bridge.pipeline.sources import source_of
from server_bridge.processes.run_lock import RunLock
from server_bridge.processes.runner import ProcessRunner
from server_bridge.retention.leftovers import GIVEN_UP


@dataclass(frozen=True, slots=True)
class Given:
    """What went into quarantine, and what stays."""

    files: int
    size_bytes: int
    kept: int
    keep_until: datetime


def drop_staging(context: Context, order_id: str, who: str, note: str, now: datetime) -> Given:
    """Move the staged copy of a cancelled or discarded order into quarantine, as far as the buffer has it.

    Raises:
        NotFound: for an unknown order.
        Conflict: ``order_lives`` for one that was not given up.
        ShareAway, ShareRefused, Unavailable: where the buffer cannot be seen as a whole.
    """
    store = context.store
    order, files = store.order(order_id), store.files(order_id)
    if Stage(order.stage) not in GIVEN_UP:
        raise Conflict(
            f"Order {order_id} is {order.stage}.",
            code="order_lives",
            title="This order was not given up",
            remedy="Only the staged copy of a cancelled or discarded order can go. Cancel it first.",
        )
    places = places_of(context.site, order.share, order.id)
    listing = _listing(context, order)
    here = [file for file in files if staging.look(places.staged(file.path)) is not None]
    sure = [file.path for file in here if listing is not None and _is_on_buffer(places, file, listing)]
    share = context.site.share(order.share)
    keep_until = now + timedelta(days=share.quarantine_days if share is not None else 30.0)

    @contextmanager
    def write() -> Iterator[tuple[Session, Order]]:
        with store.write() as session:
            row = store.get(session, order_id)
            if Stage(row.stage) not in GIVEN_UP:
                raise Conflict(f"Order {order_id} is {row.stage}.", code="order_lives")
            yield session, row

    with RunLock.acquire(places.lock):
        moved = quarantine.move_in(
            context.site,
            order,
            sure,
            write,
            why=quarantine.DROPPED_BY_STAFF,
            now=now,
            keep_until=keep_until,
        )
    with write() as (session, row):
        text = f"{moved.files} staged files went into quarantine, {len(here) - len(sure)} stay"
        store.audit(
            session, who, "staging.given_up", order_id, files=moved.files, bytes=moved.size_bytes, note=note
        )
        store.event(session, row, who, f"{text}: {note}" if note else text)
        store.touch(session, row)
    return Given(moved.files, moved.size_bytes, len(here) - len(sure), keep_until)


def _listing(context: Context, order: Order) -> Listing | None:
    """The order's place on its share now; None where it is gone.

    Raises:
        Unavailable: where the listing did not see everything, or the share is gone from the site file.
    """
    share = context.site.share(order.share)
    if share is None:
        raise Unavailable(
            f"The site file knows no share {order.share!r}.",
            code="share_unknown",
            title="The buffer cannot be looked at",
            remedy="Put the share back into the site file.",
        )
    try:
        listing = list_source(
            source_of(share),
            order.path,
            ProcessRunner(),
            members=tuple(order.members),
            marker=share.marker,
            rsync=context.site.rsync,
            stall_seconds=share.stall_seconds,
        )
    except FolderMissing:
        return None
    if not listing.is_complete:
        raise Unavailable(
            f"Not everything below {order.path!r} can be read on the buffer.",
            code="source_unreadable",
            title="The buffer cannot be looked at as a whole",
            remedy="Give the share's user read permission, then try again.",
        )
    return listing


def _is_on_buffer(places: OrderPlaces, file: FileRow, listing: Listing) -> bool:
    entry = listing.entries.get(file.path)
    return (
        entry is not None
        and file.source_mtime_s is not None
        and (entry.size_bytes, entry.mtime_s) == (file.size_bytes, file.source_mtime_s)
        and staging.is_complete(places.staged(file.path), file.size_bytes, file.source_mtime_s)
    )
