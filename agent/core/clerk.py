"""Keeps orders and acquisitions in step: what has to be ordered, opened, sealed, un-sealed or begun anew.

:func:`decide` is pure and says what; :class:`Clerk` does it. What lists the share is served per share, in a
thread of that share: one that hangs keeps nobody else's orders waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from uuid import UUID, uuid4

from agent.core import claims, listing, manifests, renamed
from agent.core.acquisition import Acquisition, ignored_names
from agent.core.clock import Clock
from agent.core.errors import ShareAway
from agent.core.machine_store import BEFORE_IMPORT, MachineStore
from agent.core.outbox import Entry, EntryState, Outbox, StoredManifest, new_order_id
from agent.core.settle import Override
from agent.core.sign_in import SignInDesk
from agent.platform.base import Platform
from server_bridge.contract import (
    CommandKind,
    CommandRequest,
    OrderIntent,
    OrderState,
    Stage,
    Target,
    WorkstationShare,
)

log = logging.getLogger(__name__)
TAKEN_BY_OMERO = frozenset({Stage.IMPORTING, Stage.PROVING, Stage.ANNOTATING, Stage.PROVEN, Stage.RELEASED})
REST_SECONDS = 2.0
"""Looks at the share wake the clerk; this is for what happens without one."""
PRESENCE_EVERY = timedelta(seconds=30)


class Step(StrEnum):
    """What the clerk does next for one acquisition."""

    NOTHING = "nothing"
    OPEN = "open"
    """Put an open manifest: the bridge sees it coming."""
    SEAL = "seal"
    REST_AGAIN = "rest-again"
    """The bridge's own look differed from ours: let it rest once more, then seal anew."""
    COMPARE = "compare"
    """OMERO took it; look whether something new is there."""


def decide(
    found: Acquisition,
    entry: Entry | None,
    state: OrderState | None,
    manifest: StoredManifest | None,
    open_is_due: bool,
) -> Step:
    """Decide for one acquisition and its latest order. ``state`` is the bridge's last word, if any."""
    if entry is None or entry.state in (EntryState.REFUSED, EntryState.WITHDRAWN):
        return Step.NOTHING
    stage = state.stage if state is not None else Stage.ACCEPTED.value
    if stage in TAKEN_BY_OMERO:
        changed = entry.accepted_content is not None and entry.accepted_content != found.content
        return Step.COMPARE if changed else Step.NOTHING
    if stage not in BEFORE_IMPORT:
        return Step.NOTHING
    if (
        state is not None
        and entry.accepted_sealed
        and not state.sealed
        and state.manifest_revision == entry.accepted_revision
    ):
        return Step.REST_AGAIN
    if found.finished_at is not None:
        has_it = (
            manifest is not None
            and manifest.sealed
            and manifest.content == found.content
            # Confirmed once, but the bridge took its word back since: seal anew.
            and (not manifest.confirmed or entry.accepted_sealed)
        )
        return Step.NOTHING if has_it else Step.SEAL
    if manifest is None or manifest.sealed:
        return Step.OPEN
    return Step.OPEN if open_is_due and manifest.content != found.content else Step.NOTHING


def newest_entries(entries: list[Entry]) -> dict[str, Entry]:
    """Acquisition id → its latest order."""
    return {entry.acquisition: entry for entry in sorted(entries, key=lambda entry: entry.created_at)}


def is_void(entry: Entry, state: OrderState | None, me: str) -> bool:
    """Whether an order that the bridge refused stands in nobody's way: a refused claim makes no owner."""
    return entry.state is EntryState.REFUSED and state is None and entry.person != me


@dataclass(frozen=True, slots=True)
class Place:
    """A share as this machine reaches it."""

    share: WorkstationShare
    top: Path


