"""The contract between agent and bridge: API v1 as pydantic models, and nothing else.

Both programs import this module and it imports neither, so it is the single place where a field can be
named. Requests forbid unknown fields (a typo must not become a silently ignored wish); what the bridge
answers ignores them (an older agent keeps working with a newer bridge). Sizes are bytes, times are aware
UTC datetimes, paths are POSIX paths relative to a share: a drive letter never leaves the workstation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

API_VERSION = "v1"
MANIFEST_MEDIA_TYPE = "application/x-ndjson"
PROBLEM_MEDIA_TYPE = "application/problem+json"
WORKSTATION_HEADER = "Ferry-Workstation"
"""``<workstation id>:<key>``; a person's token or an order's grant travels as ``Authorization: Bearer``."""

MAX_MANIFEST_ENTRIES = 1_000_000

ShareId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
SharePath = Annotated[str, Field(min_length=1, max_length=4096)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
MemberPattern = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\x00]+$")]


class Request(BaseModel):
    """What a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MayBeGroup(Request):
    """A request that names a group's members, and says nothing of them where there are none: a bridge that
    knows no groups takes it as before."""

    @model_serializer(mode="wrap")
    def _members_where_there_are(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = handler(self)
        if not said.get("members"):
            said.pop("members", None)
        return said


class Answer(BaseModel):
    """What the bridge sends: unknown fields are ignored by the reader."""

    model_config = ConfigDict(extra="ignore", frozen=True)


# --- errors -------------------------------------------------------------------------------------------


class Problem(Answer):
    """RFC 9457 problem details; ``code`` is stable and is what the agent translates."""

    type: str = "about:blank"
    status: int
    code: str
    title: str
    detail: str = ""
    remedy: str = ""
    contact: str = ""


class Reason(Answer):
    """Why an order waits or needs somebody, in words that can stand on a card unchanged."""

    code: str
    title: str
    detail: str = ""
    remedy: str = ""
    contact: str = ""
    since: datetime | None = None
    next_try_at: datetime | None = None


# --- sessions -----------------------------------------------------------------------------------------


class SessionRequest(Request):
    """Sign-in. The password goes to OMERO and is then forgotten."""

    username: Name
    password: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]


class PermissionLevel(StrEnum):
    """OMERO's group permission levels, by the names OMERO's documentation uses."""

    PRIVATE = "private"
    READ_ONLY = "read-only"
    READ_ANNOTATE = "read-annotate"
    READ_WRITE = "read-write"


class Group(Answer):
    id: int
    name: str
    permissions: PermissionLevel
    is_owner: bool = False


class Person(Answer):
    """A person as OMERO knows her."""

    username: str
    full_name: str = ""
    email: str = ""
    default_group_id: int | None = None
    groups: tuple[Group, ...] = ()
    is_staff: bool = False


class PersonName(Answer):
    """Somebody whom staff may order for."""

    username: str
    full_name: str = ""


class PersonList(Answer):
    items: tuple[PersonName, ...] = ()
    truncated: bool = False


class SubmissionGrant(Answer):
    """The key from which a signed-in agent derives one narrow grant per order.

    A grant lets its bearer put, seal and command exactly one order in this person's name. The agent derives
    it (also offline) when it writes the order into the outbox, and forgets the key at sign-out: signing out
    strands nothing, and nothing that could create *further* orders stays behind. Revoking the session
    revokes its grants.
    """

    session_id: str
    key: Annotated[str, Field(repr=False)]
    expires_at: datetime

    def for_order(self, order_id: UUID) -> str:
        """Return the bearer value for one order: ``grant.<session id>.<HMAC-SHA256 of the order id>``."""
        digest = hmac.new(self.key.encode(), str(order_id).encode(), hashlib.sha256).digest()
        return f"grant.{self.session_id}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


class SessionCreated(Answer):
    token: Annotated[str, Field(repr=False)]
    expires_at: datetime
    person: Person
    grant: SubmissionGrant


class SessionState(Answer):
    expires_at: datetime
    person: Person


# --- workstations -------------------------------------------------------------------------------------


class WorkstationRegistration(Request):
    """A workstation introduces itself with a key it made; staff approve it before it may do anything."""

    name: Name
    key: Annotated[str, Field(min_length=32, max_length=128, repr=False)]
    hostname: str = ""
    agent_version: str = ""


class WorkstationStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REVOKED = "revoked"


class DeletionMode(StrEnum):
    """Who removes released data from a share."""

    STORAGE = "storage"
    AGENT = "agent"


class CleaningMode(StrEnum):
    """When an agent that may delete removes released copies."""

    ASK = "ask"
    """A person says which."""
    WHEN_LOW = "when-low"
    """By itself while the share has too little room, the oldest first."""
    RELEASED = "released"
    """By itself as soon as they are released."""


class SessionPolicy(Answer):
    """When a person who forgot to sign out is signed out; a workstation may only be stricter."""

    idle_minutes: Annotated[float, Field(gt=0)] | None = None
    """Without any input in the desktop session."""
    end_of_day: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] | None = None
    """``HH:MM`` by the workstation's clock and time zone."""


FORMATS = (
    "ome-zarr",
    "harmony",
    "yokogawa",
    "metaxpress",
    "micro-manager",
    "ndtiff",
    "leica-xlef",
    "ome-tiff",
    "czi",
    "lif",
    "nd2",
    "oir",
    "vsi",
    "imaris",
    "tiff-series",
    "tiff-counter",
    "tiff",
)
"""The formats an agent of this version knows; a rule may name others, which it then ignores."""
FORMATS_ON_WISH = frozenset({"tiff-counter"})
"""Formats that are off unless a rule names them."""
TEMPLATE_FIELDS = ("user", "group", "project", "dataset", "screen", "tag", "date", "any", "acquisition")


class AcquisitionRule(Answer):
    """How the agent groups and judges what it finds under a root (the bridge serves what staff wrote)."""

    name: str = "default"
    items: Literal["folders", "files"] = "folders"
    """``folders``: what lies at the depth is an acquisition, a folder with all that is in it.
    ``files``: from the depth on, each file, and each group of files that a format ties together, is one;
    folders are looked into, but for those that a format calls one acquisition (a plate, a Zarr)."""
    depth: Annotated[int, Field(ge=1, le=10)] = 1
    """Entries at this depth below the root are acquisitions (1: direct children)."""
    template: str = ""
    """What the folders mean, such as ``{user}/{project}/{acquisition}``. Where it is given it implies the
    depth. ``{user}`` only suggests whose it is: what a person may order is the bridge's to decide."""
    formats: tuple[str, ...] | None = None
    """Which of FORMATS count. None: all but those on wish. ``-name`` leaves one out, ``+name`` adds one;
    names without a sign are all that count; an empty list: none, quiet time alone."""
    quiet_seconds: Annotated[float, Field(gt=0)] = 300.0
    """An acquisition without any change for this long is judged finished."""
    format_quiet_seconds: dict[str, Annotated[float, Field(gt=0)]] = {}
    """The same for single formats."""
    incomplete_after_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Quiet for this long, and still not complete by its format's own account: a person is asked. 0: four
    times the quiet time, at least half an hour."""
    ignore: tuple[str, ...] = ("Thumbs.db", "desktop.ini", ".DS_Store", "~$*", "*.tmp", "*.partial")
    acquisition_programs: tuple[str, ...] = ()
    probe: bool = False
    """After the quiet time, ask the system once whether a program still has a file open for writing."""

    @property
    def levels(self) -> int:
        """How deep below the root acquisitions lie: the template's, else the depth."""
        return len(self.template.strip("/").split("/")) if self.template.strip("/") else self.depth

    def uses(self, format_id: str) -> bool:
        """Whether the knowledge about this format counts here."""
        if self.formats is None:
            return format_id not in FORMATS_ON_WISH
        if f"-{format_id}" in self.formats or not self.formats:
            return False
        named = [name for name in self.formats if name[:1] not in "+-"]
        if f"+{format_id}" in self.formats or format_id in named:
            return True
        return not named and format_id not in FORMATS_ON_WISH

    def quiet_for(self, format_id: str) -> float:
        """The quiet time in seconds of an acquisition in this format."""
        return self.format_quiet_seconds.get(format_id, self.quiet_seconds)

    def for_format(self, format_id: str) -> AcquisitionRule:
        """This rule with the format's own quiet time in place of the general one."""
        quiet = self.quiet_for(format_id)
        return self if quiet == self.quiet_seconds else self.model_copy(update={"quiet_seconds": quiet})

    @property
    def asks_after_seconds(self) -> float:
        """Quiet seconds after which a person is asked about what looks incomplete."""
        return self.incomplete_after_seconds or max(4 * self.quiet_seconds, 1800.0)


