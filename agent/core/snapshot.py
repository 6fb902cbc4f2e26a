"""What the window shows: immutable snapshots. The engine makes them, Qt renders them, nothing flows back.

A snapshot is complete: a view never needs the one before it, never asks the network or the share, and two
equal snapshots look alike. Sizes are bytes, times are aware UTC datetimes, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from agent.core.cleaning_book import Job
from agent.core.template import TargetSuggestion
from agent.core.witness import Witness
from server_bridge.contract import AgentLoad, CleaningMode, Person, Reason, Target


class CardGroup(StrEnum):
    """The four groups of the list, in the order in which they matter."""

    NEEDS_YOU = "needs-you"
    NOW = "now"
    ON_ITS_WAY = "on-its-way"
    DONE = "done"


class CardState(StrEnum):
    """One word per card. Everything from ``QUEUED`` on is the bridge's word, not the agent's belief."""

    WRITING = "writing"
    SETTLING = "settling"
    UNCLAIMED = "unclaimed"
    NEEDS_TARGET = "needs-target"
    SENDING = "sending"
    """In the outbox; the bridge has not answered yet."""
    REFUSED = "refused"
    """The bridge said no: the reason and the remedy are on the card."""
    QUEUED = "queued"
    COPYING = "copying"
    CHECKING = "checking"
    IMPORTING = "importing"
    PROVING = "proving"
    WAITING = "waiting"
    ATTENTION = "attention"
    PROVEN = "proven"
    SAFE_TO_DELETE = "safe-to-delete"
    FREED = "freed"
    CANCELLED = "cancelled"
    NEEDS_NEWER_AGENT = "needs-newer-agent"


class Station(StrEnum):
    """The five stations of the life line. The last three are the bridge's word."""

    WRITTEN = "written"
    FINISHED = "finished"
    COPYING = "copying"
    IN_OMERO = "in-omero"
    PROVEN = "proven"


@dataclass(frozen=True, slots=True)
class StationState:
    station: Station
    reached: bool
    current: bool = False
    at: datetime | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Counters of the running step, as the bridge counted them."""

    bytes_done: int = 0
    bytes_total: int = 0
    files_done: int = 0
    files_total: int = 0
    units_done: int = 0
    units_total: int = 0
    import_step: int = 0
    """OMERO's own step 1..5; 0 when no import runs."""
    rate_bytes_per_second: float | None = None
    eta_seconds: float | None = None
    slowed: str = ""
    """Why it is slower than it could be, as the bridge says it."""


@dataclass(frozen=True, slots=True)
class Card:
    """One acquisition as the experimenter sees it."""

    id: str
    """The acquisition's id on this workstation; stable over restarts."""
    group: CardGroup
    state: CardState
    title: str
    share: str
    path: str
    file_count: int
    size_bytes: int
    order_id: str | None = None
    whose: str = ""
    """Staff see whose it is, where it is somebody else's."""
    person: str = ""
    target: Target | None = None
    target_text: str = ""
    """``Group › Project › Dataset``, for the second line."""
    reason: Reason | None = None
    """Why it waits or what somebody must decide."""
    transfer: Transfer | None = None
    stations: tuple[StationState, ...] = ()
    first_seen_at: datetime | None = None
    last_change_at: datetime | None = None
    finished_at: datetime | None = None
    quiet_seconds: float | None = None
    quiet_needed_seconds: float | None = None
    witnesses: tuple[Witness, ...] = ()
    """Why it is not judged finished yet, and what speaks for it, the quiet time first."""
    ahead: int | None = None
    ahead_by_workstation: dict[str, int] = field(default_factory=dict)
    result_url: str = ""
    image_count: int = 0
    leaves_buffer_at: datetime | None = None
    left_out: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    """Names of agent/core/commands.py classes this card offers now, most wanted first."""
    proven_at: datetime | None = None
    released_at: datetime | None = None
    deletion: str = ""
    """Who deletes on its share (`DeletionMode`); empty where that is not known."""
    deletion_schedule: str = ""
    """When storage staff's job runs, in their words."""
    clean: CleaningMode = CleaningMode.ASK
    """Whether the agent deletes it by itself."""
    lifetime_ends_at: datetime | None = None
    """When its time on the buffer ends, by the site's rule."""
    suggested: TargetSuggestion | None = None
    """What its place and its format suggest, while it has no target."""


@dataclass(frozen=True, slots=True)
class ShareSnapshot:
    share: str
    title: str
    answered: bool
    last_answer_at: datetime | None
    """End of the last complete pass."""
    problem: Reason | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    full_in_seconds: float | None = None
    hints: str = ""
    """Whether the system tells about changes, in words: for details and diagnostics, never an alarm."""
    waiting: int = 0
    """Acquisitions that the look at everything, which is under way, has still to come to."""
    where: str = ""
    """How a person names it on this machine: ``Z:``."""
    deletion: str = ""
    """Who deletes there (`DeletionMode`)."""
    clean: CleaningMode = CleaningMode.ASK
    clean_below_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class BridgeSnapshot:
    reachable: bool
    last_answer_at: datetime | None
    problem: Reason | None = None
    workstation_status: str = ""
    """``pending``, ``approved``, ``revoked`` or empty when not registered yet."""


@dataclass(frozen=True, slots=True)
class PauseSnapshot:
    """Shares and bridge are left alone until then."""

    until: datetime
    by: str = ""
    programs: tuple[str, ...] = ()
    """It ends with these, at the latest at ``until``."""


class LogOff(StrEnum):
    YES = "yes"
    NO = "no"
    NOBODY = "nobody"
    """Nobody is signed in: there is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class LogOffVerdict:
    """The footer's one sentence (promise 7)."""

    may: LogOff
    headline: str
    detail: str = ""


class SignOutWhy(StrEnum):
    """Why a sign-in ends by itself."""

    IDLE = "idle"
    END_OF_DAY = "end-of-day"
    EXPIRED = "expired"
    """The bridge's own limit: nothing here can make it longer."""


@dataclass(frozen=True, slots=True)
class SignOutDue:
    """When the sign-in ends if nobody does anything, and why."""

    at: datetime
    why: SignOutWhy

    @property
    def may_stay(self) -> bool:
        """Whether "Stay signed in" helps."""
        return self.why is not SignOutWhy.EXPIRED


@dataclass(frozen=True, slots=True)
class Snapshot:
    at: datetime
    workstation_name: str
    shares: tuple[ShareSnapshot, ...]
    bridge: BridgeSnapshot
    person: Person | None
    session_expires_at: datetime | None
    standing_target: Target | None
    """"From now on": the target that new finished acquisitions of this person get."""
    standing_target_text: str
    cards: tuple[Card, ...]
    log_off: LogOffVerdict
    outbox_pending: int
    """Orders and manifests that the bridge has not confirmed yet."""
    pause: PauseSnapshot | None = None
    pause_programs: tuple[str, ...] = ()
    """Acquisition programs that run: a pause may last until they end."""
    acquiring: bool = False
    """The microscope writes: nothing but what needs somebody may pop up."""
    load: AgentLoad | None = None
    """What this agent cost the workstation in the last minute."""
    cleaning: tuple[Job, ...] = ()
    """Copies that are being deleted, or lately were; of other persons for staff only."""
    sign_in_notice: str = ""
    """What she may want to know about her sign-in; no problem, nothing waits for it."""
    sign_out: SignOutDue | None = None
    """Within the last minute before she is signed out by itself: when, and why."""
    damage: Reason | None = None
    """The agent's own files were damaged when it started: what became of them."""
    signed_out: Reason | None = None
    """Nobody is signed in, because the last person was signed out by itself."""
