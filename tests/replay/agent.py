"""The agent's own parts, wired as its engine wires them, run by one thread as the replay's clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.core.bridge_client import BridgeClient
from agent.core.clerk import Clerk, Place, newest_entries
from agent.core.errors import ShareAway
from agent.core.feed_poller import CURSOR_FACT, FeedPoller
from agent.core.machine_store import MachineStore
from agent.core.outbox import Outbox
from agent.core.scanner import ShareScanner, Tiers
from agent.core.sender import Sender
from agent.core.settle import Override
from agent.core.sign_in import SignInDesk
from server_bridge.contract import Target, TargetKind, WorkstationShare
from tests.agent.bridge_stub import BridgeStub
from tests.agent.conftest import OwnPlatform

OPEN_MANIFEST_SECONDS = 60.0
RETRY_CAP_SECONDS = 300.0
TARGET = Target(
    kind=TargetKind.DATASET,
    group_id=3,
    group_name="Cytoskeleton",
    project_name="Spindles",
    container_id=7,
    container_name="embryos",
)


class ReplayClock:
    """Three clocks: the world's, the workstation's (which somebody may set), and the one that never jumps."""

    START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

    def __init__(self) -> None:
        self.seconds = 0.0
        self.set_by = 0.0

    def world(self) -> datetime:
        """What time it really is; the storage and the bridge know it."""
        return self.START + timedelta(seconds=self.seconds)

    def world_seconds(self) -> float:
        """The same as seconds since 1970."""
        return self.START.timestamp() + self.seconds

    def now(self) -> datetime:
        """The workstation's idea of it."""
        return self.world() + timedelta(seconds=self.set_by)

    def monotonic(self) -> float:
        """Seconds that never jump. They go on while the machine sleeps, as on Windows."""
        return 1000.0 + self.seconds


class ReplayAgent:
    """One workstation's agent; :meth:`restart` is a power cut and a new start with the same files."""

    def __init__(
        self, folder: Path, top: Path, share: WorkstationShare, stub: BridgeStub, clock: ReplayClock
    ) -> None:
        self.platform = OwnPlatform(folder)
        self._top = top
        self._share = share
        self._stub = stub
        self._clock = clock
        self._client = BridgeClient(stub.url, timeout_seconds=20)
        self._send_at = 0.0
        self._asked = -1
        self.passes = 0
        self._open()

    def _open(self) -> None:
        self.machine = MachineStore(self.platform.machine_dir() / "machine.sqlite3")
        self.outbox = Outbox(self.platform.user_dir() / "outbox.sqlite3", self.platform)
        self.desk = SignInDesk(self.platform.own_vault, self.outbox, self._clock)
        self.desk.restore()
        self.scanner = ShareScanner(self._share, self._top, self.machine, self.platform, self._clock, Tiers())
        place = Place(self._share, self._top)
        self.clerk = Clerk(
            machine=self.machine,
            outbox=self.outbox,
            desk=self.desk,
            platform=self.platform,
            clock=self._clock,
            places=lambda: {self._share.id: place},
            open_seconds=OPEN_MANIFEST_SECONDS,
            wake_sender=self._wake_sender,
            look_at=lambda _share, path: self.scanner.hint(path),
        )
        self._sender = Sender(
            client=self._client,
            machine=self.machine,
            outbox=self.outbox,
            clock=self._clock,
            workstation=self._workstation,
            retry_cap_seconds=RETRY_CAP_SECONDS,
            changed=lambda: None,
        )
        self._feed = FeedPoller(
            client=self._client,
            machine=self.machine,
            clock=self._clock,
            workstation=self._workstation,
            reached=self._sender.bridge_answers,
            lost=lambda _error: None,
            database_changed=self._sender.verify_all,
            changed=lambda: None,
        )

    def _workstation(self) -> str:
        return "ws-1:" + "k" * 48

    def _wake_sender(self) -> None:
        self._send_at = float("-inf")

    def close(self) -> None:
        """Let the files go."""
        self.machine.close()
        self.outbox.close()

    def restart(self) -> None:
        """As after a power cut."""
        self.close()
        self._open()

    # --- persons --------------------------------------------------------------------------------------

    def sign_in(self, username: str) -> None:
        """Sign in, with a target for everything from now on."""
        session = self.desk.sign_in(self._client, username, self._stub.persons[username], self._workstation())
        self.machine.sign_in(self.platform.session_id(), username, self._clock.now())
        self.outbox.set_standing(session.person.username, TARGET, self._clock.now())

    def sign_out(self) -> None:
        """Sign out; what was ordered goes on."""
        session = self.desk.current()
        if session is not None:
            self.outbox.set_standing(session.person.username, None, self._clock.now())
        self.machine.sign_out(self.platform.session_id())
        self.desk.sign_out(self._client, self._workstation())

    def order(self, path: str) -> None:
        """The person chooses a target for one acquisition."""
        found = next(row for row in self.machine.acquisitions() if row.path == path)
        if newest_entries(self.outbox.entries()).get(found.id) is None:
            self.clerk.order(found, TARGET)

    def say(self, path: str, override: Override) -> None:
        """ "Done now" or "not yet"."""
        found = next(row for row in self.machine.acquisitions() if row.path == path)
        self.machine.override(found.id, override, self._clock.now())
        self.scanner.hint(path)

    # --- time -----------------------------------------------------------------------------------------

    def due_in(self) -> float:
        """Seconds until there is something to do."""
        return max(0.05, min(self.scanner.next_due_in(), self._send_at - self._clock.monotonic()))

    def step(self) -> None:
        """What the agent's threads would do now."""
        try:
            looked = self.scanner.run_due()
        except ShareAway:
            looked = True
        if looked:
            self.passes += 1
            self._hear()
            self.clerk.step()
            self.clerk.serve(self._share.id)
        if self._clock.monotonic() >= self._send_at:
            self._send_at = self._clock.monotonic() + self._sender.step()

    def _hear(self) -> None:
        """Ask the feed, where it has something; it would wait for it in real time."""
        if self._stub.cursor == self._asked:
            return
        self._feed.step()
        self._asked = int(self.machine.fact(CURSOR_FACT) or 0)
