"""The changes feed. A waiting poll holds no thread and no database connection."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool

from server_bridge.api.dependencies import Parts, PartsDep, SomebodyDep
from server_bridge.contract import ChangesPage
from server_bridge.errors import Forbidden
from server_bridge.orders import feed
from server_bridge.orders.callers import Caller
from server_bridge.orders.feed import Position

router = APIRouter(tags=["orders"])
LONGEST_WAIT_SECONDS = 25.0
QUEUES_EVERY_SECONDS = 5.0
"""How often a waiting poll is answered because places in a queue moved and nothing else did."""


@router.get("/v1/orders")
async def changes(
    parts: PartsDep,
    caller: SomebodyDep,
    after: Annotated[int, Query(ge=0)] = 0,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = 0.0,
    progress_after: Annotated[float | None, Query(ge=0, le=1e11)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = feed.PAGE,
) -> ChangesPage:
    """What changed after a cursor, for this caller; waits up to ``wait`` seconds for something to change.

    With ``progress_after`` (the last answer's ``progress_at``, first 0) the running counters are told too.
    """
    if caller.granted_order is not None:
        raise Forbidden("A submission grant is good for its order alone.", code="grant_is_narrow")
    deadline = time.monotonic() + wait
    while True:
        page = await run_in_threadpool(_page, parts, caller, after, progress_after, limit)
        left = deadline - time.monotonic()
        if page.orders or page.progress or page.more or left <= 0:
            return page
        after = page.cursor
        queues_at = time.monotonic() + QUEUES_EVERY_SECONDS

        def concerned(position: Position, seen: int = after, queues_at: float = queues_at) -> bool:
            if position.concerns(caller, seen):
                return True
            if progress_after is not None and position.progress_concerns(caller, progress_after):
                return True
            return time.monotonic() >= queues_at and parts.store.queues.may_have_moved(
                caller, seen, if_busy=False
            )

        if await parts.waker.wait(concerned, left) is None:  # time is over, or the bridge stops
            return _told_up_to_now(page, parts, caller)


def _told_up_to_now(page: ChangesPage, parts: Parts, caller: Caller) -> ChangesPage:
    """An empty page with the newest cursor up to which nothing concerns the caller: its next poll then
    starts from what the waker remembers."""
    now = parts.waker.position
    if now is None or now.counter <= page.cursor or now.concerns(caller, page.cursor):
        return page
    if parts.store.queues.may_have_moved(caller, page.cursor, if_busy=True):
        return page
    return page.model_copy(update={"cursor": now.counter})


def _page(parts: Parts, caller: Caller, after: int, progress_after: float | None, limit: int) -> ChangesPage:
    with parts.store.read() as session:
        return feed.page(session, parts.site, caller, after, progress_after, limit)
