"""What OMERO holds of our files: the look before an import, the facts behind a receipt, the one deletion.

An exit code or a log line of the importer is never proof; these queries are. They are asked by client path,
in a few large queries (OMERO has no index on ``FilesetEntry.clientPath``, so one query for 500 paths is much
cheaper than 500 queries), and over all groups: with the service account, or in the person's session for her
own filesets. Both see the same here [infer: omero.connection].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from server_bridge.errors import NeedsAttention
from server_bridge.omero.proof import FileProblem, FileProof, prove_file
from server_bridge.omero.session import ALL_GROUPS, Session, chunks

__all__ = [
    "FileProblem",
    "FileProof",
    "FilesetInfo",
    "HeldLock",
    "ManagedFile",
    "debris_objection",
    "filesets_by_client_path",
    "filesets_by_id",
    "prove_file",
    "remove_debris",
    "split_client_path",
    "still_ours",
]

UPLOAD_FINISHED = "Finished"
_DELETED_AT_ONCE = 50
_AT_ONCE = 200
FILES_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class ManagedFile:
    """One file of a fileset, as OMERO's database has it.

    A hundred thousand of them are held at once: what many have in common is one text that they share, and
    whole paths are put together when they are asked for.
    """

    original_file_id: int
    path: str
    """Below ManagedRepository, with a slash at its end."""
    name: str
    size: int
    """Bytes."""
    sha1: str
    """OMERO's hash, lower case; a SHA-1 only where ``hasher`` says so."""
    hasher: str
    client_folder: str
    """With a slash at its end; empty for a client path without any."""
    client_name: str
    managed_repository: str
    """Where this host sees it."""

    @property
    def client_path(self) -> str:
        return self.client_folder + self.client_name

    @property
    def managed_abs_path(self) -> Path:
        """As this host sees it."""
        return Path(self.managed_repository, self.path.strip("/"), self.name)


def split_client_path(path: str) -> tuple[str, str]:
    """Folder, with its slash, and name; one behind the other they are the path again."""
    cut = path.rfind("/") + 1
    return path[:cut], path[cut:]


@dataclass(frozen=True, slots=True)
class FilesetInfo:
    """One fileset with everything a decision about it needs."""

    fileset_id: int
    upload_finished: bool | None
    """Whether the upload was verified (the server imports then, client or not); None: no such job."""
    image_ids: tuple[int, ...]
    plate_ids: tuple[int, ...]
    group_id: int
    owner: str
    files: tuple[ManagedFile, ...]

    @property
    def image_count(self) -> int:
        return len(self.image_ids)

    @property
    def complete(self) -> bool:
        """It holds images: a fileset without any is an import that runs or failed."""
        return bool(self.image_ids)

    def file(self, client_path: str) -> ManagedFile | None:
        """The file of that client path."""
        folder, name = split_client_path(client_path)
        return next(
            (one for one in self.files if one.client_name == name and one.client_folder == folder), None
        )


def filesets_by_client_path(
    session: Session, client_paths: Iterable[str]
) -> dict[str, tuple[FilesetInfo, ...]]:
    """All filesets that hold a file of one of these client paths, oldest first.

    Every asked path is a key; a path that OMERO does not know has an empty value. No path, no question.

    Raises:
        Unavailable, TransientFailure: where OMERO does not answer.
    """
    asked = list(dict.fromkeys(client_paths))
    by_path: dict[str, set[int]] = {path: set() for path in asked}
    for piece in chunks(asked):
        for client_path, fileset_id in session.rows(
            "select fe.clientPath, fs.id from FilesetEntry fe join fe.fileset fs "
            "where fe.clientPath in (:paths)",
            {"paths": piece},
            group=ALL_GROUPS,
            doing="looking for imported files",
        ):
            by_path[str(client_path)].add(int(fileset_id))
    known = filesets_by_id(session, sorted(set().union(*by_path.values())) if by_path else [])
    return {path: tuple(known[one] for one in sorted(ids) if one in known) for path, ids in by_path.items()}


def filesets_by_id(session: Session, fileset_ids: Sequence[int]) -> dict[int, FilesetInfo]:
    """Filesets by their ids; one that is gone is left out."""
    found: dict[int, FilesetInfo] = {}
    same: dict[str, str] = {}
    for piece in chunks(fileset_ids):
        found |= _load(session, piece, lambda text: same.setdefault(text, text))
    return found


