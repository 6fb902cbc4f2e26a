"""The one place that owns threads. Everything it shows is a snapshot; everything it does is a command.

Threads: two per share (one looks, one serves its orders), and a third where the agent may delete, the clerk
(orders follow acquisitions), the sender (outbox to bridge), the feed, the station (registration and
heartbeat), the watch over forgotten sign-ins, the presenter, and a few for commands. None shares more than
the SQLite files and a few small locked values, and none dies silently (see :mod:`agent.core.workers`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

from agent.core import heartbeat, presenter
from agent.core.bridge_client import BridgeClient
from agent.core.cleaner import Cleaner
from agent.core.cleaners import Cleaners
from agent.core.cleaning import CleaningDesk
from agent.core.cleaning_book import CleaningBook
from agent.core.clerk import Clerk, Place
from agent.core.clock import Clock, SystemClock
from agent.core.command_desk import CommandDesk
from agent.core.commands import Command
from agent.core.database_care import in_words
from agent.core.errors import AgentError, BridgeAway, BridgeRefused, SettingsError
from agent.core.feed_poller import FeedPoller
from agent.core.forgotten import ForgottenSignIn, stricter
from agent.core.lease import LeaseKeeper
from agent.core.machine_store import PAUSES_KEPT, MachineStore
from agent.core.outbox import Outbox
from agent.core.own_load import Counters, LoadMeter
from agent.core.pause import PauseDesk
from agent.core.programs import RunningPrograms
from agent.core.scanner import Tiers
from agent.core.sender import Sender
from agent.core.settings import AgentSettings, Settings
from agent.core.share_runner import ShareRunner
from agent.core.share_watch import ShareStatus
from agent.core.sign_in import SignInDesk
from agent.core.snapshot import BridgeSnapshot, CardGroup, Snapshot
from agent.core.station import Station
from agent.core.targets import TargetTree
from agent.core.workers import Worker, unexpected
from agent.platform import Platform, select
from server_bridge.contract import (
    AcquisitionRule,
    CommandKind,
    Heartbeat,
    Reason,
    SessionPolicy,
    Workstation,
    WorkstationShare,
)

log = logging.getLogger(__name__)
STOP_SECONDS = 3.0
IDLE_SECONDS = 5.0
BUSY_SECONDS = 1.0
ORDERS_KEPT = timedelta(days=14)


def _installed_version() -> str:
    try:
        return metadata.version("omero-ferry")
    except metadata.PackageNotFoundError:
        return ""  # a checkout that was never installed


Subscriber = Callable[[Snapshot], None]


class Engine:
    """The agent without its window. Methods may be called from any thread and do not block."""

    def __init__(
        self,
        settings: Settings | AgentSettings,
        platform: Platform,
        *,
        version: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Open the files; nothing runs before :meth:`start`.

        Args:
            settings: The effective settings; directories they name replace the platform's.

        Raises:
            SettingsError: where there is no bridge to talk to.
        """
        settings = settings.values if isinstance(settings, Settings) else settings
        if settings.machine_dir or settings.user_dir:
            platform = select(
                settings.machine_dir or platform.machine_dir(), settings.user_dir or platform.user_dir()
            )
        version = version or _installed_version()
        if not settings.bridge_url:
            raise SettingsError(
                "bridge_url is not set.", remedy="The platform staff set it at installation or by policy."
            )
        self._settings = settings
        self._platform = platform
        self._clock: Clock = clock or SystemClock()
        self._name = settings.workstation_name or platform.hostname()
        self._machine = MachineStore(platform.machine_dir() / "machine.sqlite3")
        self._outbox = Outbox(platform.user_dir() / "outbox.sqlite3", platform)
        self._book = CleaningBook(platform.machine_dir() / "cleaning.sqlite3")
        self._client = BridgeClient(
            settings.bridge_url, ca_file=settings.ca_file, timeout_seconds=settings.request_seconds
        )
        self._lock = threading.Lock()
        self._bridge = BridgeSnapshot(reachable=False, last_answer_at=None)
        self._faults: dict[str, Reason] = {}
        self._runners: dict[str, ShareRunner] = {}
        self._subscribers: dict[int, Subscriber] = {}
        self._next_subscriber = 0
        self._latest: Snapshot | None = None
        self._started = self._stopped = False
        self._pruned_at = float("-inf")
        self._build(version)

    def _build(self, version: str) -> None:
        settings, platform, clock = self._settings, self._platform, self._clock
        self._programs = RunningPrograms(platform, clock)
        self._pause = PauseDesk(self._machine, clock, self._programs.names, self._rules)
        self._load = LoadMeter()
        self._lease = LeaseKeeper(
            machine=self._machine,
            clock=clock,
            programs=self._programs,
            pause=self._pause,
            places=self._places,
            jobs=self._book.jobs,
            beat_soon=self._beat_soon,
        )
        self.desk = SignInDesk(platform.vault(), self._outbox, clock)
        self._station = Station(
            client=self._client,
            machine=self._machine,
            platform=platform,
            clock=clock,
            name=self._name,
            version=version,
            heartbeat_seconds=settings.heartbeat_seconds,
            make_heartbeat=lambda: self._heartbeat(version),
            reached=self._reached,
            lost=self._lost,
            changed=self._workstation_changed,
        )
        header = self._station.header
        self.targets = TargetTree(self._client, self.desk, self._outbox, clock, header)
        self._sender = Sender(
            client=self._client,
            machine=self._machine,
            outbox=self._outbox,
            clock=clock,
            workstation=header,
            retry_cap_seconds=settings.retry_cap_seconds,
            changed=self._changed,
        )
        self._feed = FeedPoller(
            client=self._client,
            machine=self._machine,
            clock=clock,
            workstation=header,
            reached=self._reached,
            lost=self._lost,
            database_changed=self._bridge_database_changed,
            changed=self._changed,
        )
        self._clerk = Clerk(
            machine=self._machine,
            outbox=self._outbox,
            desk=self.desk,
            platform=platform,
            clock=clock,
            # A list of files is a look at the share: during a pause there are none.
            places=lambda: {} if self._pause.current() else self._places(),
            open_seconds=settings.open_manifest_seconds,
            wake_sender=self._wake_sender,
            look_at=self._look_at,
        )
        self._forgotten = ForgottenSignIn(
            desk=self.desk,
            clock=clock,
            policy=self._session_policy,
            idle_seconds=platform.idle_seconds,
            sign_out=lambda: self._command_desk.sign_out(),
            changed=self._changed,
        )
        self._cleaners = Cleaners(self._book, self._cleaner)
        self._cleaning = CleaningDesk(self._book, self._machine, clock, self._places, self._cleaners.wake)
        self._command_desk = CommandDesk(
            client=self._client,
            machine=self._machine,
            outbox=self._outbox,
            desk=self.desk,
            forgotten=self._forgotten,
            clerk=self._clerk,
            sender=self._sender,
            targets=self.targets,
            platform=platform,
            clock=clock,
            workstation=header,
            registered=self._station.any_header,
            wake=self._wake_all,
            look_now=self._look_now,
            look_at=self._look_at,
            cleaning=self._cleaning,
            pause=self._pause,
            pause_changed=self._pause_changed,
            share=self._share,
        )
        # Commands may wait for the bridge; one that waits must not hold up the next person's click.
        self._commands = ThreadPoolExecutor(4, thread_name_prefix="ferry-command")
        self._workers = {
            name: Worker(name, step, lambda reason, name=name: self._told(name, reason))  # type: ignore[misc]
            for name, step in (
                ("station", self._station.step),
                ("feed", self._feed.step),
                ("sender", self._sender.step),
                ("clerk", self._clerk.step),
                ("sign-in", self._forgotten.step),
                ("presenter", self._present),
            )
        }

    # --- the window's side ----------------------------------------------------------------------------

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call ``callback`` with every new snapshot, from the presenter's thread. Returns the way out."""
        with self._lock:
            key = self._next_subscriber
            self._next_subscriber += 1
            self._subscribers[key] = callback
            latest = self._latest
        if latest is not None:
            callback(latest)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.pop(key, None)

        return unsubscribe

    def submit(self, command: Command) -> Future[Any]:
        """Carry out a command in a thread of the engine's; a failure is an AgentError."""

        def run() -> Any:
            try:
                return self._command_desk.carry_out(command)
            except AgentError:
                raise
            except Exception as error:
                log.exception("%s failed", type(command).__name__)
                reason = unexpected(error)
                raise AgentError(
                    reason.detail, code=reason.code, title=reason.title, remedy=reason.remedy
                ) from error
            finally:
                self._changed()

        try:
            return self._commands.submit(run)
        except RuntimeError:
            refused: Future[Any] = Future()
            refused.set_exception(AgentError("The agent is ending.", code="stopping"))
            return refused

    def start(self) -> None:
        """Start every thread; a repeat does nothing."""
        if self._started:
            return
        self._started = True
        self._platform.lower_priority()
        session = self.desk.restore()
        if session is not None:
            self._machine.sign_in(self._platform.session_id(), session.person.username, self._clock.now())
        else:
            self._machine.sign_out(self._platform.session_id())
        self._workstation_changed()
        for worker in self._workers.values():
            worker.start()

    def stop(self) -> None:
        """End every thread; what is in the outbox is sent at the next start. Takes a few seconds at most."""
        if self._stopped:
            return
        with self._lock:
            self._stopped = True  # from here on nobody starts another runner
            runners: list[ShareRunner | Cleaners] = [self._cleaners, *self._runners.values()]
        for worker in self._workers.values():
            worker.stop()
        for runner in runners:
            runner.stop()
        self._sender.stop_waiting()
        self._commands.shutdown(wait=False, cancel_futures=True)
        self.targets.close()
        self._client.close()
        ended = True
        if self._started:
            deadline = time.monotonic() + STOP_SECONDS
            for runner in runners:
                ended = runner.join(max(0.1, deadline - time.monotonic())) and ended
            for name, worker in self._workers.items():
                # The feed is in a long poll; its thread is a daemon and writes nothing without an answer.
                patience = 0.2 if name == "feed" else max(0.1, deadline - time.monotonic())
                ended = worker.join(patience) and ended
            self._machine.sign_out(self._platform.session_id())
        if ended:
            self._machine.close()
            self._outbox.close()
            self._book.close()

    # --- wiring ---------------------------------------------------------------------------------------

    def _wake_sender(self) -> None:
        self._workers["sender"].wake()

    def _changed(self) -> None:
        self._workers["presenter"].wake()

    def _looked(self) -> None:
        """A share was looked at: orders may have to follow, and the header says when."""
        self._look_at_lease()
        self._workers["clerk"].wake()
        self._wake_orders()
        self._workers["presenter"].wake()

    def _beat_soon(self) -> None:
        self._station.beat_soon()
        self._workers["station"].wake()

    def _pause_changed(self) -> None:
        """The bridge is told at once, not with the next heartbeat."""
        self._beat_soon()
        self._wake_all()

    def _look_at_lease(self) -> None:
        shares = self._lease.look()
        with self._lock:
            runners = dict(self._runners)
        for share, runner in runners.items():
            runner.stand_back(share in shares)

    def _rules(self) -> list[AcquisitionRule]:
        return [place.share.rule for place in self._places().values()]

    def _measure(self) -> None:
        with self._lock:
            entries = sum(runner.entries_looked for runner in self._runners.values())
        self._load.add(
            self._clock.monotonic(), Counters(time.process_time(), self._platform.io_bytes(), entries)
        )

    def _wake_all(self) -> None:
        for name in ("sender", "clerk", "sign-in", "presenter"):
            self._workers[name].wake()
        self._wake_orders()

    def _wake_orders(self) -> None:
        with self._lock:
            runners = list(self._runners.values())
        for runner in runners:
            runner.wake_orders()

    def _freed(self, share: str) -> None:
        """Something was deleted there: report it, and look."""
        self._wake_sender()
        with self._lock:
            runner = self._runners.get(share)
        if runner is not None:
            runner.look_now()

    def _look_now(self) -> None:
        self._station.look_now()
        self._workers["station"].wake()
        with self._lock:
            runners = list(self._runners.values())
        for runner in runners:
            runner.look_now()
        self._wake_all()

    def _look_at(self, share: str, path: str) -> None:
        with self._lock:
            runner = self._runners.get(share)
        if runner is not None:
            runner.look_at(path)

    def _bridge_database_changed(self) -> None:
        self._sender.verify_all()
        self._wake_sender()

    def _reached(self) -> None:
        with self._lock:
            was_away = not self._bridge.reachable
            self._bridge = BridgeSnapshot(True, self._clock.now())
        if was_away:
            self._sender.bridge_answers()
            self._wake_all()

    def _lost(self, error: BridgeAway | BridgeRefused) -> None:
        with self._lock:
            last = self._bridge.last_answer_at
            answered = isinstance(error, BridgeRefused)
            self._bridge = BridgeSnapshot(answered, self._clock.now() if answered else last, error.reason())
        self._changed()

    def _told(self, name: str, reason: Reason | None) -> None:
        with self._lock:
            if reason is None:
                self._faults.pop(name, None)
            else:
                self._faults[name] = reason
        if name != "presenter":
            self._changed()

    def _places(self) -> dict[str, Place]:
        with self._lock:
            return {share: Place(runner.share, runner.top) for share, runner in self._runners.items()}

    def _share(self, share_id: str) -> WorkstationShare | None:
        workstation = self._station.workstation()
        return next((one for one in workstation.shares if one.id == share_id), None) if workstation else None

    def _workstation_changed(self) -> None:
        """Shares or rules are new: run a scanner for each share that this machine knows where to find."""
        workstation = self._station.workstation()
        wanted = {share.id: share for share in workstation.shares} if workstation else {}
        with self._lock:
            if self._stopped:
                return
            for share_id in list(self._runners):
                if self._runners[share_id].share != wanted.get(share_id):
                    # It may be in a hung call: its thread lets the lock go when it ends.
                    self._runners.pop(share_id).stop()
            for share_id, share in wanted.items():
                top = self._settings.shares.get(share_id)
                if top is not None and share_id not in self._runners:
                    self._runners[share_id] = runner = self._runner(share, top)
                    runner.start()
        self._cleaners.keep(place.share for place in self._places().values())
        if self._started:
            self._wake_all()
            self._workers["feed"].wake()

    def _runner(self, share: WorkstationShare, top: Path) -> ShareRunner:
        settings = self._settings
        return ShareRunner(
            share,
            top,
            store=self._machine,
            platform=self._platform,
            clock=self._clock,
            tiers=Tiers(
                settings.hot_seconds,
                settings.today_seconds,
                settings.full_seconds,
                settings.pass_budget_seconds,
                settings.scan_entries_per_second,
            ),
            stuck_seconds=settings.stuck_seconds,
            use_hints=settings.hints,
            changed=self._looked,
            serve=self._clerk.serve,
            paused=lambda: self._pause.current() is not None,
        )

    def _cleaner(self, share: str) -> Cleaner:
        return Cleaner(
            share,
            book=self._book,
            client=self._client,
            machine=self._machine,
            outbox=self._outbox,
            platform=self._platform,
            clock=self._clock,
            workstation=self._station.header,
            place=lambda: self._places().get(share),
            looks=lambda: self._looks_at(share),
            paused=lambda: self._pause.current() is not None,
            acquiring=lambda: share in self._lease.last[0],
            look_acquiring=lambda: share in self._lease.look(),
            freed=self._freed,
            changed=self._changed,
            stuck_seconds=self._settings.stuck_seconds,
        )

    def _looks_at(self, share: str) -> bool:
        with self._lock:
            runner = self._runners.get(share)
        return runner is not None and runner.is_looking and runner.status(None).answered

    def _session_policy(self) -> SessionPolicy:
        workstation = self._station.workstation()
        site = workstation.session_policy if workstation else SessionPolicy()
        return stricter(site, self._settings.idle_sign_out_minutes, self._settings.end_of_day)

    # --- what is told ---------------------------------------------------------------------------------

    def _statuses(self) -> dict[str, ShareStatus]:
        kept = {
            share: ShareStatus.model_validate(status)
            for share, status in self._machine.share_statuses().items()
        }
        with self._lock:
            runners = dict(self._runners)
        return kept | {share: runner.status(kept.get(share)) for share, runner in runners.items()}

    def _heartbeat(self, version: str) -> Heartbeat:
        now = self._clock.now()
        return heartbeat.beat(
            version,
            now,
            [place.share for place in self._places().values()],
            self._statuses(),
            self._machine.acquisitions(),
            {entry.acquisition for entry in self._outbox.entries()},
            {(one.share, one.path, one.members) for one in self._machine.orders(now - ORDERS_KEPT)},
            acquiring=self._lease.shares(),
            pause=self._pause.current(),
            load=self._load.load(),
            pauses={share: self._machine.pauses(share, now - PAUSES_KEPT) for share in self._places()},
            cleaning=self._cleaning.told(self._machine.orders(now - ORDERS_KEPT)),
            damage=in_words(self._outbox.damage, self._machine.damage),
        )

    def _bridge_snapshot(self, workstation: Workstation | None) -> BridgeSnapshot:
        with self._lock:
            bridge, faults = self._bridge, dict(self._faults)
            for share, runner in self._runners.items():
                if runner.orders_fault is not None:
                    faults[f"orders-{share}"] = runner.orders_fault
        faults |= self._cleaners.faults()
        problem = bridge.problem or next(iter(faults.values()), None)
        status = workstation.status.value if workstation else ""
        return BridgeSnapshot(bridge.reachable, bridge.last_answer_at, problem, status)

    def _world(self, now: datetime) -> presenter.World:
        workstation = self._station.workstation()
        session = self.desk.current()
        entries = self._outbox.entries()
        standing = self._outbox.standing(session.person.username) if session else None
        unconfirmed = self._outbox.unconfirmed_manifests()
        commands = self._outbox.pending_commands()
        return presenter.World(
            now=now,
            workstation_name=workstation.name if workstation else self._name,
            workstation=workstation,
            bridge=self._bridge_snapshot(workstation),
            statuses=self._statuses(),
            mounted=frozenset(self._settings.shares),
            where={share: self._where(top) for share, top in self._settings.shares.items()},
            jobs=self._cleaners.jobs(),
            acquisitions=self._machine.acquisitions(),
            entries=entries,
            orders=self._machine.orders(now - ORDERS_KEPT),
            progress=self._feed.progress(),
            person=session.person if session else None,
            session_expires_at=session.expires_at if session else None,
            sign_in_notice=self.desk.notice if session and not self.desk.persistent else "",
            sign_out=self._forgotten.warning() if session else None,
            damage=in_words(self._outbox.damage, self._machine.damage),
            signed_out=None if session else self._forgotten.notice(),
            standing_target=standing[0] if standing else None,
            pending=presenter.pending_of(entries, len(unconfirmed), len(commands)),
            retargets={
                str(one.order_id): one.request.target for one in commands if one.request.target is not None
            },
            refused_commands=self._outbox.refused_commands(),
            taking_back=frozenset(
                str(one.order_id) for one in commands if one.request.kind is CommandKind.CANCEL
            ),
            pause=self._pause.current(),
            pause_programs=self._pause.programs(),
            acquiring=bool(self._lease.last[0]),
            load=self._load.load(),
        )

    @staticmethod
    def _where(top: Path) -> str:
        """How a person names the place: ``Z:``, or the whole path where there is no drive."""
        return top.drive or str(top)

    def _present(self) -> float:
        now = self._clock.now()
        if self._clock.monotonic() - self._pruned_at > 3600:
            self._pruned_at = self._clock.monotonic()
            self._machine.forget_orders(now - ORDERS_KEPT)
        self._measure()
        if self._pause.current() is not None or self._lease.last[1]:
            self._look_at_lease()  # no look tells that a pause ends by itself: there are none
        snapshot = presenter.present(self._world(now))
        with self._lock:
            self._latest = snapshot
            subscribers = list(self._subscribers.values())
        for subscriber in subscribers:
            subscriber(snapshot)
        busy = any(card.group in (CardGroup.NOW, CardGroup.ON_ITS_WAY) for card in snapshot.cards)
        busy = busy or any(job.is_going for job in snapshot.cleaning)
        return BUSY_SECONDS if busy else IDLE_SECONDS
