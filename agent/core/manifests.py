"""Making a manifest: the acquisition listed once more, between two looks at the share's marker.

The digest of what was listed must equal what the settle rule judged; a manifest is sealed from nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

from agent.core import listing
from agent.core.errors import AgentError
from server_bridge.contract import MAX_MANIFEST_ENTRIES, WorkstationShare


class NotOrderable(AgentError):
    """A name or a number of files that cannot travel; a person renames or splits."""

    code = "not_orderable"
    title = "This cannot be ordered as it is"


@dataclass(frozen=True, slots=True)
class BuiltManifest:
    content: bytes
    body: bytes
    """gzip NDJSON."""
    file_count: int
    size_bytes: int


def build(
    top: Path,
    share: WorkstationShare,
    path: str,
    *,
    members: tuple[str, ...] = (),
    judged: bool,
    beat: listing.Beat = listing.no_beat,
) -> BuiltManifest:
    """List an acquisition, all its files, ignored ones too: the bridge compares with its own full listing.

    Raises:
        ShareAway, listing.Gone, listing.Unreadable: as the share answers.
        NotOrderable: for names that are no Unicode, or more files than a manifest holds.
    """
    listing.marker_present(top, share.marker)
    digest = hashlib.blake2b(digest_size=16)
    buffer = io.BytesIO()
    count = size = 0
    # Level 1: the body is small against the pull, and the microscope's processor is not ours.
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as body:
        for seen in listing.walk(top, path, members=members, judged=judged, beat=beat):
            count += 1
            size += seen.size_bytes
            if count > MAX_MANIFEST_ENTRIES:
                raise NotOrderable(
                    f"{path} holds more than {MAX_MANIFEST_ENTRIES} files.",
                    remedy="Ask the platform staff for a finer rule for this workstation.",
                )
            digest.update(listing.digest_of(seen))
            line = {"path": seen.path, "size_bytes": seen.size_bytes, "mtime_ns": seen.mtime_ns}
            try:
                body.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            except UnicodeEncodeError as error:
                raise NotOrderable(
                    f"{seen.path!r} is not valid Unicode.", remedy="Rename the file."
                ) from error
    listing.marker_present(top, share.marker)
    return BuiltManifest(digest.digest(), buffer.getvalue(), count, size)


def lines_of(body: bytes) -> dict[str, tuple[int, int]]:
    """What a manifest's body says: path → (bytes, mtime in ns)."""
    found: dict[str, tuple[int, int]] = {}
    for line in gzip.decompress(body).splitlines():
        entry = json.loads(line)
        found[entry["path"]] = (entry["size_bytes"], entry["mtime_ns"])
    return found


def has_news(body: bytes, present: bytes, *, ignore: tuple[str, ...] = (), tolerance_ns: int = 0) -> bool:
    """Whether ``present`` (a manifest's body) holds a file that ``body`` does not: deleting is no news.

    Args:
        ignore: Patterns of names that are no sign of life.
        tolerance_ns: How far a time may move by itself: a storage that restarts may tell it rounded.
    """
    known = lines_of(body)

    def is_news(path: str, size_bytes: int, mtime_ns: int) -> bool:
        if listing.matches(path.rsplit("/", 1)[-1], ignore):
            return False
        before = known.get(path)
        return before is None or before[0] != size_bytes or abs(before[1] - mtime_ns) > tolerance_ns

    return any(is_news(path, *facts) for path, facts in lines_of(present).items())
