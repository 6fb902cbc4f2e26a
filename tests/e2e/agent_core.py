"""The agent's core against a real bridge."""

from __future__ import annotations

from pathlib import Path

from agent.core import commands
from agent.core.clock import Clock, SystemClock
from agent.core.engine import Engine
from agent.core.settings import AgentSettings
from agent.core.snapshot import Card, CardState, Snapshot
from server_bridge.contract import Target
from tests.agent.conftest import OwnPlatform, until
from tests.e2e.conftest import passwords
from tests.loopback.site import SHARE, LoopbackSite

TARGET = Target(group_id=3, group_name="Cytoskeleton", container_name="embryos", project_name="Actin")
NAME = "Confocal SP8"


class Agent:
    """The agent's core, started, approved, and nobody signed in."""

    def __init__(self, site: LoopbackSite, top: Path, clock: Clock | None = None) -> None:
        self._latest: list[Snapshot] = []
        settings = AgentSettings(
            bridge_url=site.bridge_url,
            workstation_name=NAME,
            shares={SHARE: site.buffer},
            hot_seconds=0.2,
            today_seconds=0.5,
            full_seconds=2.0,
            heartbeat_seconds=1.0,
            hints=False,
        )
        self.engine = Engine(settings, OwnPlatform(top), version="test", clock=clock or SystemClock())
        self.engine.subscribe(self._latest.append)
        self.engine.start()
        until(lambda: self.snapshot and self.snapshot.bridge.workstation_status, "it is registered", 60)
        site.ferry_bridge("workstation", "approve", NAME, "--root", f"{SHARE}=.")
        self.engine.submit(commands.LookNow()).result(30)
        until(lambda: self.snapshot and self.snapshot.shares, "it is approved", 60)

    def sign_in(self, username: str) -> None:
        """Whoever was there goes, and she comes."""
        if self.snapshot and self.snapshot.person:
            self.engine.submit(commands.SignOut()).result(60)
        self.engine.submit(commands.SignIn(username, passwords(username))).result(60)
        until(lambda: self.person == username, f"{username} is signed in", 60)

    @property
    def person(self) -> str:
        """Who is signed in."""
        found = self.snapshot.person if self.snapshot else None
        return found.username if found else ""

    @property
    def snapshot(self) -> Snapshot | None:
        return self._latest[-1] if self._latest else None

    def state_of(self, order: str) -> str:
        """What the bridge last said of an order, as JSON."""
        found = self.engine._machine.order(order)
        return found.model_dump_json() if found else ""

    def card(self, title: str, *states: CardState) -> Card:
        def look() -> Card | None:
            cards = self.snapshot.cards if self.snapshot else ()
            found = next((card for card in cards if card.title == title), None)
            return found if found is not None and found.state in states else None

        return until(look, f"{title} is {states}", 120)  # type: ignore[return-value]
