"""Dropping the staged names of an order whose buffer copy is gone: the only unlink of ours in staging.

Five conditions, all of them, for each name: (1) the share was listed without any error, (2) with its marker
in sight, (3) twice, some time apart, and the file was in neither listing; (4) the orders table says
*proven* and the staged name shares its inode with OMERO's file, which is the other link; (5) no more than a
fixed number per pass. A staged file without a second link is the last copy of something and stays for ever.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from server_bridge.context import Context
from server_bridge.contract import ReceiptStatus, Stage
from server_bridge.mover.listing import FolderMissing, list_source
from server_bridge.omero.proof import NameOnDisk, look
from server_bridge.orders import stages
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import Order
from server_bridge.pipeline.places import places_of
from server_bridge.pipeline.sources import source_of
from server_bridge.processes.runner import ProcessRunner

APART = timedelta(seconds=30)
CAP_PER_PASS = 2000


@dataclass(frozen=True, slots=True)
class Sighting:
    """One complete listing of an order's place: what was there, and when it was looked at."""

    at: datetime
    present: frozenset[str]


def may_be_dropped(
    file: FileRow,
    first: Sighting,
    second: Sighting,
    staged: NameOnDisk | None,
    managed: NameOnDisk | None,
    apart: timedelta = APART,
) -> bool:
    """Whether this staged name may go. Pure; the listings were complete, with the marker in sight."""
    return (
        second.at - first.at >= apart
        and file.path not in first.present
        and file.path not in second.present
        and file.status == ReceiptStatus.PROVEN
        and file.freed_at is not None
        and staged is not None
        and managed is not None
        and staged.regular
        and managed.regular
        and staged.links >= 2
        and (staged.device, staged.inode) == (managed.device, managed.inode)
    )


def sight(context: Context, order: Order, now: datetime, runner: ProcessRunner) -> Sighting | None:
    """List the order's place on its share; None where the listing is not complete.

    Raises:
        ShareAway, ShareRefused, FolderRefused: then nothing may be concluded.
    """
    share = context.site.share(order.share)
    if share is None:
        return None
    try:
        # The mover requires the marker in every call: an unmounted share raises, it never looks empty.
        listing = list_source(
            source_of(share),
            order.path,
            runner,
            members=tuple(order.members),
            marker=share.marker,
            rsync=context.site.rsync,
            stall_seconds=share.stall_seconds,
        )
    except FolderMissing:
        return Sighting(now, frozenset())
    return Sighting(now, frozenset(listing.entries)) if listing.is_complete else None


@dataclass(frozen=True, slots=True)
class Dropped:
    """What one pass over an order's staged names did."""

    count: int = 0
    lost: tuple[str, ...] = ()
    """Staged files that are the last name of their bytes, though they were proven to be one with OMERO's."""


def drop_links(
    context: Context, order_id: str, first: Sighting, second: Sighting, apart: timedelta
) -> Dropped:
    """Unlink what may go, at most a cap; the order is retired when nothing is left to drop."""
    store = context.store
    order, files = store.order(order_id), store.files(order_id)
    if Stage(order.stage) is not Stage.RELEASED or order.freed_at is None:
        return Dropped()
    places = places_of(context.site, order.share, order.id)
    dropped = 0
    waiting = 0
    lost: list[str] = []
    for file in files:
        staged_path = places.staged(file.path)
        staged = look(staged_path)
        if staged is None or file.status != ReceiptStatus.PROVEN:
            continue
        managed = look(Path(file.managed_path)) if file.managed_path else None
        if (
            dropped < CAP_PER_PASS
            and may_be_dropped(file, first, second, staged, managed, apart)
            and unlink_second_name(staged_path, staged)
        ):
            dropped += 1
        else:
            waiting += 1
        if staged.links == 1 and (managed is None or managed.inode != file.inode):
            lost.append(file.path)
    if dropped or not waiting:
        with store.write() as session:
            row = store.get(session, order_id)
            if dropped:
                store.audit(session, "bridge", "staging.dropped", order_id, files=dropped)
                store.event(session, row, "bridge", f"{dropped} staged links dropped; OMERO's files stay")
            if not waiting and row.stage == Stage.RELEASED:
                store.set_stage(
                    session,
                    row,
                    Stage.RETIRED,
                    stages.Cause.RETENTION,
                    who="bridge",
                    text="the buffer copy is gone and the staged links are dropped",
                )
    return Dropped(dropped, tuple(lost))


def unlink_second_name(path: Path, seen: NameOnDisk) -> bool:
    """Unlink a name if it is, at this moment, still the file that was looked at, and not its last name.

    The name is looked at and unlinked in its opened folder, so that nothing above it can be exchanged in
    between. Between the two calls is no way to hold it; nobody but the bridge writes into staging, and an
    attempt of this order cannot run, since it is released.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        now = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        same = (now.st_dev, now.st_ino, now.st_size) == (seen.device, seen.inode, seen.size)
        if not same or not stat.S_ISREG(now.st_mode) or now.st_nlink < 2:
            return False
        os.unlink(path.name, dir_fd=folder)
    except FileNotFoundError:
        return False
    finally:
        os.close(folder)
    return True
