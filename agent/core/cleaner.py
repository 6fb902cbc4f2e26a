"""Deletes released copies on one share, in a thread of its own: a share that hangs holds up nothing else.

One process of the machine does it, the one that looks at the share. It never deletes on its own belief: each
job begins with a release that the bridge has just re-checked, each file is compared
(:mod:`agent.core.freeing`), and what is gone is kept in the outbox until the bridge has it. Killed in the
middle, it begins again at the next start: the bridge is asked anew, what is gone counts as gone, what came
back since is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from agent.core import cleaning
from agent.core.bridge_client import BridgeClient, Credentials
from agent.core.cleaning_book import CleaningBook, Job, JobState
from agent.core.clerk import Place
from agent.core.clock import Clock
from agent.core.errors import AgentError, BridgeAway, BridgeRefused, ShareAway
from agent.core.freeing import Freed, Halt, NotReleased, free
from agent.core.freeing import Place as OrderPlace
from agent.core.machine_store import MachineStore
from agent.core.outbox import Outbox
from agent.core.share_watch import stuck_reason
from agent.core.silence import Silence
from agent.core.workers import Worker
from agent.platform.base import Platform
from server_bridge.contract import (
    CleaningMode,
    DeletionMode,
    FreedReport,
    OrderState,
    Reason,
    Release,
    WorkstationShare,
)

log = logging.getLogger(__name__)
REST_SECONDS = 10.0
WAIT_SECONDS = 2.0
"""Between two tries while another process looks at the share, or while it does not answer."""
TELL_SECONDS = 1.0
"""Between two looks at whether somebody stopped it, each of which also tells how far it is."""
AGAIN = timedelta(seconds=15)
REPORT_AGAIN = timedelta(hours=1)
"""Until the bridge is asked again about what was begun and is not released any more."""
ORDERS_SINCE = timedelta(days=14)


_WAITS = {
    Halt.PAUSED: Reason(
        code="paused_at_microscope",
        title="Waits while OMERO Ferry is paused",
        remedy="It goes on by itself.",
    ),
    Halt.ACQUIRING: Reason(
        code="acquiring",
        title="Waits while the microscope writes",
        remedy="It goes on by itself.",
    ),
}


class Cleaner:
    """Runs :meth:`step` in one thread; the rest may be asked from any."""

    def __init__(
        self,
        share: str,
        *,
        book: CleaningBook,
        client: BridgeClient,
        machine: MachineStore,
        outbox: Outbox,
        platform: Platform,
        clock: Clock,
        workstation: Callable[[], str],
        place: Callable[[], Place | None],
        looks: Callable[[], bool],
        paused: Callable[[], bool],
        acquiring: Callable[[], bool],
        look_acquiring: Callable[[], bool],
        freed: Callable[[str], None],
        changed: Callable[[], None],
        stuck_seconds: float,
    ) -> None:
        """
        Args:
            acquiring: Whether the microscope writes onto the share, as was seen last.
            look_acquiring: The same, looked at anew.
            looks: Whether this process is the one that looks at the share, and it answers.
            freed: Told the share's id when something was deleted and is to be reported.
        """
        self._share = share
        self._book = book
        self._client = client
        self._machine = machine
        self._outbox = outbox
        self._platform = platform
        self._clock = clock
        self._workstation = workstation
        self._place = place
        self._looks = looks
        self._paused = paused
        self._acquiring = acquiring
        self._look_acquiring = look_acquiring
        self._freed = freed
        self._changed = changed
        self._stuck_seconds = stuck_seconds
        self._silence = Silence(clock)
        self._ending = False
        self._lowered = False
        self._told_at = float("-inf")
        self._may_go_on = True
        self.fault: Reason | None = None
        """A defect that keeps it from working."""
        self._worker = Worker(f"clean-{share}", self.step, self._told)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def wake(self) -> None:
        """Look now at what is asked."""
        self._worker.wake()

    def stop(self) -> None:
        """Ask it to end after the file it is at; returns at once."""
        self._ending = True
        self._worker.stop()

    def join(self, seconds: float) -> bool:
        """Wait for its end; False where it is still in a call to the share."""
        return self._worker.join(seconds)

    def problem(self) -> Reason | None:
        """What the window says while a call to the share does not return; asked from another thread."""
        silent = self._silence.seconds()
        return stuck_reason(silent, "Deleting on the share") if silent >= self._stuck_seconds else None

    def _told(self, reason: Reason | None) -> None:
        self.fault = reason
        self._changed()

    # --- one thread -----------------------------------------------------------------------------------

    def step(self) -> float:
        """Do the next job, if there is one and this process may. Returns how long to rest, in seconds."""
        if not self._lowered:
            self._lowered = True
            self._platform.lower_thread()
        place = self._place()
        if self._paused() or place is None or not self._workstation() or not self._looks():
            return WAIT_SECONDS
        now = self._clock.now()
        self._book.forget(now - cleaning.KEPT)
        job = self._book.next(self._share, now)
        if job is None:
            job = self._by_policy(place)
        elif not job.asked_by and not job.begun and job.may_delete and not self._policy_wants(place):
            self._book.drop(job.order_id)
            job = None
        elif not job.asked_by and job.may_delete and self._acquiring():
            job = None  # persons' jobs come first, so there is none of them
        if job is None:
            return REST_SECONDS
        self._do(job, place)
        self._changed()
        return 0.0

    def _policy_wants(self, place: Place) -> bool:
        share, room = place.share, None
        if share.cleaning is CleaningMode.WHEN_LOW:
            with self._silence.call():
                room = self._platform.room(place.top)
        return cleaning.is_wanted(share, room)

    def _by_policy(self, place: Place) -> Job | None:
        """Write down what the policy wants next, so that it is finished or reported whatever happens."""
        share = place.share
        if share.cleaning is CleaningMode.ASK or self._look_acquiring() or not self._policy_wants(place):
            return None
        now = self._clock.now()
        orders = self._machine.orders(now - ORDERS_SINCE)
        pairs = cleaning.released_here(share.id, orders, self._machine.acquisitions(share.id))
        jobs = {job.order_id: job for job in self._book.jobs(share.id)}
        order = cleaning.choose([order for order, _found in pairs], jobs, now)
        if order is None:
            return None
        log.info("order %s: its copy goes by the share's policy (%s)", order.id, share.clean)
        self._book.ask(cleaning.job_of(order, "", now))
        return self._book.job(str(order.id))

    def _do(self, job: Job, place: Place) -> None:
        order = self._machine.order(job.order_id)
        may_delete = job.may_delete and is_allowed(job, place.share)
        if not job.begun and (order is None or not may_delete):
            reason = None if order is not None and not job.may_delete else cleaning.storage_deletes().reason()
            self._book.end(job.order_id, JobState.STOPPED, self._clock.now(), reason=reason)
            return
        if order is None:
            self._book.later(job.order_id, self._clock.now() + REPORT_AGAIN, None)
            return
        try:
            release = self._client.release(order.id, Credentials(workstation=self._workstation()))
            done = self._free(job, order, release, place, may_delete=may_delete)
        except (NotReleased, BridgeRefused) as error:
            self._not_released(job, error)
        except (BridgeAway, ShareAway) as error:
            self._book.later(job.order_id, self._clock.now() + AGAIN, error.reason())
        else:
            self._ended(job, done)

    def _free(
        self, job: Job, order: OrderState, release: Release, place: Place, *, may_delete: bool
    ) -> Freed:
        before = self._outbox.freed_reports().get(order.id)
        gone = frozenset(FreedReport.model_validate_json(before).paths) if before else frozenset()
        if release.released and release.reason is None:
            total = sum(one.size_bytes for one in release.files)
            self._book.begin(job.order_id, len(release.files), total)
            self._changed()
        self._may_go_on = True
        self._told_at = self._clock.monotonic()
        try:
            return free(
                release,
                place.share,
                self._platform.long_path(place.top),
                OrderPlace(order.path, order.members),
                self._clock.now,
                lambda freed: self._note(order.id, freed, gone),
                gone_before=gone,
                may_delete=may_delete,
                halt=lambda: self._halt(job, may_delete=may_delete),
                seen=lambda freed: self._seen(job, freed),
                beat=self._silence.beat,
            )
        finally:
            self._silence.ended()
            self._freed(self._share)

    def _note(self, order_id: UUID, freed: Freed, gone: frozenset[str]) -> None:
        report = freed.report()
        if freed.paths or freed.skipped or gone:
            paths = tuple(dict.fromkeys((*report.paths, *sorted(gone))))
            self._outbox.put_freed(order_id, report.model_copy(update={"paths": paths}).model_dump_json())

    def _halt(self, job: Job, *, may_delete: bool) -> Halt | None:
        """Whether to go on with the next file; asked before each, so it only looks at memory most times."""
        if self._ending:
            return Halt.ENDING
        if self._paused():
            return Halt.PAUSED
        if not may_delete:
            return None
        if not job.asked_by and self._acquiring():
            return Halt.ACQUIRING
        place = self._place()
        if place is None or not is_allowed(job, place.share):
            return Halt.WITHDRAWN
        if self._clock.monotonic() - self._told_at >= TELL_SECONDS:
            self._may_go_on = self._book.may_delete(job.order_id)
        return None if self._may_go_on else Halt.ASKED

    def _seen(self, job: Job, freed: Freed) -> None:
        if self._clock.monotonic() - self._told_at < TELL_SECONDS:
            return
        self._told_at = self._clock.monotonic()
        self._silence.ended()  # what follows is our own disk
        self._book.progress(job.order_id, len(freed.paths), freed.size_bytes)
        self._changed()

    def _not_released(self, job: Job, error: AgentError) -> None:
        now = self._clock.now()
        log.info("order %s: its copy stays: %s", job.order_id, error.code)
        forgotten = isinstance(error, BridgeRefused) and error.status == 404
        if job.begun and not forgotten:
            # Something of it may be gone. Nothing more goes; what went is reported when it is released again.
            self._book.forbid([job.order_id])
            self._book.later(job.order_id, now + REPORT_AGAIN, error.reason())
        else:
            self._book.end(job.order_id, JobState.REFUSED, now, reason=error.reason())

    def _ended(self, job: Job, done: Freed) -> None:
        now = self._clock.now()
        log.info(
            "order %s: %d files freed, %d stay%s",
            job.order_id,
            len(done.paths),
            len(done.skipped),
            f" ({done.halt.value})" if done.halt else "",
        )
        self._book.progress(job.order_id, len(done.paths), done.size_bytes)
        if done.halt in (Halt.PAUSED, Halt.ACQUIRING, Halt.ENDING, Halt.RAN_OUT):
            self._book.later(job.order_id, None, _WAITS.get(done.halt))
        elif done.halt is not None or not job.may_delete or not self._book.may_delete(job.order_id):
            self._book.end(job.order_id, JobState.STOPPED, now)
        else:
            self._book.end(job.order_id, JobState.DONE, now, stayed=done.skipped)


def is_allowed(job: Job, share: WorkstationShare) -> bool:
    """Whether a job may delete on this share by staff's present word."""
    if share.deletion is not DeletionMode.AGENT:
        return False
    return bool(job.asked_by) or share.cleaning is not CleaningMode.ASK
