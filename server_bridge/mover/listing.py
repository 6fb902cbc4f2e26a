"""What is on the share right now: files with size and mtime, read by a dry run of rsync.

An absent share must never look like an empty one. So each listing makes two short calls: the first asks for
the share's marker file and for the folder and every folder above it, without recursion; the second lists
the folder, with the marker in the same call. No marker, in either, is an outage (`ShareAway`), whatever
else was shown. Only with the marker in sight does a missing folder mean `FolderMissing`.

Links, FIFOs, sockets and devices are reported in ``skipped`` and never followed. rsync itself would follow
a link that stands *above* a listed name, which is why the first call looks at each folder of the path on
its own.

A group (entries of one folder that belong together by their names) is found by a look at that folder's names
alone, one level deep; only its own folders are then listed with all that is in them. What lies beside it may
be large, unreadable or about to vanish: none of that is said of the group.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from server_bridge.contract import is_member, place_holds
from server_bridge.errors import NeedsAttention, TransientFailure
from server_bridge.mover import command, output, paths, verdict
from server_bridge.mover.sources import Source
from server_bridge.mover.verdict import Verdict, VerdictKind
from server_bridge.processes.runner import ProcessRunner, RunLock, StopSignal

DEFAULT_MARKER = ".omero-ferry-share"
_KINDS = {"f": "file", "d": "folder", "L": "link", "D": "device", "S": "special"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. ``mtime_s`` is whole seconds since 1970 UTC, rounded down, as rsync lists it."""

    path: str
    size_bytes: int
    mtime_s: int
    kind: str = "file"


@dataclass(frozen=True)
class SkippedEntry:
    """Something that is no file and will not be copied: ``link``, ``special`` (FIFO, socket, device)."""

    path: str
    kind: str


@dataclass(frozen=True)
class Listing:
    """The files below one folder (or the one file, or of one group), by path relative to the share's top."""

    folder: str
    is_file: bool  #: the ordered path is itself a file
    entries: dict[str, Entry]
    skipped: tuple[SkippedEntry, ...] = ()
    unreadable: tuple[str, ...] = ()  #: folders the share's user may not read: what is in them is unknown
    vanished: tuple[str, ...] = ()  #: names that disappeared during the listing
    folders: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_complete(self) -> bool:
        """Whether the listing saw everything: two listings may be compared only when both did."""
        return not self.unreadable and not self.vanished

    @property
    def total_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries.values())


class ShareAway(TransientFailure):
    """The share cannot be seen: an outage. Nothing may be concluded about any file."""

    code = "share_away"
    title = "The share is away"


class ShareRefused(NeedsAttention):
    """The share's host answers and refuses us: staff must correct settings. ``code`` says what."""


class FolderMissing(NeedsAttention):
    """The share is there, the ordered path is not."""

    code = "source_missing"
    title = "The data is no longer on the share"


class FolderRefused(NeedsAttention):
    """The ordered path is no plain file or folder, or leads through a link."""

    code = "path_is_link"
    title = "The path leads through a link"


def raise_for_share(found: Verdict) -> None:
    """Raise `ShareAway` or `ShareRefused` for a verdict about the connection; return for the others."""
    if found.kind is VerdictKind.PERMANENT:
        raise ShareRefused(found.detail, code=found.code, title=found.title, remedy=found.remedy)
    if found.kind not in {VerdictKind.DONE, VerdictKind.RECONCILE}:
        raise ShareAway(found.detail, code=found.code, title=found.title, remedy=found.remedy)


@dataclass
class _Seen:
    """What one rsync dry run showed."""

    items: dict[str, output.ListLine] = field(default_factory=dict)
    special: list[str] = field(default_factory=list)
    problems: list[output.NamedProblem] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    verdict: Verdict = verdict.DONE

    def out(self, raw: bytes) -> None:
        line = output.parse_line(raw)
        if isinstance(line, output.ListLine):
            self.items[line.path.rstrip("/") if line.kind == "d" else line.path] = line
        elif isinstance(line, output.Skipped):
            self.special.append(line.path)
        elif isinstance(line, output.Remark) and line.text.startswith("@L|"):
            self.odd.append(line.text)

    def error(self, raw: bytes) -> None:
        problem = output.parse_error_line(raw)
        if problem is not None:
            self.problems.append(problem)


