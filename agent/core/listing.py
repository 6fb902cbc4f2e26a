"""Walking the share: find by `os.scandir`, judge by `os.stat`, follow no link, read no data.

A directory listing may lie about a file that is still open (NTFS updates size and time in the directory entry
when the handle is closed), so a *judging* walk asks each file itself. Nothing is ever opened: an open handle
of ours could make the microscope's own open fail.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from agent.core.errors import ShareAway
from server_bridge.contract import is_member

_REPARSE_POINT = 0x400
"""FILE_ATTRIBUTE_REPARSE_POINT: junctions are links too, and Python 3.11 does not call them so."""


class FileSeen(NamedTuple):
    """One regular file; ``path`` is POSIX and relative to the share's top. (A tuple: there are many.)"""

    path: str
    size_bytes: int
    mtime_ns: int


class Unreadable(Exception):
    """A folder of an acquisition may not be read; the acquisition says so and the pass goes on."""

    def __init__(self, path: str, error: OSError) -> None:
        self.path = path
        super().__init__(f"{path}: {error.strerror or error}")


class Gone(Exception):
    """The acquisition is not there (any more)."""


Beat = Callable[[], None]
"""Called between two blocking calls, so that another thread can tell a slow share from a hung one."""


def no_beat() -> None:
    """Nobody watches."""


def is_link(entry: os.DirEntry[str]) -> bool:
    """Whether a name leads elsewhere: a symbolic link, or a junction on Windows."""
    if entry.is_symlink() or os.name != "nt":
        return entry.is_symlink()
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & _REPARSE_POINT)


