"""Which import units share one run of the importer. Pure.

A Java machine, a log-in and a look at every reader's tables cost seconds before the first byte is linked: ten
thousand single images, each with a run of its own, would take a working day. Sharing is safe because the
importer asks Bio-Formats about each path that it is given, in the order given, just as if it were alone, and
passes over a path only where an earlier one's set holds it [infer: read in the importer's sources]; the units
of an order have no file in common. What OMERO then has is held against the persisted units anyway, file by
file (`unit_rules.decide`): a set that came out otherwise is never adopted.

Alone, nevertheless:

* plates: one is hours of work in OMERO, and its own progress is what people look at;
* large sets: nothing is gained, and a failure leaves many links behind;
* a set with a file of exactly 36 bytes, which OMERO may refuse for a weakness of its own (docs/bridge.md);
* what failed before: it comes last, so that it holds up nobody, and its explanation is all its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST_UNITS = 200
"""The runs' own time is then a few hundredths of a second a unit; a bridge that is killed looks again at so
many."""
MOST_PATH_BYTES = 96 << 10
"""Of arguments. Far below what Linux takes (a quarter of the stack's limit), which the importer's own command
line shares."""
MOST_DATA_BYTES = 64 << 30
"""A run of large files is not worth sharing, and one that breaks off should not break off much."""
LARGEST_SET = 16
"""Files of a unit that may share a run."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An import unit, as far as planning goes."""

    index: int
    path: str
    """Of its main file, absolute."""
    file_count: int
    size_bytes: int
    plate: bool = False
    has_check_sized: bool = False
    """It holds a file of exactly 36 bytes."""
    failed_before: bool = False


def may_share(unit: Candidate) -> bool:
    """Whether the unit may be imported in one run with others."""
    return not (unit.plate or unit.has_check_sized or unit.failed_before or unit.file_count > LARGEST_SET)


def plan(units: Iterable[Candidate]) -> list[tuple[Candidate, ...]]:
    """The runs: shared ones first, then those of one unit, then those that failed before; each in the order
    given. Every unit is in exactly one of them."""
    shared: list[tuple[Candidate, ...]] = []
    alone: list[tuple[Candidate, ...]] = []
    last: list[tuple[Candidate, ...]] = []
    batch: list[Candidate] = []
    path_bytes = data_bytes = 0
    for unit in units:
        if not may_share(unit):
            (last if unit.failed_before else alone).append((unit,))
            continue
        length = len(unit.path.encode("utf-8", "surrogateescape")) + 1
        if batch and (
            len(batch) >= MOST_UNITS
            or path_bytes + length > MOST_PATH_BYTES
            or data_bytes + unit.size_bytes > MOST_DATA_BYTES
        ):
            shared.append(tuple(batch))
            batch, path_bytes, data_bytes = [], 0, 0
        batch.append(unit)
        path_bytes += length
        data_bytes += unit.size_bytes
    if batch:
        shared.append(tuple(batch))
    return [*shared, *alone, *last]
