"""Client paths as the Java importer writes them, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.omero.paths import ambiguous, client_path, collision, safe_component
from server_bridge.sandbox.importer.paths import client_path as importers_path

NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))


@pytest.mark.parametrize(
    ("given_path", "stored"),
    [
        ("/staging/conf/a.tif", "staging/conf/a.tif"),
        ("//staging///a.tif/", "staging/a.tif"),
        ('/a/b"c', "a/b'c"),
        ("/a/x*y:z<1>2?3\\4|5", "a/xxy;z[1]2%3!4!5"),
        ("/a/tab\there\x7f\x85", "a/tab_here__"),
        ("/a/CON", "a/CON_"),
        ("/a/lpt9", "a/lpt9_"),
        ("/a/LPT0", "a/LPT0"),
        ("/a/con.tif", "a/_con.tif"),
        ("/a/COM1.tar.gz", "a/_COM1.tar.gz"),
        ("/a/CLOCK$", "a/CLOCK$_"),
        ("/a/$MFT", "a/_$MFT"),
        ("/a/contour.tif", "a/contour.tif"),
        ("/a/ends. ", "a/ends. "),
        ("/a/µm – Zürich 🔬.tif", "a/µm – Zürich 🔬.tif"),
    ],
)
def test_each_rule_of_the_importer_is_kept(given_path: str, stored: str) -> None:
    assert client_path(given_path) == stored


@pytest.mark.parametrize("path", ["relative/a.tif", "", "/a/../b", "/a/./b"])
def test_a_path_that_is_not_absolute_and_normal_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        client_path(path)


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_the_bridge_and_the_importer_compute_the_same(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert client_path(path) == importers_path(Path(path))


@given(NAMES)
def test_a_component_is_safe_and_stays_so(name: str) -> None:
    safe = safe_component(name)
    assert not set(safe) & set('"*:<>?\\|/')
    assert all(ord(one) >= 0x20 and not 0x7F <= ord(one) < 0xA0 for one in safe)
    assert safe_component(safe) == safe or safe.startswith("_") or safe.endswith("_")


@given(st.lists(NAMES, min_size=1, max_size=8, unique=True))
def test_files_that_would_share_a_client_path_are_found(names: list[str]) -> None:
    paths = [f"/s/{name}" for name in names]
    found = ambiguous(paths)
    assert {path for some in found.values() for path in some} == {
        path for path in paths if sum(client_path(path) == client_path(other) for other in paths) > 1
    }


def test_a_star_and_an_x_cannot_be_told_apart() -> None:
    assert ambiguous(["/s/a*.tif", "/s/ax.tif", "/s/b.tif"]) == {"s/ax.tif": ("/s/a*.tif", "/s/ax.tif")}


@given(
    st.lists(
        st.lists(
            NAMES | st.sampled_from(["a|b", "a\\b", "a!b", "CON", "CON_", "x"]), min_size=1, max_size=3
        ).map("/".join),
        max_size=10,
        unique=True,
    )
)
def test_a_collision_is_found_exactly_where_client_paths_are_equal(relative: list[str]) -> None:
    found = collision(relative)
    expected = ambiguous(f"/{path}" for path in relative)
    assert (found is None) == (not expected)
    if found is not None:
        first, second = found
        assert first != second
        assert client_path(f"/{first}") == client_path(f"/{second}")
