"""What counts as "the microscope acquires", and what the agent itself costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.acquiring import acquiring
from agent.core.acquisition import Acquisition
from agent.core.own_load import WINDOW_SECONDS, Counters, LoadMeter
from server_bridge.contract import AcquisitionKind, AcquisitionRule

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
RULE = AcquisitionRule(quiet_seconds=300, acquisition_programs=("ZEN",))
ZEN = frozenset({"zen"})


def written(seconds_ago: float, *, finished: bool = False) -> Acquisition:
    at = NOW - timedelta(seconds=seconds_ago)
    return Acquisition(
        id="a", share="scope1", path="alice/run", kind=AcquisitionKind.FOLDER, first_seen_at=at,
        person_then="", file_count=1, size_bytes=1, last_change_at=at, fingerprint=b"1", content=b"1",
        finished_at=at if finished else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "running", "expected"),
    [
        (0, frozenset(), True),
        (299, frozenset(), True),
        (301, frozenset(), False),
        (301, ZEN, True),
        (899, ZEN, True),
        (901, ZEN, False),
        (301, None, False),
    ],
)
def test_what_was_written_lately_is_an_acquisition_and_longer_while_its_program_runs(
    seconds: float, running: frozenset[str] | None, expected: bool
) -> None:
    assert acquiring([written(seconds)], NOW, RULE, running) is expected


def test_a_program_that_is_open_all_day_is_none() -> None:
    assert not acquiring([], NOW, RULE, ZEN)
    assert not acquiring([written(10, finished=True)], NOW, RULE, ZEN)


def test_frames_with_pauses_between_them_are_one_acquisition_also_where_the_quiet_time_is_short() -> None:
    hasty = replace_quiet(2)
    said = [acquiring([written(second % 20)], NOW, hasty, None) for second in range(0, 200, 3)]
    assert all(said), "the word does not flap with every frame"


def replace_quiet(seconds: float) -> AcquisitionRule:
    return RULE.model_copy(update={"quiet_seconds": seconds})


def test_during_a_pause_the_microscope_comes_first() -> None:
    assert acquiring([], NOW, RULE, None, paused=True)


def test_the_load_is_that_of_the_last_minute() -> None:
    meter = LoadMeter()
    assert meter.load() is None
    for second in range(301):
        # Busy for four minutes, then a tenth of it.
        busy = min(second, 240) * 0.5 + max(0, second - 240) * 0.05
        meter.add(float(second), Counters(busy, min(second, 240) * 1000, second * 10))
    found = meter.load()
    assert found is not None
    assert found.cpu_percent == pytest.approx(5.0)
    assert found.bytes_per_second == 0
    assert found.entries == 10 * WINDOW_SECONDS


def test_a_short_time_says_nothing_and_a_silent_system_says_no_bytes() -> None:
    meter = LoadMeter()
    meter.add(0.0, Counters(0.0, None, 0))
    meter.add(1.0, Counters(0.5, None, 5))
    assert meter.load() is None
    meter.add(4.0, Counters(1.0, None, 5))
    found = meter.load()
    assert found is not None and (found.cpu_percent, found.bytes_per_second, found.entries) == (25.0, None, 5)


def test_a_share_that_was_taken_away_makes_no_negative_count() -> None:
    meter = LoadMeter()
    meter.add(0.0, Counters(1.0, 100, 500))
    meter.add(10.0, Counters(1.0, 100, 0))
    found = meter.load()
    assert found is not None and found.entries == 0
