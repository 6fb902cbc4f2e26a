"""Two live orders never share a file: what the patterns say at intake, and what they leave to the files."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server_bridge.contract import place_holds
from server_bridge.orders.authority import fold
from server_bridge.orders.overlap import Place, collide, holds, may_share

name = st.text(alphabet=st.sampled_from("abAé_1."), min_size=1, max_size=3).filter(
    lambda text: text not in {".", ".."}
)
pattern = st.text(alphabet=st.sampled_from("abAé_1.*?[]!"), min_size=1, max_size=4)
path = st.lists(name, min_size=1, max_size=3).map("/".join)
folder = st.lists(st.sampled_from(["a", "b", "A"]), max_size=2).map("/".join)
plain = path.map(Place)


@st.composite
def groups(draw: st.DrawFn) -> Place:
    members = tuple(draw(st.lists(pattern | name, min_size=1, max_size=3)))
    above, last = draw(folder), draw(name)
    return Place(f"{above}/{last}" if above else last, members)


place = plain | groups()


@given(place, place, path)
@example(Place("a/[[]1].tif", ("[[]1].tif",)), Place("a/[1].tif"), "a/[1].tif")
def test_places_that_hold_one_file_may_share_it(left: Place, right: Place, file: str) -> None:
    both = place_holds(left.path, left.members, file) and place_holds(right.path, right.members, file)
    if both:
        assert may_share(left, right)
        if not (left.members and right.members):
            assert collide(left, right)


@given(place, place)
def test_it_does_not_matter_who_came_first(left: Place, right: Place) -> None:
    assert collide(left, right) == collide(right, left)
    assert may_share(left, right) == may_share(right, left)


@given(place)
def test_a_place_is_never_free_for_itself(one: Place) -> None:
    assert collide(one, one)
    assert collide(one, Place(fold(one.path), one.members))


@given(groups(), path)
def test_what_an_order_holds_is_held_here(group: Place, file: str) -> None:
    if place_holds(group.path, group.members, file):
        assert holds(group, file)


@given(st.lists(pattern | name, min_size=1, max_size=3).map(tuple), name, folder)
def test_membership_is_fnmatch_on_the_first_name_below_the_folder(
    members: tuple[str, ...], entry: str, above: str
) -> None:
    prefix = f"{above}/" if above else ""
    expected = any(fnmatchcase(entry, one) for one in members)
    assert place_holds(f"{prefix}x", members, f"{prefix}{entry}") is expected
    assert place_holds(f"{prefix}x", members, f"{prefix}{entry}/deep/file") is expected
    if above:
        assert not place_holds(f"{prefix}x", members, f"elsewhere/{prefix}{entry}")


SLIDE = Place("alice/img.vsi", ("img.vsi", "_img_"))


@pytest.mark.parametrize(
    ("other", "meets"),
    [
        (Place("alice"), True),
        (Place("alice/img.vsi"), True),
        (Place("alice/_img_"), True),
        (Place("alice/_img_/stack1"), True),
        (Place("alice/_IMG_/stack1"), True),
        (Place("alice/other.vsi"), False),
        (Place("alice/_img_2"), False),
        (Place("alic"), False),
        (Place("bob/img.vsi"), False),
        (Place("alice/other.vsi", ("other.vsi", "_other_")), False),
        (Place("alice/i.vsi", ("img.*",)), True),
        (Place("alice/IMG.vsi", ("IMG.vsi",)), True),
        (Place("alice/[[]1].vsi", ("[[]1].vsi",)), False),
        (Place("alice/i", ("[!I]mg.vsi",)), True),
        (Place("alice/i", ("[a-z]mg.vsi",)), True),
        (Place("alice/run_*.tif", ("run_*.tif",)), False),
        (Place("alice/_img_/a.tif", ("a*.tif",)), True),
        (Place("alice/sub/img.vsi", ("img.vsi",)), False),
        (Place("alice*", ("alice*",)), True),
    ],
)
def test_what_a_slide_among_others_meets(other: Place, meets: bool) -> None:
    assert collide(SLIDE, other) is meets is collide(other, SLIDE)


def test_patterns_that_may_or_may_not_meet_are_left_to_the_files() -> None:
    left, right = Place("a/x_*.tif", ("x_*.tif",)), Place("a/*_1.tif", ("*_1.tif",))
    assert not collide(left, right) and may_share(left, right)
    assert not may_share(left, Place("b/*_1.tif", ("*_1.tif",)))
