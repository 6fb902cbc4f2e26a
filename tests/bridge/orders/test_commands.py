"""Random lives of an order: commands, manifests and attempts in any order never leave the table of stages."""

from __future__ import annotations

import io
import json
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from server_bridge.contract import (
    AcquisitionKind,
    CommandKind,
    CommandRequest,
    Condition,
    OrderIntent,
    Reason,
    Stage,
    Target,
)
from server_bridge.errors import FerryError
from server_bridge.orders import commands, intake, manifest_reader, manifests, stages
from server_bridge.orders.callers import Caller, KnownWorkstation
from server_bridge.orders.models import ImportUnit, Order, OrderEvent, utcnow
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store

STAFF = Caller(username="staff", is_staff=True)
DESK = KnownWorkstation("desk", "desk", True, {"conf": "."})
ALICE = Caller(username="alice")
TARGET = Target(group_id=3, container_id=11)

FORWARD = {
    Stage.ACCEPTED: Stage.PULLING,
    Stage.PULLING: Stage.VERIFYING,
    Stage.VERIFYING: Stage.IMPORTING,
    Stage.IMPORTING: Stage.PROVING,
    Stage.PROVING: Stage.ANNOTATING,
    Stage.ANNOTATING: Stage.PROVEN,
}
actions = st.one_of(
    st.tuples(st.just("work"), st.integers(1, 4), st.none()),
    st.tuples(st.just("command"), st.sampled_from(CommandKind), st.sampled_from(["alice", "staff"])),
    st.tuples(st.just("manifest"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("claim"), st.none(), st.none()),
    st.tuples(st.just("advance"), st.sampled_from(Stage), st.booleans()),
    st.tuples(st.just("wait"), st.none(), st.none()),
    st.tuples(st.just("attention"), st.booleans(), st.none()),
    st.tuples(st.just("unit"), st.sampled_from(["pending", "importing", "imported"]), st.none()),
)


class Life:
    """One order and what can happen to it. An attempt keeps the number it was given, as a real one does."""

    def __init__(self, top: Path) -> None:
        self.site = make_site(top)
        self.store: Store = make_store(self.site)
        self.id = uuid.uuid4()
        self.attempt = 0
        self.revision = 0
        intent = OrderIntent(
            share="conf", path="run", kind=AcquisitionKind.FOLDER, target=TARGET, owner="alice"
        )
        intake.accept(self.store, self.site, self.id, intent, STAFF, utcnow())

    def do(self, what: str, one: Any, two: Any) -> None:
        getattr(self, f"do_{what}")(one, two)

    def do_command(self, kind: CommandKind, who: str) -> None:
        request = CommandRequest(
            id=uuid.uuid4(),
            kind=kind,
            target=TARGET if kind is CommandKind.RETARGET else None,
            note="because",
        )
        caller = STAFF if who == "staff" else Caller(username="alice", workstation=DESK)
        offered = self.offered(caller)
        try:
            commands.give(self.store, self.id, request, caller, utcnow())
        except FerryError as error:
            assert kind not in offered, f"{kind} was offered and refused: {error}"
        else:
            assert kind in offered, f"{kind} was not offered and done"

    def offered(self, caller: Caller) -> tuple[CommandKind, ...]:
        with self.store.read() as session:
            order = self.store.get(session, str(self.id))
            return commands.offered(commands.facts_of(session, order, caller))

    def do_manifest(self, size: int, sealed: bool) -> None:
        self.revision += 1
        lines = io.BytesIO(json.dumps({"path": "run/a", "size_bytes": size, "mtime_ns": 1}).encode())
        manifest = manifest_reader.read_manifest(
            lines, gzipped=False, sealed=sealed, order_path="run", kind=AcquisitionKind.FOLDER
        )
        manifests.put(self.store, self.site, self.id, manifest, self.revision, STAFF)

    def do_claim(self, _one: Any, _two: Any) -> None:
        found = self.store.claim(str(self.id), datetime.now(UTC))
        self.attempt = found if found is not None else self.attempt

    def do_advance(self, target: Stage, keep: bool) -> None:
        self.store.advance(str(self.id), self.attempt, target, "step", keep_running=keep)

    def do_work(self, steps: int, _two: Any) -> None:
        """An undisturbed attempt over some stages, so that random lives get as far as an import."""
        if self.revision == 0:
            self.do_manifest(1, True)
        self.do_claim(None, None)
        for _ in range(steps):
            self.do_advance(FORWARD[Stage(self.store.order(str(self.id)).stage)], True)

    def do_wait(self, _one: Any, _two: Any) -> None:
        reason = Reason(code="share_away", title="The share is away")
        self.store.wait(str(self.id), self.attempt, reason, utcnow(), progressed=False)

    def do_attention(self, asks: bool, _two: Any) -> None:
        self.store.attention(str(self.id), self.attempt, Reason(code="x", title="x"))
        if asks:
            with self.store.write() as session:
                self.store.get(session, str(self.id)).asks_left_out = True

    def do_unit(self, state: str, _two: Any) -> None:
        with self.store.attempt_write(str(self.id), self.attempt) as (session, order):
            if order.stage == Stage.IMPORTING:
                session.merge(
                    ImportUnit(
                        order_id=order.id, index=0, main_path="run/a", reader="", spw=False, file_count=1,
                        client_path="x", state=state, tries=1, image_ids=[], plate_ids=[],
                    )
                )  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(actions, max_size=25))
