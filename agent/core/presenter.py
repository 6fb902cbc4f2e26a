"""From everything that is known to one immutable snapshot. Pure: no clock, no file, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from agent.core import cards, footer
from agent.core.acquisition import Acquisition
from agent.core.card_cleaning import cleaned_card
from agent.core.claims import Claim
from agent.core.cleaning_book import Job
from agent.core.clerk import is_void, newest_entries
from agent.core.machine_store import ENDED
from agent.core.outbox import Entry, EntryState, StoredManifest
from agent.core.pause import Pause
from agent.core.share_watch import ShareStatus
from agent.core.snapshot import (
    BridgeSnapshot,
    Card,
    CardGroup,
    CardState,
    PauseSnapshot,
    ShareSnapshot,
    SignOutDue,
    Snapshot,
)
from server_bridge.contract import (
    AgentLoad,
    OrderState,
    Person,
    Progress,
    Reason,
    Target,
    Workstation,
    WorkstationStatus,
)

DONE_SHOWN = timedelta(days=2)
"""How long a card without data on the share stays in *Done*."""
_GROUP_ORDER = {group: number for number, group in enumerate(CardGroup)}


@dataclass(frozen=True, slots=True)
class World:
    """What the engine gathered at one moment."""

    now: datetime
    workstation_name: str
    workstation: Workstation | None
    bridge: BridgeSnapshot
    statuses: Mapping[str, ShareStatus] = field(default_factory=dict)
    mounted: frozenset[str] = frozenset()
    """Shares that the settings say where to find."""
    where: Mapping[str, str] = field(default_factory=dict)
    """How a person names their places."""
    jobs: Sequence[Job] = ()
    """Copies that are to be deleted."""
    acquisitions: Sequence[Acquisition] = ()
    entries: Sequence[Entry] = ()
    manifests: Mapping[str, StoredManifest] = field(default_factory=dict)
    orders: Sequence[OrderState] = ()
    progress: Mapping[str, Progress] = field(default_factory=dict)
    person: Person | None = None
    session_expires_at: datetime | None = None
    sign_in_notice: str = ""
    sign_out: SignOutDue | None = None
    """The sign-out that is about to happen by itself."""
    damage: Reason | None = None
    """That the agent's own files were damaged at its start."""
    signed_out: Reason | None = None
    """That the last person was signed out by itself."""
    standing_target: Target | None = None
    pending: int = 0
    taking_back: frozenset[str] = frozenset()
    """Orders that a person cancelled, which the bridge has not answered yet."""
    retargets: Mapping[str, Target] = field(default_factory=dict)
    """Order → the target that a person chose meanwhile, which the bridge has not answered yet."""
    refused_commands: Mapping[str, Reason] = field(default_factory=dict)
    """Order → why the bridge refused what a person asked last."""
    pause: Pause | None = None
    pause_programs: tuple[str, ...] = ()
    acquiring: bool = False
    load: AgentLoad | None = None
    silent_limit: timedelta = timedelta(minutes=5)
    """A share whose last complete pass is older than this says nothing about what is there now."""


def facts_of(world: World) -> list[cards.Facts]:
    """Bring acquisitions, outbox entries and the bridge's orders together, each order once."""
    me = world.person.username if world.person else ""
    staff = bool(world.person and world.person.is_staff)
    shares = {share.id: share for share in world.workstation.shares} if world.workstation else {}
    by_id = {str(order.id): order for order in world.orders}
    newest = newest_entries(list(world.entries))
    by_place: dict[tuple[str, str, tuple[str, ...]], OrderState] = {}
    for order in sorted(world.orders, key=lambda order: order.created_at):
        by_place[order.share, order.path, order.members] = order
    used: set[str] = set()
    found_facts: list[cards.Facts] = []

    def add(found: Acquisition | None, entry: Entry | None, order: OrderState | None) -> None:
        share_id = found.share if found else order.share if order else entry.intent.share if entry else ""
        key = str(order.id) if order else str(entry.id) if entry else ""
        used.add(key)
        progress = world.progress.get(key) or (order.progress if order else None)
        found_facts.append(
            cards.Facts(
                found=found,
                entry=entry,
                state=order,
                manifest=world.manifests.get(key),
                progress=progress,
                share=shares.get(share_id),
                me=me,
                i_am_staff=staff,
                now=world.now,
                share_known=(status := world.statuses.get(share_id)) is not None
                and status.answered
                and status.last_answer_at is not None,
                retarget=world.retargets.get(key),
                refused_command=world.refused_commands.get(key),
                taking_back=key in world.taking_back and not (order and order.stage in ENDED),
            )
        )

    for found in world.acquisitions:
        entry = newest.get(found.id)
        if entry is not None and is_void(entry, by_id.get(str(entry.id)), me):
            used.add(str(entry.id))
            entry = None
        place = (found.share, found.path, found.members)
        state = by_id.get(str(entry.id)) if entry else by_place.get(place)
        if entry is None and state is not None and state.created_at < found.first_seen_at:
            state = None  # an earlier acquisition at the same place
        add(found, entry, state)
    since = world.now - DONE_SHOWN
    for entry in newest.values():
        state = by_id.get(str(entry.id))
        if str(entry.id) not in used and (state is None or state.updated_at >= since):
            add(None, entry, state)
    mine = {str(entry.id) for entry in world.entries}
    for order in world.orders:
        if str(order.id) not in used and str(order.id) not in mine and order.updated_at >= since:
            add(None, None, order)
    return found_facts