def list_source(
    source: Source,
    folder: str,
    runner: ProcessRunner,
    *,
    members: tuple[str, ...] = (),
    marker: str = DEFAULT_MARKER,
    rsync: str = "rsync",
    stall_seconds: float = 60.0,
    stop_event: StopSignal | None = None,
    work_dir: Path | None = None,
    lock: RunLock | None = None,
) -> Listing:
    """List the files of ``folder`` (a folder, or a single file) below the share's top; ``.`` lists the
    whole share. With ``members`` it is a group's name, and only its members' files are listed.

    Raises `ShareAway` (outage: try later), `ShareRefused` (settings), `FolderMissing`, `FolderRefused` (a
    link in the path) and `paths.PathRefused`. Names in the result are *not* checked: `paths.check_manifest`
    does that. ``lock`` is the caller's right to run a child: on a mount that hangs, the next listing then
    finds the process that nobody can end, instead of adding another one.
    """
    if folder != ".":
        paths.require_path(folder)
    above = _above(folder)
    call = _Call(source, runner, rsync, stall_seconds, stop_event, work_dir, lock)
    if members:
        return _list_group(call, folder, members, marker)

    probe = call.run([marker, *above, *([folder] if folder != "." else [])], recursive=False)
    _require_marker(probe, marker, source)
    kind = _require_path(probe, folder, above)

    seen = call.run([marker, folder], recursive=True)
    _require_marker(seen, marker, source)
    if folder != "." and folder not in seen.items:
        raise _missing(folder)
    _require_legible(seen, source)
    return _listing(folder, kind == "f", seen, {marker, "."}, lambda path: paths.is_below(path, folder))


def _list_group(call: _Call, path: str, members: tuple[str, ...], marker: str) -> Listing:
    parent, above = path.rpartition("/")[0], _above(path)
    probe = call.run([marker, *above], recursive=False)
    _require_marker(probe, marker, call.source)
    if parent and _require_path(probe, parent, above[:-1]) == "f":
        raise _missing(path)

    # A closing slash: the names in the folder, and none of what is in its folders.
    near = call.run([marker, f"{parent}/" if parent else "."], recursive=False)
    _require_marker(near, marker, call.source)
    _require_legible(near, call.source)
    if parent and parent not in near.items:
        raise _missing(path)

    def holds(name: str) -> bool:
        return place_holds(path, members, name)

    found = _Seen(
        {name: item for name, item in near.items.items() if holds(name)},
        [name for name in near.special if holds(name)],
        [problem for problem in near.problems if not _is_of_neighbour(problem, parent, members)],
    )
    folders = [name for name, item in found.items.items() if item.kind == "d"]
    if folders:
        deep = call.run([marker, *folders], recursive=True)
        _require_marker(deep, marker, call.source)
        _require_legible(deep, call.source)
        found.items |= deep.items
        found.special += deep.special
        found.problems += deep.problems
    if not (found.items.keys() - {marker} or found.special or found.problems):
        raise _missing(path)
    return _listing(path, False, found, {marker}, holds)


def _is_of_neighbour(problem: output.NamedProblem, parent: str, members: tuple[str, ...]) -> bool:
    """Whether what rsync says at one level is about an entry beside the group, which may come and go."""
    if problem.code == "folder_unreadable":  # it opens no folder but the group's own
        return False
    if parent and output.match_name(problem.name, {parent}) is not None:
        return False
    return not is_member(problem.name.rpartition("/")[2], members)


def check_share(
    source: Source,
    runner: ProcessRunner,
    *,
    marker: str = DEFAULT_MARKER,
    rsync: str = "rsync",
    stall_seconds: float = 30.0,
) -> None:
    """Ask for the marker alone: one short call that says whether the share is there.

    Raises `ShareAway` or `ShareRefused`.
    """
    call = _Call(source, runner, rsync, stall_seconds, None, None, None)
    _require_marker(call.run([marker], recursive=False), marker, source)


