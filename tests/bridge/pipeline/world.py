"""A whole data path for tests: a buffer behind a real rsync daemon, a sandbox OMERO, and the pipeline.

Orders are written straight into the orders table, as an accepted and sealed order leaves the API;
everything after that is the product.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omero.rtypes import unwrap

from agent.core import listing
from server_bridge.config import SiteConfig
from server_bridge.context import Context, build_context
from server_bridge.contract import Condition, ReceiptStatus, Stage, Target, TargetKind
from server_bridge.orders.models import ImportUnit, Order, OrderEvent, OrderFile, utcnow
from server_bridge.pipeline import service
from server_bridge.sandbox.faults import set_fault
from tests.bridge.bridge_site import make_site
from tests.bridge.conftest_sandbox import PASSWORDS, RunningSandbox
from tests.bridge.rsyncd import RsyncDaemon

ROOT = Path(__file__).parents[3]
SHARE = "conf"
MARKER = ".omero-ferry-share"
LONG_SECONDS = 90.0


@dataclass
class World:
    """One site. ``limits``, ``share``, ``omero`` and ``database_url`` replace values of the site file;
    ``rsync`` is the bridge's own."""

    top: Path
    sandbox: RunningSandbox
    rsyncd: RsyncDaemon
    limits: dict[str, Any] = field(default_factory=dict)
    share: dict[str, Any] = field(default_factory=dict)
    omero: dict[str, Any] = field(default_factory=dict)
    database_url: str | None = None
    """None: what the run's tests work on."""
    more_shares: tuple[dict[str, Any], ...] = ()
    rsync: str = "rsync"
    bridge: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.buffer = self.rsyncd.module_path
        (self.buffer / MARKER).touch()
        self._context: Context | None = None

    @property
    def site(self) -> SiteConfig:
        secret = self.top / "omero.pass"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text("ferry-sandbox\n")
        site = make_site(self.top)
        share = {
            "id": SHARE,
            "source": {
                "kind": "daemon",
                "host": self.rsyncd.address,
                "port": self.rsyncd.port,
                "module": "acq",
                "user": "bridge",
                "password_file": str(self.rsyncd.password_file),
            },
            "hold_days": 0,
            "stall_seconds": 20,
            **self.share,
        }
        values = site.model_dump()
        values["limits"] = {
            "keep_free_bytes": 1 << 20,
            "dispatch_seconds": 0.2,
            "retry_base_seconds": 0.5,
            "retry_cap_seconds": 2,
            **self.limits,
        }
        values["omero"] = {
            "host": "127.0.0.1",
            "port": self.sandbox.ssl_port,
            "user": "ferry",
            "password_file": str(secret),
            "omerodir": str(self.sandbox.omerodir),
            "java": str(self.sandbox.java_dir / "java"),
            "call_timeout_seconds": 10,
            "webclient_url": "https://omero.example.org/webclient",
            **self.omero,
        }
        values["shares"] = (share, *self.more_shares)
        values["rsync"] = self.rsync
        if self.database_url is not None:
            values["database_url"] = self.database_url
        return SiteConfig(**values)

    @property
    def context(self) -> Context:
        if self._context is None:
            self._context = build_context(self.site)
        return self._context

    # --- orders ---------------------------------------------------------------------------------------

    def order(
        self,
        path: str,
        *,
        members: tuple[str, ...] = (),
        person: str = "alice",
        group: str = "Cytoskeleton",
        dataset: str = "",
        screen: str = "",
        tags: tuple[str, ...] = (),
        sealed: bool = True,
        seal: str = "agent",
        order_id: str = "",
        share: str = SHARE,
    ) -> str:
        """An accepted order for what lies at ``path`` on the buffer now, into a new dataset or ``screen``.
        With ``members`` it is for a group of that name.

        With ``seal="bridge"`` nobody gives it a manifest.
        """
        sealed = sealed and seal == "agent"
        context = self.context
        known = context.omero.person(person)
        assert known is not None
        group_id = next(one.id for one in known.groups if one.name == group)
        target = Target(
            group_id=group_id,
            group_name=group,
            kind=TargetKind.SCREEN if screen else TargetKind.DATASET,
            container_name=screen or dataset or f"run {uuid.uuid4()}",
            tags=tags,
        )
        files = self.manifest(path, members) if seal == "agent" else {}
        single = "folder" if (self.buffer / path).is_dir() else "file"
        order_id = order_id or str(uuid.uuid4())
        now = utcnow()
        with context.store.write() as session:
            row = Order(
                id=order_id,
                person=person,
                ordered_by=person,
                share=share,
                path=path,
                kind="group" if members else single,
                members=list(members),
                target=target.model_dump(mode="json"),
                request_digest="0" * 64,
                stage=Stage.ACCEPTED,
                condition=Condition.QUEUED if sealed else Condition.WAITING,
                stage_since=now,
                change=0,
                manifest_revision=1 if seal == "agent" else 0,
                sealed=sealed,
                seal=seal,
                next_try_at=now if seal == "bridge" else None,
                file_count=len(files),
                size_bytes=sum(size for size, _ in files.values()),
                created_at=now,
                updated_at=now,
            )
            session.add(row)
            session.flush()
            self._put_files(session, order_id, files)
            context.store.touch(session, row)
        return order_id

    def manifest(self, path: str, members: tuple[str, ...] = ()) -> dict[str, tuple[int, int]]:
        """Share path → (bytes, mtime in ns) of every file there, as the agent's own walk finds a group's."""
        if members:
            seen = listing.walk(self.buffer, path, members=members, judged=True)
            return {one.path: (one.size_bytes, one.mtime_ns) for one in seen}
        top = self.buffer / path
        found = [top] if top.is_file() else sorted(one for one in top.rglob("*") if one.is_file())
        return {
            one.relative_to(self.buffer).as_posix(): (one.stat().st_size, one.stat().st_mtime_ns)
            for one in found
        }

    @staticmethod
    def _put_files(session: Any, order_id: str, files: dict[str, tuple[int, int]]) -> None:
        for name, (size, mtime_ns) in files.items():
            session.add(OrderFile(order_id=order_id, path=name, size_bytes=size, mtime_ns=mtime_ns))

    def seal_again(self, order_id: str) -> None:
        """What the agent does once the data rests: a new manifest, sealed."""
        store = self.context.store
        with store.write() as session:
            order = store.get(session, order_id)
            session.query(OrderFile).filter(OrderFile.order_id == order_id).delete()
            self._put_files(session, order_id, self.manifest(order.path, tuple(order.members)))
            order.sealed, order.attempt = True, order.attempt + 1
            store.set_condition(session, order, Condition.QUEUED, who="agent", text="sealed again")

    def cancel(self, order_id: str) -> None:
        """A person cancels, as the API does it."""
        from server_bridge.orders.stages import Cause

        store = self.context.store
        with store.write() as session:
            order = store.get(session, order_id)
            order.attempt += 1
            store.set_stage(session, order, Stage.CANCELLED, Cause.PERSON, who="alice", text="cancelled")

    def retry(self, order_id: str) -> None:
        store = self.context.store
        with store.write() as session:
            order = store.get(session, order_id)
            order.idle_tries = 0
            store.set_condition(session, order, Condition.QUEUED, who="alice", text="retry")

    def accept_left_out(self, order_id: str) -> None:
        """What the API does when a person accepts all files in question."""
        store = self.context.store
        with store.write() as session:
            order = store.get(session, order_id)
            for file in session.query(OrderFile).filter(
                OrderFile.order_id == order_id, OrderFile.unit.is_(None), OrderFile.status == "pending"
            ):
                file.status, file.rule = ReceiptStatus.LEFT_OUT, "accepted by alice"
            order.asks_left_out = False
            if order.condition == Condition.ATTENTION:
                store.set_condition(session, order, Condition.QUEUED, who="alice", text="accepted")

    def look(self, order_id: str) -> Order:
        return self.context.store.order(order_id)

    def files(self, order_id: str) -> dict[str, OrderFile]:
        return {file.path: file for file in self.context.store.files(order_id)}

    def units(self, order_id: str) -> list[ImportUnit]:
        return self.context.store.units(order_id)

    def reason(self, order_id: str) -> str:
        """Code of the order's reason, or empty."""
        return str((self.look(order_id).reason or {}).get("code", ""))

    def story(self, order_id: str) -> str:
        """The order's history, for a failed test."""
        with self.context.store.read() as session:
            events = session.query(OrderEvent).filter(OrderEvent.order_id == order_id).order_by(OrderEvent.id)
            return "\n".join(
                f"{event.at:%H:%M:%S.%f} {event.attempt} {event.stage} {event.condition} {event.text} "
                f"{(event.reason or {}).get('code', '')} {(event.reason or {}).get('detail', '')}"
                for event in events
            )

    def wait(self, order_id: str, holds: Callable[[Order], object], seconds: float = LONG_SECONDS) -> Order:
        """Poll the order until ``holds``."""
        deadline = time.monotonic() + seconds
        while True:
            order = self.look(order_id)
            if holds(order):
                return order
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s:\n{self.story(order_id)}"
            time.sleep(0.05)

    def wait_stage(self, order_id: str, *stages: Stage, seconds: float = LONG_SECONDS) -> Order:
        """Wait for one of these stages; an order in attention fails the test at once."""

        def there(order: Order) -> bool:
            assert order.condition != Condition.ATTENTION or order.stage in stages, self.story(order_id)
            return order.stage in stages

        return self.wait(order_id, there, seconds)

    def wait_proven(self, order_id: str, seconds: float = LONG_SECONDS) -> Order:
        return self.wait_stage(order_id, Stage.PROVEN, Stage.RELEASED, seconds=seconds)

    def wait_reason(self, order_id: str, code: str, seconds: float = LONG_SECONDS) -> Order:
        return self.wait(order_id, lambda order: (order.reason or {}).get("code") == code, seconds)

    # --- the pipeline ---------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[service.Service]:
        """The pipeline in this process."""
        running = service.start(self.context)
        try:
            yield running
        finally:
            running.stop()

    def start_bridge(self, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """The pipeline in a process of its own, which a test may kill; ``before`` is written before its
        command."""
        described = self.top / "site.json"
        described.write_text(json.dumps(self.site.model_dump(mode="json")))
        ready = self.top / "ready"
        ready.unlink(missing_ok=True)
        with (self.top / "bridge.log").open("ab") as log:
            self.bridge = subprocess.Popen(
                [
                    *before,
                    sys.executable,
                    "-m",
                    "tests.bridge.pipeline.pipeline_process",
                    str(described),
                    str(ready),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
        deadline = time.monotonic() + LONG_SECONDS
        while not ready.exists():
            if self.bridge.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the pipeline did not start:\n{(self.top / 'bridge.log').read_text()}")
            time.sleep(0.05)
        return self.bridge

    def kill_bridge(self) -> None:
        """kill -9 of the pipeline's process alone; its children stay as a crash leaves them."""
        assert self.bridge is not None
        self.bridge.kill()
        self.bridge.wait(30)

    def stop_bridge(self) -> None:
        if self.bridge is not None and self.bridge.poll() is None:
            self.bridge.terminate()
            try:
                # Far beyond what it takes: after forty seconds it writes into its log where it stands.
                self.bridge.wait(180)
            except subprocess.TimeoutExpired:
                self.bridge.kill()
                said = (self.top / "bridge.log").read_text(encoding="utf-8", errors="replace")
                raise AssertionError(f"the bridge did not end:\n{said[-8000:]}") from None

    def fault(self, point: str, mode: str, count: int = 1, match: str = "") -> None:
        set_fault(self.sandbox.data, point, mode, count, match)

    # --- what is true, seen from outside --------------------------------------------------------------

    def staged(self, order_id: str, path: str) -> Path:
        return self.site.staging_dir / SHARE / order_id / path

    def in_omero(self, order_id: str) -> list[dict[str, Any]]:
        """Every file OMERO holds of this order: name, hash, images of its fileset, absolute managed path."""
        prefix = str(self.site.staging_dir / SHARE / order_id).lstrip("/")
        with self.context.omero.service() as session:
            found = session.rows(
                "select fs.id, o.path, o.name, o.hash, fe.clientPath from FilesetEntry fe join fe.fileset fs "
                "join fe.originalFile o where fe.clientPath like :prefix",
                {"prefix": f"{prefix}/%"},
            )
            images: dict[int, int] = {}
            for fileset in {int(row[0]) for row in found}:
                rows = session.rows("select i.id from Image i where i.fileset.id = :id", {"id": fileset})
                images[fileset] = len(rows)
            root = session.managed_repository
        return [
            {
                "fileset": int(row[0]),
                "hash": str(unwrap(row[3])),
                "path": str(row[4])[len(prefix) + 1 :],
                "images": images[int(row[0])],
                "managed": root / str(row[1]).strip("/") / str(row[2]),
            }
            for row in found
        ]

    def runs(self, order_id: str) -> list[str]:
        """The heading of each run of the importer, oldest first."""
        logs = sorted(
            (self.site.state_dir / "orders" / order_id).glob("*-import.log"),
            key=lambda path: int(path.name.partition("-")[0]),
        )
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return [line for line in lines if line.startswith("--- attempt ")]

    def empty_filesets(self, order_id: str) -> set[int]:
        """Filesets of this order without images."""
        return {one["fileset"] for one in self.in_omero(order_id) if not one["images"]}

    def administrator_deletes(self, *filesets: int) -> None:
        """OMERO's administrator deletes filesets, as a remedy asks for."""
        with self.context.omero._open("root", PASSWORDS["root"], "testing") as root:
            group = root.rows(
                "select fs.details.group.id from Fileset fs where fs.id in (:ids)",
                {"ids": list(filesets)},
                group=-1,
            )[0][0]
            root.delete_all("Fileset", filesets, int(group), doing="deleting in a test")

    def require_once(self, order_id: str, paths: set[str]) -> None:
        """Each of these buffer files is in OMERO exactly once, with its bytes, and is the staged inode."""
        held = self.in_omero(order_id)
        assert sorted(one["path"] for one in held) == sorted(paths), self.story(order_id)
        for one in held:
            assert one["images"] >= 1, one
            assert one["hash"] == hashlib.sha1((self.buffer / one["path"]).read_bytes()).hexdigest()
            assert self.staged(order_id, one["path"]).samefile(one["managed"])


def age(path: Path, seconds: float = 3600) -> None:
    """Give files a time that is not now, as data that rests has."""
    then = datetime.now(UTC).timestamp() - seconds
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.utime(one, (then, then))
