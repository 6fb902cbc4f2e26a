"""`ferry-bridge backup-done`: the site's backup job says that ManagedRepository is backed up.

It is called when the backup has ended well, and says when it began: what came to OMERO in between may not be
in it. Shares with ``require_backup`` release nothing that no such backup covers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from server_bridge.config import load_site
from server_bridge.context import open_store
from server_bridge.errors import BadRequest
from server_bridge.operations.terminal import SiteOption, moment, operator, say, told
from server_bridge.orders import backup_stamps
from server_bridge.orders.models import utcnow


def parse_moment(text: str) -> datetime:
    """A moment as ISO 8601; without a zone it is this host's local time.

    Raises:
        BadRequest: where it is none.
    """
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError as error:
        raise BadRequest(
            f"{text!r} is no moment.",
            code="backup_time",
            title="Not a date and time",
            remedy="Write it as `date --iso-8601=seconds` does, for example 2026-03-01T02:00:00+01:00.",
        ) from error


@told
def backup_done(
    site: SiteOption,
    began_at: Annotated[
        str, typer.Option(help="When the backup began, ISO 8601 (`date --iso-8601=seconds`).")
    ],
    note: Annotated[str, typer.Option(help="Kept with it, for example the snapshot's name.")] = "",
) -> None:
    """Report that a backup of ManagedRepository has ended well."""
    at = parse_moment(began_at)
    new = backup_stamps.record(open_store(load_site(site)), at, operator(), note, utcnow())
    say(f"{'Noted' if new else 'Known already'}: what OMERO held at {moment(at)} is backed up.")
