"""How many rsync processes pull one order, and which file goes to which. Pure functions.

One TCP stream carries about 2.4 MB per round trip with Linux's default send buffer, so latency, not rsync,
limits a single process; several in parallel fill the link. On a link that one stream fills already they
give nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

#: What a small file costs beside its bytes, expressed in bytes (50-60 us at about 1 GB/s on loopback).
FILE_COST_BYTES = 100_000
#: Stream rate times round trip with the default maximum of the sender's tcp_wmem.
STREAM_WINDOW_BYTES = 2.4e6
MOST_SHARDS = 8
_SMALL_BYTES = 256_000_000
_SMALL_FILES = 5_000


class Sized(Protocol):
    """Anything with a path and a size."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


def split(files: Sequence[Item], shards: int) -> list[list[Item]]:
    """Deal files to at most ``shards`` lists, largest first to the list with the least work.

    Every file is in exactly one list, no list is empty, each is sorted by path. The heaviest list carries
    at most the mean plus one file's weight (longest-processing-time rule).
    """
    count = max(1, min(shards, len(files)))
    if not files:
        return []
    loads = [(0, index) for index in range(count)]
    lists: list[list[Item]] = [[] for _ in range(count)]
    for item in sorted(files, key=lambda item: (-item.size_bytes, item.path)):
        load, index = heapq.heappop(loads)
        lists[index].append(item)
        heapq.heappush(loads, (load + item.size_bytes + FILE_COST_BYTES, index))
    for dealt in lists:
        dealt.sort(key=lambda item: item.path)
    return lists


def shard_count(
    total_bytes: int, files: int, *, link_bytes_per_second: float, round_trip_seconds: float, cores: int
) -> int:
    """How many processes pay off, by the measured rule. At least 1, at most `MOST_SHARDS`, ``cores`` and
    ``files``.
    """
    if files <= 1 or (total_bytes < _SMALL_BYTES and files < _SMALL_FILES):
        return 1
    most = max(1, min(MOST_SHARDS, cores, files))
    if round_trip_seconds < 1e-3:
        # Loopback, same rack: two are enough, eight are not better. A slow link is full with one all the
        # same.
        return 1 if link_bytes_per_second <= 150e6 else min(2, most)
    per_stream = STREAM_WINDOW_BYTES / round_trip_seconds
    if link_bytes_per_second <= per_stream:
        return 1
    return min(most, math.ceil(link_bytes_per_second / per_stream))
