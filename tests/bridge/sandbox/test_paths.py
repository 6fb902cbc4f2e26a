"""Client paths as the importer stores them."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_bridge.sandbox.importer.paths import client_path, safe_component
from server_bridge.sandbox.servants.imports import below_common_parent


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("plain name.tif", "plain name.tif"),
        ("a:b", "a;b"),
        ("<a>", "[a]"),
        ("what?*", "what%x"),
        ('say "hi"', "say 'hi'"),
        ("back\\slash|pipe", "back!slash!pipe"),
        ("tab\there\x85", "tab_here_"),
        ("con", "con_"),
        ("Nul.tif", "_Nul.tif"),
        ("connection.tif", "connection.tif"),
        ("$recycle", "_$recycle"),
        ("µm – 20×.tif", "µm – 20×.tif"),
    ],
)
def test_components_are_safe_everywhere(name: str, stored: str) -> None:
    assert safe_component(name) == stored


def test_a_client_path_is_absolute_without_its_slash() -> None:
    assert client_path(Path("/data/x:y/com1/a.tif")) == "data/x;y/com1_/a.tif"


def test_files_keep_their_places_below_what_they_share() -> None:
    assert below_common_parent(["d/a.companion.ome", "d/sub/b.tif", "d/sub/c.tif"]) == [
        "a.companion.ome",
        "sub/b.tif",
        "sub/c.tif",
    ]
    assert below_common_parent(["d/a.tif"]) == ["a.tif"]
    assert below_common_parent(["d/ab/x.tif", "d/abc/y.tif"]) == ["ab/x.tif", "abc/y.tif"]
