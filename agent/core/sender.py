"""Empties the outbox: orders, then their manifests, then commands, each until the bridge has answered.

The bridge's "no" ends a try and stands on the card; "not now" keeps it and waits longer each time. Everything
may be repeated: orders and commands have ids of their own, manifests a revision.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from uuid import UUID

from agent.core.bridge_client import BridgeClient, Credentials
from agent.core.clock import Clock
from agent.core.errors import AgentError, BridgeAway, BridgeRefused
from agent.core.machine_store import BEFORE_IMPORT, ENDED, MachineStore
from agent.core.outbox import Entry, EntryState, Outbox, StoredCommand, StoredManifest
from server_bridge.contract import CommandKind, FreedReport, OrderState, Problem, Reason

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS = 1.0
REPORT_REST_SECONDS = 600.0
"""Between two tries to report what was freed for an order that is not released any more."""
REPORT_CHARACTERS = 500_000
"""Of one report; the bridge takes 4 MiB (`server_bridge/api/middleware.py`), and an escape may be long."""


class GrantUnreadable(BridgeRefused):
    """The grant cannot be opened here; to the order it is the same as one that the bridge refused."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(
            Problem(
                status=401, code=reason.code, title=reason.title, detail=reason.detail, remedy=reason.remedy
            )
        )