def is_shown(facts: cards.Facts, card: Card) -> bool:
    """A person sees what is hers, what nobody claims, and that somebody else's data is being written.

    With nobody signed in all that is somebody's is somebody else's: a shared screen tells nothing of her.
    """
    if facts.i_am_staff or facts.claim is not Claim.SOMEBODY_ELSES:
        return True
    return card.group is CardGroup.NOW


def for_others(card: Card) -> Card:
    """What everybody may see of somebody's data: that the microscope writes it, and how much."""
    return Card(
        id=card.id,
        group=card.group,
        state=card.state,
        title=card.title,
        share=card.share,
        path=card.title,
        file_count=card.file_count,
        size_bytes=card.size_bytes,
        stations=card.stations,
        first_seen_at=card.first_seen_at,
        last_change_at=card.last_change_at,
        finished_at=card.finished_at,
        quiet_seconds=card.quiet_seconds,
        quiet_needed_seconds=card.quiet_needed_seconds,
        witnesses=card.witnesses,
    )


def missing_of(facts: cards.Facts, card: Card) -> footer.Missing:
    """What keeps the person from logging off, for one acquisition of hers."""
    if card.state is CardState.NEEDS_TARGET:
        return footer.Missing.TARGET
    if card.state is CardState.ATTENTION and facts.found is not None and facts.found.is_incomplete:
        return footer.Missing.COMPLETE
    if card.state is CardState.REFUSED:
        return footer.Missing.DECISION
    if facts.found is None and facts.entry is None:
        return footer.Missing.NOTHING
    if facts.state is None and facts.entry is None:
        return footer.Missing.FINISH
    if card.state in (CardState.CANCELLED, CardState.FREED) or cards.is_confirmed(facts):
        return footer.Missing.NOTHING
    if facts.entry is not None and facts.entry.reason and facts.entry.reason.code == "not_signed_in":
        return footer.Missing.SIGN_IN
    if facts.found is not None and facts.found.finished_at is None:
        return footer.Missing.FINISH
    return footer.Missing.CONFIRMATION


def pause_text(pause: Pause) -> str:
    """``OMERO Ferry is paused until 14:30`` (this machine's time)."""
    if pause.programs:
        return f"OMERO Ferry is paused until {' and '.join(pause.programs)} ends"
    return f"OMERO Ferry is paused until {pause.until.astimezone():%H:%M}"


def paused_card(card: Card, facts: cards.Facts, world: World) -> Card:
    """The card of an order that stands in the queue because this workstation is paused."""
    own = world.workstation.name if world.workstation else world.workstation_name
    at = facts.state.workstation if facts.state else own
    if world.pause is None or card.state is not CardState.QUEUED or at != own or card.reason is not None:
        return card
    by = f" by {world.pause.by}" if world.pause.by else ""
    reason = Reason(
        code="paused_at_microscope",
        title="Paused at the microscope",
        detail=f"{pause_text(world.pause)}{by}.",
        remedy="It goes on by itself; you may resume it earlier.",
    )
    return replace(card, reason=reason)


