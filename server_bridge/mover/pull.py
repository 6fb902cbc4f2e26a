"""Pull the files of one order from its share into its staging directory, with the SHA-1 computed on the way.

The order of things is the promise:

1. take the order's lock, which ends what a killed bridge left running on this directory; 2. look at
staging: a file that is complete and whose digest the caller knows is done; a complete file without a
   digest is demoted to a partial file and pulled again; a file with a second link stops everything (an
   import began);
3. take the room it needs on disk, or wait for it (`server_bridge.mover.room`). Where there is none, this
   order's own partial files go: a full disk is OMERO's disk too, and partial files that wait for each
   other's room would wait for ever;
4. run one or more rsync processes over disjoint lists; a line per file announces its SHA-1;
5. confirm each file by a look at its final name (size and mtime as listed), never by the line;
6. compare what arrived with what was asked for; anything else leaves the directory.

rsync's exit code never says that a file is there. An unmounted share looks like "every file is missing"
here: list the source again (`server_bridge.mover.listing`) before believing it. The caller also syncs the
file system (`server_bridge.mover.durability`) before it commits digests.
"""

from __future__ import annotations

import shutil
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server_bridge.contract import place_holds
from server_bridge.mover import command, output, paths, sharding, staging, verdict
from server_bridge.mover.pulled import PendingFile, PulledFile, PullLimits, PullOutcome, WantedFile
from server_bridge.mover.room import Promise, Room
from server_bridge.mover.sources import Source
from server_bridge.mover.verdict import Verdict, VerdictKind
from server_bridge.processes.runner import ChildResult, ProcessRunner, RunLock, StopSignal

__all__ = ["PendingFile", "PullLimits", "PullOutcome", "PulledFile", "WantedFile", "pull"]

_KEPT_BYTES = 1 << 17
_SWEEP_SECONDS = 0.25
_SWEEP_MISSES = 8


ProgressHandler = Callable[[int, int], None]
FileHandler = Callable[[PulledFile], None]


def pull(
    source: Source,
    folder: str,
    files: Sequence[WantedFile],
    staging_dir: Path,
    runner: ProcessRunner,
    *,
    members: tuple[str, ...] = (),
    on_progress: ProgressHandler | None = None,
    on_file: FileHandler | None = None,
    stop_event: StopSignal | None = None,
    known_digests: Mapping[str, str] | None = None,
    limits: PullLimits | None = None,
    lock_path: Path | None = None,
    work_dir: Path | None = None,
    quarantine_dir: Path | None = None,
    rsync: str = "rsync",
    room: Room | None = None,
) -> PullOutcome:
    """Pull ``files`` (paths relative to the share's top, all within ``folder``) to ``staging_dir/<path>``.
    With ``members``, ``folder`` is a group's name, and all are files of its members.

    ``known_digests``: SHA-1 by path of files that an earlier call confirmed and the caller kept.
    ``on_file`` is called once for each file confirmed by this call, ``on_progress(bytes, files)`` a few
    times a second and at the end, both under one lock and with counters that only grow. ``stop_event`` ends
    the transfer within a second; what arrived stays and is resumed. ``room`` is shared by all pulls onto one
    disk. Defaults beside the staging directory:
    ``.ferry/<name>.lock``, ``.ferry/`` for lists, ``.ferry/<name>.unlisted`` (all on staging's own file
    system).

    Never raises for a fault of the transfer: the outcome's verdict says it. Raises `paths.PathRefused`,
    `staging.StagingUnexpected` (both before anything is touched), `LockBusy`, `OrphansRemain`,
    `ProgramMissing`, OSError when staging itself cannot be used, and whatever a handler raises.
    """
    _require_paths(folder, members, files, staging_dir)
    beside = staging_dir.parent / ".ferry"
    work_dir = work_dir or beside
    work_dir.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with RunLock.acquire(lock_path or beside / f"{staging_dir.name}.lock") as lock:
        run = _Pull(
            source=source,
            staging_dir=staging_dir,
            files={wanted.path: wanted for wanted in files},
            runner=runner,
            lock=lock,
            limits=limits or PullLimits(),
            work_dir=work_dir,
            quarantine_dir=quarantine_dir or beside / f"{staging_dir.name}.unlisted",
            rsync=rsync,
            on_progress=on_progress,
            on_file=on_file,
            stop_event=stop_event,
        )
        found = run.carry_out(known_digests or {}, room or Room())
        return PullOutcome(
            confirmed=tuple(run.confirmed[path] for path in sorted(run.confirmed)),
            pending=tuple(run.pending()),
            verdict=found,
            bytes_done=sum(done.size_bytes for done in run.confirmed.values()),
            new_files=run.new_files,
            moved=run.moved,
            unlisted=tuple(sorted(run.unlisted)),
            ended_orphans=lock.ended_orphans,
            duration_seconds=time.monotonic() - started,
            said=run.said(),
        )


