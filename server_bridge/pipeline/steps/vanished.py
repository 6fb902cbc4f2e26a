"""proving: filesets of a proven order are not in OMERO any more.

A deletion moves the staged copies into quarantine and ends the order, or lets it go on with what is left; the
copy on the buffer is never released by it. A restored database moves nothing. What cannot be told apart asks
somebody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from server_bridge.contract import Condition, Reason, ReceiptStatus, Stage
from server_bridge.errors import NeedsAttention
from server_bridge.omero.proof import look
from server_bridge.omero.receipts import FilesetInfo
from server_bridge.orders import notices, remembered, stages
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import ImportUnit, Order, OrderFile, utcnow
from server_bridge.orders.unit_rows import UnitRow
from server_bridge.pipeline import omero_watch, quarantine, vanished
from server_bridge.pipeline.attempt import Attempt, Finished
from server_bridge.pipeline.disks import require_one_disk
from server_bridge.pipeline.steps.units import DELETED_RULE
from server_bridge.processes.run_lock import RunLock


def is_there(unit: UnitRow, filesets: Mapping[int, FilesetInfo]) -> bool:
    """Whether OMERO has the unit's fileset, with images, and it is still that one."""
    found = filesets.get(unit.fileset_id) if unit.fileset_id is not None else None
    return found is not None and found.complete and found.file(unit.client_path) is not None


def settle(
    attempt: Attempt,
    missing: Sequence[UnitRow],
    filesets: Mapping[int, FilesetInfo],
    same_database: bool | None,
    managed_repository: Path,
    *,
    whole: bool,
) -> None:
    """Decide about missing filesets of a proven order. Returns where the order goes on with the rest.

    Args:
        attempt: of the order.
        missing: the units whose filesets are not there.
        filesets: what OMERO holds, by id.
        same_database: what the landmark says.
        managed_repository: as this host sees it.
        whole: no other unit is left.

    Raises:
        Finished: where the order has ended by it.
        NeedsAttention, TransientFailure, Unavailable: where nothing may be done (yet).
    """
    order = attempt.order
    indexes = {unit.index for unit in missing}
    files = attempt.context.store.files(attempt.order_id)
    members = [file for file in files if file.unit in indexes]
    require_one_disk(attempt.context.site.staging_dir, managed_repository)
    if not omero_watch.vouches(attempt.context, order.id):
        same_database = None if same_database else same_database
    seen = _see(attempt, missing, members, filesets, same_database)
    verdict = vanished.judge(seen)
    what = "Fileset " + ", ".join(str(unit.fileset_id) for unit in missing[:5])
    if len(missing) > 5:
        what += f" and {len(missing) - 5} more"
    if verdict is vanished.Verdict.RESTORED:
        told = omero_watch.reason(attempt.context, f"{what} is not in OMERO's database any more.")
        raise NeedsAttention(told.detail, code=told.code, title=told.title, remedy=told.remedy)
    if verdict is not vanished.Verdict.DELETED:
        raise vanished.error(verdict, seen, what)
    with RunLock.acquire(attempt.places.lock):
        _put_away(attempt, order, missing, files if whole else members, what, whole=whole)


def _see(
    attempt: Attempt,
    missing: Sequence[UnitRow],
    members: Sequence[FileRow],
    filesets: Mapping[int, FilesetInfo],
    same_database: bool | None,
) -> vanished.Lost:
    ours = {unit.fileset_id: unit.client_path for unit in missing if unit.fileset_id is not None}
    found = [filesets[fileset_id] for fileset_id in ours if fileset_id in filesets]
    taken = [one.fileset_id for one in found if one.file(ours[one.fileset_id]) is None]
    since = attempt.waiting_since("gone_in_omero")
    return vanished.Lost(
        same_database=same_database,
        taken=taken,
        emptied=[one.fileset_id for one in found if one.fileset_id not in taken],
        gone_twice=since is not None and utcnow() - since >= vanished.LOOKS_APART,
        managed_left=[
            file.managed_path for file in members if file.managed_path and look(Path(file.managed_path))
        ],
        linked=quarantine.linked_names(attempt.places, [file.path for file in members]),
    )