class WorkstationShare(Answer):
    """One share as this workstation may use it."""

    id: ShareId
    title: str
    root: str
    """POSIX path below the share's top; ``.`` is the top. The agent scans and claims nothing outside."""
    marker: str
    """Name of the marker file at the share's top; without it the share counts as away."""
    mtime_tolerance_seconds: float = 2.0
    rule: AcquisitionRule = AcquisitionRule()
    hold_days: float = 3.0
    lifetime_days: float | None = None
    """How long data may lie there; None: the bridge does not say."""
    deletion: DeletionMode = DeletionMode.STORAGE
    deletion_schedule: str = ""
    """When storage staff's job runs, in their words: "each night at 02:00"."""
    clean: str = CleaningMode.ASK.value
    """A `CleaningMode`; one that an older agent does not know is as good as ``ask``."""
    clean_below_percent: float = 20.0
    """For ``when-low``: of the share's volume that is free."""
    ignore_patterns: tuple[str, ...] = ()

    @property
    def cleaning(self) -> CleaningMode:
        """When the agent deletes by itself: only where it may delete at all."""
        known = self.clean in set(CleaningMode) and self.deletion is DeletionMode.AGENT
        return CleaningMode(self.clean) if known else CleaningMode.ASK


class Workstation(Answer):
    id: str
    name: str
    status: WorkstationStatus
    shares: tuple[WorkstationShare, ...] = ()
    session_policy: SessionPolicy = SessionPolicy()
    site_name: str = ""
    contact: str = ""
    required_agent_version: str = ""
    webclient_url: str = ""


class UnorderedAcquisition(MayBeGroup):
    share: ShareId
    path: SharePath
    size_bytes: Annotated[int, Field(ge=0)]
    file_count: Annotated[int, Field(ge=0)]
    first_seen_at: datetime
    last_change_at: datetime
    members: tuple[MemberPattern, ...] = Field(default=(), max_length=32)
    """Of a group, as in `OrderIntent`."""


class QuietSuggestion(Request):
    """Acquisitions of a format paused longer than the rule's quiet time likes, and went on."""

    share: ShareId
    format: str
    """A file's suffix, ``folder``, or a format's id."""
    longest_pause_seconds: Annotated[float, Field(ge=0)]
    acquisitions: Annotated[int, Field(ge=1)] = 1
    suggested_seconds: Annotated[float, Field(gt=0)]
    used_seconds: Annotated[float, Field(gt=0)]
    """What the agent waits meanwhile: never less than the rule says, never more than a few times of it."""


class ShareHeartbeat(Request):
    share: ShareId
    answered: bool
    acquiring: bool = False
    free_bytes: int | None = None
    total_bytes: int | None = None


class ShareCleaning(Request):
    """What an agent that deletes on a share does there."""

    share: ShareId
    mode: Annotated[str, Field(max_length=32)] = CleaningMode.ASK.value
    running: bool = False
    queued: Annotated[int, Field(ge=0)] = 0
    """Acquisitions whose copies are still to be deleted."""
    released_bytes: Annotated[int, Field(ge=0)] = 0
    """Released, and still on the buffer."""
    freed_bytes: Annotated[int, Field(ge=0)] = 0
    """In the last day."""
    stayed_files: Annotated[int, Field(ge=0)] = 0
    """In the last day: changed since, or not to be deleted for another reason."""


LONGEST_PAUSE_SECONDS = 8 * 3600.0


class AgentLoad(Request):
    """What the agent itself cost its workstation in the last minute."""

    cpu_percent: Annotated[float, Field(ge=0)] = 0.0
    """Of one processor core."""
    bytes_per_second: Annotated[float, Field(ge=0)] | None = None
    """Read and written, files and network together; None where the system does not tell."""
    entries: Annotated[int, Field(ge=0)] = 0
    """Files on the shares that it looked at."""


