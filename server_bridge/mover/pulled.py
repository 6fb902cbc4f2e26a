"""The nouns of a pull: what is wanted, what came, what did not and why."""

from __future__ import annotations

from dataclasses import dataclass

from server_bridge.mover.verdict import Verdict


@dataclass(frozen=True, slots=True)
class WantedFile:
    """One file of the bridge's own listing: what must arrive. ``mtime_s`` in whole seconds, rounded down."""

    path: str
    size_bytes: int
    mtime_s: int


@dataclass(frozen=True, slots=True)
class PulledFile:
    """One file that is in staging under its final name, looked at, with the SHA-1 that rsync computed."""

    path: str
    size_bytes: int
    mtime_s: int
    sha1: str


@dataclass(frozen=True)
class PendingFile:
    """One file that is not there, and why: a stable ``code`` and what rsync said."""

    path: str
    code: str
    detail: str = ""


@dataclass(frozen=True)
class PullLimits:
    """Bounds of one pull. ``bandwidth_kib_per_second`` is for the whole pull, shared by its processes."""

    shards: int = 1
    stall_seconds: float = 60.0
    bandwidth_kib_per_second: int | None = None
    compress: bool = False
    keep_free_bytes: int = 0
    reserve_ratio: float = 0.10
    progress_seconds: float = 0.5


@dataclass(frozen=True)
class PullOutcome:
    """What is true after the pull, whatever happened in it."""

    confirmed: tuple[PulledFile, ...]
    pending: tuple[PendingFile, ...]
    verdict: Verdict
    bytes_done: int  #: sizes of the confirmed files
    new_files: int  #: confirmed by this call; 0 again and again means that somebody must look
    moved: bool  #: whether this call brought a file, or more of one than there was
    unlisted: tuple[str, ...] = ()  #: arrived though nobody asked for them; now in the quarantine directory
    ended_orphans: tuple[int, ...] = ()  #: pids of a killed bridge's children that were ended first
    duration_seconds: float = 0.0
    said: str = ""  #: what rsync wrote on its standard error, head and tail, one block per process