@dataclass(frozen=True)
class _Call:
    source: Source
    runner: ProcessRunner
    rsync: str
    stall_seconds: float
    stop_event: StopSignal | None
    work_dir: Path | None
    lock: RunLock | None

    def run(self, names: list[str], *, recursive: bool) -> _Seen:
        with tempfile.TemporaryDirectory(prefix="ferry-list-", dir=self.work_dir) as directory:
            names_file = Path(directory, "names")
            names_file.write_bytes(command.files_from(names))
            empty = Path(directory, "empty")
            empty.mkdir()
            seen = _Seen()
            result = self.runner.run(
                command.list_command(self.rsync, self.source, names_file, empty, recursive=recursive),
                env=command.environment(),
                lock=self.lock,
                on_stdout_line=seen.out,
                on_stderr_line=seen.error,
                stall_seconds=self.stall_seconds,
                stop_event=self.stop_event,
                stdout_limit_bytes=1 << 12,
            )
        seen.verdict = verdict.of_result(result)
        raise_for_share(seen.verdict)
        return seen


def _above(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _require_marker(seen: _Seen, marker: str, source: Source) -> None:
    found = seen.items.get(marker)
    if found is None or found.kind != "f":
        raise ShareAway(
            f"{source.label} answers, but its marker file {marker!r} is not there: the disk is probably "
            "not mounted.",
            code="share_marker_missing",
            remedy="Mount the share's disk on the buffer. In a new share, staff make the marker file.",
        )


def _require_legible(seen: _Seen, source: Source) -> None:
    if seen.odd:
        # A line that cannot be read may hide a file: a listing that dropped it would be wrong in silence.
        raise ShareAway(
            f"rsync's listing of {source.label} holds a line that cannot be read: {seen.odd[0]!r}",
            code="listing_unreadable",
            title="The share's listing cannot be understood",
            remedy="Report it to the bridge's staff with this text.",
        )


def _missing(folder: str) -> FolderMissing:
    return FolderMissing(
        f"{paths.shown(folder)!r} is not on the share.",
        remedy="If it was moved or renamed, order it again at its new place; otherwise cancel the order.",
    )


def _require_path(probe: _Seen, folder: str, above: list[str]) -> str:
    """Check each folder above and the folder itself; return the kind letter of the folder."""
    if folder == ".":
        return "d"
    absent = [problem for problem in probe.problems if problem.code == "source_missing"]
    for part in [*above, folder]:
        item = probe.items.get(part)
        if item is not None and (item.kind == "d" or (part == folder and item.kind == "f")):
            continue
        if (
            item is None
            and part not in probe.special
            and any(output.match_name(problem.name, {part}) for problem in absent)
        ):
            raise _missing(folder)
        denied = next((problem for problem in probe.problems if problem.code == "source_unreadable"), None)
        if item is None and denied is not None:
            raise FolderRefused(
                f"The share's user may not look into {paths.shown(denied.name)!r}.",
                code="source_unreadable",
                title="The data cannot be read on the share",
                remedy="Ask the staff of the microscope or the buffer to give read permission.",
            )
        if item is not None and item.kind == "f":
            raise _missing(folder)
        # Shown as a link, as nothing at all (a link above another listed name is dropped), or as a special
        # file.
        raise FolderRefused(
            f"{paths.shown(part)!r} is no plain file or folder.",
            remedy="Order the real folder; links are never followed.",
        )
    return probe.items[folder].kind


def _listing(
    folder: str, is_file: bool, seen: _Seen, not_ours: set[str], holds: Callable[[str], bool]
) -> Listing:
    entries: dict[str, Entry] = {}
    skipped = [SkippedEntry(path, "special") for path in seen.special if holds(path)]
    folders: set[str] = set()
    for path, item in seen.items.items():
        if path in not_ours or not holds(path):
            continue
        if item.kind == "f":
            entries[path] = Entry(path, item.size_bytes, item.mtime_s)
        elif item.kind == "d":
            folders.add(path)
        else:
            skipped.append(SkippedEntry(path, _KINDS.get(item.kind, "special")))
    return Listing(
        folder=folder,
        is_file=is_file,
        entries=entries,
        skipped=tuple(sorted(skipped, key=lambda entry: entry.path)),
        unreadable=_named(seen, {"folder_unreadable", "source_unreadable"}, folders),
        vanished=_named(seen, {"source_vanished", "source_missing"}, {*entries, *folders}),
        folders=frozenset(folders),
    )


def _named(seen: _Seen, codes: set[str], known: set[str]) -> tuple[str, ...]:
    # The far side may name an absolute path we cannot shorten: then it is shown as it is.
    return tuple(
        sorted({output.match_name(p.name, known) or p.name for p in seen.problems if p.code in codes})
    )
