"""Numbered series: files that differ only in the numbers of their axes. Pure.

Which numbers may differ is read from each name alone, so that the answer does not depend on which files are
there already: ``exp1_t001.tif`` and ``exp10_t001.tif`` are two series, because the number in ``exp1`` is
part of a name and the one in ``_t001`` is an axis. The patterns of a series are chosen at first sight and
leave room for longer numbers (``t9``, ``t10``); they match digits only, so that they take no file of another
series (``exp1_t001_copy.tif``).
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

MOST_PATTERNS = 31
"""A group has at most 32 members, and its file itself may be one of them."""
LONGEST = 255

_SUFFIX = re.compile(r"(\.ome)?\.tiff?$", re.IGNORECASE)
_STRONG = "t|z|ch|time|timepoint|frame|plane|slice|channel"
_WEAK = "c|w|s|p|f|m|x|y|xy|pos|position|site|field|tile|series|view|well|scene"
_AXIS = re.compile(
    rf"(?:^|(?<=[_\-. 0-9]))({_STRONG}|{_WEAK})([_\-]?)(\d+)(?=$|[_\-. ()]|(?:{_STRONG}|{_WEAK})\d)",
    re.IGNORECASE,
)
_IS_STRONG = re.compile(rf"(?:{_STRONG})$", re.IGNORECASE)
_COUNTER = re.compile(r"(\d{3,})$")


@dataclass(frozen=True, slots=True)
class Key:
    """What the files of one series have in common: the text between their numbers."""

    pieces: tuple[str, ...]

    @property
    def title(self) -> str:
        """``exp1_t*.tif``."""
        return "*".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A name, taken apart."""

    key: Key
    numbers: tuple[str, ...]


def parse(name: str, *, counter: bool) -> Numbered | None:
    """Take a file name apart; None where it is no name of a series.

    Args:
        counter: Whether a plain padded number at the end (``img_0001.tif``) is one, or only the numbers of
        axes.
    """
    suffix = _SUFFIX.search(name)
    if suffix is None:
        return None
    stem = name[: suffix.start()]
    spans = _axes(stem)
    if not spans and counter:
        found = _COUNTER.search(stem)
        spans = [found.span(1)] if found and found.start() > 0 else []
    if not spans:
        return None
    pieces, numbers, at = [], [], 0
    for start, end in spans:
        pieces.append(stem[at:start])
        numbers.append(stem[start:end])
        at = end
    pieces.append(stem[at:] + suffix.group(0))
    return Numbered(Key(tuple(pieces)), tuple(numbers))


def _axes(stem: str) -> list[tuple[int, int]]:
    found = list(_AXIS.finditer(stem))
    if not any(_IS_STRONG.match(one.group(1)) for one in found):
        return []  # "sample_s1" and "mouse_p2" are names that people give
    return [one.span(3) for one in found]


def patterns(key: Key, seen: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The members of a series: shell patterns that match its names and no other.

    Args:
        seen: The numbers of the names that are there.

    Returns:
        Nothing where they would be too many or too long.
    """
    columns = list(zip(*seen, strict=True))
    widths = [_widths(set(column)) for column in columns]
    while _count(options for options, _ in widths) > MOST_PATTERNS:
        spare = [(options - needed, number) for number, (options, needed) in enumerate(widths)]
        wide = max(spare, key=lambda one: (len(one[0]), -one[1]))
        if not wide[0]:
            return ()
        widths[wide[1]][0].discard(max(wide[0]))
    pieces = [glob.escape(piece) for piece in key.pieces]
    made = []
    for choice in product(*(sorted(options) for options, _ in widths)):
        text = pieces[0]
        for digits, piece in zip(choice, pieces[1:], strict=True):
            text += "[0-9]" * digits + piece
        made.append(text)
    if any(len(text) > LONGEST for text in made) or len(key.title) > LONGEST:
        return ()
    return tuple(made)


def _widths(numbers: set[str]) -> tuple[set[int], set[int]]:
    """How many digits a number may have: all that fit, and those that are there."""
    needed = {len(number) for number in numbers}
    padded = [len(number) for number in numbers if number[0] == "0" and len(number) > 1]
    if padded:
        return needed | {min(padded), min(padded) + 1}, needed
    return needed | {1, 2, 3, 4, 5}, needed


def _count(options: Iterable[set[int]]) -> int:
    total = 1
    for one in options:
        total *= len(one)
    return total
