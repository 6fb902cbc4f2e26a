"""What OMERO holds of an order's units, and which of them may be imported now.

Everything is asked for many units at once, by client path. What is there is taken, what OMERO is still
working on is waited for, what a broken import left is removed (promise 8), and what only a person can judge
is set aside so that the other units go on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from server_bridge.errors import NeedsAttention, StepFailed, TransientFailure
from server_bridge.omero.receipts import FilesetInfo, filesets_by_client_path, remove_debris
from server_bridge.orders.models import ImportUnit, utcnow
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.steps.unit_book import UnitBook
from server_bridge.pipeline.unit_rules import UnitAction, UnitDecision, decide
from server_bridge.processes.run_lock import RunLock

SETTLE_SECONDS = 20.0
"""After a client's end OMERO may still be writing images: how long an attempt waits for them itself."""
_SETTLE_POLL = 0.5


@dataclass
class _Sorted:
    """Units by what comes next for them."""

    importable: list[ImportUnit] = field(default_factory=list)
    debris: list[ImportUnit] = field(default_factory=list)
    remains: list[int] = field(default_factory=list)
    """Filesets that those in ``debris`` left, one of each unit."""


class UnitsInOmero:
    """One attempt's view of them. ``lock`` is the order's, held: no importer of ours runs beside it."""

    def __init__(self, attempt: Attempt, lock: RunLock, book: UnitBook) -> None:
        self._attempt = attempt
        self._lock = lock
        self._book = book
        self._order = attempt.order
        self._target = attempt.target
        self.failed: dict[int, StepFailed] = {}
        """By the unit's index: why it is not in OMERO and is not tried again by this attempt."""
        self.waiting: dict[int, FilesetInfo] = {}
        """By the unit's index: what OMERO is still working on."""

    @property
    def settled(self) -> int:
        """How many units are in OMERO or will be, as far as OMERO knows."""
        return self._book.done + len(self.waiting)

    def open(self) -> list[ImportUnit]:
        """What is not in OMERO, is not on its way and was not given up."""
        return [
            unit
            for unit in self._book.pending()
            if unit.index not in self.failed and unit.index not in self.waiting
        ]

    def look(self, units: Sequence[ImportUnit]) -> Mapping[str, tuple[FilesetInfo, ...]]:
        """Every fileset that holds the main file of one of them, by client path."""
        with self._attempt.context.omero.service() as session:
            return filesets_by_client_path(session, [unit.client_path for unit in units])

    def decide(self, unit: ImportUnit, found: tuple[FilesetInfo, ...]) -> UnitDecision | None:
        """What comes next for the unit; None (and noted) where only a person can tell."""
        try:
            return decide(
                found,
                files=self._book.client_paths(unit),
                person=self._order.person,
                group_id=self._target.group_id,
                failed_fileset_id=unit.fileset_id,
            )
        except NeedsAttention as error:
            self.failed[unit.index] = error
            return None

    def _sort(self, units: Sequence[ImportUnit]) -> _Sorted:
        """Look at all of them, take what is there, and sort the rest."""
        found = self.look(units)
        sorted_ = _Sorted()
        there: dict[int, FilesetInfo] = {}
        for unit in units:
            self.waiting.pop(unit.index, None)
            decision = self.decide(unit, found[unit.client_path])
            if decision is None:
                continue
            fileset = decision.fileset
            if fileset is None:
                sorted_.importable.append(unit)
            elif decision.action is UnitAction.ADOPT:
                there[unit.index] = fileset
            elif decision.action is UnitAction.WAIT:
                self.waiting[unit.index] = fileset
            else:
                sorted_.debris.append(unit)
                sorted_.remains.append(fileset.fileset_id)
        self._book.imported(there)
        return sorted_

    def ready(self, units: Sequence[ImportUnit]) -> list[ImportUnit]:
        """Those of the units that may be imported now, once what broken imports left of them is removed."""
        ready: list[ImportUnit] = []
        left, seen = list(units), False
        while left:
            self._attempt.check()
            sorted_ = self._sort(left)
            ready += sorted_.importable
            left = sorted_.debris
            if left and not seen:
                # The client is gone, its last call may still be on its way through the server.
                seen = True
                self._attempt.stop.wait(_SETTLE_POLL)
            elif left:
                self._remove(sorted_.remains)
        return sorted(ready, key=lambda unit: unit.index)

    def settle(self) -> None:
        """Wait for what OMERO is working on.

        Raises:
            StepFailed: where it takes longer than an attempt waits.
        """
        patience = min(SETTLE_SECONDS, self._attempt.context.site.omero.import_stall_seconds)
        waited_from = time.monotonic()
        while self.waiting:
            self._attempt.check()
            if time.monotonic() - waited_from > patience:
                if self.failed:
                    return  # somebody is needed anyway; after that, the next attempt looks again
                raise self._still_working(next(iter(self.waiting.values())))
            self._attempt.stop.wait(_SETTLE_POLL)
            before = self._book.done
            # What has to be imported after all (somebody deleted it) is found by the next look.
            self._sort([self._book.unit(index) for index in self.waiting])
            if self._book.done > before:
                waited_from = time.monotonic()

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

    def _remove(self, fileset_ids: Sequence[int]) -> None:
        """Promise 8: the one thing we delete in OMERO. The conditions are checked again where it is done."""
        with self._attempt.context.omero.as_person(self._order.person, self._target.group_id) as session:
            removed = remove_debris(session, fileset_ids, self._book.all_client_paths(), self._lock)
        self._book.removed(removed)
