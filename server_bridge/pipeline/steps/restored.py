"""Data that OMERO holds and the orders do not know of: what an old backup of the database leaves behind.

A restored database is behind the disks. A workstation orders again what the bridge has brought already, or an
order is back in a stage that it had left: its staged files then have a second name, which is OMERO's. The
digests that prove them went with the newer database, and only reading the buffer gives them back. So:

1. before a pull, staged names that OMERO holds by their own client path are moved aside, never deleted; the
   pull reads the buffer anew and computes each digest (:func:`make_way`);
2. the import step finds the complete filesets and takes them over, as after any crash;
3. before the proof, OMERO's file is read once; where it holds the very bytes that were pulled, the staged
   name becomes OMERO's inode again, and the fresh copy goes (:func:`bring_together`).

Where the buffer's copy is gone, nothing can give the digest back: :func:`require_source` says so. There is
nothing to release then, and nothing is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from server_bridge.errors import NeedsAttention
from server_bridge.mover import staging
from server_bridge.mover.durability import sync_filesystem
from server_bridge.mover.listing import FolderMissing
from server_bridge.omero.held import Held
from server_bridge.omero.paths import client_path
from server_bridge.omero.proof import FileProblem, FileProof, look, prove_file
from server_bridge.omero.receipts import FilesetInfo, ManagedFile, filesets_by_client_path
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import QuarantinedFile, utcnow
from server_bridge.pipeline import reproof
from server_bridge.pipeline.attempt import Attempt
from server_bridge.processes.run_lock import RunLock

AT_A_TIME = 400
RESTORED = "restored"
"""Why such a name stands in `quarantined_files`."""


# --- before the pull ----------------------------------------------------------------------------------


def make_way(attempt: Attempt, files: Sequence[FileRow]) -> None:
    """Move staged names aside that OMERO holds and whose digest is not known.

    Raises:
        StagingUnexpected: ``staging_linked`` where a second name is not OMERO's by this order's own path.
        Unavailable: where OMERO does not answer.
        LockBusy, OrphansRemain: where a child of an earlier run still works there.
    """
    linked = [file for file in files if not _is_whole(attempt, file) and _links(attempt, file) > 1]
    if not linked:
        return
    require_ours(attempt, linked)
    # Whoever holds the lock has ended every importer that a dead bridge left: nobody reads these names.
    with RunLock.acquire(attempt.places.lock):
        attempt.check()
        for file, target in _note_aside(attempt, linked):
            source = attempt.places.staged(file.path)
            if staging.look(source) is not None and staging.look(target) is None:
                target.parent.mkdir(parents=True, exist_ok=True)
                source.rename(target)
    sync_filesystem(attempt.places.staging)


def require_ours(attempt: Attempt, linked: Sequence[FileRow]) -> None:
    """Every one of these staged names with a second link is known to OMERO by its client path.

    Raises:
        StagingUnexpected: ``staging_linked``.
        Unavailable: where OMERO does not answer.
    """
    found = _in_omero(attempt, linked)
    for file in linked:
        if not found[client_path(str(attempt.places.staged(file.path)))]:
            raise staging.already_linked(file.path)


def _is_whole(attempt: Attempt, file: FileRow) -> bool:
    """Whether it lies there as it was pulled, with its digest: then nothing has to be read again."""
    known = bool(file.sha1) and file.staged_at is not None
    return known and staging.is_complete(
        attempt.places.staged(file.path), file.size_bytes, int(file.source_mtime_s or 0)
    )


def _links(attempt: Attempt, file: FileRow) -> int:
    found = staging.look(attempt.places.staged(file.path))
    return 0 if found is None else found.st_nlink


def _in_omero(attempt: Attempt, files: Iterable[FileRow]) -> dict[str, tuple[FilesetInfo, ...]]:
    paths = [client_path(str(attempt.places.staged(file.path))) for file in files]
    with attempt.context.omero.service() as session:
        return filesets_by_client_path(session, paths)


def _note_aside(attempt: Attempt, linked: Sequence[FileRow]) -> list[tuple[FileRow, Path]]:
    """Write where each name will be before any is moved: a killed move is then found and finished."""
    store, now = attempt.context.store, utcnow()
    aside: list[tuple[FileRow, Path]] = []
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        known = _open_rows(session, order.id)
        for file in linked:
            row = known.get(file.path)
            if row is None or staging.look(row.quarantine_path) is not None:
                row = QuarantinedFile(
                    order_id=order.id,
                    path=file.path,
                    quarantine_path=str(_free_name(attempt.places.quarantine / file.path)),
                    size_bytes=file.size_bytes,
                    why=RESTORED,
                    at=now,
                    keep_until=None,
                    unlinked_at=None,
                )
                session.add(row)
            aside.append((file, Path(row.quarantine_path)))
        text = (
            f"OMERO holds {len(linked)} files of this order that the database does not know of; they are "
            "read from the buffer once more to prove them"
        )
        store.event(session, order, "bridge", text)
        store.audit(session, "bridge", "order.already_in_omero", order.id, files=len(linked))
    return aside


def _open_rows(session: Session, order_id: str) -> dict[str, QuarantinedFile]:
    rows = session.scalars(
        select(QuarantinedFile).where(
            QuarantinedFile.order_id == order_id,
            QuarantinedFile.why == RESTORED,
            QuarantinedFile.unlinked_at.is_(None),
        )
    ).all()
    return {row.path: row for row in rows}


def _free_name(target: Path) -> Path:
    count, name = 1, target.name
    while staging.look(target) is not None:
        target = target.with_name(f"{name[:240]}.{count}")
        count += 1
    return target


# --- the buffer's copy is gone ------------------------------------------------------------------------


def require_source(attempt: Attempt, files: Sequence[FileRow], missing: FolderMissing) -> None:
    """Say more than "not there" about a place whose data OMERO holds as a whole by this order's paths.

    Raises:
        NeedsAttention: ``in_omero_unproven``.
        Unavailable: where OMERO does not answer: the order waits, and says the truth later.
    """
    found = _in_omero(attempt, files)
    if not files or not all(any(one.complete for one in held) for held in found.values()):
        return
    filesets = sorted({one.fileset_id for held in found.values() for one in held if one.complete})
    named = ", ".join(map(str, filesets[:5])) + (", ..." if len(filesets) > 5 else "")
    raise NeedsAttention(
        f"{missing.detail} OMERO holds all {len(files)} files (filesets {named}); what would prove them was "
        "read from that copy and is not in this database.",
        code="in_omero_unproven",
        title="The data is in OMERO, and its copy on the buffer is gone",
        remedy="Look at the data in OMERO. There is nothing left to release: cancel the order; that deletes "
        "nothing.",
    ) from missing


# --- before the proof ---------------------------------------------------------------------------------


@dataclass
class Together:
    """What became of the files that were moved aside; empty where none was."""

    proofs: dict[str, FileProof] = field(default_factory=dict)
    """By reading, where the names are one again and their time is another than the source's."""
    problems: dict[str, FileProblem] = field(default_factory=dict)


