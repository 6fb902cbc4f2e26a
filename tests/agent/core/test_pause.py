"""A pause ends by itself, whatever happens to clock, programs and file, after eight hours at most."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.machine_store import MachineStore
from agent.core.pause import FACT, LONGEST, NothingRuns, Pause, PauseDesk, lasts, make
from server_bridge.contract import AcquisitionRule
from tests.agent.conftest import FakeClock

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
ZEN = AcquisitionRule(acquisition_programs=("ZEN.exe", "LAS X"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[MachineStore]:
    store = MachineStore(tmp_path / "machine.sqlite3")
    yield store
    store.close()


class World:
    """A desk whose programs and rules the test sets."""

    def __init__(self, machine: MachineStore, clock: FakeClock) -> None:
        self.running: frozenset[str] | None = frozenset()
        self.desk = PauseDesk(machine, clock, lambda: self.running, lambda: [ZEN])


@pytest.fixture
def world(machine: MachineStore, clock: FakeClock) -> World:
    return World(machine, clock)


@given(seconds=st.floats(-1e6, 1e9) | st.none(), later=st.floats(0, 1e9))
def test_no_pause_is_longer_than_eight_hours(seconds: float | None, later: float) -> None:
    pause = make(NOW, seconds, "alice", ("zen",))
    if lasts(pause, NOW + timedelta(seconds=later), frozenset({"zen"})):
        assert later < LONGEST.total_seconds()


def test_it_ends_after_its_time(world: World, clock: FakeClock) -> None:
    world.desk.begin(1800, "Alice")
    clock.pass_time(1799)
    found = world.desk.current()
    assert found is not None and (found.by, found.seconds_left(clock.now())) == ("Alice", 1.0)
    clock.pass_time(1)
    assert world.desk.current() is None


def test_it_ends_with_the_program_it_waits_for(world: World, clock: FakeClock) -> None:
    world.running = frozenset({"zen", "explorer"})
    assert world.desk.programs() == ("ZEN.exe",)
    world.desk.begin(None, "")
    clock.pass_time(3600)
    assert world.desk.current() is not None
    world.running = None
    assert world.desk.current() is not None, "the system does not tell: its time decides"
    world.running = frozenset({"explorer"})
    assert world.desk.current() is None


def test_a_program_that_never_ends_does_not_pause_for_ever(world: World, clock: FakeClock) -> None:
    world.running = frozenset({"zen"})
    world.desk.begin(None, "")
    clock.pass_time(LONGEST.total_seconds())
    assert world.desk.current() is None


@pytest.mark.parametrize("running", [frozenset({"explorer"}), None])
def test_without_a_program_there_is_no_end_to_wait_for(world: World, running: frozenset[str] | None) -> None:
    world.running = running
    assert world.desk.programs() == ()
    with pytest.raises(NothingRuns):
        world.desk.begin(None, "")
    assert world.desk.current() is None


def test_whoever_comes_next_may_end_it(world: World) -> None:
    world.desk.begin(3600, "Alice")
    world.desk.end()
    assert world.desk.current() is None


def test_it_survives_a_restart(world: World, tmp_path: Path, clock: FakeClock) -> None:
    world.desk.begin(3600, "Alice")
    again = MachineStore(tmp_path / "machine.sqlite3")
    try:
        found = World(again, clock).desk.current()
        assert found is not None and found.by == "Alice"
    finally:
        again.close()


def test_a_clock_that_is_set_back_ends_it() -> None:
    pause = make(NOW, 1800, "")
    assert lasts(pause, NOW - timedelta(seconds=30), frozenset()), "clocks are corrected by a little all day"
    assert not lasts(pause, NOW - timedelta(hours=3), frozenset())


@pytest.mark.parametrize("text", ["", "no json", '{"until": 5}'])
def test_what_cannot_be_read_pauses_nobody(world: World, machine: MachineStore, text: str) -> None:
    machine.set_fact(FACT, text)
    assert world.desk.current() is None


def test_what_a_later_version_adds_is_left_alone() -> None:
    kept = make(NOW, 60, "").model_dump(mode="json") | {"colour": "blue"}
    assert Pause.model_validate(kept).until == NOW + timedelta(seconds=60)
