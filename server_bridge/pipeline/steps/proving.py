"""proving → annotating: a receipt per file, from OMERO's database and the two names on disk.

Here the chain closes: the SHA-1 that rsync computed while it read the buffer equals the one that OMERO
computed from its own file, and that file is the staged one (one inode). A bit that flipped in staging
between pull and import is found here, and nowhere earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy import bindparam

from server_bridge.contract import Condition, ReceiptStatus, Stage
from server_bridge.errors import NeedsAttention
from server_bridge.mover.durability import sync_filesystem
from server_bridge.omero.paths import client_path
from server_bridge.omero.proof import FileProblem, FileProof, prove_file
from server_bridge.omero.receipts import FilesetInfo, filesets_by_id
from server_bridge.orders import file_rows, stages
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import ImportUnit, Order, utcnow
from server_bridge.pipeline import omero_watch, reproof
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.places import OrderPlaces
from server_bridge.pipeline.steps import restored, vanished
from server_bridge.pipeline.steps.units import require_all_covered
from server_bridge.pipeline.steps.verifying import resolve_again


def run(attempt: Attempt) -> None:
    """Prove every file of every unit.

    Raises:
        NeedsAttention: with the code of the first fact that does not hold; ``left_out``;
        ``deleted_in_omero``. Unavailable: where OMERO does not answer.
    """
    store, order = attempt.context.store, attempt.order
    units, files = store.units(attempt.order_id), store.files(attempt.order_id)
    members = [file for file in files if file.unit is not None]
    attempt.reporter.report("prove", files_total=len(members), last=True)
    with attempt.context.omero.service() as session:
        filesets = filesets_by_id(session, [unit.fileset_id for unit in units if unit.fileset_id is not None])
        # After the filesets: what the landmark vouches for includes them.
        same_database = omero_watch.look(attempt.context, session)
        managed_repository = session.managed_repository
    attempt.check()
    if missing := [unit for unit in units if not vanished.is_there(unit, filesets)]:
        if order.proven_at is None:
            if any(file.managed_path for file in members):
                resolve_again(attempt)  # proven once: that may have been in another database
            _import_missing(attempt, missing)
        else:
            vanished.settle(attempt, units, missing, filesets, same_database, managed_repository)
        return
    _note_fewer_images(attempt, units, filesets)
    together = restored.bring_together(attempt, units, members, filesets)
    proofs, problems = judge_files(order, units, members, filesets, attempt.places, attempt.each)
    proofs |= together.proofs
    problems = {path: one for path, one in problems.items() if path not in proofs} | together.problems
    if proofs:
        # The links that OMERO's files are must survive a power loss before we say so.
        sync_filesystem(attempt.places.staging)
        _note(attempt, units, members, proofs)
    if problems:
        _refute(attempt, members, problems)
    require_all_covered(attempt)
    attempt.reporter.report("prove", files_done=len(members), files_total=len(members), last=True)
    attempt.advance(Stage.ANNOTATING, f"{len(members)} files are proven", keep_running=True)


def judge_files(
    order: Order,
    units: Sequence[ImportUnit],
    members: Sequence[FileRow],
    filesets: Mapping[int, FilesetInfo],
    places: OrderPlaces,
    each: Callable[[Iterable[FileRow]], Iterable[FileRow]] = iter,
) -> tuple[dict[str, FileProof], dict[str, FileProblem]]:
    """Proof or problem of each file, by path. Looks at both names on disk; asks OMERO nothing.

    A file that was found to hold other bytes is read again, completely.

    Args:
        order: gives person and group that must own the filesets.
        units: with their fileset ids.
        members: the files that belong to units.
        filesets: what OMERO holds, by id.
        places: where the files are staged.
        each: goes through the files; an attempt looks there whether it may go on.
    """
    group_id = int(order.target["group_id"])
    of_unit = {unit.index: filesets.get(unit.fileset_id or -1) for unit in units}
    managed = {
        index: {file.client_path: file for file in fileset.files}
        for index, fileset in of_unit.items()
        if fileset is not None
    }
    proofs: dict[str, FileProof] = {}
    problems: dict[str, FileProblem] = {}
    for file in each(members):
        fileset = of_unit.get(file.unit if file.unit is not None else -1)
        staged = places.staged(file.path)
        if fileset is None or not fileset.complete:
            problems[file.path] = FileProblem("fileset_missing", "OMERO no longer has this data", file.path)
            continue
        if (fileset.owner, fileset.group_id) != (order.person, group_id):
            problems[file.path] = FileProblem(
                "fileset_moved",
                "The data is in another place of OMERO than ordered",
                f"Fileset {fileset.fileset_id} belongs to {fileset.owner} in group {fileset.group_id}.",
            )
            continue
        held = managed[file.unit or 0].get(client_path(str(staged)))
        if held is None:
            problems[file.path] = FileProblem(
                "not_in_fileset", "OMERO's import misses a file", f"{file.path}: fileset {fileset.fileset_id}"
            )
            continue
        found = prove_file(
            staged,
            held.managed_abs_path,
            file.size_bytes,
            file.source_mtime_s if file.source_mtime_s is not None else -1,
            file.sha1,
            held,
        )
        if file.rule == reproof.DOUBTED:
            found = reproof.read_again(file, staged, held)
        elif isinstance(found, FileProblem):
            found = reproof.by_receipt(file, staged, found, held)
        if isinstance(found, FileProof):
            proofs[file.path] = found
        else:
            problems[file.path] = found
    return proofs, problems


def _note_fewer_images(
    attempt: Attempt, units: Sequence[ImportUnit], filesets: Mapping[int, FilesetInfo]
) -> None:
    """Images may go while their fileset stays: the bytes are in OMERO still, and the count is told."""
    fewer = [
        (unit, kept)
        for unit in units
        if len(kept := filesets[unit.fileset_id or 0].image_ids) < len(unit.image_ids)
    ]
    if not fewer:
        return
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        for unit, kept in fewer:
            session.get_one(ImportUnit, (unit.order_id, unit.index)).image_ids = list(kept)
            text = f"fileset {unit.fileset_id} has {len(kept)} of its {len(unit.image_ids)} images"
            store.event(session, order, "bridge", f"{text}; its files are in OMERO")


def _import_missing(attempt: Attempt, missing: Sequence[ImportUnit]) -> None:
    """A fileset that is not there, of an order that was never proven or that staff want imported again."""
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, row):
        for unit in missing:
            found = session.get_one(ImportUnit, (unit.order_id, unit.index))
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


def _note(
    attempt: Attempt,
    units: Sequence[ImportUnit],
    members: Sequence[FileRow],
    proofs: Mapping[str, FileProof],
) -> None:
    fileset_of = {unit.index: unit.fileset_id for unit in units}
    proven = [file for file in members if file.path in proofs]
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
    for start in range(0, len(proven), file_rows.WRITTEN_AT_ONCE):
        rows = []
        for file in proven[start : start + file_rows.WRITTEN_AT_ONCE]:
            proof = proofs[file.path]
            rows.append(
                {
                    "key": file.path,
                    "fileset": fileset_of[file.unit or 0],
                    "original_file": proof.original_file_id,
                    "digest": proof.sha1,
                    "managed": proof.managed_path,
                    "on_device": proof.device,
                    "on_inode": proof.inode,
                    "stands_in": proof.rule,
                }
            )
        file_rows.write(attempt.write, values, rows)
    attempt.progressed = True


def _refute(attempt: Attempt, members: Sequence[FileRow], problems: Mapping[str, FileProblem]) -> None:
    """Write what is not proven (any more), and ask somebody.

    Raises:
        NeedsAttention: always.
    """
    unit_of = {file.path: file.unit for file in members}
    first = problems[sorted(problems)[0]]
    error = first.error()
    reason = error.reason(attempt.context.site.contact).model_dump(mode="json")
    pending = {"status": ReceiptStatus.PENDING.value, "proven_at": None}
    file_rows.write(attempt.write, pending, [{"key": path} for path in problems])
    with attempt.write() as (session, order):
        for index in {unit_of[path] for path in problems} - {None}:
            session.get_one(ImportUnit, (order.id, index)).error = reason
    if len(problems) > 1:
        error = NeedsAttention(
            f"{first.detail} (and {len(problems) - 1} more files are not proven)",
            code=first.code,
            title=first.title,
            remedy=first.remedy,
        )
    raise error
