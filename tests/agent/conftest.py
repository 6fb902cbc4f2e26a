"""What the agent's tests share: a share on disk, a platform of its own, a bridge on a loopback socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from agent.core.engine import Engine
from agent.core.settings import AgentSettings
from agent.core.snapshot import Card, Snapshot
from agent.platform import select
from agent.platform.base import Vault
from agent.platform.vault import MemoryVault
from server_bridge.contract import AcquisitionRule, WorkstationShare
from tests.agent.bridge_stub import BridgeStub

MARKER = ".omero-ferry-share"
Found = TypeVar("Found")


class FakeClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self._start = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self._seconds = 1000.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    def pass_time(self, seconds: float) -> None:
        self._seconds += seconds


SYSTEM: type = type(select())
"""The platform of the system that runs this test: Linux's, or Windows'."""


class OwnPlatform(SYSTEM):
    """Real files and locks in a test's own folder; the vault is memory that a 'restart' keeps."""

    def __init__(self, top: Path, vault: Vault | None = None) -> None:
        super().__init__(top / "machine", top / "user")
        self.own_vault = vault or MemoryVault("")
        self.programs: frozenset[str] | None = frozenset()
        self.idle: float | None = None

    def vault(self) -> Vault:
        return self.own_vault

    def running_programs(self) -> frozenset[str] | None:
        return self.programs

    def idle_seconds(self) -> float | None:
        return self.idle

    def lower_priority(self) -> None:
        """The test process keeps its priority."""

    def lower_thread(self) -> None:
        """Its threads, too."""


def until(look: Callable[[], Found], what: str, seconds: float = 30.0) -> Found:
    """Poll until ``look`` gives something true."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.03)


class Bench:
    """One agent on one share with one bridge."""

    def __init__(self, top: Path, stub: BridgeStub, quiet_seconds: float = 0.6) -> None:
        self.top = top
        self.stub = stub
        self.share_top = top / "share"
        self.share_top.mkdir(exist_ok=True)
        (self.share_top / MARKER).touch()
        self.platform = OwnPlatform(top)
        self.stub.shares = [share_json(quiet_seconds)]
        self.snapshots: list[Snapshot] = []
        self.engine = self.new_engine()

    def new_engine(self, heartbeat_seconds: float = 0.5) -> Engine:
        """A (re)started agent with the same files."""
        settings = AgentSettings(
            bridge_url=self.stub.url,
            workstation_name="Confocal SP8",
            shares={"scope1": self.share_top},
            hot_seconds=0.1,
            today_seconds=0.2,
            full_seconds=1.0,
            heartbeat_seconds=heartbeat_seconds,
            open_manifest_seconds=0.5,
            request_seconds=5,
            retry_cap_seconds=0.5,
            hints=False,
        )
        self.engine = Engine(settings, self.platform, version="test")
        self.engine.subscribe(self.snapshots.append)
        return self.engine

    def write(self, path: str, content: bytes = b"x" * 100) -> Path:
        """Write one file of the microscope."""
        file = self.share_top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    @property
    def snapshot(self) -> Snapshot | None:
        return self.snapshots[-1] if self.snapshots else None

    def card(self, title: str) -> Card | None:
        """The newest card of that title."""
        cards = self.snapshot.cards if self.snapshot else ()
        return next((card for card in cards if card.title == title), None)

    def wait_for(self, title: str, condition: Callable[[Card], object], what: str) -> Card:
        """Wait for a card that fulfils a condition."""

        def look() -> Card | None:
            card = self.card(title)
            return card if card is not None and condition(card) else None

        return until(look, f"{title}: {what}; it is {self.card(title)}")  # type: ignore[return-value]


def share_json(quiet_seconds: float = 0.6, **more: object) -> dict[str, object]:
    """A share as the bridge serves it."""
    return {
        "id": "scope1",
        "title": "Confocal buffer",
        "root": ".",
        "marker": MARKER,
        "rule": {"depth": 2, "quiet_seconds": quiet_seconds},
        "deletion": "agent",
        **more,
    }


def workstation_share(**rule: object) -> WorkstationShare:
    """A share with its own rule, for the parts below the engine."""
    return WorkstationShare(
        id="scope1",
        title="Confocal buffer",
        root=".",
        marker=MARKER,
        rule=AcquisitionRule.model_validate({"depth": 1, "quiet_seconds": 300.0, **rule}),
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stub() -> Iterator[BridgeStub]:
    with BridgeStub() as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, stub: BridgeStub) -> Iterator[Bench]:
    made = Bench(tmp_path, stub)
    yield made
    made.engine.stop()


@pytest.fixture
def share_top(tmp_path: Path) -> Path:
    top = tmp_path / "share"
    top.mkdir()
    (top / MARKER).touch()
    return top
