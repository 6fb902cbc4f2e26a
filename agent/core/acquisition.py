"""What belongs together: entries at the rule's depth below the workstation's root, one card each.

A file that lies less deep is an acquisition of its own, so that nothing a person saved in the wrong place is
silently left out. What lies deeper belongs to the folder above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agent.core import listing
from agent.core.witness import Witness, waiting
from server_bridge.contract import AcquisitionKind, WorkstationShare


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What the machine knows of one acquisition. Nothing in here is a person's order."""

    id: str
    share: str
    path: str
    kind: AcquisitionKind
    first_seen_at: datetime
    person_then: str
    """Who was signed in when it was first seen; empty where nobody or more than one was."""
    file_count: int
    size_bytes: int
    last_change_at: datetime
    fingerprint: bytes
    content: bytes
    finished_at: datetime | None = None
    override: str = ""
    override_at: datetime | None = None
    rests_since: datetime | None = None
    """Quiet time counts from here: later than the last change where nobody watched, or "not yet" was said."""
    quiet_needed_seconds: float = 0.0
    """What it has to rest; 0 where nobody judged it yet."""
    reopened_at: datetime | None = None
    """When it was last seen written again after it had been judged finished."""
    witnesses: tuple[Witness, ...] = ()
    """What else speaks for or against "finished"."""
    problem: str = ""
    """What kept us from looking into it."""
    successor_of: str = ""
    """The acquisition at the same place that OMERO took before this one changed."""

    @property
    def holds(self) -> tuple[str, ...]:
        """Why it is not judged finished, besides the quiet time."""
        return tuple(witness.words for witness in waiting(self.witnesses))

    @property
    def title(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(slots=True)
class Found:
    """What discovery saw: acquisitions, and which folders between root and them were listed completely."""

    acquisitions: dict[str, AcquisitionKind] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    """Folders on the way that are there, listed or not."""
    problems: dict[str, str] = field(default_factory=dict)


def root_of(share: WorkstationShare) -> str:
    """The root below the share's top; empty for the top itself."""
    return share.root.strip("/").removeprefix("./").replace("/./", "/") if share.root not in (".", "") else ""


def join(prefix: str, name: str) -> str:
    """A share path."""
    return f"{prefix}/{name}" if prefix else name


def parent_of(path: str) -> str:
    """The folder a path lies in; empty for the share's top."""
    return path.rpartition("/")[0]


def ignored_names(share: WorkstationShare) -> tuple[str, ...]:
    """Patterns of files that are no acquisition and no sign of life."""
    return (*share.rule.ignore, *share.ignore_patterns, share.marker)


def discover(
    top: Path,
    share: WorkstationShare,
    *,
    wanted: Callable[[str], bool] = lambda _folder: True,
    beat: listing.Beat = listing.no_beat,
) -> Found:
    """List the folders between root and acquisitions; look into none of the latter.

    Args:
        wanted: Whether a folder between root and acquisitions is looked into now (the root always is).

    Raises:
        ShareAway: where the root cannot be listed.
    """
    found = Found()
    ignore = ignored_names(share)
    root = root_of(share)
    waiting = [(root, 1)]
    while waiting:
        folder, depth = waiting.pop()
        beat()
        try:
            entries = listing.entries_of(top / folder if folder else top)
        except PermissionError as error:
            if folder == root:
                raise listing.away(error) from error
            found.problems[folder] = error.strerror or str(error)
            continue
        except (FileNotFoundError, NotADirectoryError) as error:
            if folder == root:
                raise listing.away(error) from error
            continue
        found.folders.add(folder)
        for entry in entries:
            path = join(folder, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if depth >= share.rule.depth:
                    found.acquisitions[path] = AcquisitionKind.FOLDER
                else:
                    found.names.add(path)
                    if wanted(path):
                        waiting.append((path, depth + 1))
            elif entry.is_file(follow_symlinks=False) and not listing.matches(entry.name, ignore):
                found.acquisitions[path] = AcquisitionKind.FILE
    return found


def is_missing(path: str, found: Found, root: str) -> bool:
    """Whether a complete listing did not show this acquisition, or a folder on the way to it.

    A folder that was not listed in this pass says nothing about what lies in it.
    """
    if path in found.acquisitions:
        return False
    folder = parent_of(path)
    while folder not in found.folders:
        if folder == root or len(folder) < len(root) or not folder:
            return False
        if parent_of(folder) in found.folders:
            return folder not in found.names
        folder = parent_of(folder)
    return True
