"""Set clocks: what really passed is known, and counted so that a hold is never too short."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from server_bridge.orders import clock
from server_bridge.orders.clock import Leap, Look, lead_since, leap_between
from server_bridge.orders.models import AuditEntry
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store

START = datetime(2026, 11, 25, 22, 0, tzinfo=UTC)
DAY = 86400.0


class Machine:
    """A machine whose clock somebody sets, and a bridge that looks now and then."""

    def __init__(self) -> None:
        self.real, self.wrong, self.boot = 0.0, 0.0, "first"

    @property
    def wall(self) -> datetime:
        return START + timedelta(seconds=self.real + self.wrong)

    def look(self) -> Look:
        return Look(self.wall, self.boot, self.real)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(make_site(tmp_path))


def test_disciplining_is_no_leap_and_setting_is() -> None:
    before = Look(START, "a", 100.0)
    assert leap_between(before, Look(START + timedelta(seconds=60), "a", 159.0)) is None
    ahead = leap_between(before, Look(START + timedelta(hours=5), "a", 160.0))
    assert ahead is not None
    assert ahead.seconds == 5 * 3600 - 60
    back = leap_between(before, Look(START - timedelta(hours=1), "a", 160.0))
    assert back is not None
    assert back.seconds == -3660


def test_across_a_start_of_the_machine_only_a_step_back_is_known() -> None:
    before = Look(START, "a", 100.0)
    assert leap_between(before, Look(START + timedelta(days=2), "b", 5.0)) is None
    assert leap_between(before, Look(START - timedelta(days=2), "b", 5.0)) == Leap(
        START - timedelta(days=2), -2 * DAY
    )


def test_a_jump_that_is_undone_changes_nothing_for_what_was_proven_before(store: Store) -> None:
    machine = Machine()
    proven_at = machine.wall
    assert clock.observe(store, machine.look()) == ()
    machine.real += 3600
    machine.wrong = 5 * DAY
    leaps = clock.observe(store, machine.look())
    # The clock says five days; one hour passed.
    assert machine.wall - proven_at - lead_since(proven_at, leaps) == timedelta(hours=1)
    machine.real += 600
    machine.wrong = 0.0
    leaps = clock.observe(store, machine.look())
    assert lead_since(proven_at, leaps) == timedelta(0)
    with store.read() as session:
        leaped = session.scalars(select(AuditEntry).where(AuditEntry.action == "clock.leap")).all()
    assert [entry.detail["seconds"] for entry in leaped] == [5 * DAY, -5 * DAY]


def test_a_leap_is_remembered_by_the_next_start_and_seen_by_every_process_once(store: Store) -> None:
    machine = Machine()
    proven_at = machine.wall
    clock.observe(store, machine.look())
    machine.wrong = 2 * DAY  # while the bridge was down
    machine.real += 30
    first = clock.observe(Store(store.engine), machine.look())
    machine.real += 1
    second = clock.observe(Store(store.engine), machine.look())
    assert first == second
    assert lead_since(proven_at, second) == timedelta(days=2)
    assert lead_since(machine.wall, second) == timedelta(0)


def test_a_quiet_clock_costs_no_writes(store: Store) -> None:
    machine = Machine()
    clock.observe(store, machine.look())
    with store.write():  # whoever would write now would wait for the end of this
        for _ in range(20):
            machine.real += 2
            assert clock.observe(store, machine.look()) == ()


def test_the_real_clocks_can_be_read(store: Store) -> None:
    assert clock.observe(store) == ()
    assert clock.look_now().uptime_seconds > 0


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(1, 5 * DAY), st.floats(-10 * DAY, 10 * DAY)), min_size=1, max_size=8),
    when=st.integers(0, 8),
    share=st.floats(0, 1),
)
def test_no_sequence_of_settings_makes_a_hold_too_short(
    steps: list[tuple[float, float]], when: int, share: float
) -> None:
    """Whenever the proof was: what is counted since is never more than what passed since."""
    machine, leaps = Machine(), list[Leap]()
    proven: tuple[float, datetime] | None = None
    for number, (passed, wrong) in enumerate([*steps, (1.0, steps[-1][1])]):
        if number == min(when, len(steps)):
            machine.real += passed * share
            proven = (machine.real, machine.wall)
            machine.real += passed * (1 - share)
        else:
            machine.real += passed
        before = machine.look()
        machine.wrong = wrong
        leap = leap_between(before, machine.look())
        leaps += [leap] if leap else []
    assert proven is not None
    counted = (machine.wall - proven[1] - lead_since(proven[1], leaps)).total_seconds()
    assert counted <= machine.real - proven[0] + clock.LEAP_SECONDS * len(steps) + 1
