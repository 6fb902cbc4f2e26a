"""Whose data is it: the rules one by one, and that nothing else lets anybody in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.errors import Forbidden
from server_bridge.orders.authority import CLOCK_SLACK, Ground, Question, decide, folder_person
from server_bridge.orders.sessions import Presence

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BASE = Question(
    username="alice",
    is_staff=False,
    path="scope1/misc/run",
    root="scope1",
    person_folder="{user}",
    unclaimed="staff",
    first_seen_at=NOON,
    presences=(),
)


def present(name: str, since: timedelta = -HOUR, until: timedelta = HOUR) -> Presence:
    return Presence(name, NOON + since, NOON + until)


def refused(question: Question) -> str:
    with pytest.raises(Forbidden) as caught:
        decide(question)
    return caught.value.code


def test_nobody_was_signed_in() -> None:
    assert refused(BASE) == "not_your_data"


def test_unclaimed_data_where_the_site_allows_it() -> None:
    open_site = replace(BASE, unclaimed="signed-in")
    assert refused(open_site) == "not_your_data", "her session was made elsewhere"
    assert decide(replace(open_site, signed_in_here=True)) is Ground.UNCLAIMED
    bobs = replace(open_site, signed_in_here=True, presences=(present("bob"),))
    assert refused(bobs) == "not_your_data"


def test_she_was_signed_in_when_it_appeared() -> None:
    assert decide(replace(BASE, presences=(present("alice"),))) is Ground.PRESENT
    both = (present("alice"), present("bob"))
    assert decide(replace(BASE, presences=both)) is Ground.PRESENT
    earlier = (present("alice", -HOUR, -timedelta(minutes=10)),)
    assert refused(replace(BASE, presences=earlier)) == "not_your_data"


def test_a_clock_that_is_a_little_off_helps_only_where_nobody_else_was_there() -> None:
    just_after = present("alice", CLOCK_SLACK / 2)
    assert decide(replace(BASE, presences=(just_after,))) is Ground.PRESENT
    assert refused(replace(BASE, presences=(just_after, present("bob")))) == "not_your_data"


def test_her_folder_is_hers_and_another_known_persons_is_not() -> None:
    assert decide(replace(BASE, path="scope1/Alice/run", first_seen_at=None)) is Ground.FOLDER
    bobs = replace(BASE, path="scope1/bob/run", presences=(present("alice"),))
    assert refused(replace(bobs, folder_person_is_known=True)) == "not_your_data"
    assert decide(bobs) is Ground.PRESENT, "a folder that is named like nobody says nothing"


@pytest.mark.parametrize(
    ("path", "root", "rule", "whose"),
    [
        ("scope1/alice/run", "scope1", "{user}", "alice"),
        ("scope1/alice", "scope1", "{user}", "alice"),
        ("alice/run", ".", "{user}", "alice"),
        ("scope1/data/u_alice/run", "scope1", "data/u_{user}", "alice"),
        ("scope1/data/alice/run", "scope1", "data/u_{user}", ""),
        ("scope1/alice", "scope1", "data/{user}", ""),
        ("scope1", "scope1", "{user}", ""),
        ("scope2/alice", "scope1", "{user}", ""),
        ("scope1/alice/run", "scope1", "", ""),
        ("scope1/a.c/run", "scope1", "{user}", "a.c"),
    ],
)
def test_whose_folder(path: str, root: str, rule: str, whose: str) -> None:
    assert folder_person(path, root, rule) == whose


def test_the_root_is_a_wall_for_all_but_staff() -> None:
    for path in ("scope1", "scope10/alice/run", "scope2/alice"):
        question = replace(BASE, path=path, presences=(present("alice"),))
        assert refused(question) == "outside_root"
        assert decide(replace(question, is_staff=True)) is Ground.STAFF
    assert refused(replace(BASE, root=None, presences=(present("alice"),))) == "share_not_yours"


names = st.sampled_from(["alice", "bob", "carol"])
minutes = st.integers(-180, 180).map(lambda count: timedelta(minutes=count))
presence = st.builds(
    lambda name, a, b: Presence(name, NOON + min(a, b), NOON + max(a, b)), names, minutes, minutes
)
questions = st.builds(
    Question,
    username=names,
    is_staff=st.booleans(),
    path=st.lists(st.sampled_from(["scope1", "scope2", "alice", "bob", "x"]), min_size=1, max_size=4).map(
        "/".join
    ),
    root=st.sampled_from([None, ".", "scope1", "scope2/x"]),
    person_folder=st.sampled_from(["", "{user}", "x/{user}"]),
    unclaimed=st.sampled_from(["staff", "signed-in"]),
    first_seen_at=st.one_of(st.none(), minutes.map(lambda delta: NOON + delta)),
    presences=st.lists(presence, max_size=4),
    folder_person_is_known=st.booleans(),
    signed_in_here=st.booleans(),
)


@given(questions)
def test_nobody_gets_in_without_one_of_the_grounds(question: Question) -> None:
    try:
        ground = decide(question)
    except Forbidden:
        return
    if ground is Ground.STAFF:
        assert question.is_staff
        return
    assert question.root is not None
    assert question.root == "." or question.path.startswith(question.root + "/")
    seen = question.first_seen_at
    there = {found.username for found in question.presences if seen and found.covers(seen, CLOCK_SLACK)}
    if ground is Ground.FOLDER:
        assert question.username in question.path.split("/")
        assert question.person_folder
    elif ground is Ground.PRESENT:
        assert question.username in there
    else:
        assert ground is Ground.UNCLAIMED
        assert question.unclaimed == "signed-in"
        assert question.signed_in_here
        assert seen is not None
        assert not there
