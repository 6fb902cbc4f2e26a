"""Counting attempts to sign in, on a clock of our own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server_bridge.api.login_limits import ADDRESS_FACTOR, LoginLimits, LoginsLimited


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def try_once(limits: LoginLimits, name: str = "alice", address: str = "a") -> int:
    """0 where the attempt is let through, else the seconds to wait."""
    try:
        limits.start(name, address)
    except LoginsLimited as error:
        return error.retry_after_seconds
    return 0


def test_the_wait_that_is_told_is_enough_and_not_too_long() -> None:
    clock = Clock()
    limits = LoginLimits(3, 60, clock)
    for _ in range(3):
        assert try_once(limits) == 0
        clock.now += 10
    wait = try_once(limits)
    assert wait == 30
    clock.now += wait - 0.5
    assert try_once(limits) > 0
    clock.now += 0.5
    assert try_once(limits) == 0
    assert try_once(limits) > 0, "only the oldest attempt has left the window"


def test_attempts_that_run_at_the_same_time_count_each() -> None:
    limits = LoginLimits(3, 60, Clock())
    started = [limits.start("alice", "a") for _ in range(3)]
    assert try_once(limits) > 0
    limits.give_back(started[1])
    assert try_once(limits) == 0


def test_another_account_from_another_address_is_free() -> None:
    limits = LoginLimits(2, 60, Clock())
    while try_once(limits) == 0:
        pass
    assert try_once(limits, "ALICE", "b") > 0, "the account counts from everywhere, however it is spelt"
    assert try_once(limits, "bob", "b") == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.sampled_from("xy")), max_size=60))
def test_no_window_ever_holds_more_than_is_allowed(attempts: list[tuple[int, str, str]]) -> None:
    clock = Clock()
    limits = LoginLimits(3, 60, clock)
    let_through: list[tuple[float, str, str]] = []
    for pause, name, address in attempts:
        clock.now += pause
        if try_once(limits, name, address) == 0:
            let_through.append((clock.now, name, address))
    for end, _, _ in let_through:
        window = [item for item in let_through if end - 60 < item[0] <= end]
        for which in "ab":
            assert sum(item[1] == which for item in window) <= 3
        for which in "xy":
            assert sum(item[2] == which for item in window) <= 3 * ADDRESS_FACTOR
