"""From a click in the agent to staged links that are gone: the agent's core, the bridge, sandbox OMERO."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core import commands
from agent.core.cleaning_book import JobState
from agent.core.engine import Engine
from agent.core.settings import AgentSettings
from agent.core.snapshot import Card, CardState, Snapshot
from server_bridge.contract import Target
from tests.agent.conftest import OwnPlatform, until
from tests.demo.microscope import Notes, plate_like
from tests.e2e.conftest import passwords, verdict
from tests.loopback.site import MARKER, SHARE, LoopbackSite

pytestmark = pytest.mark.slow
TARGET = Target(group_id=3, group_name="Cytoskeleton", container_name="embryos", project_name="Actin")
NAME = "Confocal SP8"


class Agent:
    """The agent's core, started, approved and with Alice signed in."""

    def __init__(self, site: LoopbackSite, top: Path) -> None:
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
        self.engine = Engine(settings, OwnPlatform(top), version="test")
        self.engine.subscribe(self._latest.append)
        self.engine.start()
        until(lambda: self.snapshot and self.snapshot.bridge.workstation_status, "it is registered", 60)
        site.ferry_bridge("workstation", "approve", NAME, "--root", f"{SHARE}=.")
        self.engine.submit(commands.LookNow()).result(30)
        until(lambda: self.snapshot and self.snapshot.shares, "it is approved", 60)
        self.engine.submit(commands.SignIn("alice", passwords("alice"))).result(60)

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


@pytest.fixture
def agent(site: LoopbackSite, tmp_path: Path) -> Iterator[Agent]:
    made = Agent(site, tmp_path / "agent")
    yield made
    made.engine.stop()


def test_a_copy_that_was_freed_leaves_staging_and_stays_in_omero(site: LoopbackSite, agent: Agent) -> None:
    notes = Notes()
    plate_like(
        site.buffer,
        site.buffer / "alice/plate",
        notes,
        fields=6,
        side=64,
        seconds=0,
        stop=threading.Event(),
    )
    found = agent.card("plate", CardState.WRITING, CardState.SETTLING, CardState.NEEDS_TARGET)
    agent.engine.submit(commands.ChooseTarget(found.id, TARGET)).result(60)
    agent.engine.submit(commands.DoneNow(found.id)).result(60)
    card = agent.card("plate", CardState.SAFE_TO_DELETE)
    assert card.actions == ("FreeSpace",) and card.released_at is not None and card.deletion == "agent"
    assert verdict(site, notes).problems == []

    agent.engine.submit(commands.FreeSpace((card.id,))).result(60)
    until(lambda: not (site.buffer / "alice/plate").exists(), "the copy goes", 60)
    agent.card("plate", CardState.FREED)
    snapshot = agent.snapshot
    assert snapshot is not None and [job.state for job in snapshot.cleaning] == [JobState.DONE]
    assert (site.buffer / MARKER).exists()

    order = str(card.order_id)
    staged = site.staging / SHARE / order
    until(lambda: '"stage":"retired"' in agent.state_of(order), "the bridge is through with it", 180)
    left = {path.name for path in staged.rglob("*") if path.is_file()}
    assert left <= {"Thumbs.db", "desktop.ini"}, "what OMERO did not take has no other name"
    managed = [path for path in site.managed.rglob("*") if path.is_file()]
    assert len(managed) >= 6 and all(path.stat().st_nlink == 1 for path in managed)