def bring_together(attempt: Attempt, held: Held) -> Together:
    """Make one inode again of each file that was moved aside and pulled anew, if OMERO's is the same.

    Raises:
        StaleAttempt, Stopping: between two files, and while one is read.
        OSError: where a disk fails at being looked at.
    """
    together = Together()
    with attempt.context.store.read() as session:
        rows = _open_rows(session, attempt.order_id)
    if not rows:
        return together
    one_again: list[int] = []

    def on_bytes(_count: int) -> None:
        if attempt.stop.is_set():
            attempt.check()

    for file in attempt.context.store.files(attempt.order_id):
        if file.path not in rows or file.unit is None:
            continue
        managed = held.file(file.unit, client_path(str(attempt.places.staged(file.path))))
        if managed is None:
            continue  # the proof says what is wrong
        attempt.check()
        found = _one_inode(attempt, file, managed, Path(rows[file.path].quarantine_path), on_bytes)
        if isinstance(found, FileProblem):
            together.problems[file.path] = found
            continue
        if found is not None:
            together.proofs[file.path] = found
        one_again.append(rows[file.path].id)
    if one_again:
        # The renames first: after a power loss an open row is looked at again, a closed one never.
        sync_filesystem(attempt.places.staging)
        _close(attempt, one_again)
    return together


def _one_inode(
    attempt: Attempt, file: FileRow, held: ManagedFile, aside: Path, on_bytes: Callable[[int], None]
) -> FileProof | FileProblem | None:
    """Read, compare, rename. None: the names are one, and the ordinary proof says the rest."""
    staged = attempt.places.staged(file.path)
    now, managed = look(staged), look(held.managed_abs_path)
    joined = (
        now is not None and managed is not None and (now.device, now.inode) == (managed.device, managed.inode)
    )
    if joined and managed is not None and managed.mtime_s == file.source_mtime_s:
        return None  # done before this bridge was killed
    found = reproof.read_again(file, staged, held, on_bytes)
    if joined or isinstance(found, FileProblem):
        return found
    if now is not None and now.links > 1:
        return FileProblem(
            "staging_linked", "The staged data already belongs to an import", f"{staged} has a second link."
        )
    kept = look(aside)
    if kept is None or (kept.device, kept.inode) != (found.device, found.inode):
        aside = _free_name(aside)
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.link(held.managed_abs_path, aside, follow_symlinks=False)
    # One rename: the staged name is at every moment either the fresh copy or OMERO's own file, whose bytes
    # were just read and are the same.
    aside.rename(staged)
    attempt.progressed = True
    proof = prove_file(
        staged,
        held.managed_abs_path,
        file.size_bytes,
        int(file.source_mtime_s or 0),
        file.sha1,
        held,
    )
    if isinstance(proof, FileProof):
        return None
    # The source was touched since: the same bytes with another time. What was read stands in for it.
    return replace(found, rule=reproof.mark_reproved(found.mtime_s))


def _close(attempt: Attempt, row_ids: Sequence[int]) -> None:
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        session.execute(
            update(QuarantinedFile)
            .where(QuarantinedFile.order_id == order.id, QuarantinedFile.id.in_(row_ids[:AT_A_TIME]))
            .values(unlinked_at=utcnow())
        )
    if row_ids[AT_A_TIME:]:
        _close(attempt, row_ids[AT_A_TIME:])
