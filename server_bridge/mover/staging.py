"""The order's directory in staging: what lies there, what an interrupted run left, whether there is room.

Staged files are later hard-linked by OMERO, so nothing here ever writes into a file, and nothing touches a
file that has a second link. An interrupted rsync leaves two things behind: partial files in
``.rsync-partial`` (it uses them again by itself), and after a kill -9 a ``.NAME.XXXXXX`` of mode 0600
beside the target, which it would never use and never remove. Both become partial files here, so that the
next run sends only what is missing.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from server_bridge.errors import NeedsAttention
from server_bridge.mover.command import DIRECTORY_MODE, PARTIAL_DIR
from server_bridge.mover.paths import shown

_TEMPORARY = re.compile(r"\.(.+)\.[A-Za-z0-9]{6}\Z", re.DOTALL)


class StagingUnexpected(NeedsAttention):
    """Something in the order's staging directory is not what the bridge put there. Nothing was touched."""

    code = "staging_unexpected"
    title = "The staging directory holds something unexpected"


@dataclass(frozen=True)
class Space:
    """Room on the staging disk, for an unprivileged user."""

    free_bytes: int
    free_files: int | None  #: None where the file system has no such limit


def measure_space(path: Path) -> Space:
    """Room on the file system of ``path``: statvfs(2)."""
    found = os.statvfs(path)
    return Space(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


MeasureSpace = Callable[[Path], Space]


def lacking_space(
    needed_bytes: int,
    needed_files: int,
    space: Space,
    keep_free_bytes: int,
    reserve_ratio: float,
    *,
    promised_bytes: int = 0,
    promised_files: int = 0,
) -> str | None:
    """Say what is missing for a pull of that size, or None when it fits with its reserve.

    ``promised_bytes`` and ``promised_files`` are free now and belong to pulls that run already.
    """
    wanted = int(needed_bytes * (1 + reserve_ratio)) + keep_free_bytes + promised_bytes
    if needed_files and space.free_bytes < wanted:
        running = f", {promised_bytes:,} of them for pulls that run already" if promised_bytes else ""
        return (
            f"{needed_bytes:,} bytes are to come and {space.free_bytes:,} are free{running}; with the "
            f"reserve {wanted - space.free_bytes:,} bytes are missing."
        )
    # Folders and partial files need names of their own; the reserve is meant for them too.
    names = int(needed_files * (1 + reserve_ratio)) + promised_files
    if needed_files and space.free_files is not None and space.free_files < names:
        running = f", {promised_files:,} of them for pulls that run already" if promised_files else ""
        return (
            f"{needed_files:,} files are to come and the disk has room for {space.free_files:,} more "
            f"names{running}."
        )
    return None


def is_complete(path: Path | str, size_bytes: int, mtime_s: int) -> bool:
    """Whether the final name is a regular file of exactly this size and, in whole seconds, this mtime."""
    return is_whole(look(path), size_bytes, mtime_s)


def is_whole(found: os.stat_result | None, size_bytes: int, mtime_s: int) -> bool:
    """:func:`is_complete`, for a name that was looked at already."""
    return (
        found is not None
        and stat.S_ISREG(found.st_mode)
        and found.st_size == size_bytes
        and found.st_mtime_ns // 1_000_000_000 == mtime_s
    )


def look(path: Path | str) -> os.stat_result | None:
    """lstat, or None when there is no such name."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def make_directories(staging_dir: Path, paths: Iterable[str]) -> set[Path]:
    """Make the order's directory and every folder its files need (mode 2770); return the folders of the
    files.

    Made here and not by rsync, so that parallel runs do not race for them. Raises `StagingUnexpected` when
    a link or a file is in the way.
    """
    folders = {staging_dir / parent for parent in {path.rpartition("/")[0] for path in paths}}
    needed = {staging_dir}
    for folder in folders:
        while folder not in needed:
            needed.add(folder)
            folder = folder.parent
    staging_dir.parent.mkdir(parents=True, exist_ok=True)
    for folder in sorted(needed):
        try:
            folder.mkdir()
        except FileExistsError:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise StagingUnexpected(
                    f"{folder} should be a directory.", remedy="Staff must look at it and move it away."
                ) from None
        else:
            # mkdir's mode is masked by the umask and cannot set the set-group-id bit everywhere.
            folder.chmod(DIRECTORY_MODE)
    return folders


def adopt_leftovers(folders: Iterable[Path], wanted: Callable[[str], bool]) -> int:
    """Turn what killed runs left in these folders into partial files; return how many.

    Call it only when no rsync runs on the directory. ``wanted`` tells whether a final name is still to be
    pulled; leftovers of other names are removed (they have no reader any more).
    """
    adopted = 0
    for folder in folders:
        for leftover, name in _leftovers(folder):
            target = folder / PARTIAL_DIR / name
            if wanted(f"{folder}/{name}") and _is_larger(leftover, target):
                _move_to_partial(leftover, target)
                adopted += 1
            else:
                leftover.unlink()
        _make_writable(folder / PARTIAL_DIR)
    return adopted


def _leftovers(folder: Path) -> list[tuple[Path, str]]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.match(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            facts = entry.stat(follow_symlinks=False)
            # Final files are 0440: an acquisition's own file of such a name is never taken for a leftover.
            if stat.S_IMODE(facts.st_mode) == 0o600 and facts.st_nlink == 1:
                found.append((Path(entry.path), match[1]))
    return found


def _is_larger(leftover: Path, partial: Path) -> bool:
    existing = look(partial)
    return existing is None or leftover.lstat().st_size > existing.st_size


def _move_to_partial(path: Path, target: Path) -> None:
    with contextlib.suppress(FileExistsError):
        target.parent.mkdir()
        target.parent.chmod(0o700)
    path.rename(target)


def _make_writable(partial_dir: Path) -> None:
    # rsync 3.2.7 of Debian 12 cannot use a read-only partial file and fails that file for ever.
    if look(partial_dir) is None:
        return
    with os.scandir(partial_dir) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_nlink == 1:
                Path(entry.path).chmod(0o600)


def demote(path: Path) -> None:
    """Make a complete file whose digest was lost a partial file again.

    The next pull then reads the source in full and computes the digest anew, but sends only what differs.
    Raises `StagingUnexpected` for a file with a second link: OMERO may hold it.
    """
    found = path.lstat()
    if found.st_nlink != 1:
        raise already_linked(path.name)
    target = path.parent / PARTIAL_DIR / path.name
    _move_to_partial(path, target)
    target.chmod(0o600)


def already_linked(path: str) -> StagingUnexpected:
    """The error for a staged file that must not be touched any more."""
    return StagingUnexpected(
        f"{shown(path)!r} in staging has a second link: an import of it began.",
        code="staging_linked",
        title="The staged data already belongs to an import",
        remedy="Staff must look at the order: its files may no longer be pulled again.",
    )


def drop_partial(path: Path) -> None:
    """Remove the partial file of one final name, if there is one."""
    (path.parent / PARTIAL_DIR / path.name).unlink(missing_ok=True)


def clear_partials(folders: Iterable[Path]) -> None:
    """Remove the partial files of these folders: everything has arrived, or the disk is full."""
    for folder in folders:
        partial_dir = folder / PARTIAL_DIR
        if look(partial_dir) is None:
            continue
        with os.scandir(partial_dir) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    Path(entry.path).unlink()
        with contextlib.suppress(
            OSError
        ):  # something that is not ours keeps it: the reader ignores the folder
            partial_dir.rmdir()


def partial_bytes(folders: Iterable[Path]) -> int:
    """How much of unfinished files these folders hold, for the next pull to go on from."""
    total = 0
    for folder in folders:
        partial_dir = folder / PARTIAL_DIR
        if look(partial_dir) is None:
            continue
        with os.scandir(partial_dir) as entries:
            total += sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    return total


def quarantine(staging_dir: Path, quarantine_dir: Path, names: Sequence[str]) -> list[Path]:
    """Move arrived names that nobody asked for out of the order's directory; return where they are now.

    Both directories must be on one file system. An empty folder is removed instead.
    """
    moved = []
    for name in names:
        path = staging_dir / name
        found = look(path)
        if found is None:
            continue
        if stat.S_ISDIR(found.st_mode):
            with contextlib.suppress(OSError):  # not empty: its files are quarantined by their own names
                path.rmdir()
            continue
        target = quarantine_dir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        count = 1
        while look(target) is not None:
            target = target.with_name(f"{Path(name).name}.{count}")
            count += 1
        path.rename(target)
        moved.append(target)
    return moved
