"""Carries out what the window asks. Runs in the engine's command thread; each command ends in its future."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any
from uuid import UUID, uuid4

from agent.core import commands, freeing
from agent.core.acquisition import Acquisition
from agent.core.bridge_client import BridgeClient, Credentials
from agent.core.claims import unordered_owner
from agent.core.cleaning import CleaningDesk
from agent.core.clerk import Clerk, is_void, newest_entries
from agent.core.clock import Clock
from agent.core.errors import AgentError
from agent.core.forgotten import ForgottenSignIn
from agent.core.machine_store import ENDED, MachineStore
from agent.core.outbox import Entry, EntryState, Outbox
from agent.core.pause import PauseDesk
from agent.core.sender import Sender
from agent.core.settle import Override
from agent.core.sign_in import SignInDesk
from agent.core.targets import TargetTree
from agent.platform.base import Platform
from server_bridge.contract import CommandKind, CommandRequest, OrderState, WorkstationShare

log = logging.getLogger(__name__)
ANSWER_SECONDS = 20.0
"""How long a command waits for the bridge's answer before it ends with "kept in the outbox"."""


class NoSuchCard(AgentError):
    """The card went away between look and click."""

    code = "no_such_card"
    title = "This is not there any more"


class NotYours(AgentError):
    """Somebody else's data."""

    code = "not_yours"
    title = "This belongs to somebody else"