def _require_paths(
    folder: str, members: tuple[str, ...], files: Sequence[WantedFile], staging_dir: Path
) -> None:
    problems = paths.check_manifest((wanted.path for wanted in files), paths.staged_limit(staging_dir))
    if problems:
        raise paths.PathRefused(problems[0])
    for wanted in files:
        inside = place_holds(folder, members, wanted.path) if members else paths.is_below(wanted.path, folder)
        if not inside:
            raise paths.PathRefused(
                paths.PathProblem(
                    wanted.path,
                    "path_outside",
                    "A file outside the acquisition",
                    f"{paths.shown(wanted.path)!r} is not in {paths.shown(folder)!r}.",
                    "Order the acquisition again.",
                )
            )


@dataclass
class _Shard:
    """One rsync process: its list and its own counters."""

    files: list[WantedFile]
    progress_bytes: int = 0
    confirmed_bytes: int = 0
    swept_at: float = 0.0
    announced: dict[str, str] = field(default_factory=dict)
    result: ChildResult | None = None
    error: BaseException | None = None

    @property
    def done_bytes(self) -> int:
        # rsync's counter includes the file under way; the sum of confirmed files survives its rounding.
        return max(self.progress_bytes, self.confirmed_bytes)


@dataclass
class _Pull:
    source: Source
    staging_dir: Path
    files: dict[str, WantedFile]
    runner: ProcessRunner
    lock: RunLock
    limits: PullLimits
    work_dir: Path
    quarantine_dir: Path
    rsync: str
    on_progress: ProgressHandler | None
    on_file: FileHandler | None
    stop_event: StopSignal | None

    confirmed: dict[str, PulledFile] = field(default_factory=dict)
    reasons: dict[str, PendingFile] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    new_files: int = 0
    moved: bool = False
    _promise: Promise | None = None
    _shards: list[_Shard] = field(default_factory=list)
    _guard: threading.RLock = field(default_factory=threading.RLock)
    _abort: threading.Event = field(default_factory=threading.Event)
    _root: str = ""
    _folders: set[str] = field(default_factory=set)
    _base_bytes: int = 0
    _todo_bytes: int = 0
    _shown_bytes: int = -1
    _shown_files: int = -1
    _shown_at: float = 0.0

    def __post_init__(self) -> None:
        self._root = f"{self.staging_dir}/"
        self._folders = {".", ""}
        for path in self.files:
            folder = path.rpartition("/")[0]
            while folder not in self._folders:
                self._folders.add(folder)
                folder = folder.rpartition("/")[0]

    # --- the whole

    def carry_out(self, known: Mapping[str, str], room: Room) -> Verdict:
        todo = self._take_stock(known)
        if not todo:
            self._report(last=True)
            return verdict.DONE
        folders = staging.make_directories(self.staging_dir, self.files)
        for wanted in todo:
            if staging.is_complete(self._root + wanted.path, wanted.size_bytes, wanted.mtime_s):
                staging.demote(self.staging_dir / wanted.path)
        pending = {self._root + wanted.path for wanted in todo}
        staging.adopt_leftovers(sorted(folders), pending.__contains__)
        resumed = staging.partial_bytes(folders)
        promise = self._take_room(room, todo, folders)
        if isinstance(promise, str):
            return verdict.staging_full(promise)
        with promise:
            self._promise = promise
            found = self._transfer(todo)
        # Bytes that came and were thrown away (a file that cannot be read to its end) are no progress: the
        # same try could be made for ever.
        self.moved = self.new_files > 0 or staging.partial_bytes(folders) > resumed
        staging.quarantine(self.staging_dir, self.quarantine_dir, sorted(self.unlisted))
        if found.kind is VerdictKind.SPACE:
            # Not one byte is free, for OMERO neither: half a file is the first thing to go.
            staging.clear_partials(sorted(folders))
        left = [path for path in self.files if path not in self.confirmed]
        if not left:
            staging.clear_partials(sorted(folders))
            found = verdict.DONE
        elif found.kind in {VerdictKind.DONE, VerdictKind.RECONCILE}:
            found = verdict.of_pending([(pending.code, pending.path) for pending in self.pending()])
        self._report(last=True)
        return found

    def _take_room(self, room: Room, todo: list[WantedFile], folders: set[Path]) -> Promise | str:
        # The whole size, also of a file with a partial: rsync writes a new file beside it.
        need = self._todo_bytes = sum(wanted.size_bytes for wanted in todo)
        limits = self.limits
        found = room.ask(self.staging_dir, need, len(todo), limits.keep_free_bytes, limits.reserve_ratio)
        if isinstance(found, str):
            staging.clear_partials(sorted(folders))
            found = room.ask(self.staging_dir, need, len(todo), limits.keep_free_bytes, limits.reserve_ratio)
        return found

    def _take_stock(self, known: Mapping[str, str]) -> list[WantedFile]:
        """Sort out what is there already, without touching anything."""
        todo = []
        for wanted in self.files.values():
            path = self._root + wanted.path
            digest = known.get(wanted.path)
            if digest and staging.is_complete(path, wanted.size_bytes, wanted.mtime_s):
                self.confirmed[wanted.path] = _pulled(wanted, digest)
                self._base_bytes += wanted.size_bytes
                continue
            there = staging.look(path)
            if there is not None and not stat.S_ISREG(there.st_mode):
                raise staging.StagingUnexpected(
                    f"{path} should be a file.", remedy="Staff must look at it and move it away."
                )
            if there is not None and there.st_nlink > 1:
                raise staging.already_linked(wanted.path)
            todo.append(wanted)
        return todo

    def pending(self) -> list[PendingFile]:
        left = (path for path in sorted(self.files) if path not in self.confirmed)
        return [self.reasons.get(path) or PendingFile(path, "not_pulled") for path in left]

    def said(self) -> str:
        return "\n".join(
            shard.result.stderr_text for shard in self._shards if shard.result and shard.result.stderr
        )

    # --- the transfer

    def _transfer(self, todo: list[WantedFile]) -> Verdict:
        self._shards = [_Shard(files) for files in sharding.split(todo, self.limits.shards)]
        # One fixed name per order: the lock makes it ours, and what a killed bridge left in it is
        # overwritten.
        directory = self.work_dir / f"{self.staging_dir.name}.lists"
        directory.mkdir(mode=0o700, exist_ok=True)
        try:
            if len(self._shards) == 1:
                self._run_shard(self._shards[0], directory / "0")
            else:
                threads = [
                    threading.Thread(
                        target=self._run_shard, args=(shard, directory / str(number)), name=f"pull-{number}"
                    )
                    for number, shard in enumerate(self._shards)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        finally:
            shutil.rmtree(directory)
        for shard in self._shards:
            if shard.error is not None:
                raise shard.error
        for wanted in todo:
            self._explain(wanted)
        return verdict.merge(
            verdict.of_result(shard.result) for shard in self._shards if shard.result is not None
        )

    def _run_shard(self, shard: _Shard, names_file: Path) -> None:
        bandwidth = self.limits.bandwidth_kib_per_second
        try:
            names_file.write_bytes(command.files_from(wanted.path for wanted in shard.files))
            shard.result = self.runner.run(
                command.pull_command(
                    self.rsync,
                    self.source,
                    names_file,
                    self.staging_dir,
                    bandwidth_kib_per_second=None if bandwidth is None else bandwidth // len(self._shards),
                    compress=self.limits.compress,
                ),
                env=command.environment(),
                lock=self.lock,
                on_stdout_line=lambda raw: self._out(shard, raw),
                on_stderr_line=self._error,
                stall_seconds=self.limits.stall_seconds,
                stop_event=self,
                stdout_limit_bytes=1 << 12,
                stderr_limit_bytes=_KEPT_BYTES,
            )
            with self._guard:
                self._confirm(shard, last=True)
        except BaseException as error:  # noqa: BLE001 - raised by the caller's thread once the other shards ended
            shard.error = error
            self._abort.set()

    def is_set(self) -> bool:
        """The stop signal of all shards: the caller's, or the failure of one of them."""
        return self._abort.is_set() or (self.stop_event is not None and self.stop_event.is_set())

    def _out(self, shard: _Shard, raw: bytes) -> None:
        line = output.parse_line(raw)
        with self._guard:
            if isinstance(line, output.Progress):
                shard.progress_bytes = max(shard.progress_bytes, line.bytes_done)
            elif isinstance(line, output.FileLine):
                self._announce(shard, line)
            else:
                return
            self._confirm(shard)
            self._report()
            if self._promise is not None:
                self._promise.left(
                    self._todo_bytes - sum(one.done_bytes for one in self._shards),
                    len(self.files) - len(self.confirmed),
                )

    def _announce(self, shard: _Shard, line: output.FileLine) -> None:
        path = line.path.rstrip("/")
        if not line.is_file:
            if path not in self._folders:
                self.unlisted.add(path)
            return
        if path not in self.files:
            self.unlisted.add(path)
            return
        if line.sha1 is not None and line.size_bytes == self.files[path].size_bytes:
            shard.announced[path] = line.sha1
        else:
            shard.announced.pop(path, None)
            if line.verification_failed:
                self.reasons.setdefault(path, PendingFile(path, "verification_failed", "The digests differ."))

    def _confirm(self, shard: _Shard, *, last: bool = False) -> None:
        """Confirm announced files by a look at their final names, in the order of their lines.

        Lines run ahead of the renames by a few files, so a sweep ends after some names that are not there
        yet; and it is made a few times a second only: then each file costs about one lstat.
        """
        now = time.monotonic()
        if not last and now - shard.swept_at < _SWEEP_SECONDS:
            return
        shard.swept_at = now
        arrived: list[PulledFile] = []
        misses = 0
        for path, sha1 in shard.announced.items():
            wanted = self.files[path]
            if staging.is_complete(self._root + path, wanted.size_bytes, wanted.mtime_s):
                arrived.append(_pulled(wanted, sha1))
            elif not last and (misses := misses + 1) >= _SWEEP_MISSES:
                break
        for pulled in arrived:
            del shard.announced[pulled.path]
            shard.confirmed_bytes += pulled.size_bytes
            self.reasons.pop(pulled.path, None)
            if pulled.path not in self.confirmed:
                self.confirmed[pulled.path] = pulled
                self.new_files += 1
                if self.on_file is not None:
                    self.on_file(pulled)

    def _error(self, raw: bytes) -> None:
        problem = output.parse_error_line(raw)
        if problem is None:
            return
        path = output.match_name(problem.name.removeprefix(str(self.staging_dir)), self.files)
        if problem.code == "partial_unusable":
            tail = problem.name.replace(f"{command.PARTIAL_DIR}/", "").removeprefix(str(self.staging_dir))
            path = output.match_name(tail, self.files)
            if path is not None:
                # Not used by this rsync: without it the next attempt starts this file anew instead of
                # failing again.
                staging.drop_partial(self.staging_dir / path)
            return
        if path is not None:
            found = PendingFile(path, problem.code, raw.decode("ascii", "replace"))
            with self._guard:
                # A file that cannot be read fails its verification too: the first fault is the cause.
                if problem.code == "verification_failed":
                    self.reasons.setdefault(path, found)
                else:
                    self.reasons[path] = found

    def _explain(self, wanted: WantedFile) -> None:
        """Find the reason of a file that is pending and that rsync did not name."""
        if wanted.path in self.confirmed or wanted.path in self.reasons:
            return
        found = staging.look(self._root + wanted.path)
        if found is not None:
            self.reasons[wanted.path] = PendingFile(
                wanted.path,
                "source_changed",
                f"listed with {wanted.size_bytes} bytes and mtime {wanted.mtime_s}, arrived with "
                f"{found.st_size} bytes and mtime {found.st_mtime_ns // 1_000_000_000}",
            )

    # --- progress

    def _report(self, last: bool = False) -> None:
        if self.on_progress is None:
            return
        now = time.monotonic()
        if not last and now - self._shown_at < self.limits.progress_seconds:
            return
        self._shown_at = now
        total = sum(wanted.size_bytes for wanted in self.files.values())
        done = self._base_bytes + sum(shard.done_bytes for shard in self._shards)
        if last:
            done = sum(pulled.size_bytes for pulled in self.confirmed.values())
        # A file sent twice counts twice in rsync's counter; the person's bar only grows and never passes
        # the end.
        done = min(max(done, self._shown_bytes, 0), total)
        files = len(self.confirmed)
        if (done, files) != (self._shown_bytes, self._shown_files):
            self._shown_bytes, self._shown_files = done, files
            self.on_progress(done, files)


def _pulled(wanted: WantedFile, sha1: str) -> PulledFile:
    return PulledFile(wanted.path, wanted.size_bytes, wanted.mtime_s, sha1)