def test_no_sequence_leaves_the_table(steps: list[tuple[str, Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as top:
        life = Life(Path(top))
        edges = {(move.source.value, move.target.value) for move in stages.TRANSITIONS}
        for step in steps:
            before = life.store.order(str(life.id))
            try:
                life.do(*step)
            except FerryError:
                after = life.store.order(str(life.id))
                if step[0] != "work":  # which is many steps
                    assert (after.stage, after.condition, after.revision) == (
                        before.stage, before.condition, before.revision,
                    ), "a refusal wrote something"  # fmt: skip
            except KeyError:
                assert step[0] == "work", "there is no step forward from here"
        with life.store.read() as session:
            events = session.scalars(select(OrderEvent).order_by(OrderEvent.id)).all()
            order = session.get_one(Order, str(life.id))
            units = session.scalars(select(ImportUnit)).all()
        seen = ["accepted", *(event.stage for event in events)]
        for one, other in pairwise(seen):
            assert one == other or (one, other) in edges
        if order.stage == Stage.CANCELLED:
            assert not [unit for unit in units if unit.state != "pending"]
        if order.condition == Condition.RUNNING:
            assert order.sealed
        life.store.engine.dispose()


def test_an_attempt_that_lost_its_order_can_write_nothing(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.do_manifest(1, True)
    life.do_claim(None, None)
    life.do_advance(Stage.PULLING, True)
    mine = life.attempt
    assert life.store.still_mine(str(life.id), mine)
    life.do_manifest(2, True)
    assert not life.store.still_mine(str(life.id), mine)
    before = life.store.order(str(life.id))
    for action in (("advance", Stage.VERIFYING, True), ("wait", None, None), ("attention", False, None)):
        try:
            life.do(*action)
        except FerryError as error:
            assert error.code == "stale_attempt"
        else:
            raise AssertionError(f"{action} was written by a stale attempt")
    after = life.store.order(str(life.id))
    assert (after.stage, after.revision) == (before.stage, before.revision)


def test_an_attempt_can_write_nothing_while_a_later_one_runs(tmp_path: Path) -> None:
    """A bridge that was thought dead goes on with its attempt while another's works on the order."""
    life = Life(tmp_path)
    life.do_manifest(1, True)
    life.do_claim(None, None)
    life.do_advance(Stage.PULLING, True)
    old = life.attempt
    life.store.requeue_running("a new start")
    new = life.store.claim(str(life.id), utcnow() + timedelta(days=1))
    assert new is not None and new > old
    before = life.store.order(str(life.id))
    assert before.condition == Condition.RUNNING
    assert not life.store.still_mine(str(life.id), old) and life.store.still_mine(str(life.id), new)
    with (
        pytest.raises(FerryError) as stale,
        life.store.attempt_write(str(life.id), old) as (_session, order),
    ):
        order.label = "written by an attempt that is over"
    assert stale.value.code == "stale_attempt"
    after = life.store.order(str(life.id))
    assert (after.label, after.revision, after.attempt) == (before.label, before.revision, new)