class Heartbeat(Request):
    """A lease: what it says holds for ``acquiring_lease_seconds`` after the bridge received it."""

    agent_version: str = ""
    shares: tuple[ShareHeartbeat, ...] = ()
    unordered: tuple[UnorderedAcquisition, ...] = ()
    quiet_suggestions: tuple[QuietSuggestion, ...] = ()
    """Where pauses of the past ask for more than the rule gives."""
    paused_for_seconds: Annotated[float, Field(ge=0, le=LONGEST_PAUSE_SECONDS)] = 0.0
    """Somebody at the microscope paused everything for so much longer: a duration, since clocks differ."""
    paused_by: Annotated[str, Field(max_length=255)] = ""
    paused_for_programs: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """The pause ends with these acquisition programs, at the latest then."""
    load: AgentLoad | None = None
    cleaning: Annotated[tuple[ShareCleaning, ...], Field(max_length=64)] = ()
    """Of the shares on which this agent may delete."""
    damage: Annotated[str, Field(max_length=1000)] = ""
    """What was wrong with the agent's own files when it started, in words. Staff hear of each text once."""


class HeartbeatAnswer(Answer):
    server_time: datetime
    acquiring_lease_seconds: int


# --- targets ------------------------------------------------------------------------------------------


class TargetKind(StrEnum):
    DATASET = "dataset"
    SCREEN = "screen"


class Container(Answer):
    """A project, dataset or screen that the person can see."""

    id: int
    kind: Literal["project", "dataset", "screen"]
    name: str
    group_id: int
    owner: str
    project_ids: tuple[int, ...] = ()
    child_count: int | None = None
    may_add: bool = True
    """Whether OMERO would let this person put something into it (permissions.canLink)."""


class ContainerList(Answer):
    items: tuple[Container, ...]
    truncated: bool = False


class TagList(Answer):
    items: tuple[str, ...]


class NewContainer(Request):
    kind: Literal["project", "dataset", "screen"]
    group_id: int
    name: Name
    project_id: int | None = None
    description: str = ""


class KeyValue(Request):
    key: Annotated[str, Field(min_length=1, max_length=255)]
    value: Annotated[str, Field(max_length=10_000)]


class Target(Request):
    """Where an acquisition goes. Ids win over names; a name without an id is made when the import starts."""

    group_id: int
    group_name: str = ""
    kind: TargetKind = TargetKind.DATASET
    container_id: int | None = None
    container_name: Annotated[str, Field(max_length=255)] = ""
    project_id: int | None = None
    project_name: Annotated[str, Field(max_length=255)] = ""
    tags: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = ()
    key_values: tuple[KeyValue, ...] = ()
    description: Annotated[str, Field(max_length=10_000)] = ""

    @model_validator(mode="after")
    def _names_something(self) -> Target:
        if self.container_id is None and not self.container_name.strip():
            raise ValueError("a target names a dataset or screen, by id or by the name of a new one")
        if self.kind is TargetKind.SCREEN and (self.project_id is not None or self.project_name):
            raise ValueError("a screen stands in no project")
        return self


# --- orders -------------------------------------------------------------------------------------------


class Stage(StrEnum):
    ACCEPTED = "accepted"
    PULLING = "pulling"
    VERIFYING = "verifying"
    IMPORTING = "importing"
    PROVING = "proving"
    ANNOTATING = "annotating"
    PROVEN = "proven"
    RELEASED = "released"
    RETIRED = "retired"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


class Condition(StrEnum):
    RUNNING = "running"
    QUEUED = "queued"
    WAITING = "waiting"
    ATTENTION = "attention"


class AcquisitionKind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    GROUP = "group"
    """Entries of one folder that belong together by name: an image and its ``_name_`` folder, a series."""


def is_member(name: str, members: tuple[str, ...]) -> bool:
    """Whether an entry of a group's folder belongs to the group; case counts."""
    return any(fnmatchcase(name, pattern) for pattern in members)


def place_holds(path: str, members: tuple[str, ...], share_path: str) -> bool:
    """Whether ``share_path`` lies in a place that can be ordered: agent and bridge both ask here.

    Args:
        path: The place's share path: a file, a folder, or a group's name in its folder.
        members: A group's patterns; empty for a file or a folder, which holds itself and all below it.
        share_path: The file or folder asked about.
    """
    if not members:
        return share_path == path or share_path.startswith(f"{path}/")
    folder = path.rpartition("/")[0]
    if folder and not share_path.startswith(f"{folder}/"):
        return False
    below = share_path.removeprefix(f"{folder}/") if folder else share_path
    return is_member(below.partition("/")[0], members)


