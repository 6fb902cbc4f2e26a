"""A share counts as unchanged only when everything was seen and everything is equal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server_bridge.mover.compare import Differences, differences
from server_bridge.mover.listing import Entry, Listing, list_source
from server_bridge.mover.sources import PathSource
from server_bridge.processes.runner import ProcessRunner
from tests.bridge.mover.conftest import fill


def listing(*entries: Entry, unreadable: tuple[str, ...] = ()) -> Listing:
    return Listing("a", False, {entry.path: entry for entry in entries}, unreadable=unreadable)


def test_two_equal_listings_are_the_same_and_every_change_is_found(
    mounted: PathSource, share: Path, runner: ProcessRunner
) -> None:
    first = list_source(mounted, "lab/run 1", runner)
    assert differences(first.entries.values(), list_source(mounted, "lab/run 1", runner)).is_same
    (share / "lab/run 1/empty.txt").unlink()
    fill(share / "lab/run 1/new.tif", 5)
    os.utime(share / "lab/run 1/image.czi", (1_700_000_001, 1_700_000_001))
    fill(share / "lab/run 1/sub/meta.xml", 1_235)
    os.utime(share / "lab/run 1/sub/meta.xml", (1_700_000_000, 1_700_000_000))
    assert differences(first.entries.values(), list_source(mounted, "lab/run 1", runner)) == Differences(
        missing=("lab/run 1/empty.txt",),
        changed=("lab/run 1/image.czi", "lab/run 1/sub/meta.xml"),
        added=("lab/run 1/new.tif",),
    )


def test_an_incomplete_listing_is_never_the_same() -> None:
    entry = Entry("a/x", 1, 1)
    found = differences([entry], listing(entry, unreadable=("a/locked",)))
    assert not found.is_same
    assert found.unknown == ("a/locked",)


@pytest.mark.parametrize(
    ("seen", "tolerance", "same"),
    [
        (100, 0, True),
        (101, 0, False),
        (99, 0, False),
        (102, 2, True),
        (98, 2, True),
        (104, 2, False),
        (97, 2, False),
    ],
)
def test_times_are_compared_within_the_tolerance(seen: int, tolerance: float, same: bool) -> None:
    found = differences([Entry("a/x", 1, seen)], listing(Entry("a/x", 1, 100)), tolerance)
    assert found.is_same is same
