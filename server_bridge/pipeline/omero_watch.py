"""Watching whether OMERO's database is the one that we saw, and saying so once where it is an older one.

The landmark (an event, `server_bridge.omero.landmark`) moves on with each look for as long as it stands. When
it does not stand, it stays where it is: if a newer dump replaces the old one, it stands again and all is as
before; otherwise staff say that the older database is OMERO now (`ferry-bridge omero-restored
--import-again`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from server_bridge.context import Context
from server_bridge.contract import Reason
from server_bridge.omero import landmark
from server_bridge.omero.session import Session
from server_bridge.orders import notices, remembered
from server_bridge.orders.models import utcnow

NOTICE = "site:omero_restored"
TITLE = "OMERO was restored from an older dump"
REMEDY = (
    "Restore a newer dump if there is one: the bridge then goes on by itself. Otherwise "
    "`ferry-bridge omero-restored` lists what OMERO lost, and --import-again brings it back from staging."
)


def look(context: Context, session: Session) -> bool | None:
    """Whether OMERO's database is the one of our last look; None: there was none yet (see :func:`begin`).

    Raises:
        Unavailable, TransientFailure: where OMERO does not answer.
    """
    store = context.store
    with store.read() as rows:
        known = landmark.from_json(remembered.recall(rows, remembered.LANDMARK))
        doubted = remembered.recall(rows, remembered.RESTORED) is not None
    if known is None:
        return None
    if not landmark.stands(session, known):
        if not doubted:
            _doubt(context, known, utcnow())
        return False
    if doubted:
        _trust_again(context, utcnow())
    _move(context, session, known)
    return True


def begin(context: Context, newest: landmark.Landmark, missing: Sequence[str]) -> None:
    """Set the first landmark.

    Args:
        context: of the bridge.
        newest: an event that was read before it was looked what is missing.
        missing: orders whose filesets are not there now. When and why they went, this landmark cannot say.
    """
    with context.store.write(notify=False) as rows:
        if remembered.recall(rows, remembered.LANDMARK) is None:
            remembered.remember(rows, remembered.LANDMARK, newest.as_json(), utcnow())
            remembered.remember(rows, remembered.UNKNOWN_PAST, {"orders": list(missing)}, utcnow())


def vouches(context: Context, order_id: str) -> bool:
    """Whether the landmark was set while the order's filesets were there."""
    with context.store.read() as rows:
        unknown = remembered.recall(rows, remembered.UNKNOWN_PAST)
    return unknown is None or order_id not in unknown["orders"]


def _move(context: Context, session: Session, known: landmark.Landmark) -> None:
    """Remember the newest event, if nobody else moved the landmark since ``known`` was read."""
    newest = landmark.newest(session)
    if newest is None or newest == known:
        return
    with context.store.write(notify=False) as rows:
        if landmark.from_json(remembered.recall(rows, remembered.LANDMARK)) == known:
            remembered.remember(rows, remembered.LANDMARK, newest.as_json(), utcnow())


def accept(context: Context, session: Session, who: str, missing: Sequence[str]) -> None:
    """Staff's word: the database as it is now is OMERO. ``missing``: orders that stay without filesets."""
    newest = landmark.newest(session)
    now = utcnow()
    with context.store.write() as rows:
        remembered.forget(rows, remembered.RESTORED)
        remembered.forget(rows, remembered.LANDMARK)
        if newest is not None:
            remembered.remember(rows, remembered.LANDMARK, newest.as_json(), now)
            remembered.remember(rows, remembered.UNKNOWN_PAST, {"orders": list(missing)}, now)
        notices.withdraw(rows, now, prefix=NOTICE)
        context.store.audit(rows, who, "omero.restored_accepted", "OMERO")


def reason(context: Context, detail: str) -> Reason:
    """The words for notice and orders."""
    return Reason(
        code="omero_restored", title=TITLE, detail=detail, remedy=REMEDY, contact=context.site.contact
    )


def _doubt(context: Context, known: landmark.Landmark, now: datetime) -> None:
    with context.store.write() as rows:
        if remembered.recall(rows, remembered.RESTORED) is not None:
            return
        detail = (
            f"Event {known.event_id}, which OMERO's database held, is not in it any more. Receipts of data "
            "that it lost are not believed; nothing of it is released, dropped or put into quarantine."
        )
        remembered.remember(rows, remembered.RESTORED, {"since": now.isoformat()}, now)
        notices.post(rows, now, key=NOTICE, kind="site", reason=reason(context, detail))
        context.store.audit(rows, "bridge", "omero.restored", "OMERO", event=known.event_id)


def _trust_again(context: Context, now: datetime) -> None:
    with context.store.write() as rows:
        if remembered.forget(rows, remembered.RESTORED):
            notices.withdraw(rows, now, prefix=NOTICE)
            context.store.audit(rows, "bridge", "omero.is_back", "OMERO")
