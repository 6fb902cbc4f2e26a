"""Putting a manifest: a resource of the order with its own revision, replaced freely until the import starts.

A changed manifest puts an order that is being pulled or verified back to ``accepted`` and takes it from the
attempt that runs (its number is no longer the current one, so its next write is refused and its child ended).
What was pulled of unchanged files stays: rsync and the verify step look at every file again anyway.
"""

from __future__ import annotations

from itertools import islice
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.contract import Condition, ManifestAccepted, ReceiptStatus, Stage
from server_bridge.errors import BadRequest, Conflict
from server_bridge.mover import paths
from server_bridge.orders import places, stages
from server_bridge.orders.callers import Caller, require_command
from server_bridge.orders.intake import WRITING, find_visible
from server_bridge.orders.manifest_reader import Line, Manifest
from server_bridge.orders.models import ImportUnit, Order, OrderFile, OrderProgress
from server_bridge.orders.store import Store

MAX_REVISION = 2**31 - 1
_AT_A_TIME = 5_000


def import_started() -> Conflict:
    """The refusal after the point of no return."""
    return Conflict(
        "OMERO is taking these files already: what it holds of an order no longer changes.",
        code="import_started",
        title="The import has started",
        remedy="Wait until it is proven. Files that changed or came later can be ordered anew.",
    )


def put(
    store: Store, site: SiteConfig, order_id: UUID, manifest: Manifest, revision: int, caller: Caller
) -> ManifestAccepted:
    """Replace the order's manifest.

    Raises:
        NotFound, Forbidden, NotSignedIn: where the order is not the caller's to change.
        Conflict: ``manifest_revision`` for an old revision with other content, ``import_started``,
            ``place_taken`` for a file of another group's order, or ``already_imported``. Nothing is written
            then.
    """
    if not 1 <= revision <= MAX_REVISION:
        raise BadRequest(f"revision must be between 1 and {MAX_REVISION}.")
    with store.write() as session:
        order = find_visible(session, order_id, caller)
        require_command(caller, order)
        if order.seal == "bridge":
            raise Conflict(
                "The bridge lists the place itself, and seals the order when it rests.",
                code="bridge_seals",
                title="This order takes no manifest",
                remedy="Nothing to send. To seal it yourself, cancel it and order from the workstation.",
            )
        same = order.manifest_revision > 0 and order.manifest_digest == manifest.digest
        if same and revision <= order.manifest_revision:
            return accepted(order)
        if revision <= order.manifest_revision:
            raise Conflict(
                f"Revision {order.manifest_revision} is there; this is {revision} with other content.",
                code="manifest_revision",
                title="A newer manifest is there",
                remedy="Send the present content with a higher revision.",
            )
        if Stage(order.stage) not in stages.BEFORE_IMPORT:
            if order.stage in (Stage.CANCELLED, Stage.DISCARDED):
                raise Conflict(
                    f"The order is {order.stage}.",
                    code="order_ended",
                    title="This order has ended",
                    remedy="Make a new order.",
                )
            raise import_started()
        places.require_own_files(session, order, manifest.entries, caller)
        require_new(session, site, order, manifest)
        if same and order.sealed == manifest.sealed:
            order.manifest_revision = revision
            store.event(session, order, caller.who, f"manifest {revision}: unchanged")
            store.touch(session, order)
            return accepted(order)
        _replace_files(session, order.id, manifest.entries)
        _apply(store, session, order, manifest, revision, caller)
        return accepted(order)


def accepted(order: Order) -> ManifestAccepted:
    """The manifest that is there now."""
    return ManifestAccepted(
        order_id=UUID(order.id),
        revision=order.manifest_revision,
        sealed=order.sealed,
        file_count=order.file_count,
        size_bytes=order.size_bytes,
    )


def seal_by_bridge(store: Store, session: Session, order: Order, manifest: Manifest) -> None:
    """What the bridge listed twice becomes the order's sealed manifest. Inside an attempt's own write."""
    _replace_files(session, order.id, manifest.entries)
    order.manifest_revision, order.manifest_digest = order.manifest_revision + 1, manifest.digest
    order.sealed, order.file_count, order.size_bytes = True, len(manifest.entries), manifest.size_bytes
    order.idle_tries = 0
    store.set_condition(
        session,
        order,
        Condition.QUEUED,
        who="bridge",
        text=f"two listings are equal: sealed with {order.file_count} files",
    )


