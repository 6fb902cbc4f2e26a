"""Buffer, staging and OMERO as a test can afford them forty thousand times: tiny real files, no processes.

The files are real, so that the product's looks at names, inodes, sizes and times are its own. What is made
up is what would need another process: rsync (a copy), Bio-Formats (every `.tif` is a unit), OMERO (a few
rows, and real hard links for its files).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from unittest import mock

from server_bridge.config import SiteConfig
from server_bridge.context import Context
from server_bridge.errors import NeedsAttention
from server_bridge.mover import staging, verdict
from server_bridge.mover.listing import Entry, FolderMissing, Listing, ShareAway
from server_bridge.mover.pull import PendingFile, PulledFile, PullOutcome, WantedFile
from server_bridge.mover.room import Room
from server_bridge.omero.importer import ImportRun, ScannedUnit
from server_bridge.omero.importer_output import UnitLog
from server_bridge.omero.paths import client_path
from server_bridge.omero.receipts import FilesetInfo, ManagedFile, debris_objection, split_client_path
from server_bridge.omero.targets import ResolvedTarget
from server_bridge.orders.database import open_database
from server_bridge.orders.migrating import migrate
from server_bridge.pipeline.attempt import Attempt, run_attempt
from server_bridge.pipeline.live import LiveAttempts
from server_bridge.pipeline.service import PHASES, STEPS
from server_bridge.processes.run_lock import RunLock
from server_bridge.processes.runner import ProcessRunner
from tests.bridge.bridge_site import make_site
from tests.bridge.promises.mortal import Crash, Life, MortalStore

SHARE = "conf"
GROUP = 3
OUTCOMES = ("done", "complains", "refused", "nothing", "debris", "outlived", "server-failed")
"""How an import may go: well; well with a bad exit code; not begun; exit 0 and nothing; client dead before
the end of its upload; client dead and the server goes on; the server says that it failed."""


@functools.cache
def _empty_database() -> bytes:
    """The migrated file: made once, since migrating takes longer than a whole life."""
    with tempfile.TemporaryDirectory() as top:
        file = Path(top, "empty.sqlite3")
        engine = open_database(f"sqlite:///{file}")
        migrate(engine)
        engine.dispose()
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
        return file.read_bytes()


def sha1(path: Path) -> str:
    """Of a tiny file."""
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


@dataclass
class Fileset:
    """A row in OMERO. ``working``: its server will make images of it some time, client or not."""

    id: int
    client_path: str
    managed: Path
    size: int
    sha1: str
    owner: str
    images: tuple[int, ...] = ()
    finished: bool = False
    working: bool = False

    def info(self) -> FilesetInfo:
        """As the bridge reads it."""
        file = ManagedFile(
            original_file_id=self.id * 10,
            path="",
            name=self.managed.name,
            size=self.size,
            sha1=self.sha1,
            hasher="SHA1-160",
            client_folder=split_client_path(self.client_path)[0],
            client_name=split_client_path(self.client_path)[1],
            managed_repository=str(self.managed.parent),
        )
        return FilesetInfo(self.id, self.finished, self.images, (), GROUP, self.owner, (file,))


@dataclass
class Session:
    """An open OMERO session, as far as the steps use one."""

    username: str
    managed_repository: Path
    key: str = "key"


@dataclass
class World:
    """One site and everything around it. Enter it: while inside, the product meets these doubles."""

    top: Path
    life: Life = field(default_factory=Life)
    away: bool = False
    """The share cannot be seen."""
    outcomes: list[str] = field(default_factory=list)
    """Of the next imports; beyond them all go well."""
    filesets: dict[int, Fileset] = field(default_factory=dict)
    removed_as_debris: list[Fileset] = field(default_factory=list)

    def __post_init__(self) -> None:
        base = make_site(self.top)
        values = base.model_dump()
        share = {**values["shares"][0], "hold_days": 0, "deletion": "agent"}
        self.site = SiteConfig(**{**values, "shares": (share,)})
        self.buffer, self.staging = self.top / "buffer", self.site.staging_dir
        self.managed = self.top / "managed"
        self.managed.mkdir()
        (self.site.state_dir / "ferry.sqlite3").write_bytes(_empty_database())
        self.store = MortalStore(open_database(self.site.url), self.life)
        self.context = Context(site=self.site, store=self.store, omero=self)  # type: ignore[arg-type]
        self.live = LiveAttempts(self.store)
        self.runner = ProcessRunner()
        self.room = Room()
        self._ids = itertools.count(1)
        self._patches: list[Any] = []

    def __enter__(self) -> World:
        steps = "server_bridge.pipeline.steps"
        doubles: dict[str, Any] = {
            f"{steps}.source.list_source": self.list_source,
            "server_bridge.retention.reconcile.list_source": self.list_source,
            f"{steps}.pulling.pull": self.pull,
            f"{steps}.pulling.sync_filesystem": lambda _path: None,
            f"{steps}.proving.sync_filesystem": lambda _path: None,
            f"{steps}.units.scan_units": self.scan_units,
            f"{steps}.verifying.resolve_target": self.resolve_target,
            f"{steps}.importing.run_import": self.run_import,
            f"{steps}.units_in_omero.filesets_by_client_path": self.filesets_by_client_path,
            f"{steps}.units_in_omero.remove_debris": self.remove_debris,
            f"{steps}.units_in_omero.SETTLE_SECONDS": 0.0,
            f"{steps}.units_in_omero._SETTLE_POLL": 0.0,
            f"{steps}.restored.filesets_by_client_path": self.filesets_by_client_path,
            # The database is always the same one here: dumps are restored in other tests.
            "server_bridge.pipeline.omero_watch.look": lambda *_given: True,
            f"{steps}.proving.filesets_by_id": self.filesets_by_id,
            f"{steps}.annotating.annotate": lambda *_given: self.life.happened(),
            "server_bridge.retention.release.filesets_by_id": self.filesets_by_id,
            "server_bridge.processes.run_lock.end_orphans": lambda *_given: (),
        }
        for name, double in doubles.items():
            patch = mock.patch(name, double)
            patch.start()
            self._patches.append(patch)
        return self

    def __exit__(self, *_error: object) -> None:
        for patch in reversed(self._patches):
            patch.stop()
        self.store.engine.dispose()

    # --- attempts -------------------------------------------------------------------------------------

    def attempt(self, order_id: str, number: int, phase: str) -> str:
        """One attempt, to its end or its death."""
        from threading import Event

        attempt = Attempt(self.context, order_id, number, Event(), self.live, self.runner, self.room)
        try:
            return run_attempt(attempt, STEPS, PHASES[phase])
        except Crash:
            return "crashed"

    # --- the share ------------------------------------------------------------------------------------

    def there(self, path: str, members: tuple[str, ...] = ()) -> list[Path]:
        """The files of a place."""
        top = self.buffer / path
        tops = [top]
        if members:
            around = sorted(top.parent.iterdir()) if top.parent.is_dir() else []
            tops = [one for one in around if any(fnmatchcase(one.name, pattern) for pattern in members)]
        below = [[one] if one.is_file() else sorted(one.rglob("*")) for one in tops]
        return [one for group in below for one in group if one.is_file()]

    def list_source(
        self, _source: object, path: str, _runner: object, *, members: tuple[str, ...] = (), **_more: object
    ) -> Listing:
        """What the bridge's own listing of the buffer says."""
        if self.away:
            raise ShareAway("the share is away")
        top = self.buffer / path
        files = self.there(path, members)
        if not (files if members else top.exists()):
            raise FolderMissing(path)
        entries = {}
        for file in files:
            name = file.relative_to(self.buffer).as_posix()
            entries[name] = Entry(name, file.stat().st_size, int(file.stat().st_mtime))
        return Listing(path, top.is_file() and not members, entries)

    def pull(
        self,
        _source: object,
        _folder: str,
        files: Sequence[WantedFile],
        staging_dir: Path,
        _runner: object,
        *,
        on_file: Any,
        known_digests: dict[str, str],
        lock_path: Path,
        **_more: object,
    ) -> PullOutcome:
        """rsync with its promises: whole files under their names, each confirmed by a look."""
        with RunLock.acquire(lock_path):
            confirmed: list[PulledFile] = []
            pending: list[PendingFile] = []
            for wanted in files:
                staged = staging_dir / wanted.path
                digest = known_digests.get(wanted.path)
                if digest and staging.is_complete(staged, wanted.size_bytes, wanted.mtime_s):
                    confirmed.append(PulledFile(wanted.path, wanted.size_bytes, wanted.mtime_s, digest))
                    continue
                there = staging.look(staged)
                if there is not None and there.st_nlink > 1:
                    raise staging.already_linked(wanted.path)
                if self.away:
                    away = verdict.Verdict(verdict.VerdictKind.TRANSIENT, "share_away", "The share is away")
                    return PullOutcome(tuple(confirmed), (), away, 0, 0, False)
                source = self.buffer / wanted.path
                if not staging.is_complete(source, wanted.size_bytes, wanted.mtime_s):
                    pending.append(PendingFile(wanted.path, "source_changed"))
                    continue
                self._copy(source, staged)
                self.life.happened()
                pulled = PulledFile(wanted.path, wanted.size_bytes, wanted.mtime_s, sha1(staged))
                confirmed.append(pulled)
                on_file(pulled)
            found = verdict.of_pending([(one.code, one.path) for one in pending]) if pending else verdict.DONE
            return PullOutcome(tuple(confirmed), tuple(pending), found, 0, len(confirmed), bool(confirmed))

    @staticmethod
    def _copy(source: Path, staged: Path) -> None:
        staged.parent.mkdir(parents=True, exist_ok=True)
        half = staged.with_name(f".{staged.name}.aBcDeF")
        half.write_bytes(source.read_bytes())
        os.utime(half, ns=(0, source.stat().st_mtime_ns))
        half.replace(staged)

    # --- OMERO ----------------------------------------------------------------------------------------

    @contextmanager
    def service(self) -> Iterator[Session]:
        """As `Omero.service`."""
        yield Session("ferry", self.managed)

    @contextmanager
    def as_person(self, username: str, _group_id: int | None = None) -> Iterator[Session]:
        """As `Omero.as_person`."""
        yield Session(username, self.managed)

    def scan_units(self, _config: object, root: Path, _runner: object, **_more: object) -> list[ScannedUnit]:
        """Every ``.tif`` is a unit."""
        files = [root] if root.is_file() else sorted(root.rglob("*.tif"))
        self.life.happened()
        return [
            ScannedUnit(main=str(one), files=(str(one),), spw=False, reader="tif")
            for one in files
            if one.suffix == ".tif"
        ]

    def resolve_target(self, _session: Session, target: Any, _order_id: str = "") -> ResolvedTarget:
        """The dataset is there."""
        self.life.happened()
        return ResolvedTarget("dataset", target.container_id or 7, "run", GROUP)

    def filesets_by_client_path(
        self, _session: Session, paths: Iterable[str]
    ) -> dict[str, tuple[FilesetInfo, ...]]:
        """As the real one."""
        return {
            path: tuple(one.info() for one in self.filesets.values() if one.client_path == path)
            for path in paths
        }

    def filesets_by_id(self, _session: Session, ids: Iterable[int]) -> dict[int, FilesetInfo]:
        """As the real one."""
        return {one: self.filesets[one].info() for one in ids if one in self.filesets}

    def remove_debris(
        self, session: Session, fileset_ids: Sequence[int], paths: Iterable[str], lock: RunLock
    ) -> list[FilesetInfo]:
        """As the real one, with its real conditions."""
        ours, removed = frozenset(paths), []
        for fileset in [self.filesets[one] for one in fileset_ids if one in self.filesets]:
            info = fileset.info()
            if said := debris_objection(info, ours, session.username, importer_gone=lock.fd >= 0):
                raise NeedsAttention(said, code="not_debris")
            self.removed_as_debris.append(fileset)
            self.delete(fileset)
            removed.append(info)
            self.life.happened()
        return removed

    def delete(self, fileset: Fileset) -> None:
        """OMERO deletes a fileset and unlinks its file."""
        del self.filesets[fileset.id]
        fileset.managed.unlink(missing_ok=True)

    def run_import(
        self,
        _config: object,
        _key: str,
        _target: object,
        mains: Sequence[Path],
        _order_id: str,
        _attempt: int = 0,
        *,
        username: str,
        **_more: object,
    ) -> ImportRun:
        """`omero import` of some units, one after the other, each going as planned. A run that breaks off
        comes to no further one."""
        said: dict[str, UnitLog] = {str(main): UnitLog() for main in mains}
        for main in mains:
            outcome = self.outcomes.pop(0) if self.outcomes else "done"
            if outcome == "nothing":
                break
            self._import_one(main, username, outcome)
            if outcome in ("debris", "outlived"):
                return _ran(-9, said)
            said[str(main)] = _UNIT_LOGS[outcome]
        return _ran(2 if any(one.last_error for one in said.values()) else 0, said)

    def _import_one(self, main_path: Path, username: str, outcome: str) -> None:
        if outcome == "refused":
            return
        number = next(self._ids)
        managed = self.managed / str(number) / main_path.name
        managed.parent.mkdir()
        fileset = Fileset(number, client_path(str(main_path)), managed, 0, "", username)
        self.filesets[number] = fileset
        self.life.happened()
        managed.hardlink_to(main_path)
        self.life.happened()
        if outcome == "debris":
            return
        fileset.size, fileset.sha1 = managed.stat().st_size, sha1(managed)
        fileset.finished = fileset.working = True
        self.life.happened()
        if outcome == "outlived":
            return
        fileset.working = False
        if outcome == "server-failed":
            return
        fileset.images = (number * 100,)
        self.life.happened()

    def server_goes_on(self) -> None:
        """OMERO makes the images of what it works on."""
        for fileset in self.filesets.values():
            if fileset.working:
                fileset.working, fileset.images = False, (fileset.id * 100,)

    def server_restarts(self) -> None:
        """OMERO forgets what it worked on: no images will come."""
        for fileset in self.filesets.values():
            fileset.working = False


_FAILED = "it did not work"
_UNIT_LOGS = {
    "done": UnitLog(done=True),
    "complains": UnitLog(last_error=_FAILED, lines=[_FAILED]),
    "refused": UnitLog(last_error=_FAILED, lines=[_FAILED]),
    "server-failed": UnitLog(
        refused=True,
        last_error="Failure response on import! import-request-failure",
        lines=["Failure response on import! import-request-failure"],
    ),
}


def _ran(code: int, said: dict[str, UnitLog]) -> ImportRun:
    errors = [one.last_error for one in said.values() if one.last_error] or ([_FAILED] if code else [])
    refused = any(one.refused for one in said.values())
    last = errors[-1] if errors else ""
    return ImportRun(code, "exited", (), (), (), last, None, None, 0.1, last, refused, said)
