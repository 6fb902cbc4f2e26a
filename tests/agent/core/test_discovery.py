"""Whatever lies on a share: every file is in one acquisition, and what was settled stays where it is."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.core import discovery, listing
from agent.core.discovery import Found, Known, discover, is_missing
from server_bridge.contract import WorkstationShare
from tests.agent.conftest import workstation_share

FOLDERS = ("alice", "bob", "run", "_img_", "_exp1_", "p.zarr", "TimePoint_1", "Images", "Pos0")
FILES = (
    *(
        "img.vsi",
        "IMG.vsi",
        "exp1.oir",
        "exp1_00001",
        "exp1.czi",
        "exp1 (1).czi",
        "a.lif",
        "a.lifext",
        "a.nd2",
    ),
    *("exp1.companion.ome", "exp1_s1.ome.tif", "exp1_t1.tif", "exp1_t2.tif", "exp10_t1.tif", "s[1]_z1.tif"),
    *(
        "p.HTD",
        "metadata.txt",
        "NDTiff.index",
        "MeasurementData.mlf",
        "Thumbs.db",
        "x.tmp",
        "notes.txt",
        ".zgroup",
    ),
)
paths = st.lists(
    st.builds(
        lambda folders, name: "/".join((*folders, name)),
        st.lists(st.sampled_from(FOLDERS), max_size=3),
        st.sampled_from(FILES),
    ),
    max_size=14,
    # Names that differ by case are one file on Windows.
    unique_by=str.casefold if sys.platform == "win32" else str,
)
rules = st.sampled_from(
    [
        {"depth": 1},
        {"depth": 2},
        {"items": "files"},
        {"items": "files", "template": "{user}/{acquisition}"},
        {"depth": 2, "formats": ()},
        {"items": "files", "formats": ("+tiff-counter",)},
    ]
)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


def build(top: Path, files: list[str]) -> None:
    for name in files:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def fresh(scratch: Path) -> Path:
    for path in scratch.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return scratch


def contents(top: Path, found: Found) -> dict[str, set[str]]:
    """Acquisition → its files, as an order would bring them."""
    return {
        path: {seen.path for seen in listing.walk(top, path, members=item.members, judged=False)}
        for path, item in found.items.items()
    }


def counts(name: str) -> bool:
    """Whether a file counts: junk beside acquisitions is none, junk in one travels with it."""
    return not listing.matches(name.rpartition("/")[2], ("Thumbs.db", "*.tmp"))


def known_from(found: Found, fixed: set[str]) -> dict[str, Known]:
    return {
        path: Known(item.kind, item.members, item.format, path in fixed) for path, item in found.items.items()
    }


bounded = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@bounded
@given(paths, rules)
def test_every_file_is_in_exactly_one_acquisition(
    scratch: Path, files: list[str], rule: dict[str, object]
) -> None:
    top = fresh(scratch)
    build(top, files)
    found = discover(top, workstation_share(**rule))
    placed: dict[str, str] = {}
    for path, held in contents(top, found).items():
        for name in held:
            assert name not in placed, f"{name} is in {placed[name]} and in {path}"
            placed[name] = path
    assert set(placed) >= {name for name in files if counts(name)}
    assert set(placed) <= set(files)
    assert not any(is_missing(path, found, "") for path in found.acquisitions)


@bounded
@given(paths, rules, st.randoms(use_true_random=False))
def test_the_order_of_a_listing_does_not_matter(
    scratch: Path, files: list[str], rule: dict[str, object], chance: random.Random
) -> None:
    top = fresh(scratch)
    build(top, files)
    share = workstation_share(**rule)
    plain = discover(top, share)
    real = discovery._plain

    def shuffled(entries: object) -> list[object]:
        listed = list(real(entries))  # type: ignore[arg-type]
        chance.shuffle(listed)
        return listed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "_plain", shuffled)
        assert discover(top, share).items == plain.items


@bounded
@given(paths, rules, st.integers(0, 14), st.sets(st.integers(0, 14)))
@example(["exp1_s1.ome.tif", "exp1.companion.ome"], {"depth": 1}, 1, {0})
@example(["run/a.nd2", "run/metadata.txt"], {"items": "files"}, 1, {0})
@example(["_img_/a.nd2", "img.vsi"], {"depth": 1}, 1, {0})
@example(["exp1_t1.tif", "exp1_t2.tif"], {"depth": 1}, 1, {0})
def test_what_is_finished_or_ordered_keeps_every_file_as_more_come(
    scratch: Path, files: list[str], rule: dict[str, object], cut: int, chosen: set[int]
) -> None:
    top, share = fresh(scratch), workstation_share(**rule)
    build(top, files[:cut])
    first = discover(top, share)
    settled = {path for number, path in enumerate(sorted(first.acquisitions)) if number in chosen}
    before = contents(top, first)
    build(top, files[cut:])
    second = discover(top, share, known=known_from(first, settled))
    after = contents(top, second)
    for path in settled:
        assert after[path] >= before[path], f"{path} lost files"
    seen = [name for held in after.values() for name in held]
    assert len(seen) == len(set(seen)), "no file is in two"
    assert set(seen) >= {name for name in files if counts(name)}


@bounded
@given(paths, rules)
def test_a_second_look_finds_the_same(scratch: Path, files: list[str], rule: dict[str, object]) -> None:
    """Also where folders are not looked into this time: nothing known is missing for that."""
    top, share = fresh(scratch), workstation_share(**rule)
    build(top, files)
    first = discover(top, share)
    known = known_from(first, set(first.acquisitions))
    assert discover(top, share, known=known).acquisitions == first.acquisitions
    hot = discover(top, share, known=known, wanted=lambda _folder: False)
    assert not [path for path in first.acquisitions if is_missing(path, hot, "")]


def test_the_root_itself_is_never_an_acquisition(share_top: Path) -> None:
    share: WorkstationShare = workstation_share(items="files")
    build(share_top, ["p.HTD", "x.tif"])
    assert set(discover(share_top, share).acquisitions) == {"p.HTD", "x.tif"}
