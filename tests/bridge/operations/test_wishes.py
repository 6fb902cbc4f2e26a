"""What a CSV file of orders says, line by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.contract import Group, PermissionLevel, Person, TargetKind
from server_bridge.errors import BadRequest
from server_bridge.operations.wishes import (
    Wish,
    intent_of,
    order_id_of,
    overlapping,
    read_wishes,
)
from server_bridge.orders.overlap import overlaps

ALICE = Person(
    username="alice", groups=(Group(id=3, name="Cytoskeleton", permissions=PermissionLevel.READ_ANNOTATE),)
)
HEAD = "share,path,person,group,dataset,project,screen,tags,import_again\n"


def wish(**more: str) -> Wish:
    given = {"share": "conf", "path": "alice/run", "person": "alice", "group": "Cytoskeleton"}
    return Wish(**{**given, "dataset": "actin", **more})


def test_lines_keep_their_numbers_and_bad_ones_do_not_hide_the_rest() -> None:
    text = (
        "\ufeff"
        + HEAD
        + '"conf","alice/a, b",alice,Cytoskeleton,actin,,,x;y,\n,,,,,,,,\nconf,short\n'
        + ("conf,alice/c,alice,Cytoskeleton,17,,,,yes\n")
    )
    lines = read_wishes(text)
    assert [number for number, _ in lines] == [2, 4, 5]
    first, short, last = (one for _, one in lines)
    assert isinstance(first, Wish) and (first.path, first.tags) == ("alice/a, b", "x;y")
    assert isinstance(short, BadRequest) and short.remedy
    assert isinstance(last, Wish) and intent_of(last, ALICE).target.container_id == 17


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "missing"),
        ("share,path,person\n", "group"),
        ("share,path,person,group,folder\n", "'folder'"),
        ("share,path,person,group,path\n", "once"),
        (HEAD + '"conf,alice/run\n', "no CSV"),
    ],
)
def test_a_file_that_cannot_be_read_as_orders_says_why(text: str, word: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_wishes(text)
    assert word in caught.value.detail
    assert caught.value.remedy


def test_a_line_becomes_an_order_that_the_bridge_seals() -> None:
    intent = intent_of(wish(path="alice/run/", project="12", tags=" x ; ;y", import_again="Yes"), ALICE)
    assert (intent.path, intent.owner, intent.seal, intent.import_again) == (
        "alice/run",
        "alice",
        "bridge",
        True,
    )
    target = intent.target
    assert (target.group_id, target.container_name, target.project_id, target.tags) == (
        3,
        "actin",
        12,
        ("x", "y"),
    )
    assert intent_of(wish(dataset="", screen="name:42"), ALICE).target.kind is TargetKind.SCREEN
    assert intent_of(wish(dataset="", screen="name:42"), ALICE).target.container_name == "42"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"dataset": ""}, "wish_not_valid"),
        ({"screen": "plates"}, "wish_not_valid"),
        ({"dataset": "", "screen": "plates", "project": "p"}, "wish_not_valid"),
        ({"import_again": "perhaps"}, "wish_not_valid"),
        ({"share": "No Share"}, "wish_not_valid"),
        ({"path": ""}, "wish_not_valid"),
        ({"label": "x" * 300}, "wish_not_valid"),
        ({"group": "Elsewhere"}, "not_a_member"),
    ],
)
def test_a_line_that_says_too_little_or_too_much(change: dict[str, str], code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        intent_of(wish(**change), ALICE)
    assert caught.value.code == code
    assert caught.value.detail and caught.value.remedy


def test_the_same_line_is_the_same_order_and_any_difference_is_another() -> None:
    assert order_id_of(wish()) == order_id_of(wish())
    others = [wish(path="alice/run2"), wish(dataset="other"), wish(import_again="yes"), wish(tags="x")]
    assert len({order_id_of(one) for one in [wish(), *others]}) == 5
    given = "0b1c1c0a-6a5e-4f62-9b0c-1de1a7c0f7aa"
    assert str(order_id_of(wish(id=given))) == given
    with pytest.raises(BadRequest):
        order_id_of(wish(id="seven"))


@given(st.lists(st.lists(st.sampled_from("aAb"), min_size=1, max_size=3).map("/".join), max_size=8))
def test_overlaps_inside_of_a_file_are_those_of_the_orders(paths: list[str]) -> None:
    found = overlapping((number, "conf", path) for number, path in enumerate(paths, 2))
    kept: list[tuple[int, str]] = []
    for number, path in enumerate(paths, 2):
        clashes = [earlier for earlier, other in kept if overlaps(path, other)]
        assert (number in found) == bool(clashes)
        if clashes:
            assert found[number] in clashes
        else:
            kept.append((number, path))


def test_other_shares_are_other_places() -> None:
    assert overlapping([(2, "conf", "a"), (3, "light", "a"), (4, "conf", "a/b")]) == {4: 2}
