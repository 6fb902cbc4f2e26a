"""importing → proving: each unit into OMERO exactly once.

Look first, always: whatever an exit code, a log line or our own table says, OMERO's database decides
whether a unit is there. The order's lock is held for the whole step; taking it ends every importer that a
dead bridge left running, so what OMERO shows then can only change by its own server, never by another
client of ours. From here on rsync never touches the order's staging.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from server_bridge.contract import Stage
from server_bridge.errors import FerryError, NeedsAttention, StepFailed, TransientFailure
from server_bridge.mover import staging
from server_bridge.omero.importer import ImportRun, ImportStep, explain, run_import
from server_bridge.omero.paths import client_path
from server_bridge.omero.receipts import FilesetInfo, filesets_by_client_path, remove_debris
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import ImportUnit, utcnow
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.steps.units import ensure_units
from server_bridge.pipeline.unit_rules import UnitAction, decide, may_still_import
from server_bridge.processes.run_lock import RunLock

PENDING, IMPORTING, IMPORTED = "pending", "importing", "imported"
SETTLE_SECONDS = 20.0
"""After a client's end OMERO may still be writing images: how long an attempt waits for them itself."""
_SETTLE_POLL = 0.5
_SERVER_SAID_NO = ("failure response on import", "internal_exception", "import-")
"""[infer] Words of the server's own failure report, as the importer prints it: no image will come."""


def run(attempt: Attempt) -> None:
    """Import what is not imported.

    Raises:
        StepFailed: for what waits or needs somebody.
    """
    places = attempt.places
    places.work.mkdir(parents=True, exist_ok=True)
    with RunLock.acquire(places.lock) as lock:
        attempt.check()
        units = ensure_units(attempt, lock)
        files = attempt.context.store.files(attempt.order_id)
        importer = _Importer(attempt, lock, units, files)
        for unit in units:
            if unit.state != IMPORTED:
                importer.bring(unit)
    attempt.advance(Stage.PROVING, f"{len(units)} import units are in OMERO", keep_running=True)


