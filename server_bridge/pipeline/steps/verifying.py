"""verifying → importing: the last look before the point of no return.

The source is listed again, after the pull, and must be exactly the baseline: rsync itself never says that a
file grew while it was copied. Staging is looked at again, what nobody ordered leaves it, and OMERO must let
this person put data where she wants it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from server_bridge.contract import Stage, Target
from server_bridge.errors import NeedsAttention
from server_bridge.mover import staging
from server_bridge.mover.command import PARTIAL_DIR
from server_bridge.mover.compare import differences
from server_bridge.mover.listing import FolderMissing
from server_bridge.mover.staging_disk import trial_link
from server_bridge.omero.directory import resolve_target
from server_bridge.omero.paths import ambiguous
from server_bridge.orders.file_rows import FileRow
from server_bridge.pipeline import compare
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.leftovers import is_covered
from server_bridge.pipeline.steps import restored, source_gone
from server_bridge.pipeline.steps.source import look, pull_again, writing_again
from server_bridge.staging import require_staging


def run(attempt: Attempt) -> None:
    """Look at source, staging and target.

    Raises:
        Finished: where the source changed, or staged files have to be pulled again.
        StepFailed: for what waits or needs somebody.
    """
    files = attempt.context.store.files(attempt.order_id)
    attempt.reporter.report("verify", last=True)
    require_unchanged_source(attempt, files)
    require_staged(attempt, files)
    clear_strangers(attempt, files)
    require_distinct_names(attempt, files)
    require_one_mount(attempt)
    attempt.check()
    resolve(attempt)
    attempt.check()
    attempt.advance(
        Stage.IMPORTING, "the source was listed again and is unchanged; the import begins", keep_running=True
    )


def require_unchanged_source(attempt: Attempt, files: list[FileRow]) -> None:
    """List the source again and compare it, exactly, with the baseline.

    Raises:
        Finished: where somebody wrote there.
        StepFailed: where the share cannot be seen as a whole.
    """
    try:
        listing = look(attempt)
    except FolderMissing:
        source_gone.require_source(attempt, [file.path for file in files], files)
        return
    if (error := compare.incomplete(listing)) is not None:
        raise error
    share = attempt.share
    unlisted = (*share.rule.ignore, *share.patterns.ignore)
    baseline = [
        compare.Expected(file.path, file.size_bytes, float(file.source_mtime_s or 0)) for file in files
    ]
    found = differences(baseline, listing)
    added = [path for path in found.added if not is_covered(path, unlisted)]
    found = replace(found, added=tuple(added))
    if source_gone.only_gone(found):
        source_gone.require_source(attempt, found.missing, files)
    elif not found.is_same:
        writing_again(attempt, compare.describe(found))


def require_staged(attempt: Attempt, files: list[FileRow]) -> None:
    """Every file lies in staging as it was pulled, with one name only, or with OMERO's beside it.


    Raises:
        Finished: where some have to be pulled again.
        NeedsAttention: where a staged file has a second link before any import that is not OMERO's.
    """
    places = attempt.places
    damaged: list[str] = []
    linked: list[FileRow] = []
    root = f"{places.staging}/"
    for file in attempt.each(files):
        found = staging.look(root + file.path)
        whole = staging.is_whole(found, file.size_bytes, int(file.source_mtime_s or 0))
        if found is None or not whole or not file.sha1 or file.staged_at is None:
            damaged.append(file.path)
        elif found.st_nlink != 1:
            linked.append(file)
    if linked and not attempt.context.store.units(attempt.order_id):
        # Its digest is known, so nothing has to be read: the import step takes over what OMERO holds.
        restored.require_ours(attempt, linked)
    if damaged:
        # A disk that went away a moment ago is none of these files' fault.
        require_staging(attempt.context)
        pull_again(
            attempt,
            damaged,
            f"{len(damaged)} staged files are not as they were pulled; they are pulled again",
        )


def clear_strangers(attempt: Attempt, files: list[FileRow]) -> None:
    """Move what the manifest does not name out of the order's directory: a manifest may have been replaced by
    a shorter one, and the importer takes whatever lies there. Moved, not deleted."""
    known = {file.path for file in files}
    root = attempt.places.staging
    strangers = [path for path in attempt.each(_staged_paths(root)) if path not in known]
    moved = staging.quarantine(root, attempt.places.quarantine, strangers)
    if moved:
        store = attempt.context.store
        with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
            store.event(
                session,
                order,
                "bridge",
                f"{len(moved)} staged files that the manifest no longer names were moved to "
                f"{attempt.places.quarantine}",
            )


def _staged_paths(root: Path) -> Iterator[str]:
    above = len(f"{root}/")
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != PARTIAL_DIR]
        # os.walk tells a link to a folder among the folders, and everything else among the names.
        for name in [*names, *(name for name in folders if Path(folder, name).is_symlink())]:
            yield f"{folder}/{name}"[above:]


def require_distinct_names(attempt: Attempt, files: list[FileRow]) -> None:
    """No two files may get one client path: OMERO's look-up could then not tell them apart.

    Raises:
        NeedsAttention: naming two of them.
    """
    root = f"{attempt.places.staging}/"
    same = ambiguous(root + file.path for file in attempt.each(files))
    if same:
        names = [attempt.places.relative(path) for path in next(iter(same.values()))]
        raise NeedsAttention(
            f"{names[0]!r} and {names[1]!r} get the same name in OMERO.",
            code="names_collide",
            title="OMERO cannot tell two files apart",
            remedy="Rename one of them on the share, then order the acquisition again.",
        )


def require_one_mount(attempt: Attempt) -> None:
    """A hard link from staging into ManagedRepository works now: otherwise every import would fail by itself,
    and each past the point of no return.

    Raises:
        StagingUnlinkable: a fault of the site; every order waits until staff have put it right.
        Unavailable: where OMERO does not say where its ManagedRepository is.
    """
    with attempt.context.omero.service() as session:
        managed = session.managed_repository
    trial_link(attempt.context.site.staging_dir, managed)


def resolve(attempt: Attempt) -> None:
    """Find or make the target as the person, and note its ids in the order once.

    Raises:
        NeedsAttention, Unavailable: as `server_bridge.omero.directory.resolve_target`.
    """
    target = attempt.target
    with attempt.context.omero.as_person(attempt.order.person, target.group_id) as session:
        found = resolve_target(session, target, attempt.order_id)
    noted = target.model_copy(
        update={
            "container_id": found.container_id,
            "container_name": found.container_name,
            "project_id": found.project_id,
            "project_name": found.project_name,
        }
    )
    if noted == target:
        return
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session_, order):
        # A new target in the meantime would have fenced this attempt off.
        order.target = Target.model_validate(noted.model_dump()).model_dump(mode="json")
        store.touch(session_, order)


def resolve_again(attempt: Attempt) -> None:
    """Find the target once more for what is imported anew.

    In a restored database the noted ids may be gone, or be those of something else: then the names that were
    noted with them are looked for, and made where they are not there.

    Raises:
        NeedsAttention, Unavailable: as :func:`resolve`.
    """
    target = attempt.target
    try:
        with attempt.context.omero.as_person(attempt.order.person, target.group_id) as session:
            found = resolve_target(session, target, attempt.order_id)
        if found.container_name == target.container_name or not target.container_name:
            return
    except NeedsAttention as error:
        if error.code not in ("target_gone", "target_in_other_group") or not target.container_name:
            raise
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session_, order):
        by_name = target.model_copy(update={"container_id": None, "project_id": None})
        order.target = by_name.model_dump(mode="json")
        text = f"{target.kind} {target.container_id} is not there; {target.container_name!r} is looked for"
        store.event(session_, order, "bridge", text)
        store.touch(session_, order)
    resolve(attempt)
