"""One card from what is known of one acquisition: a pure function, and the only place that picks a state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.core import claims, settle
from agent.core.acquisition import INCOMPLETE, Acquisition
from agent.core.claims import Claim
from agent.core.machine_store import BEFORE_IMPORT
from agent.core.outbox import Entry, EntryState, StoredManifest
from agent.core.snapshot import Card, CardGroup, CardState, Station, StationState, Transfer
from agent.core.template import suggestion_for
from agent.core.witness import Witness, waiting
from server_bridge.contract import (
    CleaningMode,
    Condition,
    DeletionMode,
    OrderState,
    Progress,
    Reason,
    Stage,
    Target,
    WorkstationShare,
)

WRITING_SECONDS = 15.0
"""Something that changed this recently is shown as being written rather than as settling."""

_RUNNING = {
    Stage.ACCEPTED: CardState.QUEUED,
    Stage.PULLING: CardState.COPYING,
    Stage.VERIFYING: CardState.CHECKING,
    Stage.IMPORTING: CardState.IMPORTING,
    Stage.PROVING: CardState.PROVING,
    Stage.ANNOTATING: CardState.PROVING,
}
_ENDS = {
    Stage.PROVEN: CardState.PROVEN,
    Stage.RELEASED: CardState.SAFE_TO_DELETE,
    Stage.RETIRED: CardState.FREED,
    Stage.CANCELLED: CardState.CANCELLED,
    Stage.DISCARDED: CardState.CANCELLED,
}
_GROUPS = {
    CardState.WRITING: CardGroup.NOW,
    CardState.SETTLING: CardGroup.NOW,
    CardState.UNCLAIMED: CardGroup.NEEDS_YOU,
    CardState.NEEDS_TARGET: CardGroup.NEEDS_YOU,
    CardState.REFUSED: CardGroup.NEEDS_YOU,
    CardState.ATTENTION: CardGroup.NEEDS_YOU,
    CardState.PROVEN: CardGroup.DONE,
    CardState.SAFE_TO_DELETE: CardGroup.DONE,
    CardState.FREED: CardGroup.DONE,
    CardState.CANCELLED: CardGroup.DONE,
}
_BY_COMMAND = {
    "accept-left-out": "AcceptLeftOut",
    "retry": "Retry",
    "retarget": "ChooseTarget",
    "cancel": "Cancel",
}
_STAGE_ORDER = {
    stage: number
    for number, stage in enumerate(
        (
            Stage.ACCEPTED,
            Stage.PULLING,
            Stage.VERIFYING,
            Stage.IMPORTING,
            Stage.PROVING,
            Stage.ANNOTATING,
            Stage.PROVEN,
            Stage.RELEASED,
            Stage.RETIRED,
        )
    )
}


_ON_ITS_WAY = frozenset(
    {
        CardState.QUEUED,
        CardState.COPYING,
        CardState.CHECKING,
        CardState.IMPORTING,
        CardState.PROVING,
    }
)
"""States in which a command that was refused may still surprise her."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one card is made of; at least one of the first three is there."""

    found: Acquisition | None
    entry: Entry | None
    state: OrderState | None
    manifest: StoredManifest | None
    progress: Progress | None
    share: WorkstationShare | None
    me: str
    i_am_staff: bool
    now: datetime
    share_known: bool = False
    """The share answers, and was looked at: what is not there is gone."""
    taking_back: bool = False
    """She cancelled it, and the bridge has not answered yet."""
    retarget: Target | None = None
    """She chose another target, and the bridge has not answered yet."""
    refused_command: Reason | None = None
    """Why the bridge refused what she asked last."""

    @property
    def owner(self) -> str:
        """Whose it is; empty where that is not known."""
        if self.state is not None:
            return self.state.person
        if self.entry is not None:
            return self.entry.owner
        return claims.unordered_owner(self.found, self.share, self.me) if self.found else ""

    @property
    def claim(self) -> Claim:
        """Whose it is, for the person who looks."""
        return claims.whose(self.owner, "", self.me)


def stage_of(state: OrderState | None) -> Stage | None:
    """The bridge's stage; None where there is none or this agent does not know it."""
    try:
        return Stage(state.stage) if state else None
    except ValueError:
        return None


