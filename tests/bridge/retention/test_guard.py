"""May the buffer copy go? Any one fact that does not hold says no."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.contract import ReceiptStatus, Stage
from server_bridge.orders import stages
from server_bridge.retention.guard import COVERED, ReleaseFacts, may_be_released

PROVEN_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = ReleaseFacts(
    stage=Stage.PROVEN,
    proven_at=PROVEN_AT,
    hold_days=3,
    statuses=[ReceiptStatus.PROVEN, ReceiptStatus.IGNORED, ReceiptStatus.LEFT_OUT],
)
AFTER = PROVEN_AT + timedelta(days=3)


def test_everything_holds() -> None:
    assert may_be_released(GOOD, AFTER) is None
    assert may_be_released(replace(GOOD, stage=Stage.RELEASED), AFTER) is None


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (replace(GOOD, stage=Stage.PROVING), "not_proven"),
        (replace(GOOD, proven_at=None), "not_proven"),
        (replace(GOOD, problems=[("a.tif", "inode_differs", "not one")]), "proof_lost"),
        (replace(GOOD, statuses=[ReceiptStatus.PROVEN, ReceiptStatus.KEPT]), "files_kept"),
        (replace(GOOD, statuses=[ReceiptStatus.PENDING]), "files_kept"),
        (replace(GOOD, statuses=[]), "nothing_ordered"),
    ],
)
def test_one_fact_that_does_not_hold_says_no(facts: ReleaseFacts, code: str) -> None:
    reason = may_be_released(facts, AFTER)
    assert reason is not None
    assert reason.code == code


def test_the_hold_ends_at_its_moment() -> None:
    early = may_be_released(GOOD, AFTER - timedelta(seconds=1))
    assert early is not None
    assert (early.code, early.next_try_at) == ("hold", AFTER)


def test_a_clock_that_was_set_ahead_ends_no_hold() -> None:
    facts = replace(GOOD, clock_lead=timedelta(days=5))
    early = may_be_released(facts, PROVEN_AT + timedelta(days=5, hours=1))
    assert early is not None
    assert (early.code, early.next_try_at) == ("hold", PROVEN_AT + timedelta(days=8))
    assert may_be_released(facts, PROVEN_AT + timedelta(days=8)) is None


@given(
    stage=st.sampled_from(Stage),
    proven=st.booleans(),
    statuses=st.lists(st.sampled_from(ReceiptStatus), max_size=4),
    problem=st.booleans(),
    days=st.floats(0, 6),
)
def test_nothing_is_released_unless_all_of_it_holds(
    stage: Stage, proven: bool, statuses: list[ReceiptStatus], problem: bool, days: float
) -> None:
    facts = ReleaseFacts(
        stage=stage,
        proven_at=PROVEN_AT if proven else None,
        hold_days=3,
        statuses=statuses,
        problems=[("a", "hash_differs", "x")] if problem else [],
    )
    allowed = may_be_released(facts, PROVEN_AT + timedelta(days=days)) is None
    assert allowed == (
        stage in stages.PROOF_STAGES
        and proven
        and not problem
        and bool(statuses)
        and all(status in COVERED for status in statuses)
        and timedelta(days=days) >= timedelta(days=3)
    )
