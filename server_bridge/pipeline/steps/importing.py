"""importing → proving: each unit into OMERO exactly once.

Look first, always: whatever an exit code, a log line or our own table says, OMERO's database decides
whether a unit is there. The order's lock is held for the whole step; taking it ends every importer that a
dead bridge left running, so what OMERO shows then can only change by its own server, never by another
client of ours. From here on rsync never touches the order's staging.

Many units share one run of the importer (`pipeline.import_batches`). One that fails neither hides nor blocks
the others: they are imported, it is tried again alone, and its own explanation is what the order says. What
fails for a reason that is not the unit's (OMERO away, place gone, disk full) ends the attempt at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from server_bridge.contract import Stage
from server_bridge.errors import NeedsAttention, StepFailed
from server_bridge.omero.import_failures import OF_THE_UNIT, check_sized
from server_bridge.omero.importer import ImportRun, ImportStep, StepKind, UnitLog, explain, run_import
from server_bridge.omero.receipts import FilesetInfo
from server_bridge.orders.models import ImportUnit
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.import_batches import may_share, plan
from server_bridge.pipeline.steps.staged import require_as_pulled
from server_bridge.pipeline.steps.unit_book import UnitBook
from server_bridge.pipeline.steps.units import ensure_units
from server_bridge.pipeline.steps.units_in_omero import UnitsInOmero
from server_bridge.pipeline.unit_rules import may_still_import
from server_bridge.processes.run_lock import RunLock

MOST_FAILURES = 3
"""Failures in a row, in one run or of runs of one unit, after which it is not the units that fail."""
_MOST_FRUITLESS_RUNS = 2
"""Shared runs in a row that brought nothing."""


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
        _Importing(attempt, lock, UnitBook(attempt, units, files)).bring_all()
    attempt.advance(Stage.PROVING, f"{len(units)} import units are in OMERO", keep_running=True)


class _Importing:
    """Brings the units of an order into OMERO."""

    def __init__(self, attempt: Attempt, lock: RunLock, book: UnitBook) -> None:
        self._attempt = attempt
        self._lock = lock
        self._book = book
        self._order = attempt.order
        self._target = attempt.target
        self._places = attempt.places
        self._in_omero = UnitsInOmero(attempt, lock, book)
        self._failed = self._in_omero.failed
        self._most_failures = MOST_FAILURES

    def bring_all(self) -> None:
        """Look, decide, act, until every unit is in OMERO.

        Raises:
            StepFailed, StaleAttempt, Stopping.
        """
        for index, reason in self._book.untold().items():
            self._failed[index] = NeedsAttention(
                reason.detail, code=reason.code, title=reason.title, remedy=reason.remedy
            )
        while True:
            todo = self._in_omero.ready(self._in_omero.open())
            if not todo and not self._in_omero.waiting:
                break
            go_on = self._bring(todo)
            self._in_omero.settle()
            if not go_on:
                break
        if self._failed:
            raise self._first_failure()

    def _first_failure(self) -> StepFailed:
        """The first unit's failure; one for a person comes before one that passes by itself."""
        first = min(
            self._failed, key=lambda index: (not isinstance(self._failed[index], NeedsAttention), index)
        )
        error = self._failed[first]
        if len(self._failed) > 1:
            others = len(self._failed) - 1
            error.detail = (
                f"{error.detail} ({others} more {'unit' if others == 1 else 'units'} failed)".strip()
            )
        return error

    # --- acting ---------------------------------------------------------------------------------------

    def _bring(self, units: Sequence[ImportUnit]) -> bool:
        """Import units that are not in OMERO: in shared runs, then alone. Returns whether to go on with
        what is left: not where one after the other failed.

        Raises:
            StepFailed: for what is not a unit's own failure.
        """
        failures = 0
        for unit in self._share(units):
            before = len(self._failed)
            for ready in self._in_omero.ready([unit]):
                self._alone(ready)
            failures = failures + 1 if len(self._failed) > before else 0
            if failures >= MOST_FAILURES:
                return False
        return True

    def _share(self, units: Sequence[ImportUnit]) -> list[ImportUnit]:
        """Import what may share a run. Returns what is to be tried alone: what may not, and what failed."""
        by_index = {unit.index: unit for unit in units}
        candidates = [self._book.candidate(unit) for unit in units]
        alone = [by_index[run[0].index] for run in plan(candidates) if not may_share(run[0])]
        left = [one for one in candidates if may_share(one)]
        fruitless = runs = 0
        while len(left) > 1 and fruitless < _MOST_FRUITLESS_RUNS:
            batch = plan(left)[0]
            sharing = [by_index[one.index] for one in batch]
            before = self._in_omero.settled
            if runs:
                # The run before may have been torn in the middle of one of them.
                sharing = self._in_omero.ready(sharing)
            failed, untried = self._together(sharing)
            runs += 1
            if self._in_omero.settled > before:
                fruitless = 0
            else:
                fruitless += 1
                if not failed:
                    # Nothing was said about any of them: one goes alone, so that this comes to an end.
                    failed, untried = untried[:1], untried[1:]
            alone += failed
            left = [one for one in batch if by_index[one.index] in untried] + left[len(batch) :]
        if len(left) == 1:
            alone.append(by_index[left[0].index])
        return alone

    def _together(self, units: Sequence[ImportUnit]) -> tuple[list[ImportUnit], list[ImportUnit]]:
        """One run for all of them. Returns (those that failed, those it did not come to); what OMERO refused
        for good is noted and in neither.

        Raises:
            StepFailed: for what is not a unit's own failure.
        """
        units = [unit for unit in units if self._is_staged(unit)]
        if not units:
            return [], []
        done, found = self._run(units)
        failed: list[ImportUnit] = []
        untried: list[ImportUnit] = []
        for unit in units:
            said = done.units[self._book.main(unit)]
            held = found[unit.client_path]
            working = may_still_import(held, unit.fileset_id)
            if any(fileset.complete for fileset in held) or (working and not said.refused):
                continue
            error = explain(2, "exited", said.last_error, said.text)
            if working:
                self._note_refused(unit, error, working[-1].fileset_id)
            elif said.failed:
                if error.code not in OF_THE_UNIT:
                    raise error
                failed.append(unit)
            else:
                untried.append(unit)
        if len(untried) == len(units) and done.ended in ("exited", "given up"):
            error = explain(done.returncode, "exited", done.last_error, done.output)
            if error.code not in OF_THE_UNIT:
                raise error
        elif done.ended in ("stalled", "overtime"):
            raise explain(done.returncode, done.ended, done.last_error, done.output)
        return failed, untried

    def _alone(self, unit: ImportUnit) -> None:
        """A run of its own, so that whatever is said is about this unit.

        Raises:
            StepFailed: for what is not the unit's own failure.
        """
        if not self._is_staged(unit):
            return
        done, found = self._run([unit])
        held = found[unit.client_path]
        # What an earlier try left is none of this one's: waiting for it would never end.
        working = may_still_import(held, unit.fileset_id)
        if any(fileset.complete for fileset in held) or (working and not done.refused):
            return
        error = explain(done.returncode, done.ended, done.last_error, done.output)
        if working:
            self._note_refused(unit, error, working[-1].fileset_id)
            return
        if error.code == "checksum_mismatch" and self._book.has_check_sized(unit):
            error = check_sized(error.detail)
        if error.code not in OF_THE_UNIT:
            raise error
        self._note_failed(unit, error, None)

    def _run(self, units: Sequence[ImportUnit]) -> tuple[ImportRun, Mapping[str, tuple[FilesetInfo, ...]]]:
        """Run the importer, then look; what is in OMERO is taken, what OMERO works on is noted."""
        attempt, book = self._attempt, self._book
        book.importing(units)
        book.report(0, last=True)
        kind = self._target.kind.value.capitalize()
        with attempt.context.omero.as_person(self._order.person, self._target.group_id) as session:
            done = run_import(
                attempt.context.site.omero,
                session.key,
                f"{kind}:{self._target.container_id}",
                [Path(book.main(unit)) for unit in units],
                self._order.id,
                attempt.number,
                username=self._order.person,
                runner=attempt.runner,
                main_of=book.main_of(units),
                most_failures=self._most_failures,
                on_step=_Steps(book),
                stop_event=attempt.stop,
                lock=self._lock,
                output_path=self._places.output(attempt.number, "import"),
            )
        attempt.check()
        found = self._in_omero.look(units)
        there: dict[int, FilesetInfo] = {}
        nowhere: list[ImportUnit] = []
        complained: dict[str, UnitLog] = {}
        for unit in units:
            said = done.units[book.main(unit)]
            held = found[unit.client_path]
            if any(fileset.complete for fileset in held):
                decision = self._in_omero.decide(unit, held)
                if decision is not None and decision.fileset is not None:
                    there[unit.index] = decision.fileset
                    complained |= {unit.main_path: said} if said.last_error else {}
            elif (working := may_still_import(held, unit.fileset_id)) and not (
                said.refused or (len(units) == 1 and done.refused)
            ):
                self._in_omero.waiting[unit.index] = working[0]
            else:
                nowhere.append(unit)
        book.imported(there)
        book.put_back(nowhere)
        self._note_complaints(complained)
        return done, found

    def _is_staged(self, unit: ImportUnit) -> bool:
        try:
            require_as_pulled(unit, self._book.members(unit), self._places)
        except NeedsAttention as error:
            self._note_failed(unit, error, None)
            return False
        return True

    # --- noting ---------------------------------------------------------------------------------------

    def _note_failed(self, unit: ImportUnit, error: StepFailed, fileset_id: int | None) -> None:
        self._failed[unit.index] = error
        self._book.failed(unit, error, fileset_id)

    def _note_refused(self, unit: ImportUnit, error: StepFailed, fileset_id: int) -> None:
        """OMERO has everything and said that it cannot import it: another try would leave another fileset."""
        if error.code != "omero_queue_full":
            error = NeedsAttention(
                error.detail,
                code=error.code,
                title=error.title,
                remedy=f"{error.remedy} The fileset {fileset_id} without images stays in OMERO until an "
                "administrator deletes it.".strip(),
            )
        self._note_failed(unit, error, fileset_id)

    def _note_complaints(self, said: Mapping[str, UnitLog]) -> None:
        """OMERO made the images and a later step failed (thumbnails, minimum and maximum): the data
        is there and will be proven or not; what was said must not be lost."""
        if not said:
            return
        # What fails after the images are there is no reason to end a run.
        self._most_failures = 0
        path, first = next(iter(said.items()))
        more = f" (and about {len(said) - 1} more)" if len(said) > 1 else ""
        self._book.event(
            f"the images are in OMERO; its importer complained about {path!r}{more}: "
            f"{explain(2, 'exited', first.last_error, first.text).detail}"
        )


class _Steps:
    """Shows what a running importer says: OMERO's step of its unit, and the units it says are done."""

    def __init__(self, book: UnitBook) -> None:
        self._book = book
        self._done = 0

    def __call__(self, step: ImportStep) -> None:
        self._done += step.kind is StepKind.DONE
        self._book.report(step.step, more=self._done)
