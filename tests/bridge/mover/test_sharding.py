"""Every file once, and no shard much heavier than the others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.mover.sharding import FILE_COST_BYTES, shard_count, split


@dataclass(frozen=True)
class File:
    path: str
    size_bytes: int


files = st.lists(st.integers(0, 10**12), max_size=60).map(
    lambda sizes: [File(f"f{index:02d}", size) for index, size in enumerate(sizes)]
)


@given(files, st.integers(-1, 12))
def test_every_file_is_in_exactly_one_sorted_non_empty_list(listed: list[File], shards: int) -> None:
    dealt = split(listed, shards)
    assert sorted((file for part in dealt for file in part), key=lambda file: file.path) == listed
    assert all(dealt), "no empty list: rsync would have nothing to do"
    assert len(dealt) == (min(max(shards, 1), len(listed)) if listed else 0)
    assert all(part == sorted(part, key=lambda file: file.path) for part in dealt)


@given(files.filter(bool), st.integers(1, 8))
def test_the_heaviest_list_carries_at_most_the_mean_and_one_file(listed: list[File], shards: int) -> None:
    def weight(part: list[File]) -> int:
        return sum(file.size_bytes + FILE_COST_BYTES for file in part)

    dealt = split(listed, shards)
    largest = max(file.size_bytes + FILE_COST_BYTES for file in listed)
    assert max(map(weight, dealt)) <= weight(listed) / len(dealt) + largest


def test_large_files_do_not_all_fall_into_one_list() -> None:
    listed = [File(f"a{i}", 10**9) for i in range(4)] + [File(f"b{i}", 10) for i in range(1000)]
    assert [sum(file.size_bytes >= 10**9 for file in part) for part in split(listed, 4)] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("total", "count", "link", "rtt", "cores", "shards"),
    [
        (10**6, 10, 1e9, 0.04, 8, 1),  # not worth a second process
        (2 * 10**9, 10_000, 1.25e8, 0.01, 8, 1),  # one stream fills 1 Gbit/s at 10 ms
        (2 * 10**9, 10_000, 1.25e9, 0.01, 8, 6),
        (2 * 10**9, 10_000, 1.25e9, 0.04, 8, 8),
        (2 * 10**9, 10_000, 1.25e9, 0.04, 2, 2),
        (2 * 10**9, 10_000, 1.25e9, 0.0001, 8, 2),  # same rack
        (2 * 10**9, 10_000, 1.25e8, 0.0001, 8, 1),  # same rack, filled link
        (10**12, 1, 1.25e9, 0.04, 8, 1),  # one file cannot be split
        (10**12, 3, 1.25e9, 0.04, 8, 3),
    ],
)
def test_the_measured_rule(total: int, count: int, link: float, rtt: float, cores: int, shards: int) -> None:
    found = shard_count(total, count, link_bytes_per_second=link, round_trip_seconds=rtt, cores=cores)
    assert found == shards