def _unknown(world: World) -> list[str]:
    """Why it cannot be known what is there."""
    workstation = world.workstation
    if workstation is None:
        return ["this workstation is not registered with the bridge yet."]
    if workstation.status is not WorkstationStatus.APPROVED:
        return ["the platform staff have not approved this workstation yet."]
    if world.pause is not None:
        return [f"{pause_text(world.pause)}; what the microscope writes is not looked at meanwhile."]
    sentences = []
    for share in workstation.shares:
        status = world.statuses.get(share.id)
        title = share.title or share.id
        if share.id not in world.mounted:
            sentences.append(f"the settings do not say where {title} is on this machine.")
        elif status is None or status.last_answer_at is None:
            sentences.append(f"{title} has not been looked at yet.")
        elif not status.answered or world.now - status.last_answer_at > world.silent_limit:
            sentences.append(f"{title} does not answer, so it is not known what is there.")
    return sentences


def _shares(world: World) -> tuple[ShareSnapshot, ...]:
    found = []
    for share in world.workstation.shares if world.workstation else ():
        status = world.statuses.get(share.id) or ShareStatus()
        found.append(
            ShareSnapshot(
                share=share.id,
                title=share.title or share.id,
                answered=status.answered,
                last_answer_at=status.last_answer_at,
                problem=status.problem,
                free_bytes=status.free_bytes,
                total_bytes=status.total_bytes,
                full_in_seconds=status.full_in_seconds,
                hints=status.hints,
                waiting=status.waiting,
                where=world.where.get(share.id, ""),
                deletion=share.deletion.value,
                clean=share.cleaning,
                clean_below_percent=share.clean_below_percent,
            )
        )
    return tuple(found)


def _cleaning(world: World) -> tuple[Job, ...]:
    """Jobs about her data; staff see all of this workstation."""
    if world.person is None:
        return ()
    me, staff = world.person.username, world.person.is_staff
    return tuple(job for job in world.jobs if staff or me in (job.person, job.asked_by))


def _sort_key(card: Card) -> tuple[int, float, str]:
    """Groups in their order; what needs her oldest first, everything else newest first."""
    at = card.finished_at or card.last_change_at or card.first_seen_at
    seconds = at.timestamp() if at else 0.0
    oldest_first = card.group is CardGroup.NEEDS_YOU
    return (_GROUP_ORDER[card.group], seconds if oldest_first else -seconds, card.id)


def present(world: World) -> Snapshot:
    """Make the snapshot."""
    shown: list[Card] = []
    mine: list[footer.Mine] = []
    unclaimed = attention = 0
    jobs = {job.order_id: job for job in world.jobs}
    for facts in facts_of(world):
        card = paused_card(cards.card_of(facts), facts, world)
        card = cleaned_card(card, jobs.get(card.order_id or ""))
        if is_shown(facts, card):
            hers = facts.i_am_staff or facts.claim is not Claim.SOMEBODY_ELSES
            if facts.i_am_staff and facts.claim is Claim.SOMEBODY_ELSES:
                card = replace(card, whose=facts.owner)
            shown.append(card if hers else for_others(card))
        if facts.claim is Claim.MINE:
            mine.append(footer.Mine(card.title, missing_of(facts, card)))
            attention += card.state is CardState.ATTENTION
        elif facts.claim is Claim.UNCLAIMED:
            unclaimed += 1
    person = world.person.username if world.person else ""
    return Snapshot(
        at=world.now,
        workstation_name=world.workstation_name,
        shares=_shares(world),
        bridge=world.bridge,
        person=world.person,
        session_expires_at=world.session_expires_at,
        sign_in_notice=world.sign_in_notice,
        pause=PauseSnapshot(world.pause.until, world.pause.by, world.pause.programs) if world.pause else None,
        pause_programs=world.pause_programs,
        acquiring=world.acquiring,
        load=world.load,
        sign_out=world.sign_out,
        damage=world.damage,
        signed_out=world.signed_out,
        standing_target=world.standing_target,
        standing_target_text=cards.target_text(world.standing_target),
        cards=tuple(sorted(shown, key=_sort_key)),
        cleaning=_cleaning(world),
        log_off=footer.verdict(
            person,
            mine,
            unclaimed=unclaimed,
            unknown=_unknown(world),
            attention=attention,
            others_unsent=world.pending,
        ),
        outbox_pending=world.pending,
    )


def pending_of(entries: Sequence[Entry], unconfirmed: int, commands: int) -> int:
    """Orders, manifests and commands that the bridge has not confirmed."""
    return sum(entry.state is EntryState.NEW for entry in entries) + unconfirmed + commands
