"""Counters, rate and remaining time."""

from __future__ import annotations

from server_bridge.contract import Progress
from server_bridge.pipeline.progress import Meter, Reporter


def test_rate_and_remaining_time_come_from_the_counters() -> None:
    meter = Meter()
    for second in range(6):
        meter.add(float(second), second * 100)
    assert meter.rate() == 100
    assert meter.eta_seconds(1500) == 10


def test_there_is_no_rate_without_a_second_sample_and_no_remaining_time_while_nothing_moves() -> None:
    meter = Meter()
    assert meter.rate() is None
    meter.add(0.0, 500)
    assert meter.rate() is None
    meter.add(10.0, 500)
    assert (meter.rate(), meter.eta_seconds(1000)) == (0.0, None)


def test_a_resumed_pull_does_not_count_what_was_there_as_fast() -> None:
    meter = Meter()
    meter.add(0.0, 10**9)
    meter.add(1.0, 10**9 + 1000)
    assert meter.rate() == 1000


def test_rows_are_written_once_a_second_and_the_last_word_always() -> None:
    now = [0.0]
    rows: list[Progress] = []
    reporter = Reporter(rows.append, clock=lambda: now[0])
    for tick in range(30):
        now[0] = tick / 10
        reporter.report("pull", bytes_done=tick)
    assert [row.bytes_done for row in rows] == [0, 10, 20]
    reporter.report("pull", bytes_done=30, last=True)
    assert rows[-1].bytes_done == 30
