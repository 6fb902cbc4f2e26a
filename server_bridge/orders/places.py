"""One live order per place: same, parent or child counts, as the storage compares names.

A place is held while an order works on it (until it is proven). Afterwards the bytes are safe in OMERO, and
what protects them from being brought twice is finer: the same file (share, path, size, mtime) needs an
explicit "import again" (:func:`already_imported`), while new files beside it may be ordered freely.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

HOLD_PLACE = stages.WORKED
IMPORTED_STAGES = frozenset({Stage.IMPORTING, Stage.PROVING, Stage.ANNOTATING}) | stages.PROOF_STAGES
_AT_A_TIME = 400


def overlaps(left: str, right: str) -> bool:
    """Whether two paths of one share name the same place, or one lies in the other."""
    a, b = fold(left), fold(right)
    return a == b or a.startswith(b + "/") or b.startswith(a + "/")


def _overlapping(session: Session, share: str, path: str, among: Iterable[Stage], but: str) -> list[str]:
    """Ids of the orders at, above or below ``path``."""
    # Compared here and not in SQL: no database folds Unicode the way shares do. Two short columns of the live
    # orders of one share are cheap to read.
    rows = session.execute(
        select(Order.id, Order.path).where(
            Order.share == share, Order.stage.in_(sorted(among)), Order.id != but
        )
    ).all()
    wanted = fold(path)
    top = wanted.split("/", 1)[0]
    return [row.id for row in rows if fold(row.path).split("/", 1)[0] == top and overlaps(row.path, path)]


def require_free(session: Session, order_id: str, share: str, path: str, caller: Caller) -> None:
    """No live order works at, above or below this place.

    Raises:
        Conflict: ``place_taken``. It names the order, its person and workstation to staff and to that person
            herself; to others it names the site's contact only (the API fills it in).
    """
    found = _overlapping(session, share, path, HOLD_PLACE, order_id)
    if not found:
        return
    other = session.get_one(Order, found[0])
    relation = "This place"
    if fold(other.path) != fold(path):
        relation = "A folder above it" if fold(path).startswith(fold(other.path) + "/") else "Something in it"
    if caller.is_staff or caller.username in (other.person, other.ordered_by):
        workstation = session.get(Workstation, other.workstation_id) if other.workstation_id else None
        where = f" at {workstation.name}" if workstation else ""
        detail = (
            f"{relation} ({paths.shown(other.path)!r}) is on its way by order {other.id} of "
            f"{other.person}{where}."
        )
        remedy = "Wait for that order, or cancel it."
    else:
        detail = f"{relation} is on its way to OMERO by somebody else's order."
        remedy = "Ask the contact named here who ordered it."
    raise Conflict(detail, code="place_taken", title="This data is ordered already", remedy=remedy)


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
    earlier = _overlapping(session, order.share, order.path, IMPORTED_STAGES, order.id)
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
