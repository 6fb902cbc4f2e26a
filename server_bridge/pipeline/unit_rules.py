"""What to do about one import unit, given what OMERO holds of it. Pure.

This is where "once, exactly" is decided: an import starts only when OMERO holds nothing of the unit, or only
what a dead import of ours left and may be removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from server_bridge.errors import NeedsAttention
from server_bridge.omero.receipts import FilesetInfo


class UnitAction(Enum):
    """What comes next for a unit."""

    IMPORT = "import"
    ADOPT = "adopt"
    """A complete import is there: take its ids."""
    WAIT = "wait"
    """The upload is finished and the server works on it, client or not."""
    REMOVE = "remove"
    """Debris of an import that never finished its upload; afterwards import."""


@dataclass(frozen=True, slots=True)
class UnitDecision:
    action: UnitAction
    fileset: FilesetInfo | None = None


def may_still_import(
    filesets: Sequence[FilesetInfo], failed_fileset_id: int | None
) -> tuple[FilesetInfo, ...]:
    """Those without images of which OMERO has all files and has not said that it failed, in their order.

    OMERO's ids grow, and a unit is imported by one importer at a time.
    """
    return tuple(
        fileset
        for fileset in filesets
        if not fileset.complete
        and fileset.upload_finished is not False
        and (failed_fileset_id is None or fileset.fileset_id > failed_fileset_id)
    )


def decide(
    filesets: Sequence[FilesetInfo],
    *,
    files: Collection[str],
    person: str,
    group_id: int,
    failed_fileset_id: int | None,
) -> UnitDecision:
    """Decide.

    Args:
        filesets: every fileset that holds the unit's main file, oldest first.
        files: client paths of all files of the unit.
        person: as whom the unit is imported.
        group_id: into which group.
        failed_fileset_id: the newest fileset whose import OMERO reported as failed while we listened. It and
            all before it will never get images (another import of the unit only began once that was known of
            each), and only OMERO's people may remove them (their upload is finished).

    Raises:
        NeedsAttention: ``imported_twice``, ``imported_elsewhere``, ``unit_differs``.
    """
    complete = [fileset for fileset in filesets if fileset.complete]
    if len(complete) > 1:
        named = ", ".join(str(fileset.fileset_id) for fileset in complete)
        raise NeedsAttention(
            f"Filesets {named} hold the same file of this order.",
            code="imported_twice",
            title="OMERO holds this data twice",
            remedy="Delete all but one of them in OMERO, then retry.",
        )
    if complete:
        fileset = complete[0]
        if (fileset.owner, fileset.group_id) != (person, group_id):
            raise NeedsAttention(
                f"Fileset {fileset.fileset_id} belongs to {fileset.owner} in group {fileset.group_id}.",
                code="imported_elsewhere",
                title="The data is in OMERO, in another place",
                remedy="Move it in OMERO to the ordered group and person, or delete it there, then retry.",
            )
        held = sorted(file.client_path for file in fileset.files)
        if held != sorted(files):
            raise NeedsAttention(
                f"Fileset {fileset.fileset_id} holds {len(held)} files, the order's set {len(files)}: "
                f"{_first_difference(held, files)}.",
                code="unit_differs",
                title="OMERO grouped the files in another way than they were examined",
                remedy="Was Bio-Formats changed, or the data imported by hand? Look at that fileset; delete "
                "it in OMERO and retry, or order the acquisition again.",
            )
        return UnitDecision(UnitAction.ADOPT, fileset)
    working = may_still_import(filesets, failed_fileset_id)
    if working:
        return UnitDecision(UnitAction.WAIT, working[0])
    for fileset in filesets:
        if fileset.upload_finished is False:
            return UnitDecision(UnitAction.REMOVE, fileset)
    return UnitDecision(UnitAction.IMPORT)


def _first_difference(held: Collection[str], files: Collection[str]) -> str:
    """One file that is in one of them only (or more often), as a person can look for it."""
    more, less = Counter(held), Counter(files)
    for there, not_there, word in ((more, less, "more than ordered"), (less, more, "missing in OMERO")):
        only = sorted((there - not_there).elements())
        if only:
            return f"{only[0]!r} is {word}"
    return "the same names in other numbers"
