"""What a person decides reaches the bridge once, in her order, whatever is lost or killed on the way.

Hypothesis drives choosing, choosing anew, taking back, sealing, sending with lost requests and lost answers,
an end of the agent at any call, a bridge that begins to import, and one restored from an older backup.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.core.bridge_client import Credentials
from agent.core.errors import BridgeAway, BridgeRefused
from agent.core.machine_store import BEFORE_IMPORT, MachineStore
from agent.core.outbox import EntryState, Outbox
from agent.core.sender import Sender
from server_bridge.contract import (
    AcquisitionKind,
    CommandKind,
    CommandRequest,
    CommandResult,
    Condition,
    FreedAccepted,
    FreedReport,
    ManifestAccepted,
    OrderIntent,
    OrderState,
    Problem,
    Stage,
    Target,
)
from tests.agent.conftest import OwnPlatform

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
Answer = TypeVar("Answer")


class Killed(BaseException):
    """The agent ends in the middle of a call."""


class Fate:
    """What becomes of the next calls."""

    FINE, LOST, ANSWER_LOST, KILLED_BEFORE, KILLED_AFTER = (
        "fine",
        "lost",
        "answer lost",
        "killed",
        "killed after",
    )


def target(name: str) -> Target:
    return Target(group_id=3, group_name="Cytoskeleton", container_name=name)


def refusal(status: int, code: str) -> BridgeRefused:
    return BridgeRefused(Problem(status=status, code=code, title=code, detail="", remedy=""))


@dataclass
class Order:
    """What the bridge has of an order."""

    intent: OrderIntent
    target: Target
    stage: Stage = Stage.ACCEPTED
    revision: int = 0
    sealed: bool = False
    body: bytes = b""
    done: set[UUID] = field(default_factory=set)


class Bridge:
    """The part of the bridge that the outbox talks to, as docs/api.md has it."""

    def __init__(self) -> None:
        self.orders: dict[UUID, Order] = {}
        self.imported: dict[UUID, tuple[Target, bytes]] = {}
        """What OMERO has: no backup of the bridge changes that."""
        self.fates: list[Fate] = []
        self.before_sealed: Callable[[UUID], None] = lambda _order: None

    def _call(self, work: Callable[[], Answer]) -> Answer:
        fate = self.fates.pop(0) if self.fates else Fate.FINE
        if fate == Fate.LOST:
            raise BridgeAway("No connection.")
        if fate == Fate.KILLED_BEFORE:
            raise Killed
        answer = work()
        if fate == Fate.ANSWER_LOST:
            raise BridgeAway("It took too long.")
        if fate == Fate.KILLED_AFTER:
            raise Killed
        return answer

    def _known(self, order_id: UUID) -> Order:
        if order_id not in self.orders:
            raise refusal(404, "no_such_order")
        return self.orders[order_id]

    def _state(self, order_id: UUID) -> OrderState:
        order = self._known(order_id)
        return OrderState(
            id=order_id,
            revision=1,
            person="alice",
            share=order.intent.share,
            path=order.intent.path,
            kind=order.intent.kind,
            target=order.target,
            stage=order.stage,
            condition=Condition.QUEUED,
            sealed=order.sealed,
            manifest_revision=order.revision,
            stage_since=NOW,
            created_at=NOW,
            updated_at=NOW,
        )

    def put_order(self, order_id: UUID, intent: OrderIntent, _by: Credentials) -> OrderState:
        def work() -> OrderState:
            known = self.orders.get(order_id)
            if known is None:
                self.orders[order_id] = Order(intent, intent.target)
                if order_id in self.imported:
                    # A restored bridge looks into OMERO first.
                    self.orders[order_id].stage = Stage.IMPORTING
            elif known.intent != intent:
                raise refusal(409, "order_differs")
            return self._state(order_id)

        return self._call(work)

    def order(self, order_id: UUID, _by: Credentials) -> OrderState:
        return self._call(lambda: self._state(order_id))

    def put_manifest(
        self, order_id: UUID, revision: int, sealed: bool, body: bytes, _by: Credentials
    ) -> ManifestAccepted:
        def work() -> ManifestAccepted:
            order = self._known(order_id)
            if order.stage not in BEFORE_IMPORT:
                raise refusal(409, "order_ended" if order.stage is Stage.CANCELLED else "import_started")
            if revision < order.revision or (revision == order.revision and body != order.body):
                raise refusal(409, "manifest_revision")
            if sealed:
                self.before_sealed(order_id)
            order.revision, order.sealed, order.body = revision, sealed, body
            return ManifestAccepted(
                order_id=order_id, revision=revision, sealed=sealed, file_count=1, size_bytes=1
            )

        return self._call(work)

    def command(self, order_id: UUID, request: CommandRequest, _by: Credentials) -> CommandResult:
        def work() -> CommandResult:
            order = self._known(order_id)
            if request.id not in order.done:
                ended = order.stage is Stage.CANCELLED
                if ended and request.kind is not CommandKind.CANCEL:
                    raise refusal(409, "order_ended")
                if not ended and order.stage not in BEFORE_IMPORT:
                    raise refusal(409, "import_started")
                order.done.add(request.id)
                if request.kind is CommandKind.CANCEL:
                    order.stage = Stage.CANCELLED
                elif request.target is not None:
                    order.target = request.target
            return CommandResult(id=request.id, order_id=order_id, kind=request.kind, done=True)

        return self._call(work)

    def freed(self, order_id: UUID, _report: FreedReport, _by: Credentials) -> FreedAccepted:
        raise AssertionError(f"{order_id}: nothing was freed here")


@dataclass
class Wish:
    """What the person decided about one order."""

    targets: list[Target]
    cancelled: bool = False
    sealed: list[bytes] = field(default_factory=list)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        self.seconds += 0.001
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


FATES = st.lists(
    st.sampled_from(
        [Fate.FINE, Fate.FINE, Fate.LOST, Fate.ANSWER_LOST, Fate.KILLED_BEFORE, Fate.KILLED_AFTER]
    ),
    max_size=6,
)


class OutboxMachine(RuleBasedStateMachine):
    """One outbox, one bridge."""

    @initialize()
    def begin(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="ferry-outbox-"))
        self.clock = Clock()
        self.bridge = Bridge()
        self.bridge.before_sealed = self.nothing_older_waits
        self.backup: dict[UUID, Order] = {}
        self.wishes: dict[UUID, Wish] = {}
        self.names = 0
        self.open()

    def open(self) -> None:
        """As at a start of the agent."""
        self.outbox = Outbox(self.top / "outbox.sqlite3", OwnPlatform(self.top))
        self.machine = MachineStore(self.top / "machine.sqlite3")
        self.sender = Sender(
            client=self.bridge,  # type: ignore[arg-type]
            machine=self.machine,
            outbox=self.outbox,
            clock=self.clock,
            workstation=lambda: "id:key",
            retry_cap_seconds=1.0,
            changed=lambda: None,
        )

    def close(self) -> None:
        self.outbox.close()
        self.machine.close()

    def nothing_older_waits(self, order_id: UUID) -> None:
        """A list that lets the import begin must not overtake what she decided before."""
        waiting = [one for one in self.outbox.pending_commands() if one.order_id == order_id]
        assert not waiting, "the sealed list came before her decision"

    def name(self) -> str:
        self.names += 1
        return f"dataset {self.names}"

    def open_orders(self) -> list[UUID]:
        return [one for one, wish in self.wishes.items() if not wish.cancelled]

    # --- the person ------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.open_orders()) < 3)
    @rule()
    def order(self) -> None:
        order_id, wanted = uuid4(), target(self.name())
        intent = OrderIntent(
            share="scope1", path=f"alice/run{len(self.wishes)}", kind=AcquisitionKind.FOLDER, target=wanted
        )
        self.outbox.add(order_id, f"a{len(self.wishes)}", "alice", intent, "grant", self.clock.now())
        self.wishes[order_id] = Wish([wanted])

    @precondition(lambda self: self.open_orders())
    @rule(data=st.data())
    def choose_anew(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.open_orders()))
        wanted = target(self.name())
        request = CommandRequest(id=uuid4(), kind=CommandKind.RETARGET, target=wanted)
        self.outbox.add_command(order_id, request, self.clock.now())
        self.wishes[order_id].targets.append(wanted)

    @precondition(lambda self: self.open_orders())
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.open_orders()))
        request = CommandRequest(id=uuid4(), kind=CommandKind.CANCEL)
        self.outbox.add_command(order_id, request, self.clock.now())
        self.wishes[order_id].cancelled = True

    @precondition(lambda self: self.open_orders())
    @rule(data=st.data())
    def finished(self, data: st.DataObject) -> None:
        """The clerk seals it, or seals it anew."""
        order_id = data.draw(st.sampled_from(self.open_orders()))
        content = self.name().encode()
        known = self.machine.order(str(order_id))
        self.outbox.put_manifest(
            order_id,
            sealed=True,
            content=content,
            body=content,
            file_count=1,
            size_bytes=1,
            at_least=known.manifest_revision + 1 if known else 1,
        )
        self.wishes[order_id].sealed.append(content)

    # --- the world -------------------------------------------------------------------------------------

    @rule(fates=FATES)
    def send(self, fates: list[Fate]) -> None:
        self.bridge.fates = fates
        try:
            self.sender.step()
        except Killed:
            self.close()
            self.open()
        finally:
            self.bridge.fates = []

    @rule()
    def start_again(self) -> None:
        self.close()
        self.open()

    @rule()
    def the_bridge_is_backed_up(self) -> None:
        self.backup = deepcopy(self.bridge.orders)

    @rule()
    def the_bridge_is_restored(self) -> None:
        """It knows what OMERO has; the agent learns from the feed that it is another database."""
        self.bridge.orders = deepcopy(self.backup)
        for order_id in self.bridge.imported:
            if order_id in self.bridge.orders:
                self.bridge.orders[order_id].stage = Stage.IMPORTING
        self.sender.verify_all()

    @rule(data=st.data())
    def an_import_begins(self, data: st.DataObject) -> None:
        ready = [
            one for one, order in self.bridge.orders.items() if order.sealed and order.stage in BEFORE_IMPORT
        ]
        if not ready:
            return
        order_id = data.draw(st.sampled_from(ready))
        order = self.bridge.orders[order_id]
        order.stage = Stage.IMPORTING
        assert order_id not in self.bridge.imported, "a second import of one order"
        self.bridge.imported[order_id] = (order.target, order.body)

    # --- the promises ----------------------------------------------------------------------------------

    @invariant()
    def nothing_is_there_that_nobody_ordered(self) -> None:
        if hasattr(self, "wishes"):
            assert set(self.bridge.orders) <= set(self.wishes)

    def teardown(self) -> None:
        if not hasattr(self, "wishes"):
            return
        try:
            for _ in range(12):
                self.sender.step()
                waits = self.outbox.pending_commands() or any(
                    one.state is EntryState.NEW for one in self.outbox.entries()
                )
                if not waits and not self.outbox.unconfirmed_manifests():
                    break
            for order_id, wish in self.wishes.items():
                self._as_she_decided(order_id, wish)
            assert not self.outbox.pending_commands()
        finally:
            self.close()
            shutil.rmtree(self.top)

    def _as_she_decided(self, order_id: UUID, wish: Wish) -> None:
        order, imported = self.bridge.orders.get(order_id), self.bridge.imported.get(order_id)
        entry = self.outbox.entry(order_id)
        assert entry is not None, "an order was lost here"
        if imported is not None:
            went, body = imported
            assert went in wish.targets and body in wish.sealed
            late = wish.cancelled or went != wish.targets[-1]
            assert not late or str(order_id) in self.outbox.refused_commands(), (
                "nobody says that it was too late"
            )
            return
        if wish.cancelled:
            assert order is None or order.stage is Stage.CANCELLED, "she took it back"
            return
        assert order is not None, "an order was lost"
        assert order.stage in BEFORE_IMPORT
        assert order.target == wish.targets[-1], "it goes where she said last"
        if wish.sealed:
            assert order.sealed and order.body == wish.sealed[-1], "the bridge has the last list"


def test_what_a_person_decides_reaches_the_bridge_once_and_in_her_order() -> None:
    run_state_machine_as_test(
        OutboxMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
