"""proving → annotating: a receipt per file, from OMERO's database and the two names on disk.

Here the chain closes: the SHA-1 that rsync computed while it read the buffer equals the one that OMERO
computed from its own file, and that file is the staged one (one inode). A bit that flipped in staging
between pull and import is found here, and nowhere earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.orm import Session

from server_bridge.contract import Condition, ReceiptStatus, Stage
from server_bridge.errors import NeedsAttention
from server_bridge.mover.durability import sync_filesystem
from server_bridge.omero.held import Held
from server_bridge.omero.paths import client_path
from server_bridge.omero.proof import FileProblem, FileProof, prove_file
from server_bridge.omero.receipts import FilesetInfo, filesets_by_id
from server_bridge.omero.session import chunks
from server_bridge.orders import file_rows, stages, unit_rows
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import ImportUnit, Order, OrderFile, utcnow
from server_bridge.orders.unit_rows import UnitRow
from server_bridge.pipeline import omero_watch, reproof
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.places import OrderPlaces
from server_bridge.pipeline.steps import restored, vanished
from server_bridge.pipeline.steps.units import require_all_covered
from server_bridge.pipeline.steps.verifying import resolve_again

NOTED_AT_ONCE = 20_000
"""Files whose proofs are held until they are written; each part waits once for the disk."""
IN_UNIT = OrderFile.unit.is_not(None)


def run(attempt: Attempt) -> None:
    """Prove every file of every unit.

    Raises:
        NeedsAttention: with the code of the first fact that does not hold; ``left_out``;
        ``deleted_in_omero``. Unavailable: where OMERO does not answer.
    """
    store, order = attempt.context.store, attempt.order
    with store.read() as rows:
        fileset_of = unit_rows.fileset_ids(rows, attempt.order_id)
        count = _count(rows, attempt.order_id)
    attempt.reporter.report("prove", files_total=count, last=True)
    with attempt.context.omero.service() as session:
        filesets = filesets_by_id(session, list(fileset_of.values()))
        # After the filesets: what the landmark vouches for includes them.
        same_database = omero_watch.look(attempt.context, session)
        managed_repository = session.managed_repository
    attempt.check()
    units, missing, fewer = _compare(attempt, filesets)
    if missing:
        if order.proven_at is None:
            if _was_proven(attempt):
                resolve_again(attempt)  # proven once: that may have been in another database
            _import_missing(attempt, missing)
        else:
            whole = len(missing) == units
            vanished.settle(attempt, missing, filesets, same_database, managed_repository, whole=whole)
        return
    _note_fewer_images(attempt, fewer)
    held = Held.of(fileset_of, filesets)
    del fileset_of, filesets
    _prove(attempt, held)
    require_all_covered(attempt)
    attempt.reporter.report("prove", files_done=count, files_total=count, last=True)
    attempt.advance(Stage.ANNOTATING, f"{count} files are proven", keep_running=True)


def _count(rows: Session, order_id: str, *which: ColumnElement[bool]) -> int:
    """How many files belong to units."""
    asked = select(func.count()).select_from(OrderFile)
    return rows.scalar(asked.where(OrderFile.order_id == order_id, IN_UNIT, *which)) or 0


def _was_proven(attempt: Attempt) -> bool:
    """Whether a file was proven once."""
    known = (OrderFile.managed_path.is_not(None), OrderFile.managed_path != "")
    with attempt.context.store.read() as rows:
        return _count(rows, attempt.order_id, *known) > 0


def _compare(
    attempt: Attempt, filesets: Mapping[int, FilesetInfo]
) -> tuple[int, list[UnitRow], list[tuple[UnitRow, FilesetInfo]]]:
    """How many units there are, which of them are not in OMERO, and which have fewer images than they had."""
    count, missing, fewer = 0, [], []
    with attempt.context.store.read() as rows:
        for unit in unit_rows.each(rows, attempt.order_id):
            count += 1
            found = filesets.get(unit.fileset_id or 0)
            if found is None or not vanished.is_there(unit, filesets):
                missing.append(unit)
            elif len(found.image_ids) < len(unit.image_ids):
                fewer.append((unit, found))
    return count, missing, fewer


def _prove(attempt: Attempt, held: Held) -> None:
    """Judge all files and write down what was found, part by part: rows and proofs of all are much.

    Raises:
        NeedsAttention: where a file is not proven, after all were looked at.
    """
    together = restored.bring_together(attempt, held)
    problems: dict[str, FileProblem] = {}
    for part in file_rows.pages(attempt.context.store.read, attempt.order_id, NOTED_AT_ONCE, IN_UNIT):
        proven: list[tuple[FileRow, FileProof]] = []
        for file, found in judgements(attempt.order, attempt.each(part), held, attempt.places):
            best = together.proofs.get(file.path, found)
            if isinstance(best, FileProof):
                proven.append((file, best))
            else:
                problems[file.path] = best
        if proven:
            # The links that OMERO's files are must survive a power loss before we say so.
            sync_filesystem(attempt.places.staging)
            _note(attempt, proven, held)
    problems |= together.problems
    if problems:
        _refute(attempt, problems)


def judge_files(
    order: Order, members: Iterable[FileRow], held: Held, places: OrderPlaces
) -> tuple[dict[str, FileProof], dict[str, FileProblem]]:
    """:func:`judgements` of few files, by path."""
    proofs: dict[str, FileProof] = {}
    problems: dict[str, FileProblem] = {}
    for file, found in judgements(order, members, held, places):
        if isinstance(found, FileProof):
            proofs[file.path] = found
        else:
            problems[file.path] = found
    return proofs, problems


def judgements(
    order: Order, members: Iterable[FileRow], held: Held, places: OrderPlaces
) -> Iterator[tuple[FileRow, FileProof | FileProblem]]:
    """Proof or problem of each file, in their order. Looks at both names on disk; asks OMERO nothing.

    A file that was found to hold other bytes is read again, completely.

    Args:
        order: gives person and group that must own the filesets.
        members: the files that belong to units.
        held: what OMERO holds of these units.
        places: where the files are staged.
    """
    owner = (order.person, int(order.target["group_id"]))
    for file in members:
        yield file, _judge(owner, file, held, places.staged(file.path))


def _judge(owner: tuple[str, int], file: FileRow, held: Held, staged: Path) -> FileProof | FileProblem:
    fileset = held.fileset(file.unit)
    if fileset is None or not fileset.complete:
        return FileProblem("fileset_missing", "OMERO no longer has this data", file.path)
    if (fileset.owner, fileset.group_id) != owner:
        return FileProblem(
            "fileset_moved",
            "The data is in another place of OMERO than ordered",
            f"Fileset {fileset.fileset_id} belongs to {fileset.owner} in group {fileset.group_id}.",
        )
    managed = held.file(file.unit, client_path(str(staged)))
    if managed is None:
        return FileProblem(
            "not_in_fileset", "OMERO's import misses a file", f"{file.path}: fileset {fileset.fileset_id}"
        )
    found = prove_file(
        staged,
        managed.managed_abs_path,
        file.size_bytes,
        file.source_mtime_s if file.source_mtime_s is not None else -1,
        file.sha1,
        managed,
    )
    if file.rule == reproof.DOUBTED:
        return reproof.read_again(file, staged, managed)
    if isinstance(found, FileProblem):
        return reproof.by_receipt(file, staged, found, managed)
    return found


def _note_fewer_images(attempt: Attempt, fewer: Sequence[tuple[UnitRow, FilesetInfo]]) -> None:
    """Images may go while their fileset stays: the bytes are in OMERO still, and the count is told."""
    if not fewer:
        return
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        for unit, fileset in fewer:
            kept = list(fileset.image_ids)
            session.get_one(ImportUnit, (order.id, unit.index)).image_ids = kept
            text = f"fileset {unit.fileset_id} has {len(kept)} of its {len(unit.image_ids)} images"
            store.event(session, order, "bridge", f"{text}; its files are in OMERO")


def _import_missing(attempt: Attempt, missing: Sequence[UnitRow]) -> None:
    """A fileset that is not there, of an order that was never proven or that staff want imported again."""
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, row):
        for unit in missing:
            found = session.get_one(ImportUnit, (row.id, unit.index))
            found.state, found.fileset_id, found.image_ids, found.plate_ids = "pending", None, [], []
        store.set_stage(
            session,
            row,
            Stage.IMPORTING,
            stages.Cause.ATTEMPT,
            who="bridge",
            text=f"{len(missing)} units are not in OMERO",
            condition=Condition.RUNNING,
        )


def _note(attempt: Attempt, proven: Sequence[tuple[FileRow, FileProof]], held: Held) -> None:
    values = {
        "status": ReceiptStatus.PROVEN.value,
        "rule": bindparam("stands_in"),
        "fileset_id": bindparam("fileset"),
        "original_file_id": bindparam("original_file"),
        "omero_sha1": bindparam("digest"),
        "managed_path": bindparam("managed"),
        "device": bindparam("on_device"),
        "inode": bindparam("on_inode"),
        "proven_at": utcnow(),
    }
    file_rows.write(attempt.write, values, (_receipt(file, proof, held) for file, proof in proven))
    attempt.progressed = True


def _receipt(file: FileRow, proof: FileProof, held: Held) -> dict[str, object]:
    fileset = held.fileset(file.unit)
    return {
        "key": file.path,
        "fileset": None if fileset is None else fileset.fileset_id,
        "original_file": proof.original_file_id,
        "digest": proof.sha1,
        "managed": proof.managed_path,
        "on_device": proof.device,
        "on_inode": proof.inode,
        "stands_in": proof.rule,
    }


def _refute(attempt: Attempt, problems: Mapping[str, FileProblem]) -> None:
    """Write what is not proven (any more), and ask somebody.

    Raises:
        NeedsAttention: always.
    """
    first = problems[sorted(problems)[0]]
    error = first.error()
    reason = error.reason(attempt.context.site.contact).model_dump(mode="json")
    pending = {"status": ReceiptStatus.PENDING.value, "proven_at": None}
    file_rows.write(attempt.write, pending, ({"key": path} for path in problems))
    with attempt.write() as (session, order):
        for index in _units_of(session, order.id, problems):
            session.get_one(ImportUnit, (order.id, index)).error = reason
    if len(problems) > 1:
        error = NeedsAttention(
            f"{first.detail} (and {len(problems) - 1} more files are not proven)",
            code=first.code,
            title=first.title,
            remedy=first.remedy,
        )
    raise error


def _units_of(session: Session, order_id: str, paths: Iterable[str]) -> set[int]:
    """The units of these files."""
    found: set[int] = set()
    for piece in chunks(paths):
        asked = select(OrderFile.unit).where(
            OrderFile.order_id == order_id, OrderFile.path.in_(piece), IN_UNIT
        )
        found.update(index for index in session.scalars(asked) if index is not None)
    return found
