"""What an acquisition's names say before anything is opened: its format, and which files are worth a look.

One walk, and little is kept of it: the names of the upper two levels (a format shows itself there), the
newest files of a kind, and the few that are an index. A second walk tells which names are there at all,
where an index has to be compared with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappush, heappushpop

from agent.core.formats import grouping
from agent.core.formats.contents import CONTENTS
from agent.core.formats.rules import Check, FormatRule
from agent.core.listing import FileSeen, matches

NEWEST = 8
"""Files of one kind that are looked into: what is not whole was written last."""
MOST_INDEXES = 64
SHALLOW_LEVELS = 2
MOST_SHALLOW = 20_000
MOST_BASES = 16


@dataclass(slots=True)
class Candidates:
    """Files that a check is for."""

    count: int = 0
    newest: list[tuple[int, str, FileSeen]] = field(default_factory=list)

    def add(self, seen: FileSeen, most: int) -> None:
        """Keep it if it is among the newest."""
        self.count += 1
        item = (seen.mtime_ns, seen.path, seen)
        if len(self.newest) < most:
            heappush(self.newest, item)
        else:
            heappushpop(self.newest, item)

    @property
    def files(self) -> list[FileSeen]:
        """Those that are kept, by name."""
        return sorted((item[2] for item in self.newest), key=lambda seen: seen.path)


@dataclass(frozen=True, slots=True)
class Base:
    """A folder of the acquisition (relative; empty for itself) that is in one format."""

    folder: str
    rule: FormatRule

    def has(self, relative: str) -> bool:
        """Whether a file lies in it."""
        return not self.folder or relative.startswith(self.folder + "/")


class Survey:
    """The names of one acquisition.

    Args:
        walk: Makes a new walk over its files.
        start: What their paths begin with, and what the relative names leave out: ``folder/`` or nothing.
        format_id: The format that discovery saw; empty where it saw none.
        formats: Those that count.
    """

    def __init__(
        self,
        walk: Callable[[], Iterator[FileSeen]],
        start: str,
        format_id: str,
        formats: Sequence[FormatRule],
    ) -> None:
        self._walk = walk
        self.start = start
        shallow = _shallow(seen.path[len(start) :] for seen in walk())
        self.bases = _bases(shallow, format_id, formats)
        self.found = self._candidates()

    def relative(self, seen: FileSeen) -> str:
        """A file's name below the acquisition."""
        return seen.path[len(self.start) :]

    def _candidates(self) -> dict[tuple[int, int], Candidates]:
        """For each check of each base (by their numbers) the files it is for."""
        checks = [
            (number, place, base, check)
            for number, base in enumerate(self.bases)
            for place, check in enumerate(base.rule.checks)
        ]
        found = {(number, place): Candidates() for number, place, _base, _check in checks}
        if not checks:
            return found
        every = tuple({pattern for *_rest, check in checks for pattern in check.files})
        for seen in self._walk():
            name = seen.path.rpartition("/")[2]
            if not matches(name, every):
                continue
            relative = self.relative(seen)
            for number, place, base, check in checks:
                if base.has(relative) and matches(name, check.files):
                    most = NEWEST if check.kind in CONTENTS else MOST_INDEXES
                    found[number, place].add(seen, most)
        return found

    @cached_property
    def names(self) -> frozenset[str]:
        """Every file's relative name, without regard to case. Many: only where an index is compared."""
        return frozenset(self.relative(seen).casefold() for seen in self._walk())

    @cached_property
    def last_names(self) -> frozenset[str]:
        """The last part of every name."""
        return frozenset(name.rpartition("/")[2] for name in self.names)

    def candidates(self, base: Base, check: Check) -> Candidates:
        """The files a check is for."""
        return self.found[self.bases.index(base), base.rule.checks.index(check)]


def _shallow(names: Iterator[str]) -> dict[str, set[str]]:
    """The names in each folder of the upper levels; the acquisition itself is ``""``."""
    found: dict[str, set[str]] = {"": set()}
    count = 0
    for name in names:
        parts = name.split("/")
        folder = ""
        for part in parts[: SHALLOW_LEVELS + 1]:
            known = found.setdefault(folder, set())
            if part not in known and count < MOST_SHALLOW:
                known.add(part)
                count += 1
            folder = f"{folder}/{part}" if folder else part
    return found


def _bases(shallow: dict[str, set[str]], format_id: str, formats: Sequence[FormatRule]) -> list[Base]:
    named = next((rule for rule in formats if rule.id == format_id), None)
    found: list[Base] = []
    for folder in sorted(shallow, key=lambda one: (one.count("/"), one)):
        if any(base.has(folder + "/") for base in found) or len(found) >= MOST_BASES:
            continue
        rule = grouping.signature(shallow[folder], formats)
        if rule is not None:
            found.append(Base(folder, rule))
    if named is not None and not any(base.rule is named for base in found):
        found.append(Base("", named))
    if found:
        return found
    names = {name for folder in shallow.values() for name in folder}
    kinds = [rule for rule in formats if any(grouping.has_suffix(name, rule) for name in names)]
    special = [rule for rule in kinds if rule.id != "tiff"]
    return [Base("", rule) for rule in special or kinds]
