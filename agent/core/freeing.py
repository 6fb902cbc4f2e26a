"""Deleting the buffer's copy, file by file, only on a release that the bridge has just re-checked.

The agent's own belief never deletes anything. Each file must still be what the release names (size, mtime);
a file that changed since stays, and the report says why. Nothing outside the order's place is touched, no
link is followed, folders go only when they are empty, and never the one that a group shares with neighbours.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

from agent.core.errors import AgentError
from agent.core.listing import marker_present
from server_bridge.contract import FreedReport, Release, ReleasedFile, WorkstationShare, place_holds

log = logging.getLogger(__name__)
_REPARSE_POINT = 0x400


class NotReleased(AgentError):
    """The bridge does not release it (yet)."""

    code = "not_released"
    title = "The copy must stay for now"


@dataclass(slots=True)
class Freed:
    """What happened."""

    paths: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def report(self) -> FreedReport:
        """As the bridge is told."""
        return FreedReport(paths=tuple(self.paths), skipped=dict(self.skipped))


def require_release(release: Release, share: str, now: datetime) -> None:
    """Make sure that a release allows deleting here and now.

    Raises:
        NotReleased: with the bridge's reason.
    """
    if not release.released or release.reason is not None or release.share != share:
        reason = release.reason
        raise NotReleased(
            reason.detail if reason else "The bridge did not release it.",
            code=reason.code if reason else "",
            title=reason.title if reason else "",
            remedy=reason.remedy if reason else "",
        )
    if release.valid_until is None or release.valid_until <= now:
        raise NotReleased(
            "The bridge's answer is too old to act upon.",
            remedy="Try again; check this workstation's clock if it stays.",
        )


@dataclass(frozen=True, slots=True)
class Place:
    """What the order is for: its path, and its members' patterns where it is a group."""

    path: str
    members: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether a file or folder lies in it."""
        return place_holds(self.path, self.members, path)


def belongs(path: str, place: Place) -> bool:
    """Whether a released path is plain and lies in the order's place."""
    pure = PurePosixPath(path)
    plain = not pure.is_absolute() and ".." not in pure.parts and "\0" not in path and "\\" not in path
    return plain and str(pure) == path and place.holds(path)


def why_not(path: Path, wanted: ReleasedFile, tolerance_seconds: float) -> str | None:
    """Why a file stays; None where it is exactly what was released.

    The time is compared within the share's tolerance, the size exactly.

    Raises:
        FileNotFoundError: where it is gone already.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file any more"
    if status.st_size != wanted.size_bytes:
        return f"its size changed from {wanted.size_bytes} to {status.st_size} bytes"
    if abs(status.st_mtime_ns - wanted.mtime_ns) > tolerance_seconds * 1e9:
        return "it was written to since it was imported"
    return None


def through_link(top: Path, path: str) -> bool:
    """Whether a folder on the way to a file is a link (or a junction)."""
    folder = top
    for part in PurePosixPath(path).parts[:-1]:
        folder = folder / part
        status = folder.lstat()
        attributes = getattr(status, "st_file_attributes", 0)
        if stat.S_ISLNK(status.st_mode) or attributes & _REPARSE_POINT:
            return True
    return False


def free(
    release: Release,
    share: WorkstationShare,
    top: Path,
    place: Place,
    now: Callable[[], datetime],
    note: Callable[[Freed], None],
) -> Freed:
    """Delete what the release names.

    Args:
        note: Called with the result so far before anything is deleted and at the end, to keep it on disk.

    Raises:
        NotReleased: where the release does not allow it.
        ShareAway: where the share's marker is not there.
    """
    require_release(release, share.id, now())
    marker_present(top, share.marker)
    done = Freed()
    folders: set[PurePosixPath] = set()
    for wanted in release.files:
        if release.valid_until is None or now() >= release.valid_until:
            done.skipped[wanted.path] = "the release ran out meanwhile"
            continue
        reason = _free_one(wanted, share, top, place)
        if reason is None:
            done.paths.append(wanted.path)
            folders.update(PurePosixPath(wanted.path).parents)
        else:
            done.skipped[wanted.path] = reason
        if len(done.paths) % 100 == 1:
            note(done)
    # A share that went away in the middle makes every file look gone.
    marker_present(top, share.marker)
    note(done)
    _remove_empty(folders, top, place)
    return done


def _free_one(wanted: ReleasedFile, share: WorkstationShare, top: Path, place: Place) -> str | None:
    if not belongs(wanted.path, place):
        return "it does not lie in this acquisition"
    path = top / wanted.path
    try:
        if through_link(top, wanted.path):
            return "a folder on the way is a link"
        reason = why_not(path, wanted, share.mtime_tolerance_seconds)
        if reason is None:
            path.unlink()
    except FileNotFoundError:
        # Deleted already, by us before a restart or by somebody: it is off the buffer either way. But only
        # if the share is there: one that went away in the middle makes every file look gone.
        marker_present(top, share.marker)
        return None
    except OSError as error:
        return error.strerror or str(error)
    else:
        return reason
    return None


def _remove_empty(folders: set[PurePosixPath], top: Path, place: Place) -> None:
    """Remove folders of the acquisition that are empty now, deepest first."""
    inside = [folder for folder in folders if place.holds(str(folder))]
    for folder in sorted(inside, key=lambda folder: len(folder.parts), reverse=True):
        try:
            (top / folder).rmdir()
        except OSError as error:
            log.info("%s stays: %s", folder, error.strerror)
