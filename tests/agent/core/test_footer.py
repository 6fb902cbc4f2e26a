"""The truth table of "You can log off now" (promise 7)."""

from __future__ import annotations

import pytest

from agent.core.footer import Mine, Missing, verdict
from agent.core.snapshot import LogOff

FINE = Mine("run1", Missing.NOTHING)


def test_with_everything_confirmed_she_may() -> None:
    said = verdict("alice", [FINE], unclaimed=0, unknown=[])
    assert (said.may, said.headline) == (LogOff.YES, "You can log off now.")


def test_with_nothing_of_hers_she_may() -> None:
    assert verdict("alice", [], unclaimed=0, unknown=[]).may is LogOff.YES


@pytest.mark.parametrize("missing", [one for one in Missing if one is not Missing.NOTHING])
def test_one_thing_missing_is_a_no_that_names_it(missing: Missing) -> None:
    said = verdict("alice", [FINE, Mine("plate-4", missing)], unclaimed=0, unknown=[])
    assert said.may is LogOff.NO
    assert said.detail == f"plate-4 {missing.value}. The rest goes on by itself."


def test_what_cannot_be_known_is_a_no_even_if_all_that_is_known_is_fine() -> None:
    said = verdict("alice", [FINE], unclaimed=0, unknown=["Z: does not answer."])
    assert said.may is LogOff.NO and said.detail == "Z: does not answer."


def test_many_are_counted_after_the_third() -> None:
    said = verdict("alice", [Mine(f"r{n}", Missing.TARGET) for n in range(7)], unclaimed=0, unknown=[])
    assert said.detail.endswith("r2 needs a target, and 4 more.")


def test_nobodys_data_and_decisions_at_the_bridge_do_not_hold_her_but_are_said() -> None:
    said = verdict("alice", [FINE], unclaimed=2, unknown=[], attention=1)
    assert said.may is LogOff.YES
    assert "1 order needs a decision" in said.detail and "2 acquisitions are claimed by nobody" in said.detail


def test_nobody_signed_in_makes_no_promise_and_says_what_is_unsent() -> None:
    said = verdict("", [Mine("x", Missing.FINISH)], unclaimed=1, unknown=["?"], others_unsent=2)
    assert said.may is LogOff.NOBODY and said.detail.startswith("2 orders have not been confirmed")