class OrderIntent(MayBeGroup):
    """``PUT /v1/orders/{id}``: bring this acquisition to this target."""

    share: ShareId
    path: SharePath
    kind: AcquisitionKind
    members: tuple[MemberPattern, ...] = Field(default=(), max_length=32)
    """Of a group, and of nothing else: shell patterns (`fnmatch.fnmatchcase`) on the names of the entries in
    the path's folder: files, and folders with all that is in them. The path's last part is the group's name:
    the file that stands for it, or a pattern (``run1_t*.tif``), which no file on Windows can be named."""
    target: Target
    label: Annotated[str, Field(max_length=255)] = ""
    first_seen_at: datetime | None = None
    """When this workstation first saw the acquisition: it decides whose data it is."""
    owner: str = ""
    """Staff only: the person the data belongs to. Empty: the person who orders."""
    import_again: bool = False
    """Explicit consent where the same files (share, path, size, mtime) are in OMERO already."""
    seal: Literal["agent", "bridge"] = "agent"
    """Who judges it finished. ``bridge`` (staff only): nobody sends a manifest; the bridge lists the place
    itself until two listings are equal and nothing in it is young."""

    @model_validator(mode="after")
    def _members_of_a_group(self) -> OrderIntent:
        if (self.kind is AcquisitionKind.GROUP) != bool(self.members):
            raise ValueError("members are a group's, and a group has members")
        return self

    def holds(self, share_path: str) -> bool:
        """Whether a file at ``share_path`` belongs to what is ordered."""
        return place_holds(self.path, self.members, share_path)


class ManifestEntry(Request):
    """One line of a manifest's NDJSON. ``path`` is relative to the share's top."""

    path: SharePath
    size_bytes: Annotated[int, Field(ge=0)]
    mtime_ns: int


class ManifestAccepted(Answer):
    order_id: UUID
    revision: int
    sealed: bool
    file_count: int
    size_bytes: int


class CommandKind(StrEnum):
    CANCEL = "cancel"
    RETRY = "retry"
    RETARGET = "retarget"
    ACCEPT_LEFT_OUT = "accept-left-out"
    DISCARD = "discard"
    TAKE_OVER = "take-over"


class CommandRequest(Request):
    id: UUID
    kind: CommandKind
    target: Target | None = None
    """For ``retarget``."""
    paths: tuple[str, ...] = ()
    """For ``accept-left-out``: the files that may stay outside OMERO; empty means all that were asked."""
    taker: Annotated[str, Field(max_length=255)] = ""
    """For ``take-over``, staff only: the OMERO user name of who takes it. Empty: the one who asks."""
    note: Annotated[str, Field(max_length=2000)] = ""


class CommandResult(Answer):
    id: UUID
    order_id: UUID
    kind: CommandKind
    done: bool
    detail: str = ""


class Progress(Answer):
    """Counters from the running step; none of them is a guess."""

    step: str
    """``pull``, ``verify``, ``scan``, ``import``, ``prove`` or ``annotate``."""
    bytes_done: int = 0
    bytes_total: int = 0
    files_done: int = 0
    files_total: int = 0
    units_done: int = 0
    units_total: int = 0
    import_step: int = 0
    """OMERO's own step 1..5 of the import that runs now."""
    rate_bytes_per_second: float | None = None
    eta_seconds: float | None = None
    slowed: str = ""
    """Why it is slower than it could be: "Slowed: Confocal SP8 is acquiring"."""
    at: datetime


class QueuePlace(Answer):
    """How many orders start before this one; by workstation, never by person."""

    ahead: int
    ahead_by_workstation: dict[str, int] = {}


class OrderResult(Answer):
    fileset_ids: tuple[int, ...] = ()
    image_count: int = 0
    plate_count: int = 0
    webclient_url: str = ""


class ProofSummary(Answer):
    files: int = 0
    proven: int = 0
    ignored: int = 0
    attached: int = 0
    kept: int = 0
    left_out: int = 0
    pending: int = 0


