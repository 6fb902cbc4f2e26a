"""When does an order that no workstation seals rest?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from server_bridge.mover.listing import Entry
from server_bridge.pipeline.quiet import CLOCK_SLACK, judge, sight_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
QUIET = 300.0


def seen(age_seconds: float = 3600.0, size: int = 10) -> list[Entry]:
    return [Entry("run/a.tif", size, int(NOW.timestamp() - age_seconds)), Entry("run/b.tif", 5, 1_000)]


def test_the_first_look_never_seals_however_old_the_files_are() -> None:
    first = judge(sight_of(seen(), NOW), "", None, NOW, QUIET)
    assert (first.rests, first.unchanged_since, first.look_at) == (False, NOW, NOW + timedelta(seconds=QUIET))


def test_equal_listings_seal_once_they_are_far_enough_apart() -> None:
    sight = sight_of(seen(), NOW)
    early = judge(sight, sight.digest, NOW - timedelta(seconds=QUIET - 1), NOW, QUIET)
    assert (early.rests, early.look_at) == (False, NOW + timedelta(seconds=1))
    assert judge(sight, sight.digest, NOW - timedelta(seconds=QUIET), NOW, QUIET).rests


def test_a_change_of_size_time_or_names_begins_anew() -> None:
    before = sight_of(seen(), NOW).digest
    since = NOW - timedelta(hours=2)
    for changed in (seen(size=11), seen(age_seconds=3599), seen()[:1], [*seen(), Entry("run/c", 0, 1)]):
        found = judge(sight_of(changed, NOW), before, since, NOW, QUIET)
        assert (found.rests, found.unchanged_since) == (False, NOW)


def test_a_young_file_waits_until_it_is_old_enough() -> None:
    sight = sight_of(seen(age_seconds=100), NOW)
    found = judge(sight, sight.digest, NOW - timedelta(hours=2), NOW, QUIET)
    assert (found.rests, found.look_at) == (False, NOW + timedelta(seconds=200))


def test_a_time_in_the_future_says_nothing_and_does_not_wait_for_ever() -> None:
    for ahead in (CLOCK_SLACK.total_seconds() + 5, 7_200.0, 10.0**12):
        sight = sight_of(seen(age_seconds=-ahead), NOW)
        assert not judge(sight, "", None, NOW, QUIET).rests
        assert judge(sight, sight.digest, NOW - timedelta(seconds=QUIET), NOW, QUIET).rests


def test_a_clock_that_was_set_back_does_not_count_as_time_gone_by() -> None:
    sight = sight_of(seen(), NOW)
    found = judge(sight, sight.digest, NOW + timedelta(hours=1), NOW, QUIET)
    assert (found.rests, found.unchanged_since) == (False, NOW)


@given(
    st.lists(st.tuples(st.integers(0, 7_200), st.integers(0, 3)), min_size=1, max_size=8),
    st.floats(1, 1_000),
)
def test_whatever_is_sealed_was_equal_for_the_quiet_time(looks: list[tuple[int, int]], quiet: float) -> None:
    """Looks at any moments, with one of four contents each: a seal has its whole quiet time behind it."""
    digest, since, at = "", None, NOW
    held: list[tuple[datetime, int]] = []
    for pause, content in looks:
        at += timedelta(seconds=pause)
        held.append((at, content))
        sight = sight_of([Entry("run/a", content, 1_000)], at)
        found = judge(sight, digest, since, at, quiet)
        if found.rests:
            begun = at
            for when, what in reversed(held):
                if what != content:
                    break
                begun = when
            assert (at - begun).total_seconds() >= quiet
            return
        assert found.look_at > at
        digest, since = sight.digest, found.unchanged_since
