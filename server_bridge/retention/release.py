"""The re-check at the moment of deletion: nothing on the buffer goes on the word of an old receipt.

Every fact behind every receipt is read again, here and now: OMERO's rows in a few bulk queries, both names on
disk by lstat. What comes out is valid for minutes, and carries size and mtime of each file as the
workstation saw them, so that whoever deletes can see whether it is still the same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from server_bridge.context import Context
from server_bridge.contract import Reason, ReceiptStatus, Release, ReleasedFile, Stage
from server_bridge.omero.held import Held
from server_bridge.omero.proof import FileProblem
from server_bridge.omero.receipts import filesets_by_id
from server_bridge.orders import backup_stamps, clock, stages, unit_rows
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import Order, utcnow
from server_bridge.pipeline.places import places_of
from server_bridge.pipeline.steps.proving import judgements
from server_bridge.retention.guard import COVERED, ReleaseFacts, may_be_released
from server_bridge.staging import require_staging

CHECKED_AT_ONCE = 5000
"""Files whose rows in OMERO are held at once; more where a single fileset has more."""


def recheck(context: Context, order_id: str) -> Release:
    """Re-check an order and say what may be deleted now, or why nothing may.

    Files that were reported freed are not checked and not listed again.

    Raises:
        NotFound: for an unknown order.
        Unavailable: where OMERO does not answer: then nothing may be deleted either.
    """
    now = utcnow()
    order, files = context.store.order(order_id), context.store.files(order_id)
    facts = gather(context, order, files)
    refused = may_be_released(facts, now)
    if refused is None and Stage(order.stage) is Stage.PROVEN:
        # The hold ended a moment ago and the releaser has not come by yet; the stage must not run behind.
        refused = None if release(context, order_id, now) else not_released()
    if refused is None and Stage(order.stage) is Stage.RETIRED:
        files = []
    if refused is not None:
        return _answer(context, order, now, refused, [])
    return _answer(context, order, now, None, [file for file in files if file.freed_at is None])


def not_released() -> Reason:
    """The order changed while it was looked at."""
    return Reason(code="changed_meanwhile", title="The order changed a moment ago", remedy="Ask again.")


def gather(context: Context, order: Order, files: list[FileRow]) -> ReleaseFacts:
    """Read the facts; OMERO and disks are asked only for an order that claims to be proven.

    Raises:
        Unavailable: where OMERO does not answer.
        StagingAway: where the staging disk does not.
    """
    share = context.site.share(order.share)
    # A share that staff took out of the site file releases nothing: its hold is not known any more.
    hold_days = share.hold_days if share is not None else float(timedelta.max.days // 2)
    left = [file for file in files if file.freed_at is None]
    stage = Stage(order.stage)
    problems: list[tuple[str, str, str]] = []
    if stage in (Stage.PROVEN, Stage.RELEASED):
        require_staging(context)
        proven = [file for file in left if file.status == ReceiptStatus.PROVEN]
        problems = sorted(_lost(context, order, proven))
        problems += [
            (file.path, "no_unit", "It is called proven and belongs to no import unit")
            for file in proven
            if file.unit is None
        ]
    covered = None
    if share is not None and share.require_backup:
        with context.store.read() as rows:
            covered = backup_stamps.covered_until(rows)
    return ReleaseFacts(
        stage=stage,
        proven_at=order.proven_at,
        hold_days=hold_days,
        statuses=[ReceiptStatus(file.status) for file in files],
        problems=problems,
        clock_lead=clock.lead_since(order.proven_at, clock.observe(context.store))
        if order.proven_at is not None
        else timedelta(0),
        backup_required=share is not None and share.require_backup,
        imported_at=max(
            (file.proven_at for file in files if file.status == ReceiptStatus.PROVEN and file.proven_at),
            default=None,
        ),
        backup_covers_until=covered,
    )


def _lost(context: Context, order: Order, proven: Iterable[FileRow]) -> Iterator[tuple[str, str, str]]:
    """The files whose proof does not hold now, with code and title. OMERO is asked about some units at a
    time: what it says of all of them is much to hold.

    Raises:
        Unavailable: where OMERO does not answer.
    """
    places = places_of(context.site, order.share, order.id)
    with context.store.read() as rows:
        fileset_of = unit_rows.fileset_ids(rows, order.id)
    for files in _of_whole_units(proven):
        theirs = {file.unit: fileset_of[file.unit] for file in files if file.unit in fileset_of}
        with context.omero.service() as session:
            held = Held.of(theirs, filesets_by_id(session, sorted(set(theirs.values()))))
        for file, found in judgements(order, files, held, places):
            if isinstance(found, FileProblem):
                yield file.path, found.code, found.title


def _of_whole_units(files: Iterable[FileRow]) -> Iterator[list[FileRow]]:
    """In parts of `CHECKED_AT_ONCE` and more, so that no fileset is asked for twice; none for no files."""
    part: list[FileRow] = []
    for _unit, members in groupby(sorted(files, key=_unit_of), key=_unit_of):
        part += members
        if len(part) >= CHECKED_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _unit_of(file: FileRow) -> int:
    return -1 if file.unit is None else file.unit


def release(context: Context, order_id: str, now: datetime) -> bool:
    """Compare-and-set proven → released. False where the order is no longer proven."""
    store = context.store
    with store.write() as session:
        order = store.get(session, order_id)
        if order.stage == Stage.RELEASED:
            return True
        if order.stage != Stage.PROVEN:
            return False
        order.released_at = now
        store.set_stage(
            session,
            order,
            Stage.RELEASED,
            stages.Cause.RETENTION,
            who="bridge",
            text="every proof was checked again; the buffer copy may go",
        )
        store.audit(session, "bridge", "order.released", order.id, files=order.file_count)
        return True


def _answer(
    context: Context, order: Order, now: datetime, refused: Reason | None, files: list[FileRow]
) -> Release:
    if refused is not None:
        refused = refused.model_copy(update={"contact": context.site.contact})
    return Release(
        order_id=UUID(order.id),
        released=refused is None,
        checked_at=now,
        valid_until=None
        if refused is not None
        else now + timedelta(seconds=context.site.limits.release_seconds),
        reason=refused,
        share=order.share,
        path=order.path,
        members=tuple(order.members),
        files=tuple(
            ReleasedFile(path=file.path, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)
            for file in files
            if ReceiptStatus(file.status) in COVERED
        ),
    )
