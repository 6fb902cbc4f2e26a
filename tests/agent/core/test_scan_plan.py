"""How often what is looked at: decisions without a share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from agent.core.acquisition import Acquisition
from agent.core.hint_box import Hints, levels_of
from agent.core.scan_plan import Tier, Tracked, in_order, next_ripe_at, pressing_places
from agent.core.settle import Override, Rest
from server_bridge.contract import AcquisitionKind
from tests.agent.conftest import workstation_share

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
QUIET = 300.0
NOTHING = Hints()


def tracked(changed_at: float = 0.0, *, looks: int = 2, finished: bool = False, **row: object) -> Tracked:
    found = Acquisition(
        id="one",
        share="scope1",
        path="run1",
        kind=AcquisitionKind.FOLDER,
        first_seen_at=AT,
        person_then="",
        file_count=1,
        size_bytes=1,
        last_change_at=AT,
        fingerprint=b"f",
        content=b"c",
        finished_at=AT if finished else None,
    )
    rest = Rest(b"f", changed_at, AT, changed_at, changed_at, looks)
    return Tracked(replace(found, **row), rest, look_began_at=changed_at, changed_at=changed_at)  # type: ignore[arg-type]


def due(one: Tracked, tier: Tier, now: float, hints: Hints = NOTHING, path: str = "run1") -> bool:
    return one.is_due(path, tier, hints, now, QUIET)


def test_what_was_written_to_lately_has_the_shortest_pace_and_then_a_wider_one() -> None:
    one = tracked(finished=True)
    assert due(one, Tier.HOT, 599) and not due(one, Tier.HOT, 600)
    assert due(one, Tier.TODAY, 86_000) and not due(one, Tier.TODAY, 87_000)
    resting = tracked(looks=3)
    resting.look_began_at = QUIET + 1
    assert due(resting, Tier.TODAY, 10_000_000), "what is not finished is never forgotten"


def test_the_end_of_the_quiet_time_is_one_look_at_once() -> None:
    one = tracked()
    assert next_ripe_at({"run1": one}, QUIET) == QUIET
    assert not due(one, Tier.REST, QUIET - 1) and due(one, Tier.REST, QUIET)
    one.look_began_at = QUIET
    assert not due(one, Tier.REST, QUIET + 1), "it was made"
    assert next_ripe_at({"run1": one}, QUIET) == float("inf")


def test_the_quiet_time_is_the_one_that_the_verdict_needs() -> None:
    assert tracked(quiet_needed_seconds=900.0).rested_at(QUIET) == 900.0
    said = tracked(override=Override.NOT_YET)
    said.said_at = 100.0
    assert said.rested_at(QUIET) == 400.0
    assert tracked(finished=True).rested_at(QUIET) is None


def test_a_hint_counts_for_what_is_not_looked_at_anyway() -> None:
    hints = Hints.of(["run1"])
    cold = tracked(finished=True)
    assert due(cold, Tier.REST, 10_000, hints)
    assert not due(cold, Tier.REST, 10_000, Hints.of(["run2"]))
    assert not due(cold, Tier.REST, 10, hints), "it is hot"
    assert due(cold, Tier.REST, 10, Hints.of([], asked=["run1"])), "but somebody waits"


def test_a_group_is_hinted_at_by_any_of_its_members() -> None:
    group = tracked(finished=True, kind=AcquisitionKind.GROUP, members=("run1_t*.tif", "_run1_"))
    path = "alice/run1_t*.tif"
    for place in ("alice/run1_t0004.tif", "alice/_run1_"):
        assert due(group, Tier.REST, 10_000, Hints.of([place]), path)
    for place in ("alice/run2_t0004.tif", "bob/run1_t0004.tif", "alice"):
        assert not due(group, Tier.REST, 10_000, Hints.of([place]), path)


def test_a_narrow_pass_lists_only_the_folders_on_the_way_to_what_presses() -> None:
    known = {
        "alice/hot": tracked(changed_at=950),
        "bob/ripe": tracked(changed_at=0),
        "carol/old": tracked(changed_at=-90_000, finished=True),
    }
    hot = pressing_places(Tier.HOT, known, 1_000, QUIET)
    assert hot.below("alice") and hot.below("bob") and not hot.below("carol")
    rest = pressing_places(Tier.REST, known, 1_000, QUIET)
    assert rest.below("bob") and not rest.below("alice")


def test_what_is_new_comes_first_then_the_hot_by_age_and_one_of_the_others_in_every_pass() -> None:
    known = {
        "hot-early": tracked(changed_at=990),
        "hot-late": tracked(changed_at=990),
        "cold": tracked(finished=True),
        "cold-waited": tracked(finished=True),
    }
    known["hot-early"].looked_at, known["hot-late"].looked_at = 991, 995
    order = in_order([*known, "new"], known, {"cold-waited"}, 1_000)
    assert order == ["new", "cold-waited", "hot-early", "hot-late", "cold"]


def test_hints_are_told_apart_down_to_an_acquisition() -> None:
    assert levels_of(workstation_share(depth=2)) == 2
    assert levels_of(workstation_share().model_copy(update={"root": "scope1/data"})) == 3
    assert levels_of(workstation_share(items="files")) > 10
