"""Which word a card shows, from what is known; nobody's belief but the bridge's from "queued" on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from agent.core.acquisition import INCOMPLETE, Acquisition
from agent.core.cards import Facts, card_of, is_confirmed
from agent.core.outbox import Entry, EntryState
from agent.core.presenter import World, present
from agent.core.share_watch import ShareStatus
from agent.core.snapshot import BridgeSnapshot, CardGroup, CardState, LogOff, Station
from agent.core.template import TargetSuggestion
from agent.core.witness import Witness, WitnessState
from server_bridge.contract import (
    AcquisitionKind,
    DeletionMode,
    OrderIntent,
    OrderState,
    Person,
    Progress,
    Reason,
    Target,
    TargetKind,
    Workstation,
    WorkstationStatus,
)
from tests.agent.conftest import workstation_share

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ORDER = UUID(int=7)
TARGET = Target(group_id=3, group_name="G", container_name="D")
SHARE = workstation_share(depth=2)
FOUND = Acquisition(
    id="acq",
    share="scope1",
    path="alice/run1",
    kind=AcquisitionKind.FOLDER,
    first_seen_at=NOW - timedelta(hours=1),
    person_then="alice",
    file_count=3,
    size_bytes=30,
    last_change_at=NOW - timedelta(minutes=20),
    fingerprint=b"f",
    content=b"c",
    finished_at=NOW - timedelta(minutes=10),
)
ENTRY = Entry(
    id=ORDER,
    acquisition="acq",
    person="alice",
    intent=OrderIntent(share="scope1", path="alice/run1", kind=AcquisitionKind.FOLDER, target=TARGET),
    sealed_grant=b"g",
    state=EntryState.ACCEPTED,
    reason=None,
    tries=1,
    created_at=NOW - timedelta(minutes=9),
    accepted_content=b"c",
    accepted_sealed=True,
    accepted_revision=1,
    accepted_at=NOW - timedelta(minutes=8),
)


def state(stage: str, condition: str = "running", **more: object) -> OrderState:
    return OrderState.model_validate(
        {
            "id": ORDER,
            "revision": 3,
            "person": "alice",
            "share": "scope1",
            "path": "alice/run1",
            "kind": "folder",
            "target": TARGET,
            "stage": stage,
            "condition": condition,
            "stage_since": NOW,
            "created_at": NOW - timedelta(minutes=9),
            "updated_at": NOW,
            "sealed": True,
            "manifest_revision": 1,
            **more,
        }
    )


def facts(**more: object) -> Facts:
    base = Facts(
        found=FOUND,
        entry=ENTRY,
        state=None,
        manifest=None,
        progress=None,
        share=SHARE,
        me="alice",
        i_am_staff=False,
        now=NOW,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def test_an_order_that_is_being_taken_back_says_so_and_offers_nothing_more() -> None:
    card = card_of(facts(state=state("accepted", "queued"), taking_back=True))
    assert card.reason is not None and card.reason.code == "taking_back"
    assert card.actions == ()


@pytest.mark.parametrize(
    ("stage", "condition", "word", "group"),
    [
        ("accepted", "queued", CardState.QUEUED, CardGroup.ON_ITS_WAY),
        ("accepted", "waiting", CardState.WAITING, CardGroup.ON_ITS_WAY),
        ("pulling", "running", CardState.COPYING, CardGroup.ON_ITS_WAY),
        ("verifying", "running", CardState.CHECKING, CardGroup.ON_ITS_WAY),
        ("verifying", "queued", CardState.QUEUED, CardGroup.ON_ITS_WAY),
        ("importing", "running", CardState.IMPORTING, CardGroup.ON_ITS_WAY),
        ("importing", "attention", CardState.ATTENTION, CardGroup.NEEDS_YOU),
        ("proving", "running", CardState.PROVING, CardGroup.ON_ITS_WAY),
        ("annotating", "waiting", CardState.WAITING, CardGroup.ON_ITS_WAY),
        ("proven", "waiting", CardState.PROVEN, CardGroup.DONE),
        ("proven", "attention", CardState.ATTENTION, CardGroup.NEEDS_YOU),
        ("released", "waiting", CardState.SAFE_TO_DELETE, CardGroup.DONE),
        ("retired", "running", CardState.FREED, CardGroup.DONE),
        ("cancelled", "running", CardState.CANCELLED, CardGroup.DONE),
        ("teleporting", "running", CardState.NEEDS_NEWER_AGENT, CardGroup.ON_ITS_WAY),
    ],
)
def test_the_bridges_stage_and_condition_become_one_word(
    stage: str, condition: str, word: CardState, group: CardGroup
) -> None:
    card = card_of(facts(state=state(stage, condition)))
    assert (card.state, card.group) == (word, group)


def test_before_the_bridge_answered_it_is_being_sent_and_nothing_more() -> None:
    assert card_of(facts(entry=replace(ENTRY, state=EntryState.NEW))).state is CardState.SENDING
    unsealed = replace(ENTRY, accepted_sealed=False, accepted_content=None)
    assert card_of(facts(entry=unsealed, state=state("accepted", "waiting", sealed=False))).state is (
        CardState.SENDING
    )


@pytest.mark.parametrize(("seconds", "word"), [(3, CardState.WRITING), (100, CardState.SETTLING)])
def test_what_is_not_finished_is_written_or_settles(seconds: float, word: CardState) -> None:
    found = replace(FOUND, finished_at=None, last_change_at=NOW - timedelta(seconds=seconds))
    card = card_of(facts(found=found, entry=None))
    assert card.state is word and card.quiet_seconds == seconds
    assert card.witnesses[0].words.endswith("of 5:00")


def test_a_reason_of_the_bridge_reaches_the_card_unchanged() -> None:
    reason = Reason(code="left_out", title="Two files", detail="a, b", remedy="Decide.", contact="x@y")
    card = card_of(
        facts(
            state=state(
                "importing",
                "attention",
                reason=reason,
                left_out=("a", "b"),
                allowed_commands=("retry", "accept-left-out", "cancel", "something-new"),
            )
        )
    )
    assert card.reason == reason and card.left_out == ("a", "b")
    assert card.actions == ("AcceptLeftOut", "Retry", "Cancel")


def test_freeing_is_offered_only_where_staff_gave_the_agent_that_right() -> None:
    released = facts(state=state("released"))
    assert card_of(released).actions == ()
    may = SHARE.model_copy(update={"deletion": DeletionMode.AGENT})
    assert card_of(replace(released, share=may)).actions == ("FreeSpace",)
    assert card_of(replace(released, share=may, found=None)).state is CardState.FREED


def test_somebody_else_may_look_and_not_touch() -> None:
    assert (
        card_of(facts(me="bob", state=state("accepted", "queued", allowed_commands=("cancel",)))).actions
        == ()
    )
    staff = facts(me="bob", i_am_staff=True, state=state("accepted", "queued", allowed_commands=("cancel",)))
    assert card_of(staff).actions == ("Cancel",)


def test_the_stations_follow_the_bridge() -> None:
    progress = Progress(step="pull", bytes_done=63, bytes_total=100, at=NOW)
    card = card_of(facts(state=state("pulling"), progress=progress))
    by_name = {one.station: one for one in card.stations}
    assert by_name[Station.COPYING].current and by_name[Station.COPYING].text == "63 %"
    assert by_name[Station.FINISHED].reached and not by_name[Station.IN_OMERO].reached
    assert [one.station for one in card.stations if one.current] == [Station.COPYING]


@pytest.mark.parametrize(
    ("more", "confirmed"),
    [
        ({"state": state("accepted", "queued")}, True),
        ({"state": None}, True),
        ({"state": state("accepted", "waiting", sealed=False)}, False),
        ({"state": state("importing"), "entry": replace(ENTRY, accepted_sealed=False)}, True),
        ({"found": replace(FOUND, content=b"other")}, False),
        ({"found": replace(FOUND, finished_at=None)}, False),
        ({"entry": replace(ENTRY, accepted_sealed=False)}, False),
        ({"entry": replace(ENTRY, state=EntryState.NEW)}, False),
        ({"entry": None, "state": None}, False),
    ],
)
def test_confirmed_means_sealed_with_exactly_what_is_there(more: dict[str, object], confirmed: bool) -> None:
    assert is_confirmed(facts(**more)) is confirmed


def world(**more: object) -> World:
    base = World(
        now=NOW,
        workstation_name="Confocal",
        workstation=Workstation(id="w", name="Confocal", status=WorkstationStatus.APPROVED, shares=(SHARE,)),
        bridge=BridgeSnapshot(True, NOW),
        statuses={"scope1": ShareStatus(answered=True, last_answer_at=NOW)},
        mounted=frozenset({"scope1"}),
        acquisitions=(FOUND,),
        entries=(ENTRY,),
        orders=(state("accepted", "queued"),),
        person=Person(username="alice"),
    )
    return replace(base, **more)  # type: ignore[arg-type]


def test_log_off_asks_for_every_acquisition_of_the_person() -> None:
    assert present(world()).log_off.may is LogOff.YES
    writing = replace(FOUND, id="2", path="alice/run2", finished_at=None)
    assert present(world(acquisitions=(FOUND, writing))).log_off.may is LogOff.NO
    bobs = replace(writing, person_then="bob")
    assert present(world(acquisitions=(FOUND, bobs))).log_off.may is LogOff.YES
    assert present(world(person=None)).log_off.may is LogOff.NOBODY


@pytest.mark.parametrize(
    "more",
    [
        {"statuses": {}},
        {"statuses": {"scope1": ShareStatus(answered=False, last_answer_at=NOW)}},
        {"statuses": {"scope1": ShareStatus(answered=True, last_answer_at=NOW - timedelta(hours=1))}},
        {"mounted": frozenset()},
        {"workstation": None},
    ],
)
def test_no_promise_is_made_about_a_share_that_was_not_seen_lately(more: dict[str, object]) -> None:
    assert present(world(**more)).log_off.may is LogOff.NO


def test_an_order_whose_data_left_the_share_keeps_its_card_and_id() -> None:
    shown = present(world(acquisitions=(), orders=(state("released"),))).cards
    assert [(card.id, card.state) for card in shown] == [("acq", CardState.FREED)]


def test_an_earlier_order_at_the_same_place_is_not_this_acquisitions() -> None:
    fresh = replace(FOUND, id="new", first_seen_at=NOW - timedelta(minutes=1))
    shown = present(world(acquisitions=(fresh,), orders=(state("retired"),))).cards
    assert {card.id: card.state for card in shown} == {
        "new": CardState.NEEDS_TARGET,
        "acq": CardState.FREED,
    }


def test_a_proven_card_says_what_its_release_waits_for() -> None:
    waits = Reason(code="backup_missing", title="Waits for a backup of OMERO")
    card = card_of(facts(state=state("proven", "queued", reason=waits)))
    assert (card.state, card.reason) == (CardState.PROVEN, waits)


INCOMPLETE_ROW = replace(
    FOUND,
    finished_at=None,
    format="harmony",
    witnesses=(
        Witness("harmony", WitnessState.WAITING, "Index.idx.xml names 96 images, 95 are there"),
        Witness(INCOMPLETE, WitnessState.WAITING, "it has been quiet for long"),
    ),
)


def test_what_looks_incomplete_for_long_needs_the_person_and_says_why() -> None:
    card = card_of(facts(found=INCOMPLETE_ROW, entry=None, state=None))
    assert (card.state, card.group) == (CardState.ATTENTION, CardGroup.NEEDS_YOU)
    assert card.reason is not None and "names 96 images, 95 are there" in card.reason.detail
    assert card.actions[:2] == ("DoneNow", "NotYet")
    assert card.suggested is not None and card.suggested.kind is TargetKind.SCREEN


def test_a_part_that_waits_is_no_question_yet() -> None:
    row = replace(INCOMPLETE_ROW, witnesses=INCOMPLETE_ROW.witnesses[:1])
    assert card_of(facts(found=row, entry=None, state=None)).state is CardState.SETTLING


@pytest.mark.parametrize(
    ("me", "sat_there", "word", "whose"),
    [
        ("alice", "bob", CardState.NEEDS_TARGET, "alice"),
        ("ALICE", "bob", CardState.NEEDS_TARGET, "ALICE"),
        ("bob", "bob", CardState.NEEDS_TARGET, "bob"),
        ("carol", "bob", CardState.NEEDS_TARGET, "bob"),
        ("alice", "", CardState.UNCLAIMED, ""),
    ],
)
def test_what_lies_in_her_own_folder_is_hers_whoever_sat_there(
    me: str, sat_there: str, word: CardState, whose: str
) -> None:
    share = workstation_share(template="{user}/{acquisition}")
    found = replace(FOUND, person_then=sat_there)
    card = card_of(facts(found=found, entry=None, share=share, me=me))
    assert (card.state, card.person) == (word, whose)
    without = card_of(facts(found=found, entry=None, me=me))
    assert without.person == sat_there, "staff wrote no template: nothing says whose folder it is"


def test_a_path_under_a_template_suggests_where_it_goes() -> None:
    share = workstation_share(template="{user}/{acquisition}")
    card = card_of(facts(found=FOUND, entry=None, state=None, share=share))
    assert card.suggested == TargetSuggestion(person="alice", container_name="run1")
    assert card_of(facts(share=share)).suggested is None, "it has a target"