def _put_away(
    attempt: Attempt,
    order: Order,
    missing: Sequence[UnitRow],
    files: Sequence[FileRow],
    what: str,
    *,
    whole: bool,
) -> None:
    site, now = attempt.context.site, utcnow()
    share = attempt.share
    keep_until = now + timedelta(days=share.quarantine_days)
    moved = quarantine.move_in(
        site,
        order,
        [file.path for file in files],
        lambda: attempt.context.store.attempt_write(attempt.order_id, attempt.number),
        why=quarantine.DELETED_IN_OMERO,
        now=now,
        keep_until=keep_until,
    )
    on_buffer = any(file.freed_at is None for file in files)
    reason = Reason(
        code="deleted_in_omero",
        title="The data was deleted in OMERO",
        detail=f"{what} was deleted there. {moved.files} staged files are kept in quarantine until "
        f"{keep_until:%Y-%m-%d}. "
        + ("The copy on the buffer is not released by this." if on_buffer else "The buffer holds no copy."),
        remedy=(
            "Nothing to do if that was meant; otherwise order it again, or ask staff to bring it back out of "
            "quarantine."
            if on_buffer
            else "Nothing to do if that was meant; otherwise ask staff to bring it back out of quarantine."
        ),
        contact=site.contact,
    )
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, row):
        store.audit(
            session,
            "bridge",
            "order.deleted_in_omero",
            order.id,
            filesets=[unit.fileset_id for unit in missing],
            files=moved.files,
            bytes=moved.size_bytes,
            keep_until=keep_until.isoformat(),
            whole=whole,
        )
        notices.post(
            session,
            now,
            key=f"attention:{order.id}:deleted_in_omero",
            kind="attention",
            reason=reason,
            person=order.person,
            order_id=order.id,
        )
        if not whole:
            _go_on_without(attempt, session, row, missing, files)
            store.event(session, row, "bridge", f"{reason.title}: {reason.detail}", reason)
            store.touch(session, row)
            return
        row.released_at = None
        store.set_stage(
            session,
            row,
            Stage.DISCARDED,
            stages.Cause.ATTEMPT,
            who="bridge",
            text=f"{reason.title}; the staged copy is in quarantine",
            condition=Condition.QUEUED,
            reason=reason,
        )
    raise Finished


def _go_on_without(
    attempt: Attempt,
    session: Session,
    row: Order,
    missing: Sequence[UnitRow],
    files: Sequence[FileRow],
) -> None:
    """Take deleted units out of an order of which others stay; somebody decides about their files.

    They are in no image any more, like files that no reader takes, and are asked about in the same way: until
    somebody accepts it by name, they keep the whole order's copy on the buffer.
    """
    name = remembered.deleted_units(row.id)
    before = (remembered.recall(session, name) or {}).get("units", [])
    remembered.remember(
        session, name, {"units": [*before, *(_described(unit, files) for unit in missing)]}, utcnow()
    )
    for unit in missing:
        session.delete(session.get_one(ImportUnit, (row.id, unit.index)))
    session.execute(
        update(OrderFile)
        .where(OrderFile.order_id == row.id, OrderFile.unit.in_([unit.index for unit in missing]))
        .values(unit=None, status=ReceiptStatus.PENDING.value, rule=DELETED_RULE, proven_at=None)
    )
    row.asks_left_out = True
    attempt.progressed = True


def _described(unit: UnitRow, files: Sequence[FileRow]) -> dict[str, Any]:
    """What brings the unit back (`server_bridge.retention.quarantine_restore`)."""
    return {
        "index": unit.index,
        "main_path": unit.main_path,
        "reader": unit.reader,
        "spw": unit.spw,
        "client_path": unit.client_path,
        "fileset_id": unit.fileset_id,
        "paths": [file.path for file in files if file.unit == unit.index],
    }
