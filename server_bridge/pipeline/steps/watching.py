"""accepted, unsealed: the bridge itself judges whether an order without an agent rests, and seals it.

Orders that staff make for data no workstation watches (a migration, OMERO.web) have nobody who would send a
manifest. Each look is one attempt of a lane of its own: it lists the place, compares with the look before,
and ends. Nothing is pulled before two listings are equal (see `server_bridge.pipeline.quiet`); from then on
such an order is like any other, and comes back here when its source changes before the import.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NoReturn

from server_bridge.contract import (
    MAX_MANIFEST_ENTRIES,
    AcquisitionKind,
    Condition,
    Reason,
)
from server_bridge.errors import BadRequest, Conflict, NeedsAttention
from server_bridge.mover.listing import FolderMissing, Listing
from server_bridge.mover.paths import shown
from server_bridge.omero.paths import require_distinct
from server_bridge.orders import manifest_reader, manifests
from server_bridge.orders.intake import WATCHED, share_path_limit
from server_bridge.orders.manifest_reader import Line
from server_bridge.orders.models import utcnow
from server_bridge.pipeline import compare, quiet
from server_bridge.pipeline.attempt import Attempt, Finished
from server_bridge.pipeline.leftovers import is_covered
from server_bridge.pipeline.steps.source import look

LONGEST_PAUSE_SECONDS = 3600.0
_NS = 1_000_000_000


def run(attempt: Attempt) -> None:
    """Look once.

    Raises:
        Finished: always, where nothing failed: sealed, or to be looked at again.
        StepFailed: for a share that is away, unreadable or not plain; for names that may not travel.
    """
    attempt.reporter.report("verify")
    try:
        listing = look(attempt)
    except FolderMissing as error:
        _nothing_yet(attempt, error.detail)
    if (failed := compare.incomplete(listing)) is not None:
        raise failed
    ignored = (*attempt.share.rule.ignore, *attempt.share.patterns.ignore)
    _require_plain(listing, ignored)
    entries = [entry for entry in listing.entries.values() if not is_covered(entry.path, ignored)]
    if not entries:
        _nothing_yet(attempt, f"{shown(listing.folder)!r} is empty.")
    now = utcnow()
    seen = quiet.sight_of(entries, now)
    order = attempt.order
    judged = quiet.judge(seen, order.listing_digest, order.listed_at, now, attempt.share.rule.quiet_seconds)
    if not judged.rests:
        _look_again(attempt, seen, judged)
    _seal(
        attempt,
        listing,
        [Line(path=one.path, size_bytes=one.size_bytes, mtime_ns=one.mtime_s * _NS) for one in entries],
    )


def _require_plain(listing: Listing, ignored: tuple[str, ...]) -> None:
    odd = [skipped for skipped in listing.skipped if not is_covered(skipped.path, ignored)]
    if (refused := compare.not_plain((skipped.path for skipped in odd), listing)) is not None:
        raise refused


def _look_again(attempt: Attempt, seen: quiet.Sight, judged: quiet.Judgement) -> NoReturn:
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        order.listing_digest, order.listed_at = seen.digest, judged.unchanged_since
        order.idle_tries = 0
        reason = WATCHED.model_copy(update={"detail": f"{WATCHED.detail} Last look: {judged.why}."})
        store.set_condition(
            session,
            order,
            Condition.WAITING,
            who="bridge",
            text=judged.why,
            reason=reason.model_copy(update={"since": order.created_at}),
            next_try_at=judged.look_at,
        )
    raise Finished


def _nothing_yet(attempt: Attempt, detail: str) -> NoReturn:
    """An empty or missing place: somebody may be about to fill it, or the path has a typing error."""
    now = utcnow()
    title = "There is nothing to bring over yet"
    since = attempt.waiting_since("nothing_there") or now
    hours = attempt.context.site.limits.empty_hours
    if now - since >= timedelta(hours=hours):
        raise NeedsAttention(
            f"{detail} So it has been for {hours:g} hours.",
            code="nothing_there",
            title=title,
            remedy="Is the path spelt as on the share? Retry when the data is there, or cancel the order.",
        )
    reason = Reason(
        code="nothing_there",
        title=title,
        detail=detail,
        remedy="Nothing to do if the data is still to come: the bridge looks again. Otherwise cancel it.",
        contact=attempt.context.site.contact,
        since=since,
    )
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        order.listing_digest, order.listed_at, order.idle_tries = "", None, 0
        store.set_condition(
            session,
            order,
            Condition.WAITING,
            who="bridge",
            text=title,
            reason=reason,
            next_try_at=now + timedelta(seconds=_pause(attempt, since, now)),
        )
    raise Finished


def _pause(attempt: Attempt, since: datetime, now: datetime) -> float:
    """As long as it has been so, which doubles it; at least the quiet time."""
    waited = (now - since).total_seconds()
    return min(LONGEST_PAUSE_SECONDS, max(attempt.share.rule.quiet_seconds, waited))


def _seal(attempt: Attempt, listing: Listing, entries: list[Line]) -> NoReturn:
    if len(entries) > MAX_MANIFEST_ENTRIES:
        raise _refused(manifest_reader.too_large())
    kind = AcquisitionKind.FILE if listing.is_file else AcquisitionKind.FOLDER
    try:
        manifest = manifest_reader.manifest_of(
            entries,
            sealed=True,
            order_path=listing.folder,
            kind=kind,
            longest_path_bytes=share_path_limit(attempt.context.site, attempt.share.id),
        )
        require_distinct(entry.path for entry in manifest.entries)
    except BadRequest as error:
        raise _refused(error) from error
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        try:
            manifests.require_new(session, attempt.context.site, order, manifest)
        except Conflict as error:
            raise _refused(error) from error
        order.kind = kind
        manifests.seal_by_bridge(store, session, order, manifest)
    raise Finished


def _refused(error: BadRequest | Conflict) -> NeedsAttention:
    """What an agent would be answered stands on the order here: there is nobody else to tell."""
    return NeedsAttention(shown(error.detail), code=error.code, title=error.title, remedy=error.remedy)
