"""How fast a share may be read while somebody acquires onto it: the rule alone, and what expires when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server_bridge.config import ShareConfig
from server_bridge.orders import share_rates
from server_bridge.orders.leases import Beat, Room, room
from server_bridge.orders.share_rates import MIB, allowed
from tests.bridge.bridge_site import make_site

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
LEASE = timedelta(seconds=120)


def share(**more: object) -> ShareConfig:
    return ShareConfig.model_validate(
        {"id": "conf", "source": {"kind": "path", "path": "/buffer"}, "floor_rate_mib_s": 10, **more}
    )


def beat(
    name: str = "Confocal SP8",
    *,
    age: timedelta = timedelta(0),
    acquiring: bool = True,
    fill: float | None = None,
) -> Beat:
    rooms = {} if fill is None else {"conf": Room(round(1000 * (1 - fill)), 1000)}
    return Beat(
        workstation_id=name,
        workstation=name,
        told_at=NOW - age,
        roots={"conf": "."},
        acquiring=frozenset({"conf"} if acquiring else ()),
        rooms=rooms,
    )


def limit(rate: float | None) -> float:
    return float("inf") if rate is None else rate


FILL = st.floats(0.0, 1.0) | st.none()


@given(
    full=st.just(0.0) | st.floats(10.0, 10_000.0),
    start=st.floats(0.0, 0.9),
    width=st.floats(0.01, 0.1),
    fills=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_fuller_buffer_is_never_read_slower_and_never_below_the_floor(
    full: float, start: float, width: float, fills: tuple[float, float]
) -> None:
    one = share(full_rate_mib_s=full, floor_until_fill=start, full_from_fill=start + width)
    lower, higher = (limit(allowed(one, is_acquiring=True, fill=fill)) for fill in sorted(fills))
    assert 10 * MIB <= lower <= higher * (1 + 1e-9)
    assert higher <= limit(allowed(one, is_acquiring=False, fill=None)) * (1 + 1e-9)


@given(full=st.just(0.0) | st.floats(10.0, 10_000.0), fill=FILL)
def test_without_an_acquisition_there_is_only_the_full_rate(full: float, fill: float | None) -> None:
    expected = full * MIB if full else None
    assert allowed(share(full_rate_mib_s=full), is_acquiring=False, fill=fill) == expected


@pytest.mark.parametrize(
    ("full", "fill", "mib"),
    [
        (0.0, None, 10.0),
        (0.0, 0.70, 10.0),
        (0.0, 0.80, 20.0),
        (0.0, 0.90, None),
        (110.0, 0.2, 10.0),
        (110.0, 0.80, 60.0),
        (110.0, 0.95, 110.0),
    ],
)
def test_the_rate_rises_from_the_floor_to_the_full_one(
    full: float, fill: float | None, mib: float | None
) -> None:
    rate = allowed(share(full_rate_mib_s=full), is_acquiring=True, fill=fill)
    assert rate is None if mib is None else rate == pytest.approx(mib * MIB)


@given(seconds=st.floats(-100_000, 100_000))
def test_a_lease_ends_with_its_time_also_when_the_clock_was_set_back(seconds: float) -> None:
    one = beat(age=timedelta(seconds=seconds))
    assert one.holds(NOW, LEASE.total_seconds()) == (abs(seconds) <= 120)


def test_any_workstation_of_a_share_is_enough_and_a_silent_one_is_not(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    conf = site.shares[0]
    silent, quiet = beat(age=LEASE * 2), beat("Lattice", acquiring=False)
    assert share_rates.rate_of(site, conf, [silent, quiet], NOW).bytes_per_second is None
    found = share_rates.rate_of(site, conf, [silent, quiet, beat("Spinning disk")], NOW)
    assert found.acquiring == ("Spinning disk",)
    assert found.bytes_per_second == conf.floor_rate_mib_s * MIB
    assert found.slowed == "Slowed: Spinning disk is acquiring"


def test_the_words_name_few_and_count_many() -> None:
    assert share_rates.slowed_text(("A", "B")) == "Slowed: A and B are acquiring"
    assert share_rates.slowed_text(("A", "B", "C", "D")) == "Slowed: A and 3 others are acquiring"


def test_a_full_buffer_is_not_called_slowed(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    found = share_rates.rate_of(site, site.shares[0], [beat(fill=0.97)], NOW)
    assert (found.bytes_per_second, found.slowed, found.acquiring) == (None, "", ("Confocal SP8",))


def test_the_latest_word_about_the_room_counts() -> None:
    beats = [beat("A", fill=0.2, age=timedelta(seconds=60)), beat("B", fill=0.8, acquiring=False)]
    found = room(beats, "conf", NOW, 120)
    assert found is not None and found.fill == pytest.approx(0.8)
    assert room([beat("A", fill=0.9, age=LEASE * 3)], "conf", NOW, 120) is None


@pytest.mark.parametrize(
    "wrong",
    [{"full_rate_mib_s": 5}, {"floor_until_fill": 0.9}, {"floor_rate_mib_s": 0}, {"full_rate_mib_s": -1}],
)
def test_rates_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        share(**wrong)
