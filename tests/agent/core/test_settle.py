"""When is an acquisition finished? Pure decisions with a clock of the test's own."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.settle import Look, Override, Rest, judge, observe, pause_seconds, quiet_text
from agent.core.witness import Witness, WitnessState
from server_bridge.contract import AcquisitionRule

RULE = AcquisitionRule(quiet_seconds=300.0, acquisition_programs=("ZEN.exe",))
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def look(at: float, content: str = "a") -> Look:
    return Look(at, START + timedelta(seconds=at), content.encode())


def rested(*looks: Look) -> Rest:
    rest = None
    for one in looks:
        rest = observe(rest, one)
    assert rest is not None
    return rest


def watched(start: float, end: float, content: str = "a") -> list[Look]:
    """Looks every ten seconds."""
    return [look(at, content) for at in range(int(start), int(end) + 1, 10)]


def test_quiet_time_and_two_equal_looks_finish_it() -> None:
    verdict = judge(rested(*watched(0, 300)), RULE, 300)
    assert verdict.finished and verdict.words == ("quiet 5:00 of 5:00",)


def test_one_look_is_never_enough_however_long_ago() -> None:
    verdict = judge(rested(look(0)), RULE, 10_000)
    assert not verdict.finished and "one more look" in verdict.words


def test_two_looks_in_one_instant_are_one() -> None:
    assert not judge(rested(look(0), look(0.01)), RULE, 10_000).finished


def test_a_change_starts_the_quiet_time_anew() -> None:
    rest = rested(*watched(0, 280), *watched(290, 400, "b"))
    verdict = judge(rest, RULE, 400)
    assert not verdict.finished and verdict.quiet_seconds == 110
    assert verdict.words == ("quiet 1:50 of 5:00",)


def test_an_acquisition_program_that_runs_holds_it_by_name_in_any_case() -> None:
    rest = rested(*watched(0, 400))
    held = judge(rest, RULE, 400, frozenset({"zen", "explorer"}))
    assert not held.finished and held.words[1:] == ("ZEN.exe is running",)
    assert judge(rest, RULE, 400, frozenset({"explorer"})).finished
    assert judge(rest, RULE, 400, None).finished, "where the system tells nothing, time alone decides"


def test_done_now_needs_two_looks_but_no_quiet_time() -> None:
    assert not judge(rested(look(0)), RULE, 5, override=Override.DONE_NOW, override_at=4).finished
    assert judge(rested(look(0), look(5)), RULE, 5, override=Override.DONE_NOW, override_at=4).finished


def test_done_now_ends_with_what_is_written_after_it() -> None:
    rest = rested(look(0), look(5), look(9, "b"), look(12, "c"), look(15, "c"))
    assert not judge(rest, RULE, 15, override=Override.DONE_NOW, override_at=4).finished


def test_done_now_covers_a_change_that_the_next_look_only_notices() -> None:
    rest = rested(look(0), look(5), look(12, "b"), look(19, "b"))
    assert judge(rest, RULE, 19, override=Override.DONE_NOW, override_at=8).finished


def test_not_yet_asks_for_one_more_quiet_time() -> None:
    rest = rested(*watched(0, 610))
    assert not judge(rest, RULE, 500, override=Override.NOT_YET, override_at=310).finished
    assert judge(rest, RULE, 610, override=Override.NOT_YET, override_at=310).finished


@pytest.mark.parametrize("gap", [400, 3600, 8 * 3600])
def test_time_that_nobody_watched_is_no_rest(gap: int) -> None:
    """The share was away, or the machine slept: the microscope may have been unable to write as well."""
    before = watched(0, 20)
    rest = rested(*before, look(20 + gap))
    assert not judge(rest, RULE, 20 + gap, frozenset()).finished
    later = rested(*before, *watched(20 + gap, 20 + gap + 220))
    assert judge(later, RULE, 20 + gap + 220, frozenset()).finished


def test_done_now_of_before_a_start_does_not_cover_what_changed_while_nobody_looked() -> None:
    never = float("-inf")
    restored = Rest(b"a", 100.0, START, never, never, 0)
    same = observe(observe(restored, look(100)), look(107))
    assert judge(same, RULE, 107, override=Override.DONE_NOW, override_at=never).finished
    changed = observe(observe(restored, look(100, "b")), look(107, "b"))
    assert not judge(changed, RULE, 107, override=Override.DONE_NOW, override_at=never).finished


def test_another_witness_holds_it_in_its_own_words_and_an_unknown_one_does_not() -> None:
    rest = rested(*watched(0, 300))
    says = Witness("czi", WitnessState.WAITING, "the index names 96 images, 95 are there")
    held = judge(rest, RULE, 300, frozenset(), facts=(says,))
    assert not held.finished and held.words == ("quiet 5:00 of 5:00", says.words)
    unknown = Witness("czi", WitnessState.UNKNOWN, "not readable")
    assert judge(rest, RULE, 300, frozenset(), facts=(unknown,)).finished


def test_what_was_learned_lengthens_the_quiet_time_and_never_shortens_it() -> None:
    rest = rested(*watched(0, 300))
    assert not judge(rest, RULE, 300, frozenset(), learned_seconds=540).finished
    assert judge(rest, RULE, 300, frozenset(), learned_seconds=60).finished


def test_a_pause_is_what_was_watched_of_it() -> None:
    assert pause_seconds(rested(*watched(0, 200)), look(210, "b")) == 210
    assert pause_seconds(rested(*watched(0, 200)), look(4000, "b")) == 260, "the share was away"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(220.9, "quiet 3:40 of 5:00"), (900, "quiet 5:00 of 5:00"), (0, "quiet 0:00 of 5:00")],
)
def test_the_countdown_in_words(seconds: float, text: str) -> None:
    assert quiet_text(seconds, 300) == text


@settings(max_examples=300, deadline=None)
@given(
    writes=st.lists(st.floats(min_value=0.1, max_value=400), max_size=12),
    gaps=st.lists(st.floats(min_value=0.3, max_value=120), min_size=2, max_size=40),
)
def test_no_schedule_of_writes_leaves_a_seal_on_content_that_is_not_there(
    writes: list[float], gaps: list[float]
) -> None:
    """Whatever is written when: what counts as finished at a look is exactly what lies there at that look."""
    times = []
    at = 0.0
    for gap in writes:
        at += gap
        times.append(at)

    def content(when: float) -> bytes:
        return hashlib.sha1(repr([one for one in times if one <= when]).encode()).digest()

    rest = None
    now = 0.0
    for gap in gaps:
        now += gap
        rest = observe(rest, Look(now, START, content(now)))
        if judge(rest, RULE, now).finished:
            assert rest.fingerprint == content(now)
            last = max((one for one in times if one <= now), default=0.0)
            assert now - last >= RULE.quiet_seconds, "sealed within the quiet time of a write"
            assert rest.equal_looks >= 2
