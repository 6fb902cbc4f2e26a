"""Overlap of files and folders: same, parent or child, as storage compares names."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from server_bridge.orders.overlap import overlaps

part = st.text(alphabet=st.sampled_from("abAB éÉ1-_"), min_size=1, max_size=3)
path = st.lists(part, min_size=1, max_size=4).map("/".join)


def plain_overlap(left: str, right: str) -> bool:
    """The same said with pathlib, for names in one spelling."""
    a, b = PurePosixPath(left), PurePosixPath(right)
    return a == b or a in b.parents or b in a.parents


@given(path, path)
def test_it_is_symmetric_and_says_what_pathlib_says(left: str, right: str) -> None:
    assert overlaps(left, right) == overlaps(right, left)
    assert overlaps(left, right) == plain_overlap(left.casefold(), right.casefold())


@given(path)
def test_letter_case_and_the_form_of_accents_do_not_count(where: str) -> None:
    assert overlaps(where, where.upper())
    assert overlaps(where, unicodedata.normalize("NFD", where))
    assert overlaps(where, where + "/below")


def test_neighbours_with_one_beginning_are_apart() -> None:
    assert not overlaps("run1", "run10")
    assert not overlaps("a/run1", "a/run1.tif")