class Clerk:
    """Runs :meth:`step` in one thread, and :meth:`serve` in one per share."""

    def __init__(
        self,
        *,
        machine: MachineStore,
        outbox: Outbox,
        desk: SignInDesk,
        platform: Platform,
        clock: Clock,
        places: Callable[[], dict[str, Place]],
        open_seconds: float,
        wake_sender: Callable[[], None],
        look_at: Callable[[str, str], None],
    ) -> None:
        self._machine = machine
        self._outbox = outbox
        self._desk = desk
        self._platform = platform
        self._clock = clock
        self._places = places
        self._open_seconds = open_seconds
        self._wake_sender = wake_sender
        self._look_at = look_at
        self._opened_at: dict[UUID, float] = {}
        self._compared: set[tuple[UUID, bytes]] = set()
        self._present_since: datetime | None = None

    def step(self) -> float:
        """What needs no share: who is here, her "from now on", what ended. Returns the seconds until the next
        time."""
        self._note_presence()
        entries = self._outbox.entries()
        standing = self._standing()
        newest = newest_entries(entries)
        left_behind = self._left_behind(entries)
        withdrawn = self._outbox.withdrawn() if standing else frozenset()
        for found in self._machine.acquisitions() if standing or left_behind else ():
            if found.id in newest:
                continue
            waits = left_behind.get((found.share, found.path))
            if waits is not None and self._take_over(found, waits) is not None:
                continue
            if standing is not None and found.id not in withdrawn:
                self._apply_standing(found, standing)
        self._prune(entries)
        return REST_SECONDS

    def serve(self, share: str) -> float:
        """Bring one share's orders on. Returns the seconds until the next time."""
        newest = newest_entries(self._outbox.entries())
        place = self._places().get(share)
        if place is None or not newest:
            return REST_SECONDS
        try:
            self._follow_renames(share, place, newest)
        except ShareAway as error:
            log.info("share %s: %s", share, error.detail)
            return REST_SECONDS
        for found in self._machine.acquisitions(share):
            entry = newest.get(found.id)
            if entry is None or found.problem:
                continue
            try:
                self._serve(found, entry, place)
            except (listing.Gone, listing.Unreadable) as error:
                log.info("order %s: %s", entry.id, error)  # the scanner says it on the card
            except ShareAway as error:
                log.info("order %s: %s", entry.id, error.detail)
                break
            except manifests.NotOrderable as error:
                self._outbox.set_state(entry.id, EntryState.REFUSED, error.reason())
        return REST_SECONDS

    def _note_presence(self) -> None:
        session = self._desk.current()
        now = self._clock.now()
        if session is None:
            if self._present_since is not None:
                self._machine.sign_out(self._platform.session_id())
                self._present_since = None
            return
        if self._present_since is None or now - self._present_since >= PRESENCE_EVERY:
            self._machine.sign_in(self._platform.session_id(), session.person.username, now)
            self._present_since = now

    def _standing(self) -> tuple[str, Target, datetime] | None:
        """Who is signed in, and her "from now on" with its beginning."""
        session = self._desk.current()
        standing = self._outbox.standing(session.person.username) if session else None
        return (session.person.username, *standing) if session and standing else None

    def _apply_standing(self, found: Acquisition, standing: tuple[str, Target, datetime]) -> None:
        me, target, since = standing
        takes = claims.takes_standing_target(found, me, has_order=False, since=since)
        if takes and not self._has_bridge_order(found):
            self.order(found, target)

    def _left_behind(self, entries: list[Entry]) -> dict[tuple[str, str], Entry]:
        """Place → an order that still waits there for data, though what it was made for is gone."""
        open_ones = [entry for entry in entries if entry.state in (EntryState.NEW, EntryState.ACCEPTED)]
        there = {found.id for found in self._machine.acquisitions()} if open_ones else set()
        found = {}
        for entry in open_ones:
            if entry.acquisition in there:
                continue
            state = self._machine.order(str(entry.id))
            if state is None or state.stage in BEFORE_IMPORT:
                found[entry.intent.share, entry.intent.path] = entry
        return found

    def _take_over(self, found: Acquisition, entry: Entry) -> Entry | None:
        """Deleted and made anew under the same name: her order brings what is there now, if it is hers.

        The bridge takes one live order per place, so a second one would be refused.
        """
        if found.successor_of or found.person_then != entry.owner:
            return None
        log.info("order %s brings what took the place of its acquisition", entry.id)
        self._outbox.move(entry.id, found.id)
        return self._outbox.entry(entry.id)

    def _follow_renames(self, share: str, place: Place, newest: dict[str, Entry]) -> None:
        """An order whose data has another name now goes along, where that is certain and she is here.

        Raises:
            ShareAway: as the share answers.
        """
        session = self._desk.current()
        left = self._left_behind(list(newest.values())) if session else {}
        if not left or session is None:
            return
        rows = self._machine.acquisitions(share)
        cancelled = {
            one.order_id for one in self._outbox.pending_commands() if one.request.kind is CommandKind.CANCEL
        }
        for (there, path), entry in left.items():
            manifest = self._outbox.manifest(entry.id)
            hers = session.person.username == entry.person and entry.id not in cancelled
            if there != share or manifest is None or not hers:
                continue
            named = [
                found
                for found in rows
                if found.kind is entry.intent.kind
                and found.person_then == entry.owner
                and found.first_seen_at > entry.created_at
                and found.file_count >= manifest.file_count
                and self._is_renamed(manifest, path, found, place, entry.id)
            ]
            if len(named) == 1:
                self._go_along(entry, named[0], ordered=named[0].id in newest)

    def _is_renamed(
        self, manifest: StoredManifest, path: str, found: Acquisition, place: Place, order_id: UUID
    ) -> bool:
        tried = (order_id, found.content)
        if tried in self._compared:
            return False
        top = self._platform.long_path(place.top)
        judged = not self._platform.listing_is_truth
        try:
            built = manifests.build(top, place.share, found.path, judged=judged)
        except (listing.Gone, listing.Unreadable, manifests.NotOrderable) as error:
            log.info("%s: %s", found.path, error)
            return False
        before, now = manifests.lines_of(manifest.body), manifests.lines_of(built.body)
        if renamed.is_renamed(before, path, now, found.path, found.kind):
            return True
        self._compared.add(tried)
        return False

    def _go_along(self, entry: Entry, found: Acquisition, *, ordered: bool) -> None:
        """The same target under the new name; the order of the old name ends.

        The new one is there first: killed in between, the next round finds it, and ends the old one.

        Args:
            ordered: her "from now on", or she, or an earlier round was quicker: the new name has its target.
        """
        log.info("order %s: %s is called %s now", entry.id, entry.intent.path, found.path)
        if not ordered:
            state = self._machine.order(str(entry.id))
            target = state.target if state is not None and state.target is not None else entry.intent.target
            self.order(found, target, import_again=entry.intent.import_again, owner=entry.intent.owner)
        cancel = CommandRequest(id=uuid4(), kind=CommandKind.CANCEL, note=f"renamed to {found.path}"[:200])
        self._outbox.add_command(entry.id, cancel, self._clock.now())
        self._wake_sender()

    def _has_bridge_order(self, found: Acquisition) -> bool:
        """Whether another Windows user of this machine ordered it already."""
        return any(
            (state.share, state.path, state.members) == (found.share, found.path, found.members)
            for state in self._machine.orders(found.first_seen_at)
        )

    def order(
        self, found: Acquisition, target: Target, *, import_again: bool = False, owner: str = ""
    ) -> UUID:
        """Write an order into the outbox; its grant is derived here, also offline.

        Args:
            owner: whose data it is, where staff order for somebody else.

        Raises:
            NotSignedIn: where nobody is.
        """
        session = self._desk.require()
        order_id = new_order_id()
        intent = OrderIntent(
            share=found.share,
            path=found.path,
            kind=found.kind,
            members=found.members,
            target=target,
            label=found.title[:255],
            first_seen_at=found.first_seen_at,
            owner=owner if owner != session.person.username else "",
            import_again=import_again,
        )
        self._outbox.add(
            order_id,
            found.id,
            session.person.username,
            intent,
            session.grant.for_order(order_id),
            self._clock.now(),
        )
        self._machine.note_ordered(found.id, self._clock.now())
        self._wake_sender()
        return order_id

    def _serve(self, found: Acquisition, entry: Entry, place: Place) -> None:
        state = self._machine.order(str(entry.id))
        manifest = self._outbox.manifest(entry.id)
        opened = self._opened_at.get(entry.id, float("-inf"))
        due = self._clock.monotonic() - opened >= self._open_seconds
        step = decide(found, entry, state, manifest, due)
        compared = step is Step.COMPARE and (entry.id, found.content) in self._compared
        if step is Step.NOTHING or compared:
            return
        if step is Step.REST_AGAIN:
            self._outbox.unseal(entry.id)
            self._machine.override(found.id, Override.NOT_YET, self._clock.now())
            self._look_at(found.share, found.path)
            return
        top = self._platform.long_path(place.top)
        judged = not self._platform.listing_is_truth
        built = manifests.build(top, place.share, found.path, members=found.members, judged=judged)
        if step is Step.COMPARE:
            self._compare(found, entry, manifest, built, place.share)
            return
        sealed = step is Step.SEAL
        if sealed and built.content != found.content:
            self._look_at(found.share, found.path)  # it moved since it was judged: judge anew
            return
        if built.file_count == 0:
            return
        self._opened_at[entry.id] = self._clock.monotonic()
        known = state.manifest_revision if state is not None else 0
        self._outbox.put_manifest(
            entry.id,
            sealed=sealed,
            content=built.content,
            body=built.body,
            file_count=built.file_count,
            size_bytes=built.size_bytes,
            at_least=max(known, entry.accepted_revision) + 1,
        )
        self._wake_sender()

    def _compare(
        self,
        found: Acquisition,
        entry: Entry,
        manifest: StoredManifest | None,
        built: manifests.BuiltManifest,
        share: WorkstationShare,
    ) -> None:
        if manifest is None:
            return
        # A later list that the bridge no longer took is not what OMERO holds: its difference is the news.
        later = manifest.content != entry.accepted_content
        news = later or manifests.has_news(
            manifest.body,
            built.body,
            ignore=ignored_names(share),
            tolerance_ns=int(share.mtime_tolerance_seconds * 1e9),
        )
        if news:
            # OMERO holds what was sealed; what changed or came later is a new acquisition that says so.
            now = self._clock.now()
            self._machine.succeed(found, claims.person_at_first_sight(self._machine.present(now), None), now)
        else:
            self._compared |= {(entry.id, built.content), (entry.id, found.content)}

    def _prune(self, entries: list[Entry]) -> None:
        """Entries whose end the bridge told long ago; the bridge keeps the history."""
        before = self._clock.now() - timedelta(days=14)
        ended = []
        for entry in entries:
            if entry.created_at >= before:
                continue
            state = self._machine.order(str(entry.id))
            gone = entry.state is EntryState.ACCEPTED and state is None
            over = state is not None and state.stage in (
                Stage.RETIRED,
                Stage.CANCELLED,
                Stage.DISCARDED,
            )
            if over or gone:
                ended.append(entry.id)
        if ended:
            self._outbox.prune(before, ended)
