"""What of the buffer is to be cleaned: by a person's word, or by the share's policy. The worker is elsewhere
(:mod:`agent.core.cleaner`); here is what decides, and it touches no share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from agent.core.acquisition import Acquisition
from agent.core.cleaning_book import LIVE, CleaningBook, Job, JobState
from agent.core.clerk import Place
from agent.core.clock import Clock
from agent.core.freeing import NotReleased
from agent.core.machine_store import MachineStore
from agent.platform.base import Room
from server_bridge.contract import (
    CleaningMode,
    DeletionMode,
    OrderState,
    ShareCleaning,
    Stage,
    WorkstationShare,
)

POLICY_REST = timedelta(hours=6)
"""What did not go is not tried again by the policy for so long: the file that changed stays changed."""
KEPT = timedelta(days=2)
"""How long the window tells how a job ended."""
SEEN_WITHIN = timedelta(seconds=60)
"""A look notices a deletion so much later at most."""
FREED_WITHIN = timedelta(days=1)


def storage_deletes() -> NotReleased:
    """On this share it is not the agent that deletes."""
    return NotReleased(
        "On this share the storage staff delete.",
        code="deletion_is_storages",
        title="This share's data is deleted by storage staff",
        remedy="Nothing to do.",
    )


def is_wanted(share: WorkstationShare, room: Room | None) -> bool:
    """Whether the policy wants copies deleted now.

    Args:
        room: Of the share's volume; None where the system does not tell: then it is not known to be low.
    """
    if share.cleaning is CleaningMode.RELEASED:
        return True
    if share.cleaning is CleaningMode.WHEN_LOW and room is not None and room.total_bytes > 0:
        return 100.0 * room.free_bytes / room.total_bytes < share.clean_below_percent
    return False


def released_here(
    share: str, orders: Iterable[OrderState], found: Iterable[Acquisition]
) -> list[tuple[OrderState, Acquisition]]:
    """Released orders whose copy is still on the share, the longest proven first."""
    there = {(one.path, one.members): one for one in found if one.share == share}
    pairs = [
        (order, there[order.path, order.members])
        for order in orders
        if order.share == share and order.stage == Stage.RELEASED and (order.path, order.members) in there
    ]
    # An acquisition that was first seen after the order was made is a later one at the same place.
    pairs = [(order, one) for order, one in pairs if one.first_seen_at <= order.created_at]
    return sorted(pairs, key=lambda pair: (pair[0].proven_at or pair[0].stage_since, str(pair[0].id)))


def is_cleaned(found: Acquisition, jobs: Iterable[Job], now: datetime) -> bool:
    """Whether its last change was our own deleting: the microscope does not write it."""
    return any(
        job.path == found.path
        and (job.begun or job.ended_at is not None)
        and found.last_change_at <= (job.ended_at or now) + SEEN_WITHIN
        for job in jobs
    )


def job_of(order: OrderState, asked_by: str, now: datetime) -> Job:
    """The wish to delete an order's copy."""
    return Job(
        order_id=str(order.id),
        share=order.share,
        path=order.path,
        person=order.person,
        asked_by=asked_by,
        asked_at=now,
        files_total=order.file_count,
        bytes_total=order.size_bytes,
    )


def choose(candidates: Sequence[OrderState], jobs: Mapping[str, Job], now: datetime) -> OrderState | None:
    """What the policy deletes next; None where all of it is under way or rests."""
    for order in candidates:
        job = jobs.get(str(order.id))
        if job is None or (
            job.state not in LIVE and (job.ended_at is None or now - job.ended_at > POLICY_REST)
        ):
            return order
    return None


def told(
    share: WorkstationShare, released: Iterable[Acquisition], jobs: Iterable[Job], now: datetime
) -> ShareCleaning:
    """What the bridge is told about one share on which this agent may delete."""
    jobs = [job for job in jobs if job.share == share.id]
    lately = [job for job in jobs if job.ended_at is None or now - job.ended_at <= FREED_WITHIN]
    return ShareCleaning(
        share=share.id,
        mode=share.cleaning.value,
        running=any(job.state is JobState.RUNNING for job in jobs),
        queued=sum(job.state is JobState.QUEUED for job in jobs),
        released_bytes=sum(one.size_bytes for one in released),
        freed_bytes=sum(job.bytes_done for job in lately),
        stayed_files=sum(job.stayed_count for job in lately),
    )


class CleaningDesk:
    """What the window asks; each answers at once, the share is not touched."""

    def __init__(
        self,
        book: CleaningBook,
        machine: MachineStore,
        clock: Clock,
        places: Callable[[], Mapping[str, Place]],
        wake: Callable[[], None],
    ) -> None:
        self._book = book
        self._machine = machine
        self._clock = clock
        self._places = places
        self._wake = wake

    def ask(self, orders: Sequence[OrderState], asked_by: str) -> None:
        """Have these orders' copies deleted, one after another.

        Raises:
            NotReleased: where one of them cannot be; then none is.
        """
        places = self._places()
        for order in orders:
            place = places.get(order.share)
            if place is None or place.share.deletion is not DeletionMode.AGENT:
                raise storage_deletes()
            if order.stage != Stage.RELEASED:
                raise NotReleased(
                    f"{order.path} is {order.stage}.", remedy="It may go once the bridge has released it."
                )
        for order in orders:
            self._book.ask(job_of(order, asked_by, self._clock.now()))
        self._wake()

    def stop(self, may_stop: Callable[[Job], bool]) -> None:
        """Delete no more of the jobs that the person may stop; what is gone is reported."""
        self._book.forbid([job.order_id for job in self._book.jobs() if job.state in LIVE and may_stop(job)])
        self._wake()

    def told(self, orders: Sequence[OrderState]) -> tuple[ShareCleaning, ...]:
        """For the heartbeat: the shares on which this agent may delete."""
        now, jobs, found = self._clock.now(), self._book.jobs(), self._machine.acquisitions()
        return tuple(
            told(place.share, [one for _order, one in released_here(share, orders, found)], jobs, now)
            for share, place in sorted(self._places().items())
            if place.share.deletion is DeletionMode.AGENT
        )
