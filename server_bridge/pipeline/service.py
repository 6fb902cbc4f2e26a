"""Everything that runs beside the API: engine, dispatcher, watcher, the releaser and what tells people,
started and ended together."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from server_bridge.context import Context
from server_bridge.contract import Stage
from server_bridge.errors import ConfigurationError
from server_bridge.mover.room import Room
from server_bridge.mover.staging_disk import StagingAway
from server_bridge.notices.mailman import Mailman
from server_bridge.notices.watch import NoticeWatch
from server_bridge.orders import stages
from server_bridge.orders.sole_use import SoleUse
from server_bridge.pipeline import backoff
from server_bridge.pipeline.attempt import IMPORT, TRANSFER, WATCH, Attempt, Step, run_attempt
from server_bridge.pipeline.dispatcher import Dispatcher, lanes_of
from server_bridge.pipeline.engine import Engine, engine_url
from server_bridge.pipeline.live import LiveAttempts
from server_bridge.pipeline.places import locks_of
from server_bridge.pipeline.share_pace import SharePaces
from server_bridge.pipeline.steps import (
    annotating,
    baseline,
    importing,
    proving,
    pulling,
    verifying,
    watching,
)
from server_bridge.processes.leftovers import end_leftovers
from server_bridge.processes.runner import ProcessRunner
from server_bridge.retention.releaser import Releaser
from server_bridge.retention.reprover import Reprover
from server_bridge.staging import require_staging

STOP_SECONDS = 30.0
"""For children to end (TERM, then KILL) when the bridge stops."""

STEPS: dict[Stage, Step] = {
    Stage.ACCEPTED: baseline.run,
    Stage.PULLING: pulling.run,
    Stage.VERIFYING: verifying.run,
    Stage.IMPORTING: importing.run,
    Stage.PROVING: proving.run,
    Stage.ANNOTATING: annotating.run,
}
PHASES: dict[str, tuple[Stage, ...]] = {
    TRANSFER: tuple(sorted(stages.TRANSFER_STAGES)),
    IMPORT: tuple(sorted(stages.IMPORT_STAGES)),
    WATCH: (Stage.ACCEPTED,),
}
PHASE_STEPS: dict[str, dict[Stage, Step]] = {
    TRANSFER: STEPS,
    IMPORT: STEPS,
    WATCH: {Stage.ACCEPTED: watching.run},
}
"""An order in ``accepted`` is watched until it is sealed, and its baseline is noted afterwards."""

_log = logging.getLogger(__name__)


class Service:
    """The running pipeline of one state folder. Use :func:`start`."""

    def __init__(self, context: Context) -> None:
        site, self._store = context.site, context.store
        self._context = context
        self._lock = _take_lock(site.state_dir / "pipeline.lock")
        try:
            self._sole = SoleUse(self._store.engine)
        except BaseException:
            os.close(self._lock)
            raise
        self._live = LiveAttempts(self._store)
        self._runner = ProcessRunner()
        self._room = Room()
        self._paces = SharePaces(site, self._store)
        lanes = lanes_of({share.id: share.pulls for share in site.shares}, site.omero.imports)
        self._engine = Engine(engine_url(site.url, site.state_dir), self._run)
        self._dispatcher = Dispatcher(
            self._store,
            lanes,
            self._submit,
            self._engine.sweep,
            every_seconds=site.limits.dispatch_seconds,
            longest_pause=backoff.longest_pause(site.limits),
            may_work=self._sole.held,
            pause_seconds=site.limits.retry_base_seconds,
            paused=self._paces.paused,
        )
        self._releaser = Releaser(context)
        self._notices = NoticeWatch(context)
        self._mailman = Mailman(site, context.store, context.omero.person)
        self._reprover = Reprover(context)
        self._begun = False

    def _begin(self) -> None:
        # Before the engine: what it recovers then finds that its order is no longer its own.
        again = self._store.requeue_running("the bridge was ended while it worked on this")
        if again:
            _log.info("%d orders go on where they were", len(again))
        self._begun = True
        end_leftovers(locks_of(self._context.site))
        self._context.omero.keep_service_session()
        self._look_at_staging()
        self._live.start()
        self._engine.start()
        self._store.on_queued(self._dispatcher.wake)
        self._dispatcher.start()
        self._releaser.start()
        self._notices.start()
        self._mailman.start()
        self._reprover.start()

    def _look_at_staging(self) -> None:
        """A new site's disk is marked now, while whoever installs it looks on. A disk that is away is no
        reason not to start: orders are taken, and wait for it."""
        try:
            require_staging(self._context)
        except (StagingAway, OSError) as error:
            _log.error("%s", error)

    def _submit(self, _lane: str, phase: str, order_id: str, number: int) -> None:
        self._engine.submit(phase, order_id, number)

    def _run(self, phase: str, order_id: str, number: int) -> str:
        self._dispatcher.started(order_id, number)
        try:
            with self._live.running(order_id, number) as stop:
                attempt = Attempt(
                    self._context, order_id, number, stop, self._live, self._runner, self._room, self._paces
                )
                return run_attempt(attempt, PHASE_STEPS[phase], PHASES[phase])
        finally:
            self._dispatcher.ended(order_id, number)

    def stop(self) -> None:
        """End everything: nothing new starts, children end, orders stay resumable."""
        self._dispatcher.stop()
        self._mailman.stop()
        self._notices.stop()
        self._releaser.stop()
        self._reprover.stop()
        if not self._live.stop(STOP_SECONDS):
            _log.warning("some attempts did not end in %.0f s; the next start puts them right", STOP_SECONDS)
        self._engine.stop()
        if self._begun:
            self._context.omero.let_go()
            self._leave_resumable()
        self._sole.release()
        os.close(self._lock)

    def _leave_resumable(self) -> None:
        """Whatever was claimed and had not begun stands in its queue again, for everybody to see."""
        try:
            self._store.requeue_running("the bridge ends; the order goes on with the next start")
        except SQLAlchemyError as error:
            _log.warning("orders stay marked as running until the next start: %s", error)


def start(context: Context) -> Service:
    """Start the pipeline.

    Raises:
        ConfigurationError: where another pipeline works on this state folder or on these orders, or the
            engine does not start.
    """
    service = Service(context)
    try:
        service._begin()
    except BaseException:
        service.stop()
        raise
    return service


def _take_lock(path: Path) -> int:
    """Two pipelines over one state would each requeue what the other runs."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"{path} is held by another process.",
            title="Another bridge works on this state folder",
            remedy="End the other one first, or give this one a state folder of its own.",
        ) from error
    return descriptor