def require_new(session: Session, site: SiteConfig, order: Order, manifest: Manifest) -> None:
    """Nothing of it is in OMERO already, unless the order says "import again".

    Raises:
        Conflict: ``already_imported``, naming the order that brought it.
    """
    share = site.share(order.share)
    if order.import_again or share is None:
        return
    found = places.already_imported(session, order, manifest.entries, share.mtime_tolerance_seconds)
    if found:
        more = f" and {len(found) - 1} more files" if len(found) > 1 else ""
        raise Conflict(
            f"{paths.shown(found[0].path)!r}{more} came to OMERO by order {found[0].order_id}.",
            code="already_imported",
            title="This data is in OMERO already",
            remedy="Cancel this order, or cancel it and order again with 'import again'.",
        )


def _apply(
    store: Store, session: Session, order: Order, manifest: Manifest, revision: int, caller: Caller
) -> None:
    order.manifest_revision, order.manifest_digest = revision, manifest.digest
    order.sealed, order.file_count, order.size_bytes = (
        manifest.sealed,
        len(manifest.entries),
        manifest.size_bytes,
    )
    order.idle_tries = 0
    if order.condition == Condition.RUNNING:
        # The attempt that runs, in whichever stage, works on a manifest that is gone: fence it off.
        order.attempt += 1
    session.execute(delete(OrderProgress).where(OrderProgress.order_id == order.id))
    condition = Condition.QUEUED if manifest.sealed else Condition.WAITING
    reason = None if manifest.sealed else WRITING
    text = f"manifest {revision}: {len(manifest.entries)} files, {'sealed' if manifest.sealed else 'open'}"
    if order.stage == Stage.ACCEPTED:
        store.set_condition(session, order, condition, who=caller.who, text=text, reason=reason)
    else:
        store.set_stage(
            session,
            order,
            Stage.ACCEPTED,
            stages.Cause.AGENT,
            who=caller.who,
            text=text,
            condition=condition,
            reason=reason,
        )


def _replace_files(session: Session, order_id: str, entries: tuple[Line, ...]) -> None:
    """Make the rows equal the manifest, keeping what is known of files that did not change."""
    # Units belong to the old content; none has reached OMERO, since the import has not started.
    session.execute(delete(ImportUnit).where(ImportUnit.order_id == order_id))
    there = {
        path: (size_bytes, mtime_ns)
        for path, size_bytes, mtime_ns in session.execute(
            select(OrderFile.path, OrderFile.size_bytes, OrderFile.mtime_ns).where(
                OrderFile.order_id == order_id
            )
        )
    }
    gone = _without(there, entries)
    for start in range(0, len(gone), 400):
        session.execute(
            delete(OrderFile).where(
                OrderFile.order_id == order_id, OrderFile.path.in_(gone[start : start + 400])
            )
        )
    session.execute(
        update(OrderFile)
        .where(OrderFile.order_id == order_id)
        .values(unit=None, status=ReceiptStatus.PENDING.value, rule="")
    )
    new = (entry for entry in entries if there.get(entry.path) != (entry.size_bytes, entry.mtime_ns))
    # A batch at a time: the rows of a million files, all at once, would take more than the manifest itself.
    while batch := list(islice(new, _AT_A_TIME)):
        # Into the table, past the mapping: everybody else who writes waits until this is done.
        session.execute(
            insert(OrderFile.__table__),  # type: ignore[arg-type]
            [
                {
                    "order_id": order_id,
                    "path": entry.path,
                    "size_bytes": entry.size_bytes,
                    "mtime_ns": entry.mtime_ns,
                    "status": ReceiptStatus.PENDING.value,
                    "rule": "",
                }
                for entry in batch
            ],
        )


def _without(there: dict[str, tuple[int, int]], entries: tuple[Line, ...]) -> list[str]:
    """Paths whose row is gone from the manifest, or stands in it with another size or time."""
    if not there:
        return []
    wanted = {entry.path: (entry.size_bytes, entry.mtime_ns) for entry in entries if entry.path in there}
    return [path for path, facts in there.items() if wanted.get(path) != facts]
