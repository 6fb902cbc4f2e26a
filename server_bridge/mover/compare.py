"""Is the share still what was listed? Pure comparison of an earlier view with a listing.

Two listings of the bridge are compared exactly. The agent's manifest is compared with the share's
tolerance, because SMB and NAS file systems round times; that comparison is made once, for the bridge's
baseline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from server_bridge.mover.listing import Listing


class Seen(Protocol):
    """A file as it was seen earlier."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def mtime_s(self) -> int | float: ...


@dataclass(frozen=True)
class Differences:
    """What is not as it was, each sorted by path."""

    missing: tuple[str, ...] = ()  #: seen earlier, not listed now
    changed: tuple[str, ...] = ()  #: other size or mtime
    added: tuple[str, ...] = ()  #: listed now, not seen earlier
    unknown: tuple[
        str, ...
    ] = ()  #: folders that could not be read, names that vanished: nothing may be concluded

    @property
    def is_same(self) -> bool:
        """Whether the share is exactly what was seen. An incomplete listing never is."""
        return not (self.missing or self.changed or self.added or self.unknown)


def differences(earlier: Iterable[Seen], now: Listing, mtime_tolerance_seconds: float = 0.0) -> Differences:
    """Compare files seen earlier with a listing of the same folder."""
    before = {file.path: file for file in earlier}
    changed = [
        path
        for path, file in before.items()
        if (entry := now.entries.get(path)) is not None
        and (
            entry.size_bytes != file.size_bytes
            or not _same_time(file.mtime_s, entry.mtime_s, mtime_tolerance_seconds)
        )
    ]
    return Differences(
        missing=tuple(sorted(before.keys() - now.entries.keys())),
        changed=tuple(sorted(changed)),
        added=tuple(sorted(now.entries.keys() - before.keys())),
        unknown=tuple(sorted({*now.unreadable, *now.vanished})),
    )


def _same_time(earlier: float, listed_s: int, tolerance_seconds: float) -> bool:
    # A listing shows the whole second below: a time seen with its fraction is the same up to that second's
    # end.
    return listed_s - tolerance_seconds <= earlier < listed_s + 1 + tolerance_seconds