@lru_cache(maxsize=64)
def _one_pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern.casefold()) for pattern in patterns))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file name matches one of the shell patterns, in any case (the shares are Windows')."""
    return bool(patterns) and _one_pattern(patterns).match(name.casefold()) is not None


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """The names in a folder in a stable order, links left out.

    Raises:
        FileNotFoundError, NotADirectoryError: where it is not there.
        PermissionError: where it may not be read.
        ShareAway: for everything else, which is the share's fault.
    """
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if not is_link(entry):
                        found.append(entry)
                except FileNotFoundError:
                    continue  # deleted while we looked
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise
    except OSError as error:
        raise away(error) from error
    return sorted(found, key=lambda entry: entry.name)


def away(error: OSError) -> ShareAway:
    """An error of the share itself, in words."""
    return ShareAway(
        error.strerror or str(error),
        remedy="Check the network connection of this workstation; nothing is lost meanwhile.",
    )


def walk(
    top: Path, path: str, *, members: tuple[str, ...] = (), judged: bool, beat: Beat = no_beat
) -> Iterator[FileSeen]:
    """Yield every regular file of an acquisition, in a stable order.

    Args:
        top: The share's top as this machine sees it.
        path: The acquisition's share path: a file, a folder, or a group's name in its folder.
        members: A group's patterns. Its files are then those of the entries of ``path``'s folder whose name
            matches, folders with all that is in them; its neighbours are not looked into.
        judged: Ask each file itself instead of believing the listing.

    Raises:
        Gone: where there is nothing at ``path``, or no member of the group.
        Unreadable: where a folder inside may not be read.
        ShareAway: for any other error of the share.
    """
    if members:
        yield from _walk_group(top, path, members, judged, beat)
        return
    start = top / path
    try:
        beat()
        status = start.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Gone(path) from error
    except PermissionError as error:
        raise Unreadable(path, error) from error
    except OSError as error:
        raise away(error) from error
    if stat.S_ISREG(status.st_mode):
        yield FileSeen(path, status.st_size, status.st_mtime_ns)
        return
    if not stat.S_ISDIR(status.st_mode):
        raise Gone(path)
    try:
        yield from _walk_folder(start, path, judged, beat)
    except FileNotFoundError as error:
        raise Gone(path) from error


def _walk_group(
    top: Path, path: str, members: tuple[str, ...], judged: bool, beat: Beat
) -> Iterator[FileSeen]:
    prefix = path.rpartition("/")[0]
    beat()
    try:
        entries = [entry for entry in entries_of(top / prefix) if is_member(entry.name, members)]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Gone(path) from error
    except PermissionError as error:
        raise Unreadable(prefix, error) from error
    if not entries:
        raise Gone(path)
    folders = []
    entries.reverse()
    while entries:
        entry = entries.pop()  # each holds its own status once it was asked: let it go
        name = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir(follow_symlinks=False):
            folders.append((Path(entry.path), name))
        elif (seen := _file(entry, name, judged, beat)) is not None:
            yield seen
    for folder, name in folders:
        # Deleted while we looked; the next look tells.
        with suppress(FileNotFoundError):
            yield from _walk_folder(folder, name, judged, beat)


def walk_names(top: Path, path: str, names: Iterable[str], *, beat: Beat = no_beat) -> Iterator[FileSeen]:
    """Yield a group's files by the names that a listing has just shown, in the order in which `walk` does.

    A folder with a thousand images beside each other would otherwise be listed a thousand times. Each file is
    asked itself, so that this is a judging walk.

    Raises:
        Gone, Unreadable, ShareAway: as `walk` does.
    """
    prefix = path.rpartition("/")[0]
    there, folders = False, []
    for entry in sorted(names):
        name = f"{prefix}/{entry}" if prefix else entry
        beat()
        try:
            status = (top / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise Unreadable(name, error) from error
        except OSError as error:
            raise away(error) from error
        if getattr(status, "st_file_attributes", 0) & _REPARSE_POINT:
            continue
        if stat.S_ISREG(status.st_mode):
            there = True
            yield FileSeen(name, status.st_size, status.st_mtime_ns)
        elif stat.S_ISDIR(status.st_mode):
            folders.append((top / name, name))
    if not there and not folders:
        raise Gone(path)
    for folder, name in folders:
        with suppress(FileNotFoundError):
            yield from _walk_folder(folder, name, True, beat)


def _walk_folder(start: Path, path: str, judged: bool, beat: Beat) -> Iterator[FileSeen]:
    """All files below a folder; `FileNotFoundError` where the folder itself is not there."""
    folders = [(start, path)]
    while folders:
        folder, prefix = folders.pop()
        beat()
        try:
            entries = entries_of(folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            if prefix == path:
                raise FileNotFoundError(path) from error
            continue  # deleted while we looked; the next look tells
        except PermissionError as error:
            raise Unreadable(prefix, error) from error
        below = []
        entries.reverse()
        while entries:
            entry = entries.pop()  # each holds its own status once it was asked: let it go
            name = f"{prefix}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                below.append((folder / entry.name, name))
                continue
            seen = _file(entry, name, judged, beat)
            if seen is not None:
                yield seen
        folders.extend(reversed(below))


def _file(entry: os.DirEntry[str], name: str, judged: bool, beat: Beat) -> FileSeen | None:
    try:
        if judged:
            beat()
            status = os.stat(entry.path, follow_symlinks=False)  # noqa: PTH116 - a Path costs as much again
        else:
            status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Unreadable(name, error) from error
    except OSError as error:
        raise away(error) from error
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileSeen(name, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What is kept of an acquisition's files: a few numbers, however many files there are.

    ``fingerprint`` covers the files that count for "finished"; ``content`` covers all, as a manifest does.
    """

    file_count: int
    size_bytes: int
    newest_mtime_ns: int
    fingerprint: bytes
    content: bytes
    counted: int
    """Files that no ignore pattern covers; none means there is no acquisition here (yet)."""


def digest_of(seen: FileSeen) -> bytes:
    """One file's contribution to a fingerprint."""
    return f"{seen.path}\0{seen.size_bytes}\0{seen.mtime_ns}\n".encode("utf-8", "surrogateescape")


def is_ignored(path: str, ignore: tuple[str, ...]) -> bool:
    """Whether a file counts as no sign of life: its name matches one of the patterns."""
    return matches(path.rpartition("/")[2], ignore)


def marker_present(top: Path, marker: str) -> int:
    """Make sure that the share is there.

    Returns:
        The device that the marker lies on: another number is another volume, or the same one mounted anew.

    Raises:
        ShareAway: where its marker file is not: an unmounted folder is an outage, never an empty share.
    """
    try:
        return (top / marker).stat().st_dev
    except OSError as error:
        raise ShareAway(
            f"{top}: the marker file {marker} is not there ({error.strerror or error}).",
            remedy="Check that the share is connected. Nothing is counted as deleted meanwhile.",
        ) from error