def is_confirmed(facts: Facts) -> bool:
    """Whether the bridge has confirmed exactly what is on the share now, sealed (promise 7)."""
    stage = stage_of(facts.state)
    if stage is not None and stage not in BEFORE_IMPORT:
        return True
    found, entry = facts.found, facts.entry
    if entry is None:
        # Ordered by another Windows user of this machine: the bridge's word is all there is.
        return facts.state is not None and facts.state.sealed
    if entry.state is not EntryState.ACCEPTED or not entry.accepted_sealed:
        return False
    if (
        facts.state is not None
        and not facts.state.sealed
        and facts.state.manifest_revision >= entry.accepted_revision
    ):
        return False  # the bridge saw it change: it has to be sealed anew
    if found is None:
        return True
    return found.finished_at is not None and entry.accepted_content == found.content


def state_of(facts: Facts) -> CardState:
    """The one word."""
    if facts.state is not None and stage_of(facts.state) is None:
        return CardState.NEEDS_NEWER_AGENT
    stage = stage_of(facts.state)
    entry = facts.entry
    ordered = entry is not None or facts.state is not None
    if not ordered:
        return _unordered(facts)
    if stage in _ENDS and not _attention(facts):
        gone = stage in (Stage.PROVEN, Stage.RELEASED) and facts.found is None
        return CardState.FREED if gone else _ENDS[stage]
    if entry is not None and entry.state is EntryState.REFUSED:
        return CardState.REFUSED
    if entry is not None and entry.reason is not None and entry.reason.code == "not_signed_in":
        return CardState.ATTENTION
    if is_gone(facts):
        return CardState.ATTENTION
    if facts.found is not None and facts.found.finished_at is None and stage in (None, *BEFORE_IMPORT):
        return _unfinished(facts)
    if facts.state is None or stage is None:
        return CardState.SENDING
    if _attention(facts):
        return CardState.ATTENTION
    if stage in BEFORE_IMPORT and not is_confirmed(facts):
        return CardState.SENDING
    if facts.state.condition == Condition.WAITING:
        return CardState.WAITING
    if facts.state.condition == Condition.QUEUED and stage in (Stage.ACCEPTED, Stage.VERIFYING):
        return CardState.QUEUED
    return _RUNNING[stage]


def is_gone(facts: Facts) -> bool:
    """Whether an order waits for the end of something that is no longer there."""
    return (
        facts.found is None
        and facts.share_known
        and facts.entry is not None
        and facts.entry.state is EntryState.ACCEPTED
        and not facts.entry.accepted_sealed
        and stage_of(facts.state) in BEFORE_IMPORT
    )


def _attention(facts: Facts) -> bool:
    return facts.state is not None and facts.state.condition == Condition.ATTENTION


def _unfinished(facts: Facts) -> CardState:
    assert facts.found is not None
    if facts.found.is_incomplete:
        return CardState.ATTENTION
    needed = _quiet_needed(facts) or WRITING_SECONDS
    recent = timedelta(seconds=min(WRITING_SECONDS, needed / 2))
    writing = facts.now - facts.found.last_change_at < recent
    return CardState.WRITING if writing else CardState.SETTLING


def _quiet_needed(facts: Facts) -> float:
    """Quiet seconds that this acquisition's format has to rest; 0 where the share's rule is not known."""
    if facts.share is None or facts.found is None:
        return 0.0
    return facts.found.quiet_needed_seconds or facts.share.rule.quiet_for(facts.found.format)


def _unordered(facts: Facts) -> CardState:
    assert facts.found is not None
    if facts.found.finished_at is None:
        return _unfinished(facts)
    return CardState.UNCLAIMED if facts.claim is Claim.UNCLAIMED else CardState.NEEDS_TARGET


def target_text(target: Target | None) -> str:
    """``Group › Project › Dataset``."""
    if target is None:
        return ""
    parts = (target.group_name, target.project_name, target.container_name)
    return " › ".join(part for part in parts if part)


