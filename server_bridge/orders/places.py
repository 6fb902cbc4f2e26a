"""One live order per place: same, parent or child counts, as the storage compares names.

A place is held while an order works on it (until it is proven). Afterwards the bytes are safe in OMERO, and
what protects them from being brought twice is finer: the same file (share, path, size, mtime) needs an
explicit "import again" (:func:`already_imported`), while new files beside it may be ordered freely.

Groups of one folder hold their entries by patterns: what these do not decide is decided by the files that
each order's manifest names (:func:`require_own_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from server_bridge.contract import ReceiptStatus, Stage
from server_bridge.errors import Conflict
from server_bridge.mover import paths
from server_bridge.orders import stages
from server_bridge.orders.authority import fold
from server_bridge.orders.callers import Caller
from server_bridge.orders.manifest_reader import Line
from server_bridge.orders.models import Order, OrderFile, Workstation
from server_bridge.orders.overlap import Place, collide, may_share, place_of

HOLD_PLACE = stages.WORKED
IMPORTED_STAGES = frozenset({Stage.IMPORTING, Stage.PROVING, Stage.ANNOTATING}) | stages.PROOF_STAGES
_AT_A_TIME = 400


def _among(
    session: Session,
    share: str,
    place: Place,
    among: Iterable[Stage],
    but: str,
    meets: Callable[[Place, Place], bool],
) -> list[str]:
    """Ids of the orders of a share, in one of these stages, whose place meets ``place``."""
    # Compared here and not in SQL: no database folds Unicode the way shares do. Three short columns of the
    # live orders of one share are cheap to read.
    rows = session.execute(
        select(Order.id, Order.path, Order.members).where(
            Order.share == share, Order.stage.in_(sorted(among)), Order.id != but
        )
    ).all()
    top = fold(place.path).split("/", 1)[0]
    # A group in the share's top has no folder to tell it apart by.
    anywhere = bool(place.members) and "/" not in place.path
    return [
        row.id
        for row in rows
        if (anywhere or (row.members and "/" not in row.path) or fold(row.path).split("/", 1)[0] == top)
        and meets(Place(row.path, tuple(row.members or ())), place)
    ]


def require_free(session: Session, order_id: str, share: str, place: Place, caller: Caller) -> None:
    """No live order works at, above or below this place, or on what a group there holds.

    Raises:
        Conflict: ``place_taken``. It names the order, its person and workstation to staff and to that person
            herself; to others it names the site's contact only (the API fills it in).
    """
    found = _among(session, share, place, HOLD_PLACE, order_id, collide)
    if not found:
        return
    other = session.get_one(Order, found[0])
    path = fold(place.path)
    relation = "This place"
    if place.members or other.members:
        relation = "This place" if fold(other.path) == path else "Some of it"
    elif fold(other.path) != path:
        relation = "A folder above it" if path.startswith(fold(other.path) + "/") else "Something in it"
    raise _taken(session, other, relation, caller)


def require_own_files(session: Session, order: Order, entries: Sequence[Line], caller: Caller) -> None:
    """No file of a group's manifest is another live group's: their patterns alone do not always say so.

    Raises:
        Conflict: ``place_taken``, naming the file, and the other order as :func:`require_free` does.
    """
    if not order.members:
        return
    others = _among(session, order.share, place_of(order), HOLD_PLACE, order.id, may_share)
    if not others:
        return
    wanted = {fold(entry.path): entry.path for entry in entries}
    for start in range(0, len(others), _AT_A_TIME):
        rows = session.execute(
            select(OrderFile.order_id, OrderFile.path)
            .where(OrderFile.order_id.in_(others[start : start + _AT_A_TIME]))
            .order_by(OrderFile.path)
        )
        for other_id, path in rows:
            if (mine := wanted.get(fold(path))) is not None:
                other = session.get_one(Order, other_id)
                raise _taken(session, other, f"{paths.shown(mine)!r}", caller)


def _taken(session: Session, other: Order, what: str, caller: Caller) -> Conflict:
    """The refusal of what another order is for."""
    if caller.is_staff or caller.username in (other.person, other.ordered_by):
        workstation = session.get(Workstation, other.workstation_id) if other.workstation_id else None
        where = f" at {workstation.name}" if workstation else ""
        detail = (
            f"{what} ({paths.shown(other.path)!r}) is on its way by order {other.id} of "
            f"{other.person}{where}."
        )
        remedy = "Wait for that order, or cancel it."
    else:
        detail = f"{what} is on its way to OMERO by somebody else's order."
        remedy = "Ask the contact named here who ordered it."
    return Conflict(detail, code="place_taken", title="This data is ordered already", remedy=remedy)


@dataclass(frozen=True, slots=True)
class Imported:
    """One file that OMERO holds already."""

    path: str
    order_id: str


def already_imported(
    session: Session,
    order: Order,
    entries: Sequence[Line],
    tolerance_seconds: float,
) -> list[Imported]:
    """Files of a manifest that earlier orders brought to OMERO, or are importing: same path, size and
    mtime."""
    earlier = _among(session, order.share, place_of(order), IMPORTED_STAGES, order.id, may_share)
    if not earlier:
        return []
    tolerance_ns = int(tolerance_seconds * 1e9)
    wanted = {entry.path: entry for entry in entries}
    found: dict[str, Imported] = {}
    for start in range(0, len(earlier), _AT_A_TIME):
        rows = session.execute(
            select(OrderFile.order_id, OrderFile.path, OrderFile.size_bytes, OrderFile.mtime_ns).where(
                OrderFile.order_id.in_(earlier[start : start + _AT_A_TIME]),
                # What an order left outside OMERO (ignored, kept, left out) may be ordered again.
                OrderFile.status.in_([ReceiptStatus.PROVEN, ReceiptStatus.PENDING]),
            )
        )
        for order_id, path, size_bytes, mtime_ns in rows:
            entry = wanted.get(path)
            if entry and entry.size_bytes == size_bytes and abs(entry.mtime_ns - mtime_ns) <= tolerance_ns:
                found.setdefault(path, Imported(path, order_id))
    return [found[path] for path in sorted(found)]
