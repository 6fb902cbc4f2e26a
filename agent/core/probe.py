"""Does a program still have a file open for writing? Asked after the quiet time, once, where staff allow it.

A copy into a pre-allocated file, or a program that keeps its file open through the night, shows neither in
size nor in time. The system knows: it is asked for a handle that tolerates no writer, which is closed again
at once. No data is read. What is found open counts as written to in that moment, so it rests anew. It is off
unless the rule says ``probe``, because a program that opens its file in just that moment may be refused; see
the platform's own words on it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core import listing
from agent.core.witness import Witness, WitnessState

if TYPE_CHECKING:
    from agent.platform.base import Platform

OPEN = "open"
FILES_ASKED = 100
"""The newest and the largest, this many of each: what is being written is among them."""


def chosen(files: Iterable[listing.FileSeen]) -> list[listing.FileSeen]:
    """The files worth asking about; of many, only as many as are kept here are ever held."""
    newest: list[tuple[int, str, listing.FileSeen]] = []
    largest: list[tuple[int, str, listing.FileSeen]] = []
    for seen in files:
        for heap, size in ((newest, seen.mtime_ns), (largest, seen.size_bytes)):
            if len(heap) < FILES_ASKED:
                heapq.heappush(heap, (size, seen.path, seen))
            else:
                heapq.heappushpop(heap, (size, seen.path, seen))
    return sorted({seen.path: seen for *_, seen in newest + largest}.values())


def probe(platform: Platform, top: Path, files: Iterable[listing.FileSeen]) -> Witness:
    """Ask about each chosen file until one is open.

    Raises:
        ShareAway: where the share fails meanwhile.
    """
    unknown = 0
    try:
        candidates = chosen(files)
    except (listing.Gone, listing.Unreadable):
        return Witness(OPEN, WitnessState.UNKNOWN, "whether a file is still open could not be asked")
    for seen in candidates:
        answer = platform.is_being_written(top / seen.path)
        if answer:
            return Witness(
                OPEN, WitnessState.WAITING, f"{seen.path.rsplit('/', 1)[-1]} is still open in a program"
            )
        unknown += answer is None
    if unknown:
        return Witness(
            OPEN,
            WitnessState.UNKNOWN,
            f"the system does not tell of {unknown} of {len(candidates)} files whether they are open",
        )
    return Witness(OPEN, WitnessState.OK, "no program has it open for writing")