def _actions(facts: Facts, state: CardState) -> tuple[str, ...]:
    if facts.claim is Claim.SOMEBODY_ELSES and not facts.i_am_staff:
        return ()
    if facts.taking_back:
        return ()
    ordered = facts.entry is not None or facts.state is not None
    there = facts.found is not None
    if state in (CardState.WRITING, CardState.SETTLING):
        said = ("DoneNow",) if state is CardState.WRITING else ("DoneNow", "NotYet")
        return (*said, "ChooseTarget", *(("Cancel",) if ordered else ()))
    if state is CardState.ATTENTION and facts.found is not None and facts.found.is_incomplete:
        return ("DoneNow", "NotYet", "ChooseTarget", *(("Cancel",) if ordered else ()))
    if is_gone(facts):
        return ("Cancel",)
    if state is CardState.UNCLAIMED:
        return ("ChooseTarget",)
    if state is CardState.NEEDS_TARGET:
        return ("ChooseTarget", "NotYet")
    if state is CardState.SENDING:
        return ("ChooseTarget", "Cancel")
    if state is CardState.REFUSED:
        return ("ChooseTarget", "Retry", "Cancel") if there else ("Retry", "Cancel")
    if state is CardState.SAFE_TO_DELETE:
        may = facts.share is not None and facts.share.deletion is DeletionMode.AGENT
        return ("FreeSpace",) if may and there else ()
    if state is CardState.CANCELLED:
        return ("ChooseTarget",) if there else ()
    if facts.state is None:
        return ()
    allowed = set(facts.state.allowed_commands)
    return tuple(name for command, name in _BY_COMMAND.items() if command in allowed)


def _transfer(progress: Progress | None) -> Transfer | None:
    if progress is None:
        return None
    return Transfer(
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        files_done=progress.files_done,
        files_total=progress.files_total,
        units_done=progress.units_done,
        units_total=progress.units_total,
        import_step=progress.import_step,
        rate_bytes_per_second=progress.rate_bytes_per_second,
        eta_seconds=progress.eta_seconds,
        slowed=progress.slowed,
    )


def _stations(facts: Facts, state: CardState, transfer: Transfer | None) -> tuple[StationState, ...]:
    found, stage = facts.found, stage_of(facts.state)
    number = _STAGE_ORDER.get(stage, -1) if stage is not None else -1
    beyond = number >= _STAGE_ORDER[Stage.PULLING]
    finished = beyond or (found is not None and found.finished_at is not None) or found is None
    running = number if state not in (CardState.CANCELLED, CardState.REFUSED) else -1
    percent = ""
    if state is CardState.COPYING and transfer and transfer.bytes_total:
        percent = f"{100 * transfer.bytes_done // transfer.bytes_total} %"
    quiet = f"quiet {settle.clock_text(_quiet_needed(facts))}" if facts.share and found else ""
    since = facts.state.stage_since if facts.state else None
    return (
        StationState(
            Station.WRITTEN,
            reached=finished,
            current=not finished,
            at=found.last_change_at if found and finished else None,
        ),
        StationState(
            Station.FINISHED,
            reached=finished,
            current=finished and running <= 0 and state is not CardState.CANCELLED,
            at=found.finished_at if found else None,
            text=quiet if finished else "",
        ),
        StationState(
            Station.COPYING,
            reached=number >= _STAGE_ORDER[Stage.VERIFYING],
            current=running == _STAGE_ORDER[Stage.PULLING],
            text=percent,
        ),
        StationState(
            Station.IN_OMERO,
            reached=number >= _STAGE_ORDER[Stage.PROVING],
            current=running in (_STAGE_ORDER[Stage.VERIFYING], _STAGE_ORDER[Stage.IMPORTING]),
        ),
        StationState(
            Station.PROVEN,
            reached=number >= _STAGE_ORDER[Stage.PROVEN],
            current=running in (_STAGE_ORDER[Stage.PROVING], _STAGE_ORDER[Stage.ANNOTATING]),
            at=facts.state.proven_at if facts.state else since,
        ),
    )


