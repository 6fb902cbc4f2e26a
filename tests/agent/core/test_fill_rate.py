"""When the buffer is full: said where it is sure, from the median of how it fills, and not otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.share_watch import FillRate

GB = 10**9


def rate_of(fills: list[float], free: float = 1000 * GB, every: float = 30.0) -> FillRate:
    """A volume that takes so many bytes between two looks (negative: something was deleted)."""
    made = FillRate()
    made.add(0.0, int(free))
    for number, filled in enumerate(fills, 1):
        free -= filled
        made.add(number * every, int(free))
    return made


def test_a_steady_rate_foretells() -> None:
    assert rate_of([3 * GB] * 20).full_in_seconds() == pytest.approx(940 * GB / (0.1 * GB))


def test_one_large_copy_and_one_odd_answer_do_not_move_it() -> None:
    fills = [3.0 * GB] * 40
    fills[10] = 300 * GB
    fills[20], fills[21] = 500 * GB, -500 * GB
    full = rate_of(fills, free=2000 * GB).full_in_seconds()
    free = 2000 * GB - sum(fills)
    assert full == pytest.approx(free / (0.1 * GB), rel=0.5)


def test_cleaning_hides_no_filling() -> None:
    fills = [3.0 * GB] * 40
    fills[30] = -400 * GB
    full = rate_of(fills).full_in_seconds()
    assert full == pytest.approx((1000 * GB - sum(fills)) / (0.1 * GB), rel=0.1)


@pytest.mark.parametrize(
    "fills",
    [
        [],
        [3 * GB] * 3,
        [0] * 40,
        [-3 * GB] * 40,
        [0] * 30 + [30 * GB] * 10,
        [30 * GB] * 10 + [0] * 30,
        [1000] * 40,
    ],
    ids=["nothing", "too short", "still", "emptied", "just begun", "over", "in years"],
)
def test_where_it_is_not_sure_nothing_is_said(fills: list[float]) -> None:
    assert rate_of(fills).full_in_seconds() is None


@given(st.lists(st.integers(-50 * GB, 50 * GB), max_size=70))
def test_it_never_says_nonsense(fills: list[int]) -> None:
    full = rate_of(list(fills), free=10_000 * GB).full_in_seconds()
    assert full is None or 0 < full <= 7 * 86400
