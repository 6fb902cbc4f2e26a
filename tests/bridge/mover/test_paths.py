"""What may travel and what is refused before anything is copied."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.mover.paths import PathRefused, check_manifest, check_path, is_below, require_path
from tests.bridge.mover.conftest import ODD_NAMES


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "path_empty"),
        ("/etc/passwd", "path_absolute"),
        ("..", "path_parent"),
        ("a/../b", "path_parent"),
        ("a/..", "path_parent"),
        ("a//b", "path_form"),
        ("a/", "path_form"),
        ("./a", "path_form"),
        ("a/./b", "path_form"),
        ("a\0b", "path_control"),
        ("new\nline", "path_control"),
        ("bell\a", "path_control"),
        ("delete\x7f", "path_control"),
        ("c1\x85control", "path_control"),
        (b"latin1_\xe4.tif".decode("utf-8", "surrogateescape"), "path_not_utf8"),
        ("a/.rsync-partial/b", "path_reserved"),
        (".rsync-partial", "path_reserved"),
        (".~tmp~/x", "path_reserved"),
        ("é" * 128, "name_too_long"),
        ("/".join(["x" * 200] * 21), "path_too_long"),
    ],
)
def test_a_bad_path_is_refused_by_its_own_code(path: str, code: str) -> None:
    problem = check_path(path)
    assert problem is not None
    assert (problem.path, problem.code) == (path, code)
    assert problem.title and problem.detail and problem.remedy
    assert problem.detail.isprintable(), "messages never carry control bytes"
    with pytest.raises(PathRefused) as caught:
        require_path(path)
    assert (caught.value.code, caught.value.status) == (code, 422)


@pytest.mark.parametrize("name", [*ODD_NAMES, "..a", "...", "a..", "folder/..b/c", "tab is fine?"])
def test_odd_but_legal_names_travel(name: str) -> None:
    assert check_path(f"lab/{name}") is None


def test_255_bytes_are_counted_in_utf8() -> None:
    assert check_path("é" * 127 + "x") is None
    assert check_path("x" * 256) is not None


def test_a_folder_holds_itself_and_what_is_in_it_only() -> None:
    assert is_below("a/b", "a") and is_below("a", "a") and is_below("x", ".")
    assert not is_below("ab", "a") and not is_below("a", "a/b")


def test_names_that_differ_only_in_case_are_all_reported() -> None:
    problems = check_manifest(["run/Case.TIF", "run/other.tif", "run/case.tif"])
    assert [(problem.path, problem.code) for problem in problems] == [
        ("run/Case.TIF", "path_collision"),
        ("run/case.tif", "path_collision"),
    ]
    assert "case.tif" in problems[0].detail


def test_names_that_differ_only_in_unicode_form_are_reported() -> None:
    problems = check_manifest([unicodedata.normalize("NFC", "é.tif"), unicodedata.normalize("NFD", "é.tif")])
    assert [problem.code for problem in problems] == ["path_collision"] * 2


def test_folders_that_differ_only_in_case_are_reported_for_each_file() -> None:
    problems = check_manifest(["Run/a.tif", "run/b.tif", "third/c.tif"])
    assert {problem.path for problem in problems} == {"Run/a.tif", "run/b.tif"}


def test_a_file_cannot_also_be_a_folder_or_be_listed_twice() -> None:
    assert [p.code for p in check_manifest(["a", "a/b"])] == ["path_file_and_folder"]
    assert [p.code for p in check_manifest(["a", "a"])] == ["path_twice"]


def test_every_bad_path_of_a_manifest_is_reported_at_once() -> None:
    problems = check_manifest(["good", "/bad", "also/good", "bad/../x"])
    assert [problem.path for problem in problems] == ["/bad", "bad/../x"]


@given(st.text(max_size=40))
def test_whatever_is_accepted_stays_below_the_share(path: str) -> None:
    if check_path(path) is None:
        parts = path.split("/")
        assert not path.startswith("/")
        assert all(part not in {"", ".", "..", ".rsync-partial", ".~tmp~"} for part in parts)
        assert path.encode("utf-8").decode("utf-8") == path
        assert not any(ord(character) < 32 for character in path)


@given(st.lists(st.text(alphabet="aAbé/", min_size=1, max_size=6), max_size=12))
def test_accepted_manifests_hold_distinct_names_in_any_case(listed: list[str]) -> None:
    bad = {problem.path for problem in check_manifest(listed)}
    good = [path for path in listed if path not in bad]
    assert len({path.casefold() for path in good}) == len(good)