def sha1_of(path: Path) -> str:
    """SHA-1 of a file, read now. Only where an earlier import of it was refuted by its hash."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()


def _server_failed(done: ImportRun) -> bool:
    said = f"{done.last_error}\n{done.output}".lower()
    return done.ended == "exited" and done.returncode != 0 and any(word in said for word in _SERVER_SAID_NO)


class _Importer:
    """Brings one unit after the other into OMERO."""

    def __init__(
        self, attempt: Attempt, lock: RunLock, units: Sequence[ImportUnit], files: Sequence[FileRow]
    ) -> None:
        self._attempt = attempt
        self._lock = lock
        self._units = units
        self._order = attempt.order
        self._target = attempt.target
        self._places = attempt.places
        self._members: dict[int, list[FileRow]] = {unit.index: [] for unit in units}
        for file in files:
            if file.unit is not None:
                self._members[file.unit].append(file)
        self._done = sum(1 for unit in units if unit.state == IMPORTED)
        self._looked: Mapping[str, tuple[FilesetInfo, ...]] | None = None

    def bring(self, unit: ImportUnit) -> None:
        """Look, decide, act, until the unit is in OMERO.

        Raises:
            StepFailed, StaleAttempt, Stopping.
        """
        attempt = self._attempt
        tried = False
        waited_from = time.monotonic()
        while True:
            attempt.check()
            # One query serves the first look at all units; after an action of ours each look is fresh.
            found = self._first_look(unit) if not tried else self._look([unit.client_path])[unit.client_path]
            decision = decide(
                found,
                person=self._order.person,
                group_id=self._target.group_id,
                failed_fileset_id=unit.fileset_id,
            )
            if decision.action is UnitAction.ADOPT and decision.fileset is not None:
                self._note_imported(unit, decision.fileset)
                return
            if decision.action is UnitAction.WAIT and decision.fileset is not None:
                tried = True
                patience = min(SETTLE_SECONDS, attempt.context.site.omero.import_stall_seconds)
                if time.monotonic() - waited_from > patience:
                    raise self._still_working(decision.fileset)
                attempt.stop.wait(_SETTLE_POLL)
                continue
            if decision.action is UnitAction.REMOVE and decision.fileset is not None:
                if not tried:
                    # The client is gone, its last call may still be on its way through the server.
                    tried = True
                    attempt.stop.wait(_SETTLE_POLL)
                    continue
                self._remove(decision.fileset)
                continue
            self._import(unit)
            tried = True
            waited_from = time.monotonic()

    # --- looking --------------------------------------------------------------------------------------

    def _look(self, client_paths: Sequence[str]) -> Mapping[str, tuple[FilesetInfo, ...]]:
        with self._attempt.context.omero.service() as session:
            return filesets_by_client_path(session, client_paths)

    def _first_look(self, unit: ImportUnit) -> tuple[FilesetInfo, ...]:
        if self._looked is None:
            self._looked = self._look([unit.client_path for unit in self._units if unit.state != IMPORTED])
        return self._looked[unit.client_path]

    def _still_working(self, fileset: FilesetInfo) -> StepFailed:
        limit = self._attempt.context.site.omero.import_stall_seconds
        since = None if self._attempt.progressed else self._attempt.waiting_since("omero_busy")
        if since is not None and (utcnow() - since).total_seconds() > limit:
            return NeedsAttention(
                f"Fileset {fileset.fileset_id} has all its files and no image after {limit:.0f} s.",
                code="import_unfinished",
                title="OMERO does not finish the import",
                remedy=f"The OMERO administrator looks at the import log (omero fs logfile "
                f"Fileset:{fileset.fileset_id}); after deleting that fileset in OMERO, retry.",
            )
        return TransientFailure(
            f"Fileset {fileset.fileset_id} has all its files; OMERO has not made its images yet.",
            code="omero_busy",
            title="OMERO is working on the import",
            remedy="Nothing to do: the bridge looks again.",
        )

    # --- acting ---------------------------------------------------------------------------------------

    def _remove(self, fileset: FilesetInfo) -> None:
        """Promise 8: the one thing we delete in OMERO. The conditions are checked again where it is done."""
        paths = [client_path(str(self._places.staged(file.path))) for file in self._all_files()]
        with self._attempt.context.omero.as_person(self._order.person, self._target.group_id) as session:
            remove_debris(session, fileset.fileset_id, paths, self._lock)
        store = self._attempt.context.store
        with store.attempt_write(self._order.id, self._attempt.number) as (session_, order):
            text = f"fileset {fileset.fileset_id}, left by an import that broke off, was removed from OMERO"
            store.event(session_, order, "bridge", text)
            store.audit(session_, "bridge", "omero.remove_debris", order.id, fileset_id=fileset.fileset_id)

    def _all_files(self) -> list[FileRow]:
        return [file for files in self._members.values() for file in files]

    def _import(self, unit: ImportUnit) -> None:
        self._require_staged(unit)
        self._note_importing(unit)
        attempt, site = self._attempt, self._attempt.context.site
        self._report(0, last=True)
        kind = self._target.kind.value.capitalize()
        with attempt.context.omero.as_person(self._order.person, self._target.group_id) as session:
            done = run_import(
                site.omero,
                session.key,
                f"{kind}:{self._target.container_id}",
                self._places.staged(unit.main_path),
                self._order.id,
                attempt.number,
                username=self._order.person,
                runner=attempt.runner,
                on_step=self._on_step,
                stop_event=attempt.stop,
                lock=self._lock,
                output_path=self._places.output(attempt.number, "import"),
            )
        attempt.check()
        found = self._look([unit.client_path])[unit.client_path]
        if done.returncode != 0 and any(fileset.complete for fileset in found):
            self._note_complaint(done)
        if any(fileset.complete for fileset in found):
            return
        # What an earlier try left is none of this one's: waiting for it would never end.
        working = may_still_import(found, unit.fileset_id)
        if working and not _server_failed(done):
            return  # the server still makes the images: the next look says so
        raise self._explained(unit, done, working[-1].fileset_id if working else None)

    def _note_complaint(self, done: ImportRun) -> None:
        """OMERO made the images and a later step failed (thumbnails, minimum and maximum): the data
        is there and will be proven or not; what was said must not be lost."""
        store = self._attempt.context.store
        with store.attempt_write(self._order.id, self._attempt.number) as (session, order):
            said = done.last_error or f"exit code {done.returncode}"
            store.event(session, order, "bridge", f"the images are in OMERO; its importer complained: {said}")

    def _explained(self, unit: ImportUnit, done: ImportRun, failed_fileset_id: int | None) -> StepFailed:
        """Why there are no images. Nothing in OMERO and an exit code of 0 is a failure, too."""
        error = explain(done.returncode, done.ended, done.last_error, done.output)
        if failed_fileset_id is not None:
            # OMERO has everything and said that it cannot import it: another try would leave another fileset.
            error = NeedsAttention(
                error.detail or done.last_error,
                code=error.code,
                title=error.title,
                remedy=f"{error.remedy} The fileset {failed_fileset_id} without images stays in OMERO "
                f"until an "
                "administrator deletes it.".strip(),
            )
        self._note_failed(unit, error, failed_fileset_id)
        return error

    def _require_staged(self, unit: ImportUnit) -> None:
        """The unit's files lie in staging as they were pulled.

        Their bytes are not read again here: a flipped bit is found after the import, where the hash that
        OMERO computed must equal the one that rsync computed. Reading every byte once more would cost as
        much as the import itself, and would still not see what happens between it and the import.
        """
        for file in self._members[unit.index]:
            path = self._places.staged(file.path)
            if not staging.is_complete(path, file.size_bytes, int(file.source_mtime_s or 0)):
                raise NeedsAttention(
                    f"{path} is not as it was pulled.",
                    code="staged_changed",
                    title="A staged file was changed or removed",
                    remedy="Staff find out who writes into staging. The data on the buffer is untouched: "
                    "cancel "
                    "the order and order the acquisition again.",
                )
            if unit.error and unit.error.get("code") == "hash_differs" and sha1_of(path) != file.sha1:
                raise NeedsAttention(
                    f"{path} no longer has the SHA-1 it was pulled with.",
                    code="staged_damaged",
                    title="A staged file was damaged on the bridge's disk",
                    remedy="Staff check the staging disk. The data on the buffer is untouched: cancel the "
                    "order "
                    "and order the acquisition again.",
                )

    # --- noting ---------------------------------------------------------------------------------------

    def _on_step(self, step: ImportStep) -> None:
        self._report(step.step)

    def _report(self, import_step: int, *, last: bool = False) -> None:
        self._attempt.reporter.report(
            "import",
            units_done=self._done,
            units_total=len(self._units),
            import_step=import_step,
            last=last,
        )

    def _write(self, unit: ImportUnit, change: Callable[[ImportUnit], None]) -> None:
        store = self._attempt.context.store
        with store.attempt_write(self._order.id, self._attempt.number) as (session, _order):
            row = session.get_one(ImportUnit, (self._order.id, unit.index))
            change(row)
            change(unit)

    def _note_importing(self, unit: ImportUnit) -> None:
        def change(row: ImportUnit) -> None:
            row.state = IMPORTING
            row.tries = (row.tries or 0) + 1

        self._write(unit, change)

    def _note_failed(self, unit: ImportUnit, error: FerryError, fileset_id: int | None) -> None:
        reason = error.reason(self._attempt.context.site.contact).model_dump(mode="json")

        def change(row: ImportUnit) -> None:
            row.state = PENDING
            row.error = reason
            # A try that left nothing in OMERO does not unsay that an earlier one failed there.
            row.fileset_id = fileset_id or row.fileset_id

        with suppress(FerryError):  # the failure itself is what the attempt ends with
            self._write(unit, change)

    def _note_imported(self, unit: ImportUnit, fileset: FilesetInfo) -> None:
        def change(row: ImportUnit) -> None:
            row.state = IMPORTED
            row.fileset_id = fileset.fileset_id
            row.image_ids = list(fileset.image_ids)
            row.plate_ids = list(fileset.plate_ids)
            row.error = None

        self._write(unit, change)
        self._done += 1
        self._attempt.progressed = True
        self._report(5, last=True)
