"""A proven fileset is not in OMERO any more: was it deleted, or is this another OMERO? Pure.

Deleting in OMERO removes the rows and then unlinks the managed names. So only when the rows are gone in two
looks some time apart, when the database is the one in which we saw them, when no managed name is left and the
staged names are the last ones of their bytes, it was a deletion. Everything else is something that nobody may
act upon: a restored database, an unlink that failed, a disk that is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from server_bridge.errors import NeedsAttention, StepFailed, TransientFailure

LOOKS_APART = timedelta(seconds=60)
"""Between the two looks at OMERO's rows: an unlink follows its rows within moments."""


class Verdict(StrEnum):
    """What became of a proven fileset that is not there."""

    DELETED = "deleted"
    RESTORED = "restored"
    EMPTIED = "emptied"
    """Its rows are there without any image."""
    LOOK_AGAIN = "look again"
    UNKNOWN_PAST = "unknown past"
    """We had no landmark when it was proven."""
    ON_DISK = "on disk"
    """The managed names are still there."""
    OTHER_NAMES = "other names"
    """The bytes have another name that we do not know."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What was seen of one order's missing filesets, all of them together."""

    same_database: bool | None
    """Whether OMERO's database is the one in which we saw them; None: we cannot tell."""
    taken: Sequence[int]
    """Ids under which OMERO has something else now."""
    emptied: Sequence[int]
    gone_twice: bool
    """Whether an earlier look, `LOOKS_APART` ago or more, found them gone, too."""
    managed_left: Sequence[str]
    """Managed names that are still on the disk."""
    linked: Sequence[str]
    """Staged names whose bytes have a second one."""


def judge(seen: Lost) -> Verdict:
    """What may be concluded; the first that applies."""
    if seen.same_database is False or seen.taken:
        return Verdict.RESTORED
    if seen.emptied:
        return Verdict.EMPTIED
    if seen.same_database is None:
        return Verdict.UNKNOWN_PAST
    if not seen.gone_twice:
        return Verdict.LOOK_AGAIN
    if seen.managed_left:
        return Verdict.ON_DISK
    if seen.linked:
        return Verdict.OTHER_NAMES
    return Verdict.DELETED


def error(verdict: Verdict, seen: Lost, what: str) -> StepFailed:
    """Why the order stops, for every verdict but a deletion and a restored database.

    Args:
        verdict: of :func:`judge`.
        seen: its facts.
        what: names the filesets.
    """
    match verdict:
        case Verdict.LOOK_AGAIN:
            return TransientFailure(
                f"{what} is not in OMERO's database any more.",
                code="gone_in_omero",
                title="OMERO does not list the data any more",
                remedy="Nothing to do: the bridge looks again before it concludes anything. Nothing is "
                "released.",
            )
        case Verdict.EMPTIED:
            return NeedsAttention(
                f"Fileset {seen.emptied[0]} is in OMERO without its images.",
                code="images_deleted",
                title="The images were deleted in OMERO, their files were not",
                remedy="The OMERO administrator deletes that fileset, too, or restores its images; then "
                "retry. The copy on the buffer is not released.",
            )
    why = {
        Verdict.ON_DISK: f"its file is still on OMERO's disk: {_first(seen.managed_left)}",
        Verdict.OTHER_NAMES: f"the staged file has another name somewhere: {_first(seen.linked)}",
    }.get(verdict, "the bridge had never looked at this database before")
    return NeedsAttention(
        f"{what} is not in OMERO any more, and {why}. Staging is kept as it is.",
        code="deleted_in_omero",
        title="The data was deleted in OMERO",
        remedy="The copy on the buffer is not released. The OMERO administrator looks why (`omero admin "
        "cleanse` removes files without rows); then retry.",
    )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:1]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
