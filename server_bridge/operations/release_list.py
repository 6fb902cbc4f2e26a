"""`ferry-bridge releases`: what may be deleted on a buffer now, each order checked again as it is listed.

Formats: ``nul`` (paths below the share's top, for ``xargs -0``), ``csv``, and ``sh``, a script that looks
at each file's size and time once more before it deletes it, and stops when the answer has become old.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from server_bridge.config import ShareConfig, SiteConfig, load_site
from server_bridge.context import Context, build_context
from server_bridge.contract import Release
from server_bridge.errors import FerryError, NotFound
from server_bridge.operations.release_formats import Format, written
from server_bridge.operations.terminal import SiteOption, complain, told

IDS_AT_ONCE = 500


def released(context: Context, share: str, recheck: Callable[[Any, str], Release]) -> Iterator[Release]:
    """Re-check every released order of a share; one that cannot be checked now is told and left out."""
    from server_bridge.retention.release_list import released_ids

    after = ""
    while ids := released_ids(context, share, after=after, limit=IDS_AT_ONCE):
        after = ids[-1]
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


def require_share(site: SiteConfig, share: str) -> ShareConfig:
    """The share.

    Raises:
        NotFound: for an unknown one.
    """
    found = site.share(share)
    if found is None:
        raise NotFound(
            f"This site has {', '.join(item.id for item in site.shares)}.", title=f"No share {share!r}"
        )
    return found


@told
def releases(
    site: SiteOption,
    share: Annotated[str, typer.Option(help="Which buffer.")],
    form: Annotated[Format, typer.Option("--format", help="How to write the list.")] = Format.NUL,
) -> None:
    """List files that may be deleted on a buffer now, each checked again."""
    from server_bridge.retention.release import recheck
    from server_bridge.retention.release_list import require_storage_deletes

    config = load_site(site)
    known = require_share(config, share)
    require_storage_deletes(known)
    found = released(build_context(config), share, recheck)
    for piece in written(form, found, known.mtime_tolerance_seconds):
        sys.stdout.buffer.write(piece.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
