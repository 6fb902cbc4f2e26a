"""Deleting the buffer's copy, file by file, only on a release that the bridge has just re-checked.

The agent's own belief never deletes anything. Each file must still be what the release names (size, mtime);
a file that changed since stays, and the report says why. Nothing outside the order's place is touched, no
link is followed, folders go only when they are empty, and never the one that a group shares with neighbours.

A file that is not there counts as gone only while the share's marker is in sight on the same volume, before
and after the look: a share that went away makes every file look gone.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath

from agent.core.errors import AgentError, ShareAway
from agent.core.listing import Beat, marker_present, no_beat
from server_bridge.contract import FreedReport, Release, ReleasedFile, WorkstationShare, place_holds

log = logging.getLogger(__name__)
_REPARSE_POINT = 0x400
FIRST_NOTE = 100
NOTE_GROWTH = 1.5
"""The next note is due when so many times as many files are gone: what is written grows with their number,
not with its square."""


class NotReleased(AgentError):
    """The bridge does not release it (yet)."""

    code = "not_released"
    title = "The copy must stay for now"


class Halt(StrEnum):
    """Why it ended before the last file."""

    ASKED = "asked"
    """A person stopped it."""
    PAUSED = "paused"
    ACQUIRING = "acquiring"
    ENDING = "ending"
    """The agent ends."""
    WITHDRAWN = "withdrawn"
    """Staff no longer let the agent delete on this share."""
    RAN_OUT = "ran-out"
    """The release is too old by now; a new one has to be asked for."""


@dataclass(slots=True)
class Freed:
    """What happened."""

    paths: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    """Of what is gone."""
    halt: Halt | None = None

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
    *,
    gone_before: frozenset[str] = frozenset(),
    may_delete: bool = True,
    halt: Callable[[], Halt | None] = lambda: None,
    seen: Callable[[Freed], None] = lambda _freed: None,
    beat: Beat = no_beat,
) -> Freed:
    """Delete what the release names.

    Args:
        note: Called with the result so far, now and then and at the end, to keep it on disk.
        gone_before: Paths that an earlier run deleted and the bridge may not know of yet: what lies there now
            is something new, whatever it looks like.
        may_delete: False only counts what is gone.
        halt: Asked before each file.
        seen: Called after each file, to show how far it is.
        beat: Called before each call to the share.

    Raises:
        NotReleased: where the release does not allow it.
        ShareAway: where the share's marker is not there, or another volume took its place. What was deleted
            until then was noted.
    """
    require_release(release, share.id, now())
    run = _Run(share, top, place, beat)
    done = Freed()
    folders: set[PurePosixPath] = set()
    next_note = 1
    try:
        for wanted in release.files:
            done.halt = Halt.RAN_OUT if _is_over(release, now()) else halt()
            if done.halt is not None:
                break
            reason = None if wanted.path in gone_before else run.free_one(wanted, may_delete=may_delete)
            if reason is None:
                done.paths.append(wanted.path)
                done.size_bytes += wanted.size_bytes
                folders.update(PurePosixPath(wanted.path).parents)
            else:
                done.skipped[wanted.path] = reason
            seen(done)
            if len(done.paths) >= next_note:
                note(done)
                next_note = max(FIRST_NOTE, int(len(done.paths) * NOTE_GROWTH))
        run.require_share()
    finally:
        note(done)
    if may_delete:
        run.remove_empty(folders)
    return done


def _is_over(release: Release, now: datetime) -> bool:
    return release.valid_until is None or now >= release.valid_until


class _Run:
    """The calls to the share, one after another."""

    def __init__(self, share: WorkstationShare, top: Path, place: Place, beat: Beat) -> None:
        self._share = share
        self._top = top
        self._place = place
        self._beat = beat
        beat()
        self._volume = marker_present(top, share.marker)

    def require_share(self) -> None:
        """Make sure that the share is the one that was there at the beginning.

        Raises:
            ShareAway: where it is not.
        """
        self._beat()
        if marker_present(self._top, self._share.marker) != self._volume:
            raise ShareAway(
                "Another volume was connected in its place while files were deleted.",
                remedy="It goes on by itself. Nothing is counted as deleted meanwhile.",
            )

    def free_one(self, wanted: ReleasedFile, *, may_delete: bool) -> str | None:
        """Delete one file. Returns why it stays; None where it is gone.

        Raises:
            ShareAway: where that cannot be known.
        """
        if not belongs(wanted.path, self._place):
            return "it does not lie in this acquisition"
        path = self._top / wanted.path
        self._beat()
        try:
            if through_link(self._top, wanted.path):
                return "a folder on the way is a link"
            reason = why_not(path, wanted, self._share.mtime_tolerance_seconds)
            if reason is None and may_delete:
                path.unlink()
            elif reason is None:
                reason = "it was not to be deleted any more"
        except FileNotFoundError:
            # Deleted already, by us before a restart or by somebody: it is off the buffer either way.
            return self._gone(path)
        except OSError as error:
            self.require_share()  # an outage is not each file's own problem
            return error.strerror or str(error)
        return reason

    def _gone(self, path: Path) -> str | None:
        self.require_share()
        self._beat()
        try:
            path.lstat()
        except FileNotFoundError:
            self.require_share()
            return None
        except OSError as error:
            self.require_share()
            return error.strerror or str(error)
        return "it was not in sight for a moment"

    def remove_empty(self, folders: set[PurePosixPath]) -> None:
        """Remove folders of the acquisition that are empty now, deepest first."""
        inside = [folder for folder in folders if self._place.holds(str(folder))]
        for folder in sorted(inside, key=lambda folder: len(folder.parts), reverse=True):
            self._beat()
            try:
                (self._top / folder).rmdir()
            except OSError as error:
                log.info("%s stays: %s", folder, error.strerror)
