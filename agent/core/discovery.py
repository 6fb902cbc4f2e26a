"""Which acquisitions a share holds: entries at the rule's depth below the root, grouped as formats ask for.

Every folder between root and acquisitions is listed, and its names are divided by `agent.core.formats`. A
file that lies less deep than the rule says is an acquisition all the same, so that nothing a person saved in
the wrong place is silently left out. With `items = "folders"` what lies deeper belongs to the folder above
it; with `items = "files"` folders are looked into, but for those that a format calls one acquisition.

What is finished or ordered keeps its place and its members whatever comes beside it: an order names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.core import listing
from agent.core.acquisition import Acquisition, ignored_names, join, parent_of, root_of
from agent.core.formats import grouping
from agent.core.formats.grouping import Entry, Item
from agent.core.formats.known import KNOWN
from agent.core.formats.rules import used_by
from server_bridge.contract import AcquisitionKind, WorkstationShare

DEEPEST = 40
"""Levels below the root that are looked into with `items = "files"`."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the machine knows of an acquisition already."""

    kind: AcquisitionKind
    members: tuple[str, ...] = ()
    format: str = ""
    fixed: bool = False
    """Finished or ordered: it stays what it is."""


@dataclass(slots=True)
class Found:
    """What discovery saw: acquisitions, and which folders between root and them were listed completely."""

    acquisitions: dict[str, AcquisitionKind] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    """The same, with members and format."""
    folders: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    """Folders on the way that are there, listed or not."""
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, item: Item) -> None:
        """Note an acquisition."""
        self.acquisitions[path] = item.kind
        self.items[path] = item


@dataclass(slots=True)
class _Memory:
    """What is known already, by folder."""

    by_folder: dict[str, list[tuple[str, Known]]] = field(default_factory=dict)
    fixed_below: set[str] = field(default_factory=set)
    """Folders with something fixed in them, at any depth."""

    @classmethod
    def of(cls, known: Mapping[str, Known]) -> _Memory:
        memory = cls()
        for path, one in known.items():
            folder = parent_of(path)
            memory.by_folder.setdefault(folder, []).append((path.rpartition("/")[2], one))
            while one.fixed and folder and folder not in memory.fixed_below:
                memory.fixed_below.add(folder)
                folder = parent_of(folder)
        return memory

    def kept(self, folder: str, *, folders: bool, unlooked: Callable[[str], bool]) -> list[Item]:
        """What of a folder stays as it is: the fixed, and folders that are not looked into now.

        Args:
            folders: Whether folders may be acquisitions here. Where staff made the rule deeper, what was one
                is looked into.
        """
        return [
            Item(name, one.kind, one.members, one.format)
            for name, one in self.by_folder.get(folder, ())
            if (one.fixed and one.kind is not AcquisitionKind.FOLDER)
            or (
                one.kind is AcquisitionKind.FOLDER and folders and (one.fixed or unlooked(join(folder, name)))
            )
        ]


def discover(
    top: Path,
    share: WorkstationShare,
    *,
    known: Mapping[str, Known] | None = None,
    wanted: Callable[[str], bool] = lambda _folder: True,
    beat: listing.Beat = listing.no_beat,
) -> Found:
    """List the folders between root and acquisitions; look into none of the latter.

    Args:
        known: The acquisitions of this share that the machine knows, by path.
        wanted: Whether a folder between root and acquisitions is looked into now (the root always is).

    Raises:
        ShareAway: where the root cannot be listed.
    """
    found = Found()
    rule = share.rule
    formats = used_by(rule, KNOWN)
    ignore = ignored_names(share)
    root = root_of(share)
    memory = _Memory.of(known or {})
    deep = rule.items == "files"
    waiting = [(root, 1)]
    while waiting:
        folder, depth = waiting.pop()
        beat()
        entries = _entries(top, folder, root, found)
        if entries is None:
            continue
        names = [entry for entry in entries if entry.is_folder or not listing.matches(entry.name, ignore)]
        whole = None
        if deep and depth > rule.levels and folder != root and folder not in memory.fixed_below:
            whole = grouping.signature((entry.name for entry in names), formats)
        if whole is not None:
            found.names.discard(folder)
            title = folder.rpartition("/")[2]
            found.add(folder, Item(title, AcquisitionKind.FOLDER, format=whole.id, why=whole.title))
            continue
        found.folders.add(folder)
        here = depth >= rule.levels
        kept = memory.kept(folder, folders=here, unlooked=lambda path: deep and not wanted(path))
        grouped = grouping.group(names, formats, kept, orphans=here)
        for item in grouped.items:
            found.add(join(folder, item.name), item)
        for name in grouped.folders:
            path = join(folder, name)
            if here and not deep:
                found.add(path, Item(name, AcquisitionKind.FOLDER, why=f"a folder at depth {depth}"))
            elif depth < DEEPEST:
                found.names.add(path)
                if wanted(path):
                    waiting.append((path, depth + 1))
    return found


def _entries(top: Path, folder: str, root: str, found: Found) -> list[Entry] | None:
    """A folder's files and folders; None where it can't be listed, and why is noted."""
    try:
        entries = listing.entries_of(top / folder if folder else top)
    except PermissionError as error:
        if folder == root:
            raise listing.away(error) from error
        found.problems[folder] = error.strerror or str(error)
        return None
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder == root:
            raise listing.away(error) from error
        return None
    return list(_plain(entries))


def _plain(entries: Iterable[os.DirEntry[str]]) -> Iterable[Entry]:
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield Entry(entry.name, is_folder=True)
        elif entry.is_file(follow_symlinks=False):
            yield Entry(entry.name)


def is_missing(path: str, found: Found, root: str) -> bool:
    """Whether a complete listing did not show this acquisition, or a folder on the way to it.

    A folder that was not listed in this pass says nothing about what lies in it.
    """
    if path in found.acquisitions:
        return False
    folder = parent_of(path)
    while folder not in found.folders:
        if folder in found.acquisitions:
            return True  # the folder as a whole is one acquisition now
        if folder == root or len(folder) < len(root) or not folder:
            return False
        if parent_of(folder) in found.folders:
            return folder not in found.names
        folder = parent_of(folder)
    return True


def absorbed(path: str, item: Item, known: Iterable[Acquisition], found: Found) -> list[Acquisition]:
    """What was an acquisition of its own so far and is part of this new one now."""
    folder = parent_of(path)
    return [
        row
        for row in known
        if row.path not in found.acquisitions
        and row.path != path
        and (
            row.path.startswith(path + "/")
            if item.kind is AcquisitionKind.FOLDER
            else parent_of(row.path) == folder and _is_of(row, item.members)
        )
    ]


def _is_of(row: Acquisition, members: tuple[str, ...]) -> bool:
    name = row.path.rpartition("/")[2]
    names = [grouping.sample(one) for one in row.members] if row.members else [name]
    return any(grouping.holds(members, one) for one in names)
