"""Manifest against listing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server_bridge.errors import NeedsAttention, TransientFailure
from server_bridge.mover.listing import Entry, Listing, SkippedEntry
from server_bridge.pipeline import compare
from server_bridge.pipeline.compare import Expected


def listing(*entries: Entry, **more: object) -> Listing:
    return Listing("run", False, {entry.path: entry for entry in entries}, **more)  # type: ignore[arg-type]


def test_what_the_site_ignores_may_lie_there_unlisted_and_nothing_else() -> None:
    now = listing(Entry("run/a", 1, 100), Entry("run/Thumbs.db", 9, 100), Entry("run/b", 1, 100))
    found = compare.against_manifest(
        [Expected("run/a", 1, 100.5)], now, 2.0, lambda path: path.endswith("Thumbs.db")
    )
    assert found.added == ("run/b",)


@given(st.integers(1, 3), st.integers(0, 2**31), st.integers(0, 10**9 - 1), st.floats(-2, 2))
def test_times_within_the_tolerance_are_the_same(
    size: int, seconds: int, nanoseconds: int, shift: float
) -> None:
    seen = compare.from_agent("run/a", size, seconds * 10**9 + nanoseconds)
    listed = int(seconds + shift // 1)
    found = compare.against_manifest([seen], listing(Entry("run/a", size, listed)), 2.0, lambda _path: False)
    assert found.is_same


def test_a_clock_that_is_an_hour_off_is_told_from_writing() -> None:
    files = [Expected(f"run/{name}", 5, 1000.0 * name) for name in range(1, 4)]
    now = listing(*(Entry(file.path, 5, int(file.mtime_s) + 3600) for file in files))
    assert compare.clock_offset_seconds(files, now, 2.0) == 3600
    one_moved = listing(
        *(Entry(file.path, 5, int(file.mtime_s)) for file in files[:2]), Entry("run/3", 5, 9000)
    )
    assert compare.clock_offset_seconds(files, one_moved, 2.0) is None
    other_size = listing(*(Entry(file.path, 6, int(file.mtime_s) + 3600) for file in files))
    assert compare.clock_offset_seconds(files, other_size, 2.0) is None


def test_an_incomplete_listing_decides_nothing() -> None:
    assert isinstance(compare.incomplete(listing(unreadable=("run/secret",))), NeedsAttention)
    assert isinstance(compare.incomplete(listing(vanished=("run/gone",))), TransientFailure)
    assert compare.incomplete(listing()) is None


def test_an_ordered_link_is_named() -> None:
    error = compare.not_plain(["run/a", "run/l"], listing(skipped=(SkippedEntry("run/l", "link"),)))
    assert error is not None
    assert (error.code, error.detail) == ("source_not_a_file", "'run/l' is a link.")


def test_differences_are_told_with_a_few_names() -> None:
    files = [Expected(f"run/{number}", 1, 10.0) for number in range(6)]
    found = compare.against_manifest(files, listing(Entry("run/new", 1, 1)), 0.0, lambda _path: False)
    assert compare.describe(found) == "new: 'run/new'; gone: 'run/0', 'run/1', 'run/2' and 3 more"


def test_names_that_differ_only_in_spelling_are_told_from_writing() -> None:
    nfc, nfd = "run/\u00e9.tif", "run/e\u0301.tif"

    def found(manifest: list[Expected], *entries: Entry) -> tuple[str, str] | None:
        return compare.spelt_differently(
            compare.against_manifest(manifest, listing(*entries), 0.0, lambda _path: False)
        )

    assert found([Expected(nfc, 1, 5)], Entry(nfd, 1, 5)) == (nfc, nfd)
    assert found(
        [Expected("run/A", 1, 5), Expected("run/b", 1, 5)], Entry("run/a", 1, 5), Entry("run/b", 1, 5)
    )
    assert found([Expected(nfc, 1, 5)], Entry(nfc, 1, 5)) is None
    assert found([Expected(nfc, 1, 5)], Entry(nfc, 2, 5)) is None
    assert found([Expected("run/old", 1, 5)], Entry("run/new", 1, 5)) is None
    assert found([Expected(nfc, 1, 5)], Entry(nfd, 1, 5), Entry("run/more", 1, 5)) is None
