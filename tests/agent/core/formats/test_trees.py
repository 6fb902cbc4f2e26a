"""Example trees, one file a format and some awkward ones: what they are grouped into, and what the witness
says.

A tree says in ``about`` what it shows. ``files`` are relative names with the recipe of their content;
``acquisitions`` are all that must come out, each with its files. ``when`` varies one: files left out, cut in
half or written anew.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.core import listing
from agent.core.acquisition import PLATE
from agent.core.discovery import Found, discover
from agent.core.formats import witness
from agent.core.formats.known import BY_ID, KNOWN
from agent.core.formats.rules import used_by
from agent.core.witness import WitnessState
from server_bridge.contract import WorkstationShare
from tests.agent.conftest import MARKER, workstation_share
from tests.agent.core.formats.makers import make

TREES = sorted((Path(__file__).parent / "trees").glob("*.toml"))
WORST = (WitnessState.WAITING, WitnessState.UNKNOWN, WitnessState.OK)


def read(tree: Path) -> dict[str, Any]:
    return tomllib.loads(tree.read_text(encoding="utf-8"))


def build(top: Path, files: dict[str, str]) -> None:
    for name, recipe in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make(recipe))


def share_of(tree: dict[str, Any]) -> WorkstationShare:
    return workstation_share(**tree.get("rule", {}))


def files_of(top: Path, path: str, found: Found) -> set[str]:
    walk = listing.walk(top, path, members=found.items[path].members, judged=True)
    return {seen.path for seen in walk}


def asked(top: Path, share: WorkstationShare, path: str, found: Found) -> witness.Testimony:
    item = found.items[path]
    formats = used_by(share.rule, KNOWN)
    return witness.ask(top, path, item.kind, item.members, item.format, formats)


def check(said: witness.Testimony, expected: dict[str, Any], about: str) -> None:
    states = [one.state for one in said.witnesses]
    state = next((one.value for one in WORST if one in states), "none")
    words = "; ".join(one.words for one in said.witnesses)
    assert state == expected["state"], f"{about}: {words}"
    assert expected.get("says", "") in words, about
    if "format" in expected:
        assert said.format == expected["format"]


def test_every_format_has_a_tree() -> None:
    shown = {one["format"] for tree in TREES for one in read(tree)["acquisitions"] if "format" in one}
    assert shown >= set(BY_ID)


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.stem)
def test_a_tree_is_grouped_as_it_should_be(tree: Path, share_top: Path) -> None:
    recorded = read(tree)
    build(share_top, recorded["files"])
    share = share_of(recorded)
    found = discover(share_top, share)
    wanted = {one["path"]: one for one in recorded["acquisitions"]}
    assert set(found.acquisitions) == set(wanted)
    placed: list[str] = []
    for path, one in wanted.items():
        assert found.acquisitions[path].value == one["kind"], path
        files = files_of(share_top, path, found)
        if "files" in one:
            assert files == set(one["files"]), path
        placed += files
    assert sorted(placed) == sorted(recorded["files"])


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.stem)
def test_the_witness_says_of_a_tree_what_it_should(tree: Path, share_top: Path) -> None:
    recorded = read(tree)
    share = share_of(recorded)
    build(share_top, recorded["files"])
    for one in recorded["acquisitions"]:
        found = discover(share_top, share)
        said = asked(share_top, share, one["path"], found)
        check(said, one, one["path"])
        plate = one.get("plate")
        if plate is not None:
            is_plate = any(w.name == PLATE for w in said.witnesses)
            assert (BY_ID[said.format].plate == "plate" or is_plate) is plate
        for case in one.get("when", ()):
            before = snapshot(share_top)
            vary(share_top, case)
            found = discover(share_top, share)
            assert one["path"] in found.acquisitions, "it is the same acquisition"
            check(asked(share_top, share, one["path"], found), case, f"{one['path']}: {case}")
            restore(share_top, before)


def vary(top: Path, case: dict[str, Any]) -> None:
    for name in case.get("without", ()):
        (top / name).unlink()
    for name in case.get("cut", ()):
        data = (top / name).read_bytes()
        (top / name).write_bytes(data[: len(data) // 2])
    build(top, case.get("write", {}))


def snapshot(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def restore(top: Path, files: dict[str, bytes]) -> None:
    for path in top.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    assert (top / MARKER).exists()
