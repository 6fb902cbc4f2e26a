"""Looking at the source, and giving the order back to its agent when somebody still writes there."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

from sqlalchemy import update

from server_bridge.contract import Condition, Reason, Stage
from server_bridge.mover.listing import Listing, list_source
from server_bridge.orders import stages
from server_bridge.orders.models import OrderFile, utcnow
from server_bridge.pipeline.attempt import Attempt, Finished
from server_bridge.pipeline.sources import source_of
from server_bridge.processes.run_lock import RunLock


def look(attempt: Attempt) -> Listing:
    """List the order's place on the share, now.

    Raises:
        ShareAway, ShareRefused, FolderMissing, FolderRefused: as the mover says it.
        LockBusy, OrphansRemain: where a process of an earlier look cannot be ended.
    """
    share, site = attempt.share, attempt.context.site
    attempt.places.work.mkdir(parents=True, exist_ok=True)
    try:
        with RunLock.acquire(attempt.places.lock) as lock:
            return list_source(
                source_of(share),
                attempt.order.path,
                attempt.runner,
                members=tuple(attempt.order.members),
                marker=share.marker,
                rsync=site.rsync,
                stall_seconds=share.stall_seconds,
                stop_event=attempt.stop,
                work_dir=attempt.places.work,
                lock=lock,
            )
    finally:
        # A listing that our own stop signal ended must not be read as an outage.
        attempt.check()


def writing_again(attempt: Attempt, what: str) -> NoReturn:
    """Unseal the order: its agent (or the bridge, where it has none) watches the acquisition until it rests.

    Raises:
        Finished: always, once that is written.
        StaleAttempt: where the attempt lost the order.
    """
    store = attempt.context.store
    reason = Reason(
        code="source_changed",
        title="The data is being written again",
        detail=what,
        remedy="Nothing to do: it comes over when the workstation has seen it rest.",
        contact=attempt.context.site.contact,
    )
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        order.sealed = False
        look_at = None
        if order.seal == "bridge":
            reason = reason.model_copy(
                update={"remedy": "Nothing to do: the bridge looks again until it rests."}
            )
            order.listing_digest, order.listed_at = "", None
            look_at = utcnow() + timedelta(seconds=attempt.share.rule.quiet_seconds)
        text = f"{reason.title}: {what}"
        if order.stage == Stage.ACCEPTED:
            store.set_condition(
                session,
                order,
                Condition.WAITING,
                who="bridge",
                text=text,
                reason=reason,
                next_try_at=look_at,
            )
        else:
            store.set_stage(
                session,
                order,
                Stage.ACCEPTED,
                stages.Cause.ATTEMPT,
                who="bridge",
                text=text,
                condition=Condition.WAITING,
                reason=reason,
                next_try_at=look_at,
            )
    raise Finished


def pull_again(attempt: Attempt, paths: list[str], text: str) -> NoReturn:
    """Send the order back so that these files are pulled again; it stays sealed.

    Raises:
        Finished: always, once that is written.
    """
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        for start in range(0, len(paths), 400):
            session.execute(
                update(OrderFile)
                .where(OrderFile.order_id == order.id, OrderFile.path.in_(paths[start : start + 400]))
                .values(sha1=None, staged_at=None)
            )
        store.set_stage(session, order, Stage.ACCEPTED, stages.Cause.ATTEMPT, who="bridge", text=text)
    raise Finished
