"""The import units of an order: asked from Bio-Formats once, persisted, and never asked again.

Grouping exists only in ``omero import -f``; it is not re-implemented here. Once persisted, the units are
what the order imports, whatever a later scan would say: between two attempts nothing may change its mind.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, insert, update

from server_bridge.contract import ReceiptStatus
from server_bridge.errors import NeedsAttention
from server_bridge.mover.paths import shown
from server_bridge.omero.importer import ScannedUnit, scan_units
from server_bridge.omero.paths import client_path
from server_bridge.orders import file_rows
from server_bridge.orders.models import ImportUnit, OrderFile
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.leftovers import covering_rule
from server_bridge.processes.run_lock import RunLock

DELETED_RULE = "deleted in OMERO"
"""The ``rule`` of a file whose fileset was deleted in OMERO while others of its order stay."""
UNREAD_RULE = "failed: "
"""How the ``rule`` of a file begins that no unit takes because a reader failed at it; then what it said."""

log = logging.getLogger(__name__)


def ensure_units(attempt: Attempt, lock: RunLock) -> list[ImportUnit]:
    """The units of the order, scanning if there are none yet.

    Raises:
        NeedsAttention: ``nothing_importable`` where no reader takes any file, ``files_unread`` where a reader
            took some and failed; what the scan raises.
        StaleAttempt: where the order moved on.
    """
    known = attempt.context.store.units(attempt.order_id)
    if known:
        return known
    files = attempt.context.store.files(attempt.order_id)
    attempt.reporter.report("scan", last=True)
    scanned, unread = _scan(attempt, lock)
    if unread:
        # Units are for ever: a disk that did not answer once must not leave a file outside of them.
        log.info("order %s: the scan failed at %d files; it is made again", attempt.order_id, len(unread))
        scanned, unread = _scan(attempt, lock)
    if not scanned and unread:
        path, said = next(iter(unread.items()))
        said = said or "no word"
        raise NeedsAttention(
            f"Bio-Formats failed at {len(unread)} of {len(files)} files: {shown(path)!r}: {said}",
            code="files_unread",
            title="OMERO failed to read these files",
            remedy="Open them on the workstation: they may be incomplete or damaged. If they are fine, "
            "retry; the order's log holds what the importer said.",
        )
    if not scanned:
        raise NeedsAttention(
            f"Bio-Formats recognises none of the {len(files)} files.",
            code="nothing_importable",
            title="OMERO can read none of these files",
            remedy="Cancel the order. If the format should work, ask the platform staff: the order's log "
            "holds what the importer said.",
        )
    persist(attempt, scanned, {file.path for file in files}, unread)
    return attempt.context.store.units(attempt.order_id)


def _scan(attempt: Attempt, lock: RunLock) -> tuple[list[ScannedUnit], dict[str, str]]:
    """The units, and the files at which a reader failed: relative path → what it said."""
    places = attempt.places
    unread: dict[str, str] = {}
    try:
        scanned = scan_units(
            attempt.context.site.omero,
            places.acquisition(attempt.order.path, is_group=bool(attempt.order.members)),
            attempt.runner,
            stop_event=attempt.stop,
            lock=lock,
            output_path=places.output(attempt.number, "scan"),
            unread=unread,
        )
    finally:
        attempt.check()
    return scanned, {
        path: said for staged, said in unread.items() if (path := places.relative(staged)) is not None
    }


def persist(attempt: Attempt, scanned: list[ScannedUnit], known: set[str], unread: Mapping[str, str]) -> None:
    """Write the files' units, the rules of the files that no unit takes, and, last, the units.

    Args:
        known: all files of the order.
        unread: those of them at which a reader failed, and what it said, for whoever is asked about them.

    Raises:
        NeedsAttention: ``unit_unlisted`` where a unit takes a file that the manifest does not name.
        StaleAttempt: where the order moved on.
    """
    places, patterns = attempt.places, attempt.share.patterns
    unit_of: dict[str, int] = {}
    for index, unit in enumerate(attempt.each(scanned)):
        members = [places.relative(path) for path in unit.files]
        for staged, path in zip(unit.files, members, strict=True):
            if path is None or path not in known:
                raise NeedsAttention(
                    f"{shown(staged)!r} is not in the manifest.",
                    code="unit_unlisted",
                    title="An import unit takes a file that was not ordered",
                    remedy="Staff look at the order's staging directory.",
                )
            unit_of[path] = index
    left = sorted(known - unit_of.keys())
    covered = {path: rule for path in left if (rule := covering_rule(path, patterns)) is not None}
    asked = [path for path in left if path not in covered]
    store = attempt.context.store
    with attempt.write() as (session, order):
        # What a scan left that broke off between the next transactions.
        session.execute(
            update(OrderFile)
            .where(OrderFile.order_id == order.id, OrderFile.unit.is_not(None) | (OrderFile.rule != ""))
            .values(unit=None, status=ReceiptStatus.PENDING.value, rule="")
        )
    file_rows.write(
        attempt.write,
        {"unit": bindparam("number")},
        ({"key": path, "number": index} for path, index in unit_of.items()),
    )
    file_rows.write(
        attempt.write,
        {"status": bindparam("receipt"), "rule": bindparam("covered_by")},
        [
            {"key": path, "receipt": status.value, "covered_by": rule[:255]}
            for path, (status, rule) in covered.items()
        ],
    )
    file_rows.write(
        attempt.write,
        {"rule": bindparam("said")},
        [{"key": path, "said": f"{UNREAD_RULE}{unread[path]}"[:255]} for path in asked if path in unread],
    )
    # The units come last and at once: they are what says that the order was scanned.
    with attempt.write() as (session, order):
        for rows in file_rows.pieces(_row(attempt, index, unit) for index, unit in enumerate(scanned)):
            session.connection().execute(insert(ImportUnit.__table__), rows)  # type: ignore[arg-type]
        # Asked at once and needed only at the end: the images come to OMERO while somebody thinks about it.
        order.asks_left_out = bool(asked)
        text = f"{len(scanned)} import units with {len(unit_of)} files"
        if left:
            text += f"; {len(covered)} files covered by a rule, {len(asked)} to be decided"
        store.event(session, order, "bridge", text)
        store.touch(session, order)


def _row(attempt: Attempt, index: int, unit: ScannedUnit) -> dict[str, Any]:
    return {
        "order_id": attempt.order_id,
        "index": index,
        "main_path": attempt.places.relative(unit.main) or "",
        "reader": unit.reader[:255],
        "spw": unit.spw,
        "file_count": len(unit.files),
        "client_path": client_path(unit.main),
        "state": "pending",
        "tries": 0,
        "image_ids": [],
        "plate_ids": [],
    }


def require_all_covered(attempt: Attempt) -> None:
    """Every file has a unit, a rule or an acceptance.

    Raises:
        NeedsAttention: ``left_out``, until somebody accepts them.
    """
    store = attempt.context.store
    with store.read() as rows:
        pending = OrderFile.status == ReceiptStatus.PENDING
        files = file_rows.read(rows, attempt.order_id, OrderFile.unit.is_(None), pending)
    asked = [file.path for file in files]
    if not asked:
        return
    if not attempt.order.asks_left_out:
        with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
            order.asks_left_out = True
            store.touch(session, order)
    named = ", ".join(repr(shown(path)) for path in asked[:3])
    more = f" and {len(asked) - 3} more" if len(asked) > 3 else ""
    if all(file.rule == DELETED_RULE for file in files):
        raise NeedsAttention(
            f"The images of {named}{more} were deleted in OMERO.",
            code="left_out",
            title=f"{len(asked)} files are no longer in OMERO",
            remedy="Accept that they stay outside OMERO: their copy on the buffer may then go with the rest. "
            "Or ask staff to bring them back out of quarantine.",
        )
    unread = next((file for file in files if file.rule.startswith(UNREAD_RULE)), None)
    said = f" At {shown(unread.path)!r} it {unread.rule}." if unread else ""
    raise NeedsAttention(
        f"OMERO takes no image from {named}{more}.{said}",
        code="left_out",
        title=f"{len(asked)} files would stay outside OMERO",
        remedy="Look at them and accept that they stay outside OMERO, or ask the platform staff.",
    )
