"""What people, agents and bridges do to a site, for the machine that does it in any order."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from server_bridge.contract import (
    AcquisitionKind,
    CommandKind,
    CommandRequest,
    Condition,
    OrderIntent,
    Stage,
    Target,
)
from server_bridge.errors import Conflict, FerryError
from server_bridge.omero.paths import client_path
from server_bridge.orders import commands, manifest_reader, manifests, stages
from server_bridge.orders.callers import Caller, KnownWorkstation
from server_bridge.orders.models import Workstation, utcnow
from server_bridge.pipeline.attempt import IMPORT, TRANSFER
from server_bridge.retention.releaser import Releaser
from tests.bridge.promises.mortal import Crash
from tests.bridge.promises.world import GROUP, SHARE, Fileset, World

DESK = KnownWorkstation("desk", "desk", True, {SHARE: "."})
ALICE = Caller(username="alice", workstation=DESK)
STAFF = Caller(username="staff", is_staff=True)
LATER = timedelta(days=1)


class Hands(RuleBasedStateMachine):
    """A site and what is known of it from outside. No rules: those are in the machine."""

    def __init__(self) -> None:
        super().__init__()
        # Committed transactions wait for the disk; here nobody pulls the plug.
        memory = Path("/dev/shm")
        self.top = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.world = World(self.top).__enter__()
        self.store = self.world.store
        self.rows = sqlite3.connect(self.world.site.state_dir / "ferry.sqlite3")
        self.orders: list[str] = []
        self.intents: dict[str, OrderIntent] = {}
        self.now: dict[str, str] = {}
        """Path → SHA-1 of what the microscope wrote last and nobody but us may delete."""
        self.freed: dict[str, str] = {}
        self.deleted: set[int] = set()
        """Filesets that somebody deleted in OMERO."""
        self.deleted_bytes: set[str] = set()
        self.taken_over: tuple[int, int, str] | None = None
        """Attempt, revision and condition of an order that was claimed under the feet of an attempt."""
        self.writes = 0
        self.hours = 0
        self.releaser = Releaser(self.world.context, apart=timedelta(seconds=1))
        with self.store.write() as session:
            session.add(
                Workstation(
                    id="desk", name="desk", key_digest="0", status="approved", roots={SHARE: "."},
                    created_at=utcnow(), last_seen_at=None, heartbeat=None,
                )
            )  # fmt: skip

    def teardown(self) -> None:
        self.rows.close()
        self.world.__exit__()
        shutil.rmtree(self.top)

    def pick(self, number: int) -> str:
        return self.orders[number % len(self.orders)]

    def asked(self, query: str) -> list[tuple[Any, ...]]:
        """Rows as they lie in the file, past the product's own reading."""
        return self.rows.execute(query).fetchall()

    def held(self, order_id: str, path: str) -> list[Fileset]:
        wanted = client_path(str(self.world.staging / SHARE / order_id / path))
        return [one for one in self.world.filesets.values() if one.client_path == wanted and one.images]

    def require_in_omero(self, order_id: str, path: str, what: str) -> None:
        assert len(self.held(order_id, path)) == 1, f"{path} {what}, and OMERO does not hold it once"

    def put_manifest(self, order_id: str, sealed: bool) -> bool:
        """What the agent sees there now; False where that is nothing (never sealed), or refused."""
        order = self.store.order(order_id)
        there = self.world.there(order.path, tuple(order.members))
        if sealed and not there:
            return False
        lines = [
            json.dumps(
                {
                    "path": one.relative_to(self.world.buffer).as_posix(),
                    "size_bytes": one.stat().st_size,
                    "mtime_ns": one.stat().st_mtime_ns,
                }
            )
            for one in there
        ]
        manifest = manifest_reader.read_manifest(
            io.BytesIO("\n".join(lines).encode()),
            gzipped=False,
            sealed=sealed,
            order_path=order.path,
            kind=AcquisitionKind(order.kind),
            members=tuple(order.members),
        )
        try:
            manifests.put(
                self.store, self.world.site, uuid.UUID(order_id), manifest, order.manifest_revision + 1, ALICE
            )
        except Conflict as error:
            # Where two groups' patterns do not decide, their files do.
            codes = {"import_started", "order_ended", "already_imported"}
            assert error.code in codes | ({"place_taken"} if order.members else set()), error
            return False
        return True

    def give(self, order_id: str, kind: CommandKind, caller: Caller) -> None:
        target = Target(group_id=GROUP, container_id=8) if kind is CommandKind.RETARGET else None
        request = CommandRequest(id=uuid.uuid4(), kind=kind, target=target, note="because")
        try:
            first = commands.give(self.store, uuid.UUID(order_id), request, caller, utcnow())
        except FerryError:
            return
        assert commands.give(self.store, uuid.UUID(order_id), request, caller, utcnow()) == first

    def make_workable(self, order_id: str) -> bool:
        """Do what agents and people do, so that an attempt may begin; False for an order that needs none."""
        order = self.store.order(order_id)
        if Stage(order.stage) not in stages.WORKED:
            return False
        if order.condition == Condition.RUNNING:
            self.store.requeue_running("a new start")
        if not order.sealed and not self.put_manifest(order_id, True):
            return False
        if order.asks_left_out:
            self.give(order_id, CommandKind.ACCEPT_LEFT_OUT, ALICE)
        if order.condition == Condition.ATTENTION:
            self.give(order_id, CommandKind.RETRY, ALICE)
        return True

    def work(self, order_id: str, moment: int, then: Callable[[], None] | None) -> None:
        number = self.store.claim(order_id, self.due())
        if number is None:
            return
        self.world.life.plan(moment, then)
        try:
            self.run_attempt(order_id, number)
        except Crash:
            pass
        finally:
            self.world.life.forget()

    def run_attempt(self, order_id: str, number: int) -> None:
        """Of the phase that the order is in."""
        stage = Stage(self.store.order(order_id).stage)
        self.world.attempt(order_id, number, TRANSFER if stage in stages.TRANSFER_STAGES else IMPORT)

    @staticmethod
    def due() -> datetime:
        """Whatever waits, its time has come."""
        return utcnow() + LATER