class CommandDesk:
    """One method per command."""

    def __init__(
        self,
        *,
        client: BridgeClient,
        machine: MachineStore,
        outbox: Outbox,
        desk: SignInDesk,
        forgotten: ForgottenSignIn,
        clerk: Clerk,
        sender: Sender,
        targets: TargetTree,
        platform: Platform,
        clock: Clock,
        workstation: Callable[[], str],
        registered: Callable[[], str],
        wake: Callable[[], None],
        look_now: Callable[[], None],
        look_at: Callable[[str, str], None],
        cleaning: CleaningDesk,
        pause: PauseDesk,
        pause_changed: Callable[[], None],
        share: Callable[[str], WorkstationShare | None],
    ) -> None:
        self._client = client
        self._machine = machine
        self._outbox = outbox
        self._desk = desk
        self._forgotten = forgotten
        self._clerk = clerk
        self._sender = sender
        self._targets = targets
        self._platform = platform
        self._clock = clock
        self._workstation = workstation
        self._registered = registered
        self._wake = wake
        self._look_now = look_now
        self._look_at = look_at
        self._cleaning = cleaning
        self._pause = pause
        self._pause_changed = pause_changed
        self._share = share

    def carry_out(self, command: commands.Command) -> Any:
        """Do it.

        Raises:
            AgentError: with title, detail and remedy for the person.
        """
        match command:
            case commands.SignIn():
                self._sign_in(command)
            case commands.SignOut():
                self.sign_out()
            case commands.StaySignedIn():
                self._forgotten.stay()
            case commands.Typing():
                self._forgotten.typing()
            case commands.ChooseTarget():
                self._choose_target(command)
            case commands.SetStandingTarget():
                me = self._desk.require().person.username
                self._outbox.set_standing(me, command.target, self._clock.now())
            case commands.DoneNow():
                self._override(command.card_id, Override.DONE_NOW)
            case commands.NotYet():
                self._override(command.card_id, Override.NOT_YET)
            case commands.Cancel():
                self._cancel(command.card_id)
            case commands.Retry():
                self._retry(command.card_id)
            case commands.AcceptLeftOut():
                self._command(
                    command.card_id,
                    CommandRequest(id=uuid4(), kind=CommandKind.ACCEPT_LEFT_OUT, note=command.note),
                )
            case commands.FreeSpace():
                self._free(command.card_ids)
            case commands.StopFreeing():
                self._stop_freeing()
            case commands.Pause():
                session = self._desk.current()
                person = session.person if session else None
                self._pause.begin(command.seconds, (person.full_name or person.username) if person else "")
                self._pause_changed()
            case commands.Resume():
                self._pause.end()
                self._pause_changed()
                self._look_now()
            case commands.LookNow():
                self._look_now()
        return None

    # --- persons --------------------------------------------------------------------------------------

    def _sign_in(self, command: commands.SignIn) -> None:
        before = self._desk.held()
        session = self._desk.sign_in(self._client, command.username, command.password, self._registered())
        me = session.person.username
        if before is None or before.person.username != me:
            self._targets.forget()
            # Hers of another day would order data that she does not think of; his ends as he leaves.
            for one in {me, before.person.username if before else me}:
                self._outbox.set_standing(one, None, self._clock.now())
        # Presence counts from this moment, not from the clerk's next round.
        self._machine.sign_in(self._platform.session_id(), me, self._clock.now())
        waiting = [
            entry.id
            for entry in self._outbox.entries()
            if entry.person == me and entry.state is not EntryState.REFUSED
        ]
        self._outbox.renew_grants(me, {one: session.grant.for_order(one) for one in waiting})
        self._wake()

    def sign_out(self) -> None:
        """Forget the person; what she ordered goes on by the grants in the outbox."""
        session = self._desk.held()
        if session is not None:
            self._outbox.set_standing(session.person.username, None, self._clock.now())
        self._machine.sign_out(self._platform.session_id())
        self._desk.sign_out(self._client, self._registered())
        self._targets.forget()
        self._wake()

    # --- cards ----------------------------------------------------------------------------------------

    def _find(self, card_id: str) -> tuple[Acquisition | None, Entry | None, OrderState | None]:
        found = self._machine.acquisition(card_id)
        entry = newest_entries(self._outbox.entries()).get(card_id)
        session = self._desk.held()
        me = session.person.username if session else ""
        if entry is not None and found is not None and is_void(entry, self._machine.order(str(entry.id)), me):
            entry = None
        if entry is not None:
            return found, entry, self._machine.order(str(entry.id))
        if found is None:
            order = self._machine.order(card_id)
            if order is None:
                raise NoSuchCard(remedy="Look again: the list has changed.")
            return None, None, order
        orders = [
            order
            for order in self._machine.orders(found.first_seen_at)
            if (order.share, order.path, order.members) == (found.share, found.path, found.members)
        ]
        return found, None, max(orders, key=lambda order: order.created_at, default=None)

    def _require_mine(self, owner: str) -> None:
        person = self._desk.require().person
        if owner and owner != person.username and not person.is_staff:
            raise NotYours(f"It is {owner}'s.", remedy=f"Ask {owner} or the platform staff.")

    def _unordered_owner(self, found: Acquisition | None) -> str:
        if found is None:
            return ""
        return unordered_owner(found, self._share(found.share), self._desk.require().person.username)

    def _override(self, card_id: str, override: Override) -> None:
        found, entry, _order = self._find(card_id)
        if found is None:
            raise NoSuchCard(remedy="Look again: the list has changed.")
        self._require_mine(entry.owner if entry else self._unordered_owner(found))
        self._machine.override(found.id, override, self._clock.now())
        self._look_at(found.share, found.path)
        self._wake()

    def _choose_target(self, command: commands.ChooseTarget) -> None:
        session = self._desk.require()
        me = session.person.username
        found, entry, order = self._find(command.card_id)
        owner = order.person if order else entry.owner if entry else self._unordered_owner(found)
        self._require_mine(owner)
        whose = command.owner or owner or me
        self._require_mine(whose)
        if whose == me:
            self._outbox.note_recent(me, command.target, self._clock.now())
            if command.from_now_on:
                self._outbox.set_standing(me, command.target, self._clock.now())
        live = order is not None and order.stage not in ENDED
        refused = entry is not None and entry.state is EntryState.REFUSED
        if (entry is not None or live) and not refused and not (order and not live):
            self._command(
                command.card_id,
                CommandRequest(id=uuid4(), kind=CommandKind.RETARGET, target=command.target),
            )
            return
        if found is None:
            raise NoSuchCard(remedy="The data is not on the share any more.")
        if refused and live and entry is not None:
            # The bridge has the order but refused its manifest: that place has to be free first.
            self._command_for(entry.id, CommandRequest(id=uuid4(), kind=CommandKind.CANCEL))
        order_id = self._clerk.order(found, command.target, import_again=command.import_again, owner=whose)
        self._wait(order_id)

    def _cancel(self, card_id: str) -> None:
        _found, entry, order = self._find(card_id)
        owner = order.person if order else entry.owner if entry else ""
        self._require_mine(owner)
        if entry is not None and entry.state is EntryState.REFUSED and order is None:
            self._outbox.set_state(entry.id, EntryState.WITHDRAWN)
            self._wake()
            return
        self._command(card_id, CommandRequest(id=uuid4(), kind=CommandKind.CANCEL))

    def _retry(self, card_id: str) -> None:
        _found, entry, order = self._find(card_id)
        if entry is not None and entry.state is EntryState.REFUSED:
            self._require_mine(entry.owner)
            self._outbox.set_state(entry.id, EntryState.NEW if order is None else EntryState.ACCEPTED)
            self._wait(entry.id)
            return
        self._command(card_id, CommandRequest(id=uuid4(), kind=CommandKind.RETRY))

    def _command(self, card_id: str, request: CommandRequest) -> None:
        _found, entry, order = self._find(card_id)
        self._require_mine(order.person if order else entry.owner if entry else "")
        if entry is not None:
            self._command_for(entry.id, request)
        elif order is not None:
            # Ordered by another Windows user of this machine: she commands with her own token.
            token = self._desk.require().token
            self._client.command(
                order.id, request, Credentials(workstation=self._workstation(), bearer=token)
            )
        else:
            raise NoSuchCard("There is no order yet.", remedy="Choose a target first.")

    def _command_for(self, order_id: UUID, request: CommandRequest) -> None:
        self._outbox.add_command(order_id, request, self._clock.now())
        self._wait(request.id)

    def _wait(self, key: UUID) -> None:
        """Wait a while for the bridge's answer; without one the outbox keeps it and the card says so."""
        answer: Future[None] = self._sender.answer_for(key)
        self._wake()
        try:
            answer.result(ANSWER_SECONDS)
        except FutureTimeout:
            log.info("%s: no answer yet, kept in the outbox", key)

    # --- room on the buffer ---------------------------------------------------------------------------

    def _free(self, card_ids: tuple[str, ...]) -> None:
        orders = []
        for card_id in card_ids:
            _found, _entry, order = self._find(card_id)
            if order is None:
                raise freeing.NotReleased("There is no order for it.")
            self._require_mine(order.person)
            orders.append(order)
        self._cleaning.ask(orders, self._desk.require().person.username)

    def _stop_freeing(self) -> None:
        me = self._desk.require().person
        self._cleaning.stop(lambda job: me.is_staff or me.username in (job.person, job.asked_by))