def _reason(facts: Facts, state: CardState) -> Reason | None:
    found, entry = facts.found, facts.entry
    if facts.taking_back:
        return Reason(
            code="taking_back",
            title="Being taken back",
            detail="You cancelled this order; the bridge has not confirmed it yet.",
            remedy="Nothing to do: it is kept here and goes out as soon as the bridge answers.",
        )
    if is_gone(facts):
        return Reason(
            code="gone_from_share",
            title="It is no longer on the share",
            detail="It was moved, renamed or deleted before it was finished.",
            remedy="If it has another name now, choose the target on its new card. Then cancel this order.",
        )
    if found is not None and found.problem:
        return Reason(
            code="unreadable",
            title="A folder may not be read",
            detail=found.problem,
            remedy="Ask whoever wrote it, or the platform staff, for the right to read it.",
        )
    if entry is not None and entry.reason is not None and entry.state is not EntryState.ACCEPTED:
        return entry.reason
    if state is CardState.ATTENTION and found is not None and found.is_incomplete:
        return Reason(
            code="looks_incomplete",
            title="It looks incomplete",
            detail="; ".join(one.words for one in waiting(found.witnesses) if one.name != INCOMPLETE) + ".",
            remedy="If that is all there will be, say that it is finished. Otherwise it goes on by itself.",
        )
    if state is CardState.ATTENTION and entry is not None and entry.reason is not None:
        return entry.reason if not _attention(facts) or facts.state is None else facts.state.reason
    if state in (CardState.WAITING, CardState.ATTENTION, CardState.PROVEN) and facts.state is not None:
        return facts.state.reason
    if (
        found is not None
        and found.reopened_at is not None
        and state in (CardState.WRITING, CardState.SETTLING)
    ):
        return Reason(
            code="writing_again",
            title="It is being written again",
            detail="It had looked finished, and was written to since. Nothing of it is imported meanwhile.",
            remedy="Nothing to do: it goes on by itself when it rests again.",
        )
    doubted = facts.state is not None and facts.state.reason is not None and not facts.state.sealed
    if doubted and facts.state and facts.state.reason and facts.state.reason.code == "source_changed":
        return facts.state.reason
    if state in _ON_ITS_WAY and facts.refused_command is not None:
        return facts.refused_command
    if found is not None and found.successor_of and facts.entry is None and facts.state is None:
        return Reason(
            code="changed_after_import",
            title="It changed after OMERO took it",
            detail="OMERO holds what was there when it was finished; something was added or changed since.",
            remedy="Choose a target to bring what is there now as well, or leave it.",
        )
    return None


def _lifetime_ends(facts: Facts) -> datetime | None:
    """Counted as the bridge does it: from when it was last written or first seen, whichever is later."""
    found, share = facts.found, facts.share
    if found is None or share is None or share.lifetime_days is None:
        return None
    return max(found.first_seen_at, found.last_change_at) + timedelta(days=share.lifetime_days)


def card_of(facts: Facts) -> Card:
    """Make the card."""
    found, entry, order = facts.found, facts.entry, facts.state
    state = state_of(facts)
    transfer = _transfer(facts.progress) if state not in (CardState.WRITING, CardState.SETTLING) else None
    target = order.target if order is not None else (entry.intent.target if entry else None)
    target = facts.retarget or target
    path = found.path if found else (order.path if order else entry.intent.path if entry else "")
    quiet = needed = None
    witnesses: tuple[Witness, ...] = ()
    if found is not None and state in (CardState.WRITING, CardState.SETTLING) and facts.share is not None:
        needed = _quiet_needed(facts)
        said = found.override_at if found.override == settle.Override.NOT_YET else None
        since = max(at for at in (found.last_change_at, found.rests_since, said) if at is not None)
        quiet = max(0.0, (facts.now - since).total_seconds())
        witnesses = (settle.quiet_witness(quiet, needed), *found.witnesses)
    identity = found.id if found else entry.acquisition if entry else str(order.id) if order else ""
    return Card(
        id=identity,
        group=_GROUPS.get(state, CardGroup.ON_ITS_WAY),
        state=state,
        title=path.rsplit("/", 1)[-1],
        share=found.share if found else (order.share if order else entry.intent.share if entry else ""),
        path=path,
        file_count=found.file_count if found else (order.file_count if order else 0),
        size_bytes=found.size_bytes if found else (order.size_bytes if order else 0),
        order_id=str(order.id) if order else (str(entry.id) if entry else None),
        person=facts.owner,
        target=target,
        target_text=target_text(target),
        reason=_reason(facts, state),
        transfer=transfer,
        stations=_stations(facts, state, transfer),
        first_seen_at=found.first_seen_at if found else None,
        last_change_at=found.last_change_at if found else None,
        finished_at=found.finished_at if found else None,
        quiet_seconds=quiet,
        quiet_needed_seconds=needed,
        witnesses=witnesses,
        ahead=order.queue.ahead if order and order.queue else None,
        ahead_by_workstation=dict(order.queue.ahead_by_workstation) if order and order.queue else {},
        result_url=order.result.webclient_url if order and order.result else "",
        image_count=order.result.image_count if order and order.result else 0,
        leaves_buffer_at=order.release_not_before if order else None,
        left_out=order.left_out if order else (),
        proven_at=order.proven_at if order else None,
        released_at=order.released_at if order else None,
        deletion=facts.share.deletion.value if facts.share else "",
        deletion_schedule=facts.share.deletion_schedule if facts.share else "",
        clean=facts.share.cleaning if facts.share else CleaningMode.ASK,
        lifetime_ends_at=_lifetime_ends(facts),
        actions=_actions(facts, state),
        suggested=suggestion_for(found, facts.share) if found and facts.share and not target else None,
    )
