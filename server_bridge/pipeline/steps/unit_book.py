"""An order's import units while they are imported: their files, and what is written down about them.

Each writing is one transaction for all the units it is about, and proves that the order is still this
attempt's. Ten thousand units therefore cost as many transactions as there are runs of the importer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, update

from server_bridge.contract import Condition, Reason
from server_bridge.errors import FerryError
from server_bridge.omero.paths import client_path
from server_bridge.omero.proof import CHECK_BYTES
from server_bridge.omero.receipts import FilesetInfo
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import ImportUnit, OrderEvent, utcnow
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.import_batches import Candidate

PENDING, IMPORTING, IMPORTED = "pending", "importing", "imported"


class UnitBook:
    """The units of one order, for one attempt. The rows given are kept as they are in the database."""

    def __init__(self, attempt: Attempt, units: Sequence[ImportUnit], files: Sequence[FileRow]) -> None:
        self.units = units
        self._attempt = attempt
        self._places = attempt.places
        self._members: dict[int, list[FileRow]] = {unit.index: [] for unit in units}
        for file in files:
            if file.unit is not None:
                self._members[file.unit].append(file)
        self._by_index = {unit.index: unit for unit in units}
        self.done = sum(1 for unit in units if unit.state == IMPORTED)

    # --- what a unit is -------------------------------------------------------------------------------

    def unit(self, index: int) -> ImportUnit:
        return self._by_index[index]

    def pending(self) -> list[ImportUnit]:
        """What is not in OMERO, as far as this table knows."""
        return [unit for unit in self.units if unit.state != IMPORTED]

    def members(self, unit: ImportUnit) -> Sequence[FileRow]:
        return self._members[unit.index]

    def main(self, unit: ImportUnit) -> str:
        """The staged main file, absolute."""
        return str(self._places.staged(unit.main_path))

    def main_of(self, units: Sequence[ImportUnit]) -> dict[str, str]:
        """Every staged file of these units → the main file of its unit."""
        return {
            str(self._places.staged(file.path)): self.main(unit)
            for unit in units
            for file in self._members[unit.index]
        }

    def client_paths(self, unit: ImportUnit) -> list[str]:
        """As OMERO knows the unit's files."""
        return [client_path(str(self._places.staged(file.path))) for file in self._members[unit.index]]

    def all_client_paths(self) -> frozenset[str]:
        """As OMERO knows every file of every unit."""
        return frozenset(path for unit in self.units for path in self.client_paths(unit))

    def has_check_sized(self, unit: ImportUnit) -> bool:
        """Whether it holds a file as long as the text of OMERO's in-place check."""
        return any(file.size_bytes == CHECK_BYTES for file in self._members[unit.index])

    def candidate(self, unit: ImportUnit) -> Candidate:
        """The unit, as far as planning goes."""
        return Candidate(
            index=unit.index,
            path=self.main(unit),
            file_count=len(self._members[unit.index]),
            size_bytes=sum(file.size_bytes for file in self._members[unit.index]),
            plate=unit.spw,
            has_check_sized=self.has_check_sized(unit),
            failed_before=unit.error is not None,
        )

    def untold(self) -> dict[int, Reason]:
        """Units that OMERO refused for good, of which nobody was told because the bridge ended first.

        Another try would leave another fileset in OMERO, so somebody decides about it, as if the bridge had
        not ended.
        """
        told = self._told_at()
        found: dict[int, Reason] = {}
        for unit in self.pending():
            if unit.error is None or unit.fileset_id is None:
                continue
            reason = Reason.model_validate(unit.error)
            # Without a time it is another failure of a later try; a full queue passes by itself.
            if reason.since is None or reason.code == "omero_queue_full":
                continue
            if told is None or told < reason.since:
                found[unit.index] = reason
        return found

    def _told_at(self) -> datetime | None:
        """When the order last was in attention."""
        with self._attempt.context.store.read() as session:
            return session.scalar(
                select(func.max(OrderEvent.at)).where(
                    OrderEvent.order_id == self._attempt.order_id,
                    OrderEvent.condition == Condition.ATTENTION,
                )
            )

    # --- what is written ------------------------------------------------------------------------------

    def importing(self, units: Sequence[ImportUnit]) -> None:
        """Their import begins."""

        def change(unit: ImportUnit) -> None:
            unit.state = IMPORTING
            unit.tries = (unit.tries or 0) + 1

        self._write(units, change)

    def imported(self, found: Mapping[int, FilesetInfo]) -> None:
        """They are in OMERO, in these filesets (by the unit's index)."""

        def change(unit: ImportUnit) -> None:
            fileset = found[unit.index]
            unit.state = IMPORTED
            unit.fileset_id = fileset.fileset_id
            unit.image_ids = list(fileset.image_ids)
            unit.plate_ids = list(fileset.plate_ids)
            unit.error = None

        if found:
            self._write([self._by_index[index] for index in found], change)
            self.done += len(found)
            self._attempt.progressed = True
            self.report(5, last=True)

    def put_back(self, units: Sequence[ImportUnit]) -> None:
        """Their import ended and OMERO has no image of them, nor will it: nothing of them is under way."""

        def change(unit: ImportUnit) -> None:
            unit.state = PENDING

        if units:
            self._write(units, change)

    def failed(self, unit: ImportUnit, error: FerryError, fileset_id: int | None) -> None:
        """Its import failed; ``fileset_id``: what OMERO itself reported as failed."""
        reason = error.reason(self._attempt.context.site.contact)
        # The time marks what OMERO refused: see `untold`.
        marked = reason.model_copy(update={"since": utcnow() if fileset_id is not None else None})
        told = marked.model_dump(mode="json")

        def change(unit: ImportUnit) -> None:
            unit.state = PENDING
            unit.error = told
            # A try that left nothing in OMERO does not unsay that an earlier one failed there.
            unit.fileset_id = fileset_id or unit.fileset_id

        with suppress(FerryError):  # the failure itself is what the attempt ends with
            self._write([unit], change)

    def event(self, text: str) -> None:
        """A line of the order's history."""
        store = self._attempt.context.store
        with store.attempt_write(self._attempt.order_id, self._attempt.number) as (session, order):
            store.event(session, order, "bridge", text)

    def removed(self, filesets: Sequence[FilesetInfo]) -> None:
        """Remains of broken imports were removed from OMERO: history and audit."""
        if not filesets:
            return
        store = self._attempt.context.store
        with store.attempt_write(self._attempt.order_id, self._attempt.number) as (session, order):
            for fileset in filesets:
                number = fileset.fileset_id
                text = f"fileset {number}, left by an import that broke off, was removed from OMERO"
                store.event(session, order, "bridge", text)
                store.audit(session, "bridge", "omero.remove_debris", order.id, fileset_id=number)

    def report(self, import_step: int, *, more: int = 0, last: bool = False) -> None:
        """The progress row; ``more``: units that the running importer says are done."""
        self._attempt.reporter.report(
            "import",
            units_done=self.done + more,
            units_total=len(self.units),
            import_step=import_step,
            last=last,
        )

    def _write(self, units: Sequence[ImportUnit], change: Callable[[ImportUnit], None]) -> None:
        """Change rows in one transaction, then the copies that the attempt works with."""
        rows: list[dict[str, Any]] = []
        for unit in units:
            changed = _copy(unit)
            change(changed)
            rows.append(_values(changed))
        table = ImportUnit.__table__
        store = self._attempt.context.store
        with store.attempt_write(self._attempt.order_id, self._attempt.number) as (session, order):
            session.connection().execute(
                update(table)  # type: ignore[arg-type]
                .where(table.c.order_id == order.id, table.c.index == bindparam("number"))
                .values({name: bindparam(f"new_{name}", type_=table.c[name].type) for name in _CHANGING}),
                rows,
            )
        for unit in units:
            change(unit)


_CHANGING = ("state", "tries", "fileset_id", "image_ids", "plate_ids", "error")


def _copy(unit: ImportUnit) -> ImportUnit:
    return ImportUnit(index=unit.index, **{name: getattr(unit, name) for name in _CHANGING})


def _values(unit: ImportUnit) -> dict[str, Any]:
    return {"number": unit.index, **{f"new_{name}": getattr(unit, name) for name in _CHANGING}}
