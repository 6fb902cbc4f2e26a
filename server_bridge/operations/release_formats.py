"""How a list of released files is written: for ``xargs -0``, for programs, and as a script.

Piece by piece, so that a list of a hundred thousand files needs no more memory than its largest order, and
what was checked first is on its way before the last one is.
"""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Iterator
from enum import StrEnum

from server_bridge.contract import Release, place_holds

LOOK_AT_CLOCK_EVERY = 500
"""Files a script deletes before it looks again whether the answer is still good."""

_HEAD = """#!/bin/sh
# Run in the share's top folder. Deletes a file only if size and time are as they were proven, and afterwards
# the acquisition's folders that are empty.
tolerance={tolerance}
good_until() {{
  [ "$(date +%s)" -lt "$1" ] || {{ echo "too old: ask the bridge again" >&2; exit 75; }}
}}
free() {{
  [ -f "$1" ] && [ ! -L "$1" ] || {{ echo "skipped, not there: $1" >&2; return; }}
  size=$(stat -c %s -- "$1") && at=$(stat -c %Y -- "$1") || return
  off=$((at - $3)); [ "$off" -lt 0 ] && off=$((-off))
  if [ "$size" -eq "$2" ] && [ "$off" -le "$tolerance" ]; then rm -f -- "$1"
  else echo "skipped, changed: $1" >&2; fi
}}
empty() {{
  [ -L "$1" ] || rmdir -- "$1" 2>/dev/null || :
}}
"""


class Format(StrEnum):
    NUL = "nul"
    CSV = "csv"
    SH = "sh"


def written(form: Format, releases: Iterable[Release], tolerance_seconds: float) -> Iterator[str]:
    """The list in that form, in pieces."""
    match form:
        case Format.NUL:
            return as_nul(releases)
        case Format.CSV:
            return as_csv(releases)
        case Format.SH:
            return as_script(releases, tolerance_seconds)


def as_nul(releases: Iterable[Release]) -> Iterator[str]:
    """Paths below the share's top, each ended by NUL."""
    for release in releases:
        yield "".join(f"{file.path}\0" for file in release.files)


def as_csv(releases: Iterable[Release]) -> Iterator[str]:
    """One line a file, with what it must still look like and until when the answer holds."""
    yield "order,share,path,size_bytes,mtime_ns,valid_until\n"
    for release in releases:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        until = release.valid_until.isoformat() if release.valid_until else ""
        for file in release.files:
            writer.writerow(
                [release.order_id, release.share, file.path, file.size_bytes, file.mtime_ns, until]
            )
        yield out.getvalue()


def as_script(releases: Iterable[Release], tolerance_seconds: float) -> Iterator[str]:
    """A POSIX script to run in the share's top folder. Each order has its own end of validity."""
    begun = False
    for release in releases:
        if not begun:
            yield _HEAD.format(tolerance=int(tolerance_seconds) + 1)
            begun = True
        until = f"good_until {int(release.valid_until.timestamp()) if release.valid_until else 0}"
        lines = [f"# order {release.order_id}"]
        for number, file in enumerate(release.files):
            if number % LOOK_AT_CLOCK_EVERY == 0:
                lines.append(until)
            name = shlex.quote("./" + file.path)
            lines.append(f"free {name} {file.size_bytes} {file.mtime_ns // 1_000_000_000}")
        lines += [f"empty {shlex.quote('./' + folder)}" for folder in folders_of(release)]
        yield "\n".join(lines) + "\n"
    if not begun:
        yield "#!/bin/sh\n# Nothing may be deleted now.\n"


def folders_of(release: Release) -> list[str]:
    """The folders of a release's files at or below the acquisition, the deepest first; never the top, and
    never the folder that a group lies in."""
    found: set[str] = set()
    if not release.path or release.path == ".":
        return []
    for file in release.files:
        folder = file.path.rpartition("/")[0]
        while folder and folder not in found and place_holds(release.path, release.members, folder):
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return sorted(found, key=lambda one: (-one.count("/"), one))
