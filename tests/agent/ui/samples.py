"""Snapshots as a real afternoon at a confocal would make them, for the tests and the pictures.

The clock stands at 13:52 UTC on 23 November 2026; every time is relative to it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.core.cleaning_book import Job, JobState
from agent.core.snapshot import (
    BridgeSnapshot,
    Card,
    CardGroup,
    CardState,
    LogOff,
    LogOffVerdict,
    ShareSnapshot,
    Snapshot,
    Station,
    StationState,
    Transfer,
)
from agent.core.witness import Witness, WitnessState
from server_bridge.contract import (
    Container,
    Group,
    KeyValue,
    PermissionLevel,
    Person,
    Reason,
    Target,
    TargetKind,
)

NOW = datetime(2026, 11, 23, 13, 52, tzinfo=UTC)
GB = 1_000_000_000
TB = 1_000 * GB

CYTOSKELETON = Group(id=3, name="Cytoskeleton", permissions=PermissionLevel.READ_ANNOTATE)
PLATFORM = Group(id=5, name="Platform", permissions=PermissionLevel.PRIVATE, is_owner=True)
ALICE = Person(
    username="alice",
    full_name="Alice Lindgren",
    email="alice@example.org",
    default_group_id=3,
    groups=(CYTOSKELETON, PLATFORM),
)

BOB = Person(username="bob", full_name="Bob Ek", default_group_id=5, groups=(PLATFORM,))
STAFF = ALICE.model_copy(update={"is_staff": True})


def target(name: str = "embryos", project: str = "Actin project", container_id: int | None = 51) -> Target:
    return Target(
        group_id=3,
        group_name="Cytoskeleton",
        container_id=container_id,
        container_name=name,
        project_id=11,
        project_name=project,
        tags=("LifeAct-GFP", "40x"),
        key_values=(KeyValue(key="Stage", value="24 hpf"),),
    )


SCREEN_12 = target("screen-12", container_id=52)
EMBRYOS = target()
PLATES = Target(
    group_id=3,
    group_name="Cytoskeleton",
    kind=TargetKind.SCREEN,
    container_id=60,
    container_name="Plates 2026",
    tags=("siRNA", "plate"),
    key_values=(KeyValue(key="Cell line", value="U2OS"), KeyValue(key="Treatment", value="siRNA library 3")),
)
BEADS = Target(
    group_id=5, group_name="Platform", container_id=70, container_name="beads", project_name="Calibration"
)
RECENTS = (PLATES, SCREEN_12, EMBRYOS, BEADS)

PROJECTS = (
    Container(id=11, kind="project", name="Actin project", group_id=3, owner="alice", child_count=3),
    Container(id=12, kind="project", name="Actin pilot", group_id=3, owner="bob", may_add=False),
)
DATASETS = (
    Container(id=51, kind="dataset", name="embryos", group_id=3, owner="alice", child_count=212),
    Container(id=52, kind="dataset", name="screen-12", group_id=3, owner="alice", child_count=48),
    Container(id=53, kind="dataset", name="bob's embryos", group_id=3, owner="bob", may_add=False),
)
SCREENS = (Container(id=60, kind="screen", name="Plates 2026", group_id=3, owner="alice", child_count=6),)


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def stations(
    reached: int, *, current: bool = False, texts: tuple[str, ...] = (), since: float = 11
) -> tuple[StationState, ...]:
    """Return the life line with the first ``reached`` stations reached, ``since`` minutes ago the first."""
    after = (0, 7, 10, 12, 13)
    made = []
    for number, station in enumerate(Station):
        made.append(
            StationState(
                station,
                reached=number < reached,
                current=current and number == reached,
                at=minutes_ago(since - after[number]) if number < reached else None,
                text=texts[number] if number < len(texts) else "",
            )
        )
    return tuple(made)


PLATE_4 = Card(
    id="plate-4",
    group=CardGroup.NEEDS_YOU,
    state=CardState.NEEDS_TARGET,
    title="2026-11-23_plate-4",
    share="z",
    path="alice/2026-11-23_plate-4",
    file_count=6144,
    size_bytes=38_200_000_000,
    person="alice",
    stations=stations(2, texts=("", "quiet 5 min")),
    first_seen_at=minutes_ago(50),
    last_change_at=minutes_ago(8),
    finished_at=minutes_ago(3),
    actions=("ChooseTarget", "NotYet"),
)
TIMELAPSE = Card(
    id="timelapse",
    group=CardGroup.NOW,
    state=CardState.WRITING,
    title="timelapse_siRNA_07",
    share="z",
    path="alice/timelapse_siRNA_07",
    file_count=812,
    size_bytes=91_400_000_000,
    person="alice",
    target=SCREEN_12,
    target_text="Cytoskeleton › Actin project › screen-12",
    stations=stations(0, current=True, texts=("12 GB in the last hour",)),
    first_seen_at=minutes_ago(120),
    last_change_at=minutes_ago(0.7),
    quiet_seconds=40,
    quiet_needed_seconds=300,
    witnesses=(
        Witness("quiet", WitnessState.WAITING, "quiet 0:40 of 5:00"),
        Witness("program", WitnessState.WAITING, "ZEN is running"),
    ),
    actions=("DoneNow", "ChooseTarget"),
)
EMBRYO_3 = Card(
    id="embryo-3",
    group=CardGroup.ON_ITS_WAY,
    state=CardState.COPYING,
    title="embryo-stack_03",
    share="z",
    path="alice/embryo-stack_03.ome.tif",
    file_count=1,
    size_bytes=72_100_000_000,
    order_id="6f9c3c0e-5d6c-4c56-9a0c-0f3f2a2f4a11",
    person="alice",
    target=EMBRYOS,
    target_text="Cytoskeleton › Actin project › embryos",
    transfer=Transfer(
        bytes_done=45_600_000_000,
        bytes_total=72_100_000_000,
        files_done=0,
        files_total=1,
        rate_bytes_per_second=112_000_000,
        eta_seconds=236,
    ),
    stations=stations(2, current=True, texts=("", "quiet 5 min", "63 %", "", "then safe to delete")),
    finished_at=minutes_ago(4),
    actions=("ChooseTarget", "Cancel"),
)
EMBRYO_2 = replace(
    EMBRYO_3,
    id="embryo-2",
    state=CardState.IMPORTING,
    title="embryo-stack_02",
    path="alice/embryo-stack_02.ome.tif",
    size_bytes=70_300_000_000,
    transfer=Transfer(units_done=0, units_total=1, import_step=3),
    stations=stations(3, current=True, texts=("", "quiet 5 min", "", "step 3 of 5"), since=20),
    image_count=12,
    actions=(),
)
BEADS_CARD = replace(
    EMBRYO_3,
    id="beads",
    state=CardState.QUEUED,
    title="beads_calibration",
    path="alice/beads_calibration",
    file_count=24,
    size_bytes=1_900_000_000,
    target=BEADS,
    target_text="Platform › Calibration › beads",
    transfer=Transfer(eta_seconds=540),
    ahead=2,
    ahead_by_workstation={"Spinning Disk 2": 1, "Confocal SP8": 1},
    stations=stations(2, current=True, texts=("", "quiet 5 min", "in the queue")),
    actions=("ChooseTarget", "Cancel"),
)
EMBRYO_1 = replace(
    EMBRYO_3,
    id="embryo-1",
    group=CardGroup.DONE,
    state=CardState.PROVEN,
    title="embryo-stack_01",
    path="alice/embryo-stack_01.ome.tif",
    transfer=None,
    stations=stations(5, texts=("", "quiet 5 min", "", "12 images"), since=36),
    image_count=12,
    finished_at=minutes_ago(15),
    leaves_buffer_at=NOW + timedelta(days=3),
    result_url="https://omero.example.org/webclient/?show=dataset-51",
    actions=(),
)
LEFT_OUT = replace(
    EMBRYO_3,
    id="left-out",
    group=CardGroup.NEEDS_YOU,
    state=CardState.ATTENTION,
    title="2026-11-22_plate-3",
    path="alice/2026-11-22_plate-3",
    file_count=6147,
    size_bytes=38_400_000_000,
    transfer=None,
    stations=stations(4, current=True, since=60),
    reason=Reason(
        code="left_out",
        title="Three files would stay out of OMERO",
        detail="No image takes them and no pattern of the facility covers them.",
        remedy="Look at the list: accept that they stay out, or ask to have a pattern made.",
        contact="Microscopy desk, +31 20 555 0101",
    ),
    left_out=("alice/2026-11-22_plate-3/notes.docx", "alice/2026-11-22_plate-3/layout.xlsx",
              "alice/2026-11-22_plate-3/overview.jpg"),
    actions=("AcceptLeftOut", "Cancel"),
)  # fmt: skip
WAITING = replace(
    EMBRYO_3,
    id="waiting",
    state=CardState.WAITING,
    title="overnight_09",
    path="alice/overnight_09",
    transfer=None,
    reason=Reason(
        code="source_changed",
        title="It still changes on the share",
        detail="Two files were newer than in the list when the copy was checked.",
        remedy="Nothing, if the microscope is still writing. It is tried again by itself.",
        contact="Microscopy desk, +31 20 555 0101",
        since=minutes_ago(6),
        next_try_at=NOW + timedelta(minutes=4),
    ),
    actions=("Retry", "ChooseTarget", "Cancel"),
)

AFTERNOON = Snapshot(
    at=NOW,
    workstation_name="Confocal SP8",
    shares=(
        ShareSnapshot(
            share="z",
            title="Z:",
            answered=True,
            last_answer_at=NOW - timedelta(seconds=3),
            free_bytes=1_800 * GB,
            total_bytes=4_800 * GB,
            full_in_seconds=31 * 3600,
        ),
    ),
    bridge=BridgeSnapshot(
        reachable=True, last_answer_at=NOW - timedelta(seconds=2), workstation_status="approved"
    ),
    person=ALICE,
    session_expires_at=NOW + timedelta(hours=8),
    standing_target=SCREEN_12,
    standing_target_text="Cytoskeleton › Actin project › screen-12",
    cards=(PLATE_4, TIMELAPSE, EMBRYO_3, EMBRYO_2, BEADS_CARD, EMBRYO_1),
    log_off=LogOffVerdict(
        LogOff.NO,
        "Stay signed in for now:",
        "plate-4 needs a target, timelapse_siRNA_07 is still being written. The rest goes on by itself.",
    ),
    outbox_pending=0,
)
ALL_SAFE = replace(
    AFTERNOON,
    cards=(EMBRYO_1, replace(EMBRYO_1, id="e0", title="embryo-stack_00", state=CardState.SAFE_TO_DELETE)),
    log_off=LogOffVerdict(LogOff.YES, "You can log off now.", "Everything of yours is with the bridge."),
)
NOBODY = replace(
    AFTERNOON,
    person=None,
    standing_target=None,
    standing_target_text="",
    cards=(
        replace(PLATE_4, id="unclaimed", state=CardState.UNCLAIMED, title="2026-11-23_scan-1", person=""),
    ),
    log_off=LogOffVerdict(
        LogOff.NOBODY, "Nobody is signed in.", "Sign in to bring what you acquired to OMERO."
    ),
)
TROUBLE = replace(
    AFTERNOON,
    shares=(
        replace(
            AFTERNOON.shares[0],
            answered=False,
            last_answer_at=minutes_ago(6),
            problem=Reason(
                code="share_away",
                title="Share Z: does not answer",
                detail="The last complete look was at 13:46. Nothing is deleted because of this.",
                remedy="Check the network cable; it goes on by itself when the share is back.",
                contact="Microscopy desk, +31 20 555 0101",
            ),
        ),
    ),
    cards=(LEFT_OUT, PLATE_4, TIMELAPSE, WAITING, EMBRYO_3, EMBRYO_1),
)
LONG_NAME = "2026-11-23_" + "a-very-long-acquisition-name_" * 8 + "t0001.ome.tif"


def card_in(state: CardState) -> Card:
    """Return a plausible card in any state."""
    groups = {
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
    return replace(
        EMBRYO_3, id=f"in-{state.value}", state=state, group=groups.get(state, CardGroup.ON_ITS_WAY)
    )


def many(number: int) -> Snapshot:
    """Return a snapshot with ``number`` cards over all groups."""
    bases = (PLATE_4, TIMELAPSE, EMBRYO_3, EMBRYO_2, BEADS_CARD, EMBRYO_1)
    cards = tuple(
        replace(base, id=f"{base.id}-{n}", title=f"{base.title}_{n:03d}")
        for base_number, base in enumerate(bases)
        for n in range(base_number, number, len(bases))
    )
    return replace(AFTERNOON, cards=cards)


_RELEASED_1 = replace(
    EMBRYO_1,
    state=CardState.SAFE_TO_DELETE,
    order_id="00000000-0000-0000-0000-000000000001",
    proven_at=NOW - timedelta(days=4),
    released_at=NOW - timedelta(days=1),
    deletion="agent",
    actions=("FreeSpace",),
)
RELEASED = replace(
    AFTERNOON,
    shares=(replace(AFTERNOON.shares[0], where="Z:", deletion="agent"),),
    cards=(
        _RELEASED_1,
        replace(
            _RELEASED_1,
            id="e0",
            title="embryo-stack_00",
            path="alice/embryo-stack_00",
            order_id="00000000-0000-0000-0000-000000000002",
            proven_at=NOW - timedelta(days=6),
            released_at=NOW - timedelta(days=3),
        ),
        replace(
            _RELEASED_1,
            id="bobs",
            title="bobs-plate",
            path="bob/bobs-plate",
            person="bob",
            order_id="00000000-0000-0000-0000-000000000003",
            proven_at=NOW - timedelta(days=9),
        ),
    ),
)
"""Copies on the buffer that may go, two of Alice's and one of Bob's (which only staff see)."""

_RUNNING = Job(
    order_id="00000000-0000-0000-0000-000000000002",
    share="z",
    path="alice/embryo-stack_00",
    person="alice",
    asked_by="alice",
    asked_at=minutes_ago(2),
    state=JobState.RUNNING,
    files_done=1_204,
    files_total=6_144,
    bytes_done=12_400_000_000,
    bytes_total=38_200_000_000,
)
FREEING = replace(
    RELEASED,
    cards=(replace(RELEASED.cards[1], actions=()), RELEASED.cards[0], *RELEASED.cards[2:]),
    cleaning=(
        replace(
            _RUNNING,
            order_id="00000000-0000-0000-0000-000000000009",
            path="alice/beads_12",
            state=JobState.DONE,
            asked_by="",
            ended_at=minutes_ago(20),
            files_done=39,
            bytes_done=2_100_000_000,
            stayed_count=1,
            stayed={"alice/beads_12/notes.txt": "it was written to since it was imported"},
        ),
        _RUNNING,
    ),
)
