"""Files of an order are gone from the share, not changed: somebody deleted or moved them before the import.

That is no "writing again": waiting for the workstation would wait for ever, and what is staged may be the
last copy. After two complete listings some time apart, with the marker in sight, the order asks somebody and
says which files are staged and which are lost; staging is left as it is. Where everything is staged with its
SHA-1, staff may let the order go on from there. The bridge does not do that by itself: that the source did
not change after the pull is a fact of every receipt, and no listing can show it any more; so a named person
vouches for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from server_bridge.errors import NeedsAttention, TransientFailure
from server_bridge.mover import staging
from server_bridge.mover.compare import Differences
from server_bridge.mover.paths import shown
from server_bridge.orders import remembered
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import utcnow
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.places import OrderPlaces
from server_bridge.pipeline.vanished import LOOKS_APART

_NAMED = 3


def is_staged(places: OrderPlaces, file: FileRow) -> bool:
    """Whether a file lies in staging as it was pulled, with its digest."""
    return (
        bool(file.sha1)
        and file.staged_at is not None
        and file.source_mtime_s is not None
        and staging.is_complete(places.staged(file.path), file.size_bytes, file.source_mtime_s)
    )


def only_gone(found: Differences) -> bool:
    """Whether files are missing and nothing else differs. Pure."""
    return bool(found.missing) and not (found.changed or found.added or found.unknown)


def accepted(attempt: Attempt) -> bool:
    """Whether staff let this order go on without its source."""
    with attempt.context.store.read() as session:
        fact = remembered.recall(session, remembered.source_gone_accepted(attempt.order_id))
    # A word about other files than those of the present manifest is none about these.
    return fact is not None and fact.get("manifest_revision") == attempt.order.manifest_revision


def require_source(attempt: Attempt, missing: Sequence[str], files: Sequence[FileRow]) -> None:
    """Stop the order, unless staff let it go on and everything is staged.

    Args:
        attempt: the running one.
        missing: paths that a complete listing, with the marker in sight, does not show.
        files: all of the order.

    Raises:
        TransientFailure: ``source_going`` at the first look.
        NeedsAttention: ``source_gone``.
    """
    staged = {file.path for file in files if is_staged(attempt.places, file)}
    whole = len(staged) == len(files)
    if whole and accepted(attempt):
        return
    since = attempt.waiting_since("source_going")
    if since is None or utcnow() - since < LOOKS_APART:
        raise TransientFailure(
            f"{_names(missing)} not on the share any more.",
            code="source_going",
            title="Files are gone from the share",
            remedy="Nothing to do: the bridge looks again before it concludes anything.",
        )
    lost = [path for path in missing if path not in staged]
    if whole:
        state = f"All {len(files)} files of the order are staged with their SHA-1."
        remedy = (
            "Put the data back and retry, or cancel. Staff may import the staged copy: `ferry-bridge order "
            "accept-source-gone`."
        )
    else:
        state = f"{len(staged)} of {len(files)} files are staged; " + (
            f"lost: {_names(lost, are='')}."
            if lost
            else "what is missing is staged, the rest has to be pulled."
        )
        remedy = "Put the data back and retry, or cancel. Staging is kept as it is."
    raise NeedsAttention(
        f"{_names(missing)} not on the share any more. {state}",
        code="source_gone",
        title="The data was removed from the share before its import",
        remedy=remedy,
    )


def _names(paths: Sequence[str], are: str = " are") -> str:
    named = ", ".join(repr(shown(path)) for path in paths[:_NAMED])
    if len(paths) > _NAMED:
        named += f" and {len(paths) - _NAMED} more"
    return named + are
