"""What pauses of the past ask for: upwards only, and within bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.machine_store import MachineStore
from agent.core.pauses import (
    USED_UP_TO,
    Longest,
    format_key,
    is_telling,
    learned_seconds,
    suggested_seconds,
    suggestions,
)
from server_bridge.contract import AcquisitionKind
from tests.agent.conftest import FakeClock
from tests.agent.core.test_cards import FOUND


@given(quiet=st.floats(min_value=1, max_value=86_400), pause=st.floats(min_value=0, max_value=7 * 86_400))
def test_what_staff_set_is_never_shortened_and_lengthened_within_bounds(quiet: float, pause: float) -> None:
    learned = learned_seconds(quiet, pause)
    assert quiet <= learned <= max(quiet, USED_UP_TO * quiet)


def test_the_suggestion_outlasts_the_pause_in_whole_minutes() -> None:
    assert suggested_seconds(540) == 720
    assert learned_seconds(300, 540) == 720
    assert learned_seconds(300, 4 * 3600) == 1200, "more than four times is for staff to decide"


def test_a_pause_tells_something_when_it_comes_near_the_quiet_time() -> None:
    assert not is_telling(60, 300)
    assert is_telling(160, 300)
    assert not is_telling(7 * 3600, 300), "somebody took it up again the next day"


@pytest.mark.parametrize(
    ("kind", "path", "data_format", "key"),
    [
        (AcquisitionKind.FILE, "alice/run1.CZI", "", ".czi"),
        (AcquisitionKind.FILE, "alice/run1.CZI", "czi", "czi"),
        (AcquisitionKind.FOLDER, "alice/run1.d", "", "folder"),
        (AcquisitionKind.FOLDER, "alice/plate", "harmony", "harmony"),
        (AcquisitionKind.FILE, "alice/notes", "", "file"),
    ],
)
def test_pauses_are_learned_per_kind_of_data(
    kind: AcquisitionKind, path: str, data_format: str, key: str
) -> None:
    assert format_key(replace(FOUND, kind=kind, path=path, format=data_format)) == key


def test_staff_are_told_only_where_the_rule_gives_too_little() -> None:
    told = suggestions(600, [Longest(".czi", 540, 3), Longest(".lif", 100, 9)])
    assert [(one.format, one.suggested_seconds, one.acquisitions) for one in told] == [(".czi", 720, 3)]


def test_the_longest_pause_of_each_acquisition_is_kept_per_share_and_format(
    tmp_path: Path, clock: FakeClock
) -> None:
    store = MachineStore(tmp_path / "machine.sqlite3")
    now = clock.now()
    for seconds in (200, 540, 300):
        store.note_pause("scope1", ".czi", "first", seconds, now)
    store.note_pause("scope1", ".czi", "second", 210, now)
    store.note_pause("scope2", ".czi", "third", 9000, now)
    assert store.pauses("scope1", now - timedelta(days=1)) == [Longest(".czi", 540, 2)]
    assert store.pauses("scope1", now + timedelta(days=1)) == [], "habits of long ago no longer count"
    store.close()
