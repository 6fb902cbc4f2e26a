"""`ferry-bridge releases`: what may be deleted on a buffer now, each file checked again as it is listed.

Formats: ``nul`` (paths below the share's top, for ``xargs -0``), ``csv``, and ``sh``, a script that looks
at each file's size and time once more before it deletes it, and refuses to run when the answer is old.
"""

from __future__ import annotations

import csv
import io
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from sqlalchemy import select

from server_bridge.config import SiteConfig, load_site
from server_bridge.context import Context, build_context
from server_bridge.contract import Release, Stage
from server_bridge.errors import FerryError, NotFound
from server_bridge.operations.terminal import SiteOption, complain, told
from server_bridge.orders.models import Order


class Format(StrEnum):
    NUL = "nul"
    CSV = "csv"
    SH = "sh"


def as_nul(releases: Iterable[Release]) -> str:
    """Paths below the share's top, each ended by NUL."""
    return "".join(f"{file.path}\0" for release in releases for file in release.files)


def as_csv(releases: Iterable[Release]) -> str:
    """One line a file, with what it must still look like and until when the answer holds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["order", "share", "path", "size_bytes", "mtime_ns", "valid_until"])
    for release in releases:
        until = release.valid_until.isoformat() if release.valid_until else ""
        for file in release.files:
            writer.writerow(
                [release.order_id, release.share, file.path, file.size_bytes, file.mtime_ns, until]
            )
    return out.getvalue()


def as_script(releases: Iterable[Release], tolerance_seconds: float) -> str:
    """A POSIX script to run in the share's top folder."""
    found = list(releases)
    if not found:
        return "#!/bin/sh\n# Nothing may be deleted now.\n"
    ends = [release.valid_until for release in found if release.valid_until]
    until = int(min(ends).timestamp()) if ends else 0
    lines = [
        "#!/bin/sh",
        "# Run in the share's top folder. Deletes a file only if size and time are as they were proven.",
        f"until={until}",
        '[ "$(date +%s)" -lt "$until" ] || { echo "too old: ask the bridge again" >&2; exit 75; }',
        f"tolerance={int(tolerance_seconds) + 1}",
        "free() {",
        '  [ -f "$1" ] && [ ! -L "$1" ] || { echo "skipped, not there: $1" >&2; return; }',
        '  size=$(stat -c %s -- "$1") && at=$(stat -c %Y -- "$1") || return',
        '  off=$((at - $3)); [ "$off" -lt 0 ] && off=$((-off))',
        '  if [ "$size" -eq "$2" ] && [ "$off" -le "$tolerance" ]; then rm -f -- "$1"',
        '  else echo "skipped, changed: $1" >&2; fi',
        "}",
    ]
    for release in found:
        lines.append(f"# order {release.order_id}")
        lines += [
            f"free {shlex.quote('./' + file.path)} {file.size_bytes} {file.mtime_ns // 1_000_000_000}"
            for file in release.files
        ]
    return "\n".join(lines) + "\n"


def released(context: Context, share: str, recheck: Callable[[Any, str], Release]) -> Iterator[Release]:
    """Re-check every released order of a share; one that cannot be checked now is told and left out."""
    with context.store.read() as session:
        ids = session.scalars(
            select(Order.id)
            .where(Order.share == share, Order.stage == Stage.RELEASED, Order.freed_at.is_(None))
            .order_by(Order.released_at)
        ).all()
    for order_id in ids:
        try:
            found = recheck(context, order_id)
        except FerryError as error:
            complain(error)
            continue
        if found.released and (
            found.valid_until is None or found.valid_until > datetime.now(found.checked_at.tzinfo)
        ):
            yield found
        elif found.reason is not None:
            # An order that silently left the list would be taken for one that was never released.
            complain(FerryError(f"Order {order_id}: {found.reason.detail}", title=found.reason.title))


def require_share(site: SiteConfig, share: str) -> float:
    """The share's tolerance.

    Raises:
        NotFound: for an unknown share.
    """
    found = site.share(share)
    if found is None:
        raise NotFound(
            f"This site has {', '.join(item.id for item in site.shares)}.", title=f"No share {share!r}"
        )
    return found.mtime_tolerance_seconds


@told
def releases(
    site: SiteOption,
    share: Annotated[str, typer.Option(help="Which buffer.")],
    form: Annotated[Format, typer.Option("--format", help="How to write the list.")] = Format.NUL,
) -> None:
    """List files that may be deleted on a buffer now, each checked again."""
    from server_bridge.retention.release import recheck

    config = load_site(site)
    tolerance = require_share(config, share)
    found = released(build_context(config), share, recheck)
    match form:
        case Format.NUL:
            text = as_nul(found)
        case Format.CSV:
            text = as_csv(found)
        case Format.SH:
            text = as_script(found, tolerance)
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
