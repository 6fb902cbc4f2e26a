"""Numbers and times as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from PySide6.QtCore import QLocale

from agent.ui import format as fmt

ENGLISH = QLocale(QLocale.Language.English, QLocale.Country.UnitedKingdom)
GERMAN = QLocale(QLocale.Language.German, QLocale.Country.Germany)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (72_100_000_000, "72.1 GB"),
        (112_000_000, "112 MB"),
        (999_960_000, "1.0 GB"),
        (1_800_000_000_000, "1.8 TB"),
        (5e18, "5,000 PB"),
    ],
)
def test_a_size_has_at_most_one_decimal(size_bytes: float, text: str) -> None:
    assert fmt.size(size_bytes, ENGLISH) == text


def test_sizes_follow_the_locale() -> None:
    assert fmt.size(72_100_000_000, GERMAN) == "72,1 GB"
    assert fmt.count(6144, GERMAN) == "6.144"


def test_progress_names_the_unit_once() -> None:
    assert fmt.size_of(45_600_000_000, 72_100_000_000, ENGLISH) == "45.6 of 72.1 GB"
    assert fmt.size_of(0, 72_100_000_000, ENGLISH) == "0.0 of 72.1 GB"
    assert fmt.size_of(12_000, 72_100_000_000, ENGLISH) == "12.0 kB of 72.1 GB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-4, "0 s"),
        (8, "8 s"),
        (59.6, "1 min"),
        (236, "4 min"),
        (3600, "1 h"),
        (4800, "1 h 20 min"),
        (31 * 3600, "31 h"),
        (6 * 86400, "6 days"),
    ],
)
def test_a_duration_is_as_precise_as_a_person_needs(seconds: float, text: str) -> None:
    assert fmt.duration(seconds) == text


def test_a_countdown_keeps_its_seconds() -> None:
    assert fmt.countdown(40) == "0:40"
    assert fmt.countdown(300) == "5:00"
    assert fmt.countdown(3_900) == "1:05:00"


def test_percent_is_hundred_only_when_all_is_done() -> None:
    assert fmt.percent(999, 1000) == 99
    assert fmt.percent(1000, 1000) == 100
    assert fmt.percent(1, 0) == 0


def test_a_time_names_the_day_only_when_it_is_not_today() -> None:
    amsterdam = timezone(timedelta(hours=1))
    now = datetime(2026, 11, 23, 13, 0, tzinfo=UTC)
    assert fmt.clock(datetime(2026, 11, 23, 12, 48, tzinfo=UTC), now=now, zone=amsterdam) == "13:48"
    assert fmt.clock(datetime(2026, 11, 22, 12, 48, tzinfo=UTC), now=now, zone=amsterdam) == "22 Nov 13:48"
    # 23:30 UTC on the 22nd is already the 23rd in the room where the microscope stands.
    assert fmt.clock(datetime(2026, 11, 22, 23, 30, tzinfo=UTC), now=now, zone=amsterdam) == "00:30"


def test_a_clock_that_runs_ahead_never_says_a_negative_time() -> None:
    now = datetime(2026, 11, 23, 13, 0, tzinfo=UTC)
    assert fmt.ago(now + timedelta(seconds=30), now) == "just now"
    assert fmt.ago(now - timedelta(seconds=3), now) == "3 s ago"


def test_a_shortened_text_keeps_to_its_limit() -> None:
    assert fmt.shorten("short", 63) == "short"
    assert len(fmt.shorten("x" * 200, 63)) == 63
    assert fmt.shorten("x" * 200, 63).endswith("…")


def test_one_file_is_not_one_files() -> None:
    assert fmt.files(1, ENGLISH) == "1 file"
    assert fmt.files(6144, ENGLISH) == "6,144 files"
    assert fmt.images(1, ENGLISH) == "1 image"
