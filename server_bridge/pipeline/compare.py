"""Is what lies on the share what was ordered? Pure: manifest against listing, and words for what differs.

The agent's manifest is compared once, with the share's tolerance for times (SMB and NAS file systems round
them). From that baseline on, the bridge compares its own listings with each other, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from server_bridge.errors import NeedsAttention, StepFailed, TransientFailure
from server_bridge.mover.compare import Differences, differences
from server_bridge.mover.listing import Listing
from server_bridge.mover.paths import shown
from server_bridge.orders.authority import fold

_NAMED = 3
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """A file as it was seen earlier; ``mtime_s`` may have a fraction (the agent's view has)."""

    path: str
    size_bytes: int
    mtime_s: float


def from_agent(path: str, size_bytes: int, mtime_ns: int) -> Expected:
    """A line of the agent's manifest."""
    return Expected(path, size_bytes, mtime_ns / _NS)


def against_manifest(
    manifest: Iterable[Expected],
    now: Listing,
    tolerance_seconds: float,
    may_be_unlisted: Callable[[str], bool],
) -> Differences:
    """Compare the agent's manifest with the bridge's listing.

    Files that the agent does not list because the site ignores them (``may_be_unlisted``) are no difference.
    """
    found = differences(manifest, now, tolerance_seconds)
    return replace(found, added=tuple(path for path in found.added if not may_be_unlisted(path)))


def clock_offset_seconds(
    manifest: Iterable[Expected], now: Listing, tolerance_seconds: float
) -> float | None:
    """The one offset by which all times differ, if that is all that differs: a clock or time zone, no
    writing."""
    offsets: list[float] = []
    for expected in manifest:
        entry = now.entries.get(expected.path)
        if entry is None or entry.size_bytes != expected.size_bytes:
            return None
        offsets.append(entry.mtime_s - expected.mtime_s)
    if not offsets:
        return None
    low, high = min(offsets), max(offsets)
    if high - low > 1 + tolerance_seconds or min(abs(low), abs(high)) <= 60:
        return None
    return (low + high) / 2


def spelt_differently(found: Differences) -> tuple[str, str] | None:
    """A name of the manifest and how the share spells it, if letter case or the form of accents is all that
    differs: the workstation and the storage then never agree, however long one waits."""
    if not found.missing or found.changed or found.unknown:
        return None
    added = {fold(path): path for path in found.added}
    pairs = [(path, added.get(fold(path))) for path in found.missing]
    if any(other is None for _, other in pairs) or len(found.added) != len(found.missing):
        return None
    path, other = pairs[0]
    return path, str(other)


def describe(found: Differences) -> str:
    """The differences in words, naming a few files of each kind."""
    parts = []
    for names, what in (
        (found.changed, "changed"),
        (found.added, "new"),
        (found.missing, "gone"),
        (found.unknown, "unreadable"),
    ):
        if names:
            named = ", ".join(repr(shown(name)) for name in names[:_NAMED])
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            parts.append(f"{what}: {named}{more}")
    return "; ".join(parts)


def incomplete(now: Listing) -> StepFailed | None:
    """The error for a listing that did not see everything; None for a whole one."""
    if now.unreadable:
        return NeedsAttention(
            f"The share's user may not read {shown(now.unreadable[0])!r}"
            + (f" and {len(now.unreadable) - 1} more." if len(now.unreadable) > 1 else "."),
            code="source_unreadable",
            title="The data cannot be read on the share",
            remedy="Ask the staff of the microscope or the buffer to give read permission, then retry.",
        )
    if now.vanished:
        return TransientFailure(
            f"{shown(now.vanished[0])!r} disappeared while the share was listed.",
            code="source_vanished",
            title="The data changes while it is looked at",
            remedy="Nothing to do: the bridge looks again.",
        )
    return None


def not_plain(paths: Iterable[str], now: Listing) -> NeedsAttention | None:
    """The error for ordered files that are links or devices on the share; None where none is."""
    kinds = {skipped.path: skipped.kind for skipped in now.skipped}
    for path in paths:
        if path in kinds:
            return NeedsAttention(
                f"{shown(path)!r} is a {kinds[path]}.",
                code="source_not_a_file",
                title="A file of the acquisition is a link or a device",
                remedy="Links are never followed. Replace it by the file itself, or cancel the order.",
            )
    return None
