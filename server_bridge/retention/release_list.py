"""Released orders of a share, each checked again as it is listed, page by page.

One list for whoever deletes: storage staff's job (command line or HTTP) and the agent of a workstation. Who
may have it is the share's ``deletion``: two deleters of one buffer would each take the other's work for a
loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from server_bridge.config import ShareConfig
from server_bridge.context import Context
from server_bridge.contract import DeletionMode, Release, ReleasePage, ReleaseRefusal, Stage
from server_bridge.errors import Conflict, FerryError, Unavailable
from server_bridge.orders.models import Order
from server_bridge.retention.release import recheck


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a page ends."""

    orders: int = 50
    files: int = 20_000
    """It ends with the order that reaches this; an order is never cut."""
    seconds: float = 45.0


LIMITS = Limits()


def require_storage_deletes(share: ShareConfig) -> None:
    """The list is for the storage staff's job.

    Raises:
        Conflict: ``deletion_is_agents`` where the workstations delete on this share.
    """
    if share.deletion is DeletionMode.AGENT:
        raise Conflict(
            f"On {share.id} the workstations' agents delete.",
            code="deletion_is_agents",
            title="This share's data is deleted by its workstations",
            remedy='Set deletion = "storage" for this share where your job shall delete.',
        )


def released_ids(
    context: Context, share: str, *, after: str = "", workstation_id: str | None = None, limit: int
) -> list[str]:
    """Ids of released orders whose copy is still on the buffer, by id, after ``after``."""
    wanted = select(Order.id).where(
        Order.share == share, Order.stage == Stage.RELEASED, Order.freed_at.is_(None), Order.id > after
    )
    if workstation_id is not None:
        wanted = wanted.where(Order.workstation_id == workstation_id)
    with context.store.read() as session:
        return list(session.scalars(wanted.order_by(Order.id).limit(limit)))


def page(
    context: Context,
    share: str,
    *,
    after: str = "",
    workstation_id: str | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> ReleasePage:
    """Re-check the next orders and list them.

    Args:
        share: its id.
        after: ``next`` of the page before.
        workstation_id: only orders made at this one; None: all.
        limits: where the page ends.
        clock: seconds, for tests.

    Raises:
        Unavailable: where OMERO does not answer: then nothing may be deleted.
    """
    limits = limits or LIMITS
    ids = released_ids(context, share, after=after, workstation_id=workstation_id, limit=limits.orders + 1)
    releases: list[Release] = []
    refused: list[ReleaseRefusal] = []
    files, began, last = 0, clock(), ""
    for order_id in ids[: limits.orders]:
        found = checked(context, order_id)
        last = order_id
        if isinstance(found, Release):
            releases.append(found)
            files += len(found.files)
        else:
            refused.append(found)
        if files >= limits.files or clock() - began > limits.seconds:
            break
    return ReleasePage(
        share=share,
        releases=tuple(releases),
        refused=tuple(refused),
        next=last if ids and last != ids[-1] else "",
    )


def checked(context: Context, order_id: str) -> Release | ReleaseRefusal:
    """One order, checked now. An order that silently left the list would be taken for one that was never
    released: it is named with its reason.

    Raises:
        Unavailable: where OMERO does not answer.
    """
    try:
        found = recheck(context, order_id)
    except Unavailable:
        raise
    except FerryError as error:
        return ReleaseRefusal(order_id=UUID(order_id), reason=error.reason(context.site.contact))
    if found.released:
        return found
    if found.reason is None:  # a refusal always has one
        raise AssertionError(order_id)
    return ReleaseRefusal(order_id=UUID(order_id), reason=found.reason)
