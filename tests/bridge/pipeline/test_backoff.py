"""Waiting, trying again, asking somebody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.config import LimitsConfig
from server_bridge.contract import Condition
from server_bridge.errors import (
    ConfigurationError,
    Conflict,
    FerryError,
    NeedsAttention,
    NotFound,
    TransientFailure,
    Unavailable,
)
from server_bridge.pipeline.backoff import OUTAGE_CAP_SECONDS, Failure, classify, decide

LIMITS = LimitsConfig()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unavailable(code="omero_away"), Failure.OUTAGE),
        (TransientFailure(code="share_away"), Failure.OUTAGE),
        (TransientFailure(code="staging_full"), Failure.OUTAGE),
        (TransientFailure(code="nothing_imported"), Failure.PASSING),
        (NeedsAttention(code="target_gone"), Failure.PERSON),
        (Conflict(), Failure.PERSON),
        (NotFound(), Failure.PERSON),
        (NeedsAttention(code="share_auth_failed"), Failure.SITE),
        (ConfigurationError(), Failure.SITE),
        (NeedsAttention(code="source_unreadable"), Failure.PERSON),
    ],
)
def test_each_error_has_its_class(error: FerryError, expected: Failure) -> None:
    assert classify(error) is expected


def test_a_refused_service_account_waits_so_that_orders_go_on_once_it_is_corrected() -> None:
    from server_bridge.omero.failures import ServiceRefused

    assert classify(ServiceRefused("ferry")) is Failure.SITE


@given(
    failure=st.sampled_from([Failure.OUTAGE, Failure.SITE]),
    waited=st.floats(0, 1e7),
    idle=st.integers(0, 1000),
    progressed=st.booleans(),
    spread=st.floats(0, 1),
)
def test_an_outage_never_asks_a_person_and_never_waits_long(
    failure: Failure, waited: float, idle: int, progressed: bool, spread: float
) -> None:
    found = decide(
        failure,
        waited_seconds=waited,
        idle_tries=idle,
        progressed=progressed,
        limits=LIMITS,
        spread=spread,
    )
    assert found.condition is Condition.WAITING
    assert 0 < found.delay_seconds <= OUTAGE_CAP_SECONDS * 1.15 + 0.001


def test_the_pause_doubles_up_to_the_cap() -> None:
    waited, pauses = 0.0, []
    for _ in range(10):
        pause = decide(
            Failure.PASSING, waited_seconds=waited, idle_tries=0, progressed=False, limits=LIMITS, spread=0.5
        ).delay_seconds
        pauses.append(round(pause))
        waited += pause
    assert pauses[:5] == [30, 30, 60, 120, 240]
    assert pauses[-1] == LIMITS.retry_cap_seconds


def test_tries_that_bring_nothing_end_with_a_person_and_any_progress_starts_the_count_again() -> None:
    def at(idle: int, progressed: bool) -> Condition:
        return decide(
            Failure.PASSING,
            waited_seconds=0,
            idle_tries=idle,
            progressed=progressed,
            limits=LIMITS,
            spread=0.5,
        ).condition

    assert [at(idle, False) for idle in range(4)] == [
        Condition.WAITING,
        Condition.WAITING,
        Condition.ATTENTION,
        Condition.ATTENTION,
    ]
    assert at(50, True) is Condition.WAITING