class OrderState(Answer):
    """An order as everybody who may see it sees it. ``stage`` may be unknown to an older agent."""

    id: UUID
    revision: int
    person: str
    workstation: str = ""
    share: str
    path: str
    kind: str
    members: tuple[str, ...] = ()
    """Of a group, as in `OrderIntent`."""
    label: str = ""
    target: Target
    stage: str
    condition: str
    reason: Reason | None = None
    stage_since: datetime
    created_at: datetime
    updated_at: datetime
    manifest_revision: int = 0
    sealed: bool = False
    file_count: int = 0
    size_bytes: int = 0
    progress: Progress | None = None
    queue: QueuePlace | None = None
    result: OrderResult | None = None
    proof: ProofSummary | None = None
    left_out: tuple[str, ...] = ()
    """Files that no fileset and no pattern covers, while somebody must decide about them (first 100)."""
    allowed_commands: tuple[str, ...] = ()
    proven_at: datetime | None = None
    released_at: datetime | None = None
    release_not_before: datetime | None = None


class ChangesPage(Answer):
    """``GET /v1/orders?after=cursor&wait=25&progress_after=seconds``.

    ``cursor`` grows in commit order. Progress is outside the cursor: ``progress`` holds the running counters
    that are newer than ``progress_after``, and a waiting poll ends early when there are any.
    """

    cursor: int
    orders: tuple[OrderState, ...]
    more: bool = False
    progress: dict[str, Progress] = {}
    progress_at: float = 0.0
    database: str = ""
    """Another value than before: the bridge's database was restored from a backup, and may lack orders."""


# --- receipts and release -----------------------------------------------------------------------------


class ReceiptStatus(StrEnum):
    PENDING = "pending"
    PROVEN = "proven"
    IGNORED = "ignored"
    ATTACHED = "attached"
    KEPT = "kept"
    LEFT_OUT = "left_out"


class Receipt(Answer):
    """Per file: proof that OMERO holds these bytes, or the plain statement that it does not, and why."""

    path: str
    size_bytes: int
    mtime_ns: int
    status: ReceiptStatus
    rule: str = ""
    sha1: str | None = None
    """Computed by rsync while it read the buffer."""
    omero_sha1: str | None = None
    """What OMERO stored (OriginalFile.hash, SHA1-160)."""
    fileset_id: int | None = None
    original_file_id: int | None = None
    managed_path: str | None = None
    same_inode: bool = False
    proven_at: datetime | None = None


class ReceiptList(Answer):
    order_id: UUID
    receipts: tuple[Receipt, ...]


class ReleasedFile(Answer):
    path: str
    size_bytes: int
    mtime_ns: int


class Release(Answer):
    """A fresh re-check: what may be deleted on the buffer now, or why nothing may."""

    order_id: UUID
    released: bool
    checked_at: datetime
    valid_until: datetime | None = None
    reason: Reason | None = None
    share: str
    path: str = ""
    """The acquisition's place on the share: folders that become empty may go below it, and it with them."""
    members: tuple[str, ...] = ()
    """Of a group, as in `OrderIntent`: folders among its members may go, the folder they lie in never."""
    files: tuple[ReleasedFile, ...] = ()


class ReleaseRefusal(Answer):
    """A released order that may not be deleted at this moment after all."""

    order_id: UUID
    reason: Reason


class ReleasePage(Answer):
    """``GET /v1/releases?share=S&after=…``: released orders, each checked again as it was listed.

    ``next`` is the ``after`` of the next page, empty on the last one. Nothing may be deleted after a
    release's ``valid_until``.
    """

    share: str
    releases: tuple[Release, ...] = ()
    refused: tuple[ReleaseRefusal, ...] = ()
    next: str = ""


class FreedReport(Request):
    """What was removed from the buffer, by whoever may."""

    paths: tuple[str, ...]
    skipped: dict[str, str] = {}


class FreedAccepted(Answer):
    order_id: UUID
    freed_bytes: int
    remaining_files: int


class BackupReport(Request):
    """A backup of ManagedRepository has ended well. Staff only."""

    began_at: datetime
    """When it began: what OMERO held before is in it."""
    note: Annotated[str, Field(max_length=2000)] = ""


class BackupAccepted(Answer):
    covers_until: datetime
    is_new: bool = True


class Health(Answer):
    status: Literal["ok", "degraded", "down"]
    version: str
    checks: dict[str, str] = {}
