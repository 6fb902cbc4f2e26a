"""accepted → pulling: the bridge's own listing becomes the baseline, if it equals the agent's manifest.

What the agent judged finished may have gone on since: then nothing is pulled, and the order waits for a new
manifest. Times are noted as the bridge sees them; everything later is compared with these.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, update

from server_bridge.contract import ReceiptStatus, Stage
from server_bridge.errors import NeedsAttention
from server_bridge.mover.listing import FolderMissing
from server_bridge.orders import file_rows
from server_bridge.orders.models import ImportUnit, OrderFile
from server_bridge.pipeline import compare
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.leftovers import is_covered
from server_bridge.pipeline.steps import restored, source_gone
from server_bridge.pipeline.steps.source import look, writing_again


def run(attempt: Attempt) -> None:
    """Look, compare, note.

    Raises:
        Finished: where the source changed and the order waits for its agent.
        StepFailed: for a share that is away, unreadable or not plain.
    """
    files = attempt.context.store.files(attempt.order_id)
    if not files:
        raise NeedsAttention(
            "Its manifest lists no file.",
            code="nothing_ordered",
            title="The acquisition is empty",
            remedy="Cancel the order; order again when the folder holds data.",
        )
    share = attempt.share
    attempt.reporter.report("verify")
    some_staged = any(file.staged_at is not None for file in files)
    try:
        listing = look(attempt)
    except FolderMissing as missing:
        restored.require_source(attempt, files, missing)
        if not some_staged:
            raise
        source_gone.require_source(attempt, [file.path for file in files], files)
        attempt.advance(Stage.PULLING, "the source is gone, and everything is staged", keep_running=True)
        return
    if (error := compare.incomplete(listing)) is not None:
        raise error
    manifest = [compare.from_agent(file.path, file.size_bytes, file.mtime_ns) for file in files]
    if (refused := compare.not_plain((file.path for file in manifest), listing)) is not None:
        raise refused
    unlisted = (*share.rule.ignore, *share.patterns.ignore)
    # What the bridge listed itself is compared with its own view: nothing in between rounds times.
    tolerance = 0.0 if attempt.order.seal == "bridge" else share.mtime_tolerance_seconds
    found = compare.against_manifest(manifest, listing, tolerance, lambda path: is_covered(path, unlisted))
    if some_staged and source_gone.only_gone(found):
        source_gone.require_source(attempt, found.missing, files)
    elif not found.is_same:
        offset = compare.clock_offset_seconds(manifest, listing, tolerance)
        if offset is not None and attempt.order.seal != "bridge":
            raise NeedsAttention(
                f"All sizes agree, and all times differ by about {offset:+.0f} s.",
                code="times_differ",
                title="Workstation and buffer do not agree on the time",
                remedy="Staff check clock and time zone of the workstation and the buffer's storage, then "
                "retry.",
            )
        spelt = compare.spelt_differently(found)
        if spelt is not None:
            raise NeedsAttention(
                f"The workstation sees {spelt[0]!a}, the bridge {spelt[1]!a}.",
                code="names_differ",
                title="Workstation and buffer spell names differently",
                remedy="Staff look how the share is exported (Unicode normalisation, letter case), or rename "
                "the files to plain letters; then let the workstation look again.",
            )
        writing_again(attempt, compare.describe(found))

    rows = [
        {"key": file.path, "mtime_s": listing.entries[file.path].mtime_s}
        for file in files
        if file.path in listing.entries and file.source_mtime_s != listing.entries[file.path].mtime_s
    ]
    with attempt.write() as (session, order):
        # An order that came back from `importing` (nothing of it was in OMERO) is grouped anew: its units are
        # those of the files as they were.
        session.execute(delete(ImportUnit).where(ImportUnit.order_id == order.id))
        session.execute(
            update(OrderFile)
            .where(OrderFile.order_id == order.id, OrderFile.unit.is_not(None) | (OrderFile.rule != ""))
            .values(unit=None, status=ReceiptStatus.PENDING.value, rule="")
        )
        order.asks_left_out = False
    # Another time is another file: its digest is of what was there before.
    noted: dict[str, Any] = {"source_mtime_s": bindparam("mtime_s"), "sha1": None, "staged_at": None}
    file_rows.write(attempt.write, noted, rows)
    attempt.advance(Stage.PULLING, f"the share holds what was sealed: {len(files)} files", keep_running=True)
