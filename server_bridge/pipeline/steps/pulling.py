"""pulling → verifying: every file into staging, its SHA-1 noted once the disk has it.

Digests are committed in batches, each after a sync of the staging filesystem: what the table says is staged
survives a power loss. A digest that was lost with the power means that the file is pulled again.
"""

from __future__ import annotations

import time

from sqlalchemy import bindparam, func, or_, select

from server_bridge.contract import Stage
from server_bridge.errors import TransientFailure
from server_bridge.mover.durability import sync_filesystem
from server_bridge.mover.listing import FolderMissing
from server_bridge.mover.pull import PulledFile, PullLimits, PullOutcome, WantedFile, pull
from server_bridge.mover.verdict import VerdictKind
from server_bridge.orders import file_rows
from server_bridge.orders.models import OrderFile, utcnow
from server_bridge.pipeline import compare
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.progress import Meter
from server_bridge.pipeline.sources import source_of
from server_bridge.pipeline.steps import restored, source_gone
from server_bridge.pipeline.steps.source import look, pull_again, writing_again
from server_bridge.processes.kept_output import keep
from server_bridge.staging import require_staging

COMMIT_SECONDS = 5.0
COMMIT_FILES = 2000


class DigestBook:
    """Commits digests in batches, after a sync. Called by the mover under its own lock."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._batch: list[PulledFile] = []
        self._committed_at = time.monotonic()

    def add(self, file: PulledFile) -> None:
        """Note a confirmed file."""
        self._batch.append(file)
        self._attempt.progressed = True
        if len(self._batch) >= COMMIT_FILES or time.monotonic() - self._committed_at > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Sync, then write.

        Raises:
            StaleAttempt: where the order moved on.
            OSError, StagingAway: where the disk could not write, or is gone: nothing is noted then.
        """
        batch, self._batch = self._batch, []
        self._committed_at = time.monotonic()
        if not batch:
            return
        attempt = self._attempt
        # What was confirmed must lie on the disk that is synced, not in its bare mount point.
        require_staging(attempt.context)
        sync_filesystem(attempt.places.staging)
        file_rows.write(
            attempt.write,
            {"sha1": bindparam("digest"), "staged_at": utcnow()},
            [{"key": file.path, "digest": file.sha1} for file in batch],
        )


def run(attempt: Attempt) -> None:
    """Pull what is not there yet.

    Raises:
        StepFailed: with the mover's own words where files are pending.
        Finished: once all is staged, or when the source changed under the pull.
    """
    site, store, share, places = attempt.context.site, attempt.context.store, attempt.share, attempt.places
    order = attempt.order
    files = store.files(attempt.order_id)
    wanted = [
        WantedFile(file.path, file.size_bytes, file.source_mtime_s)
        for file in files
        if file.source_mtime_s is not None
    ]
    if len(wanted) != len(files):
        # A manifest was replaced between two attempts: its files have no baseline yet.
        pull_again(attempt, [], "some files have no baseline; the share is listed anew")
    restored.make_way(attempt, files)
    meter = Meter()
    total = sum(file.size_bytes for file in wanted)

    def on_progress(bytes_done: int, files_done: int) -> None:
        attempt.reporter.report(
            "pull",
            bytes_done=bytes_done,
            bytes_total=total,
            files_done=files_done,
            files_total=len(wanted),
            meter=meter,
        )

    attempt.reporter.report("pull", bytes_total=total, files_total=len(wanted), last=True)
    places.work.mkdir(parents=True, exist_ok=True)
    book = DigestBook(attempt)
    try:
        outcome = pull(
            source_of(share),
            order.path,
            wanted,
            places.staging,
            attempt.runner,
            members=tuple(order.members),
            on_progress=on_progress,
            on_file=book.add,
            stop_event=attempt.stop,
            known_digests={file.path: file.sha1 for file in files if file.sha1 and file.staged_at},
            limits=PullLimits(stall_seconds=share.stall_seconds, keep_free_bytes=site.limits.keep_free_bytes),
            lock_path=places.lock,
            work_dir=places.work,
            quarantine_dir=places.quarantine,
            rsync=site.rsync,
            room=attempt.room,
        )
    finally:
        # Also after a failure or a stop: what is confirmed needs not come a second time.
        book.commit()
    if outcome.said:
        keep(places.output(attempt.number, "pull"), outcome.said)
    attempt.check()
    attempt.progressed = attempt.progressed or outcome.moved
    _note_unlisted(attempt, outcome)
    if outcome.pending or outcome.verdict.kind is not VerdictKind.DONE:
        _explain(attempt, outcome)
    if lacking := _without_digest(attempt):
        raise TransientFailure(
            f"{lacking} files are staged without a digest.",
            code="digest_lost",
            title="A checksum was lost",
            remedy="Nothing to do: these files are pulled again.",
        )
    attempt.reporter.report(
        "pull",
        bytes_done=total,
        bytes_total=total,
        files_done=len(wanted),
        files_total=len(wanted),
        last=True,
    )
    attempt.advance(Stage.VERIFYING, f"{len(wanted)} files are staged with their SHA-1", keep_running=False)


def _without_digest(attempt: Attempt) -> int:
    with attempt.context.store.read() as session:
        return (
            session.scalar(
                select(func.count())
                .select_from(OrderFile)
                .where(
                    OrderFile.order_id == attempt.order_id,
                    or_(OrderFile.sha1.is_(None), OrderFile.sha1 == "", OrderFile.staged_at.is_(None)),
                )
            )
            or 0
        )


def _note_unlisted(attempt: Attempt, outcome: PullOutcome) -> None:
    if not outcome.unlisted:
        return
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        store.event(
            session,
            order,
            "bridge",
            f"{len(outcome.unlisted)} files arrived that nobody asked for; they are in "
            f"{attempt.places.quarantine}",
        )


def _explain(attempt: Attempt, outcome: PullOutcome) -> None:
    """Say why files are pending. What looks like a fault of single files may be somebody writing: look
    first."""
    if outcome.verdict.kind in (VerdictKind.RECONCILE, VerdictKind.DONE, VerdictKind.PERMANENT):
        files = attempt.context.store.files(attempt.order_id)
        try:
            listing = look(attempt)
        except FolderMissing:
            source_gone.require_source(attempt, [file.path for file in files], files)
            return
        expected = [
            compare.Expected(file.path, file.size_bytes, float(file.source_mtime_s or 0)) for file in files
        ]
        found = compare.against_manifest(expected, listing, 0.0, lambda _path: True)
        if source_gone.only_gone(found):
            source_gone.require_source(attempt, found.missing, files)
        elif found.changed or found.missing:
            writing_again(attempt, compare.describe(found))
    raise outcome.verdict.error()