class Sender:
    """Runs :meth:`step` in one thread; the rest may be called from any."""

    def __init__(
        self,
        *,
        client: BridgeClient,
        machine: MachineStore,
        outbox: Outbox,
        clock: Clock,
        workstation: Callable[[], str],
        retry_cap_seconds: float,
        changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._machine = machine
        self._outbox = outbox
        self._clock = clock
        self._workstation = workstation
        self._cap = retry_cap_seconds
        self._changed = changed
        self._pause = FIRST_PAUSE_SECONDS
        self._lock = threading.Lock()
        self._waiting: dict[UUID, Future[None]] = {}
        self._verify = True
        self._reports_rest: dict[UUID, float] = {}

    # --- from other threads ---------------------------------------------------------------------------

    def answer_for(self, key: UUID) -> Future[None]:
        """A future for the next answer about an order or a command.

        It ends with :class:`BridgeRefused` when the bridge says no, and with None when it agreed or does not
        answer (the outbox keeps it then).
        """
        with self._lock:
            return self._waiting.setdefault(key, Future())

    def stop_waiting(self) -> None:
        """The agent ends: whoever waits for an answer goes on without; the outbox keeps everything."""
        with self._lock:
            keys = list(self._waiting)
        for key in keys:
            self._answer(key, None)

    def bridge_answers(self) -> None:
        """Somebody reached the bridge: wait no longer."""
        self._pause = FIRST_PAUSE_SECONDS

    def verify_all(self) -> None:
        """The bridge may have lost orders (restored from a backup): ask for each that is not finished."""
        self._verify = True

    def _answer(self, key: UUID, error: AgentError | None) -> None:
        with self._lock:
            future = self._waiting.pop(key, None)
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(None)

    def _answer_rest(self, keys: list[UUID]) -> None:
        """End the futures that were there before a step, by what the outbox says now."""
        for key in keys:
            entry = self._outbox.entry(key)
            refused = entry.reason if entry and entry.state is EntryState.REFUSED else None
            reason = refused or self._outbox.command_refusal(key)
            self._answer(key, error_of(reason) if reason else None)

    # --- one thread -----------------------------------------------------------------------------------

    def step(self) -> float:
        """Send what is there. Returns the seconds until the next try."""
        with self._lock:
            keys = list(self._waiting)
        if not self._workstation():
            self._answer_rest(keys)
            return 1.0
        try:
            if self._verify:
                self._verify_entries()
                self._verify = False
            self._send_everything()
        except BridgeAway as error:
            log.info("the outbox waits: %s", error.code)
            self._answer_rest(keys)
            pause = self._pause
            self._pause = min(self._pause * 2, self._cap)
            # Spread: all workstations of a site notice a restarted bridge in the same second.
            return pause * random.uniform(0.75, 1.25)
        self._pause = FIRST_PAUSE_SECONDS
        self._answer_rest(keys)
        return 30.0

    def _credentials(self, entry: Entry) -> Credentials:
        try:
            grant = self._outbox.grant_of(entry)
        except OSError as error:
            # A profile copied from another machine: her next sign-in gives the order a new grant.
            raise GrantUnreadable(sign_in_again(entry.person)) from error
        return Credentials(workstation=self._workstation(), bearer=grant)

    def _send_everything(self) -> None:
        self._send_commands()
        for entry in self._outbox.entries():
            if entry.state is EntryState.NEW:
                self._send_order(entry)
        # Before the manifests: what was taken back or sent elsewhere meanwhile must not begin as it was.
        self._send_commands()
        unconfirmed = self._outbox.unconfirmed_manifests()
        for entry in self._outbox.entries():
            if entry.id in unconfirmed and entry.state is EntryState.ACCEPTED:
                self._send_manifest(entry)
        self._send_reports()

    def _send_order(self, entry: Entry) -> None:
        try:
            state = self._client.put_order(entry.id, entry.intent, self._credentials(entry))
        except BridgeRefused as error:
            self._refused(entry, error)
            return
        except BridgeAway as error:
            self._outbox.note_try(entry.id, error.reason())
            raise
        self._machine.keep_orders([state])
        self._outbox.set_state(entry.id, EntryState.ACCEPTED)
        log.info("order %s accepted", entry.id)
        self._answer(entry.id, None)
        self._changed()

    def _refused(self, entry: Entry, error: BridgeRefused) -> None:
        log.info("order %s: %s (%s)", entry.id, error.code, error.status)
        if error.status == 401:
            # The grant ran out or was revoked. Her next sign-in here gives the order a new one.
            self._outbox.note_try(entry.id, sign_in_again(entry.person))
        elif error.status == 404:
            self._machine.forget_order(str(entry.id))
            self._outbox.forget_place(entry.id)
        else:
            self._outbox.set_state(entry.id, EntryState.REFUSED, error.reason())
        self._answer(entry.id, error)
        self._changed()

    def _send_manifest(self, entry: Entry) -> None:
        manifest = self._outbox.manifest(entry.id)
        if manifest is None or manifest.confirmed:
            return
        try:
            self._client.put_manifest(
                entry.id, manifest.revision, manifest.sealed, manifest.body, self._credentials(entry)
            )
        except BridgeRefused as error:
            self._manifest_refused(entry, manifest, error)
            return
        self._outbox.confirm_manifest(manifest, self._clock.now())
        self._refresh(entry)
        log.info("order %s: manifest %d confirmed", entry.id, manifest.revision)
        self._changed()

    def _manifest_refused(self, entry: Entry, manifest: StoredManifest, error: BridgeRefused) -> None:
        if error.code == "manifest_revision":
            state = self._refresh(entry)
            known = state.manifest_revision if state else manifest.revision
            self._outbox.raise_revision(entry.id, known + 1)
        elif error.code in ("import_started", "order_ended"):
            # The clerk compares what is there with what OMERO took; what ended asks for nothing.
            self._outbox.drop_manifest(entry.id)
            self._refresh(entry)
        else:
            self._refused(entry, error)
            return
        log.info("order %s: manifest %d: %s", entry.id, manifest.revision, error.code)
        self._changed()

    def _refresh(self, entry: Entry) -> OrderState | None:
        """Ask for the order's present state; a card must not wait for the feed's next page."""
        try:
            state = self._client.order(entry.id, self._credentials(entry))
        except BridgeRefused as error:
            log.info("order %s: %s", entry.id, error.code)
            return None
        self._machine.keep_orders([state])
        return state

    def _send_commands(self) -> None:
        for command in self._outbox.pending_commands():
            entry = self._outbox.entry(command.order_id)
            if entry is None:
                self._outbox.finish_command(command.request.id, None)
            elif entry.state is not EntryState.NEW:
                self._send_command(entry, command)

    def _send_command(self, entry: Entry, command: StoredCommand) -> None:
        request = command.request
        try:
            self._client.command(entry.id, request, self._credentials(entry))
        except BridgeRefused as error:
            never_there = error.status == 404 and request.kind is CommandKind.CANCEL
            self._outbox.finish_command(request.id, None if never_there else error.reason())
            if never_there:
                self._outbox.set_state(entry.id, EntryState.WITHDRAWN)
            self._answer(request.id, None if never_there else error)
        else:
            self._outbox.finish_command(request.id, None)
            self._refresh(entry)
            self._answer(request.id, None)
        self._changed()

    def _send_reports(self) -> None:
        for order_id, text in self._outbox.freed_reports().items():
            if self._clock.monotonic() < self._reports_rest.get(order_id, 0.0):
                continue
            try:
                for part in parts_of(FreedReport.model_validate_json(text)):
                    self._client.freed(order_id, part, Credentials(workstation=self._workstation()))
            except BridgeRefused as error:
                log.warning("order %s: the report of what was freed: %s", order_id, error.code)
                if error.code == "not_released":
                    # Its release was taken back meanwhile. What went has gone: the bridge hears it later.
                    self._reports_rest[order_id] = self._clock.monotonic() + REPORT_REST_SECONDS
                    continue
            self._reports_rest.pop(order_id, None)
            self._outbox.drop_freed(order_id, text)

    def _verify_entries(self) -> None:
        # A restored bridge may have forgotten that somebody cancelled; to one that knows it is a repeat.
        self._outbox.renew_cancels()
        for entry in self._outbox.entries():
            known = self._machine.order(str(entry.id))
            if entry.state is not EntryState.ACCEPTED or (known is not None and known.stage in ENDED):
                continue
            try:
                state = self._client.order(entry.id, Credentials(workstation=self._workstation()))
            except BridgeRefused as error:
                if error.status == 404:
                    log.warning("order %s is not known to the bridge: sent again", entry.id)
                    self._machine.forget_order(str(entry.id))
                    self._outbox.forget_place(entry.id)
                continue
            self._machine.keep_orders([state])
            chosen = self._outbox.chosen_since(entry.id)
            if chosen is not None and chosen != state.target and state.stage in BEFORE_IMPORT:
                self._outbox.renew_decision(entry.id)
            if state.manifest_revision < entry.accepted_revision:
                log.warning("order %s: the bridge lost a manifest: sent again", entry.id)
                self._outbox.forget_manifest(entry.id)


def parts_of(report: FreedReport) -> Iterator[FreedReport]:
    """The report in pieces that the bridge takes; an empty one is a piece."""
    paths: list[str] = []
    skipped: dict[str, str] = {}
    size = 0
    for path in (*report.paths, *report.skipped):
        reason = report.skipped.get(path)
        if size and size + len(path) + len(reason or "") > REPORT_CHARACTERS:
            yield FreedReport(paths=tuple(paths), skipped=skipped)
            paths, skipped, size = [], {}, 0
        if reason is None:
            paths.append(path)
        else:
            skipped[path] = reason
        size += len(path) + len(reason or "") + 8
    yield FreedReport(paths=tuple(paths), skipped=skipped)


def error_of(reason: Reason) -> AgentError:
    """A kept refusal as the error it was."""
    return AgentError(
        reason.detail, code=reason.code, title=reason.title, remedy=reason.remedy, contact=reason.contact
    )


def sign_in_again(person: str) -> Reason:
    """Why an order waits for its person."""
    return Reason(
        code="not_signed_in",
        title="Please sign in again",
        detail=f"The bridge no longer takes this order in {person}'s name.",
        remedy=f"{person} signs in here once; the order then goes on by itself.",
    )
