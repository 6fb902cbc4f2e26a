"""From a click in the agent to staged links that are gone: the agent's core, the bridge, sandbox OMERO."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core import commands
from agent.core.cleaning_book import JobState
from agent.core.snapshot import CardState
from tests.agent.conftest import until
from tests.demo.microscope import Notes, plate_like
from tests.e2e.agent_core import TARGET, Agent
from tests.e2e.conftest import verdict
from tests.loopback.site import MARKER, SHARE, LoopbackSite

pytestmark = pytest.mark.slow


@pytest.fixture
def agent(site: LoopbackSite, tmp_path: Path) -> Iterator[Agent]:
    made = Agent(site, tmp_path / "agent")
    made.sign_in("alice")
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
