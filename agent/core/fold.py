"""A look at one acquisition that may take several passes: it stops when its budget is used up, and goes on.

Between two passes nothing is open and nothing is kept but where it stood: the digests, the folders that wait,
and the rest of the one listing it was in. What changed behind its back in a place it had been at makes the
*next* look differ, and it takes two equal looks to finish anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.core import listing
from agent.core.scan_budget import LOOK_AT_THE_CLOCK_EVERY, Slice
from server_bridge.contract import AcquisitionKind


class Fold:
    """Folds files into an aggregate, step by step, keeping none of them."""

    def __init__(self, files: Iterator[listing.FileSeen], ignore: tuple[str, ...] = ()) -> None:
        self._files = files
        self._ignore = ignore
        self._fingerprint = hashlib.blake2b(digest_size=16)
        self._content = hashlib.blake2b(digest_size=16)
        self._count = self._size = self._newest = self._counted = 0

    def go_on(self, allowed: Slice | None = None) -> listing.Aggregate | None:
        """Fold on until the end, or until ``allowed`` is used up.

        Returns:
            The aggregate at the end; None where there is more to fold.

        Raises:
            Gone, Unreadable, ShareAway: as the walk does; the fold is over then.
        """
        content, fingerprint = self._content.update, self._fingerprint.update
        plain = not self._ignore
        uncounted = 0
        for seen in self._files:
            line = listing.digest_of(seen)
            content(line)
            self._count += 1
            self._size += seen.size_bytes
            if plain or not listing.is_ignored(seen.path, self._ignore):
                fingerprint(line)
                self._counted += 1
                if seen.mtime_ns > self._newest:
                    self._newest = seen.mtime_ns
            uncounted += 1
            if uncounted >= LOOK_AT_THE_CLOCK_EVERY and allowed is not None:
                if allowed.spent(uncounted):
                    return None
                uncounted = 0
        if allowed is not None:
            allowed.spent(uncounted)
        return listing.Aggregate(
            self._count,
            self._size,
            self._newest,
            self._fingerprint.digest(),
            self._content.digest(),
            self._counted,
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What is looked at."""

    kind: AcquisitionKind
    members: tuple[str, ...] = ()
    """A group's patterns."""
    names: tuple[str, ...] = field(default=(), compare=False)
    """The names of a group when its folder was listed in this pass; empty where it was not."""


@dataclass(slots=True)
class OpenLook:
    """A look that is under way."""

    fold: Fold
    what: Target
    judged: bool
    """Each file was asked itself."""
    began_at: float
    """Monotonic seconds. Something written after this may or may not be in the look."""
    listed: bytes = b""
    """The content that the plain listing before a judged look gave."""


@dataclass(slots=True)
class OpenLooks:
    """The looks that did not get to their end yet, oldest first. An outage forgets them."""

    _looks: dict[str, OpenLook] = field(default_factory=dict)

    def take(self, path: str, what: Target) -> OpenLook | None:
        """The look under way at this path, if there is one and it is still the same that is looked at. It is
        put back where it does not end."""
        look = self._looks.pop(path, None)
        return look if look is not None and look.what == what else None

    def put(self, path: str, look: OpenLook) -> None:
        """It has to go on in the next pass."""
        self._looks[path] = look

    def kinds(self) -> dict[str, AcquisitionKind]:
        """Where looks are under way, at what; oldest first."""
        return {path: look.what.kind for path, look in self._looks.items()}

    def forget(self) -> None:
        """Forget all: what was folded before an outage and what comes after it are no one look."""
        self._looks.clear()

    def __contains__(self, path: str) -> bool:
        return path in self._looks

    def __bool__(self) -> bool:
        return bool(self._looks)


@dataclass(frozen=True, slots=True)
class Looked:
    """One look at one acquisition, from its beginning to its end (monotonic seconds)."""

    kind: AcquisitionKind
    seen: listing.Aggregate | None
    """None where the look may judge nothing."""
    began_at: float
    ended_at: float
    problem: str = ""
    listed: bytes = b""
    """What the plain listing said, where each file was asked after it."""


@dataclass(slots=True)
class PassResult:
    """What a pass found; it counts only when the marker is there afterwards."""

    looks: dict[str, Looked] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