def still_ours(session: Session, wanted: Iterable[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of the filesets (id, client path of the main file) that OMERO still has, with that very file.

    Much cheaper than loading them: for looking at thousands. An id alone says nothing: a restored database
    hands out lost ids again, so that two orders may name the same one.
    """
    pairs = set(wanted)
    found: set[tuple[int, str]] = set()
    for piece in chunks(sorted(pairs), _AT_ONCE):
        rows = session.rows(
            "select fs.id, fe.clientPath from FilesetEntry fe join fe.fileset fs "
            "where fs.id in (:ids) and fe.clientPath in (:paths)",
            {"ids": sorted({one for one, _path in piece}), "paths": sorted({path for _one, path in piece})},
            group=ALL_GROUPS,
            doing="looking whether filesets are there",
        )
        found |= {(int(one), str(path)) for one, path in rows} & pairs
    return found


def _load(session: Session, ids: list[int], once: Callable[[str], str]) -> dict[int, FilesetInfo]:
    """``once`` gives one and the same object for equal texts."""

    def ask(hql: str, doing: str) -> list[tuple[Any, ...]]:
        return session.rows(hql, {"ids": ids}, group=ALL_GROUPS, doing=doing)

    heads = ask(
        "select fs.id, e.omeName, g.id from Fileset fs join fs.details.owner e join fs.details.group g "
        "where fs.id in (:ids)",
        "reading filesets",
    )
    files: defaultdict[int, list[ManagedFile]] = defaultdict(list)
    repository = str(session.managed_repository)
    same: dict[str, str] = {}
    for fileset, number, path, name, size, digest, hasher, client_path in _file_rows(session, ids):
        client_folder, client_name = split_client_path(str(client_path))
        files[int(fileset)].append(
            ManagedFile(
                original_file_id=int(number),
                path=same.setdefault(str(path), str(path)),
                name=str(name),
                # A file that was never stored has no size yet: nothing is equal to -1.
                size=-1 if size is None else int(size),
                sha1=str(digest or "").lower(),
                hasher=once(str(hasher or "")),
                client_folder=once(client_folder),
                client_name=str(name) if client_name == name else client_name,
                managed_repository=repository,
            )
        )
    images: defaultdict[int, list[int]] = defaultdict(list)
    for fileset, image in ask(
        "select fs.id, i.id from Image i join i.fileset fs where fs.id in (:ids) order by i.id",
        "reading the images of filesets",
    ):
        images[int(fileset)].append(int(image))
    plates: defaultdict[int, list[int]] = defaultdict(list)
    for fileset, plate in ask(
        "select distinct fs.id, p.id from Plate p join p.wells w join w.wellSamples ws join ws.image i "
        "join i.fileset fs where fs.id in (:ids) order by p.id",
        "reading the plates of filesets",
    ):
        plates[int(fileset)].append(int(plate))
    uploads = _uploads(session, ids)
    return {
        int(fileset): FilesetInfo(
            fileset_id=int(fileset),
            upload_finished=uploads.get(int(fileset)),
            image_ids=tuple(images.get(int(fileset), ())),
            plate_ids=tuple(plates.get(int(fileset), ())),
            group_id=int(group),
            owner=once(str(owner)),
            files=tuple(files.pop(int(fileset), ())),
        )
        for fileset, owner, group in heads
    }


def _file_rows(session: Session, ids: list[int]) -> Iterator[tuple[Any, ...]]:
    """In pages: one fileset may hold a hundred thousand files, and a call has a time limit."""
    offset = 0
    while True:
        page = session.rows(
            "select fs.id, o.id, o.path, o.name, o.size, o.hash, h.value, fe.clientPath from FilesetEntry fe "
            "join fe.fileset fs join fe.originalFile o left outer join o.hasher h "
            "where fs.id in (:ids) order by o.id",
            {"ids": ids},
            group=ALL_GROUPS,
            page=(offset, FILES_AT_ONCE),
            doing="reading the files of filesets",
        )
        yield from page
        if len(page) < FILES_AT_ONCE:
            return
        offset += len(page)


def _uploads(session: Session, ids: list[int]) -> dict[int, bool]:
    """Per fileset, whether its UploadJob is finished (the only job that OMERO ever finishes)."""
    links = session.rows(
        "select l.parent.id, l.child.id from FilesetJobLink l where l.parent.id in (:ids)",
        {"ids": ids},
        group=ALL_GROUPS,
        doing="reading the jobs of filesets",
    )
    fileset_of = {int(job): int(fileset) for fileset, job in links}
    found: dict[int, bool] = {}
    for piece in chunks(sorted(fileset_of)):
        for job, status in session.rows(
            "select j.id, s.value from UploadJob j join j.status s where j.id in (:jobs)",
            {"jobs": piece},
            group=ALL_GROUPS,
            doing="reading the upload jobs of filesets",
        ):
            found[fileset_of[int(job)]] = str(status) == UPLOAD_FINISHED
    return found


# -- the one thing we delete in OMERO -------------------------------------------------------------------


class HeldLock(Protocol):
    """The order's run lock (`server_bridge.processes.run_lock.RunLock`): whoever holds it has ended every
    importer that a dead bridge left behind, and nobody else can start one. ``fd`` is -1 once released.
    """

    fd: int


def debris_objection(
    fileset: FilesetInfo, order_client_paths: frozenset[str], username: str, *, importer_gone: bool
) -> str:
    """Why this fileset must not be removed; empty where all conditions of promise 8 hold. Pure."""
    if not importer_gone:
        return "an importer of this order may still run"
    if fileset.image_ids or fileset.plate_ids:
        return "it holds images"
    if fileset.upload_finished is not False:
        # A finished upload is imported by the server without any client; no job at all is none of ours.
        return "its upload is finished, so that OMERO may still import it"
    if fileset.owner != username:
        return f"it belongs to {fileset.owner}"
    if not fileset.files:
        return "it names no file"
    if any(file.client_path not in order_client_paths for file in fileset.files):
        return "it holds files that are not this order's"
    return ""


def remove_debris(
    session: Session, fileset_ids: Sequence[int], order_client_paths: Iterable[str], lock: HeldLock
) -> list[FilesetInfo]:
    """Remove what failed imports left: filesets without images that never finished their upload.

    The facts are read again here, just before. OMERO unlinks the managed names; the staged ones stay.

    Args:
        session: the owner's session (the service account may not delete, and need not).
        fileset_ids: all of one group.
        order_client_paths: client paths of all files of the order; no other file may be in the filesets.
        lock: the order's run lock, held.

    Returns:
        What was removed; a fileset that was gone already is not in it.

    Raises:
        NeedsAttention: ``not_debris`` where a condition does not hold for one of them (none of its group of
            fifty is removed then), ``debris_stays`` where OMERO refuses.
        Unavailable, TransientFailure: where OMERO does not answer or fails.
    """
    ours = frozenset(order_client_paths)
    removed: list[FilesetInfo] = []
    for piece in chunks(list(fileset_ids), _DELETED_AT_ONCE):
        removed += _remove_some(session, piece, ours, lock)
    return removed


def _remove_some(
    session: Session, fileset_ids: list[int], ours: frozenset[str], lock: HeldLock
) -> list[FilesetInfo]:
    filesets = list(filesets_by_id(session, fileset_ids).values())
    for fileset in filesets:
        objection = debris_objection(fileset, ours, session.username, importer_gone=lock.fd >= 0)
        if objection:
            raise NeedsAttention(
                f"Fileset {fileset.fileset_id} stays: {objection}.",
                code="not_debris",
                title="OMERO holds an import of these files that is not finished",
                remedy="Wait a moment and retry; if it stays, let the OMERO administrator look at this "
                "fileset.",
            )
    if not filesets:
        return []
    ids = [fileset.fileset_id for fileset in filesets]
    named = ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    session.delete_all("Fileset", ids, filesets[0].group_id, doing=f"removing unfinished filesets ({named})")
    if left := sorted(filesets_by_id(session, ids)):
        raise NeedsAttention(
            f"OMERO answered that fileset {left[0]} is deleted and still lists it.",
            code="debris_stays",
            title="OMERO did not remove an unfinished import",
            remedy=f"Let the OMERO administrator run `omero delete Fileset:{left[0]} --report`.",
        )
    return filesets
