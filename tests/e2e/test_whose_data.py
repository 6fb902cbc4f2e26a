"""Whose data it is, from the first look to OMERO: the folder says it, staff say it, and nobody else may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from agent.core import commands
from agent.core.clock import SystemClock
from agent.core.errors import AgentError
from agent.core.snapshot import Card, CardState
from server_bridge.orders.authority import CLOCK_SLACK
from tests.checker import omero as checker_omero
from tests.demo.microscope import Notes, plate_like
from tests.e2e.agent_core import TARGET, Agent
from tests.e2e.conftest import ROOT_PASSWORD, verdict
from tests.loopback.site import LoopbackSite

pytestmark = pytest.mark.slow
STAFF = "root"


class Behind(SystemClock):
    """The bridge takes what was first seen up to a minute before somebody signed in for hers. This machine
    says that it was seen earlier than that."""

    def now(self) -> datetime:
        return super().now() - 3 * CLOCK_SLACK


@pytest.fixture
def agent(site: LoopbackSite, tmp_path: Path) -> Iterator[Agent]:
    made = Agent(site, tmp_path / "agent", Behind())
    yield made
    made.engine.stop()


def written_while_nobody_is_there(site: LoopbackSite, agent: Agent, path: str, notes: Notes) -> Card:
    place = site.buffer / path
    plate_like(site.buffer, place, notes, fields=2, side=64, seconds=0, stop=threading.Event())
    return agent.card(place.name, CardState.UNCLAIMED)


def claim(agent: Agent, card: Card, owner: str = "") -> str:
    """Her choice of a target; returns the bridge's refusal, empty where it took it."""
    choice = commands.ChooseTarget(card.id, TARGET, owner=owner)
    try:
        agent.engine.submit(choice).result(60)
    except AgentError as refused:
        return refused.reason().code
    return ""


def owners_in_omero(site: LoopbackSite, folder: str) -> set[str]:
    found = checker_omero.everything("127.0.0.1", int(site.omero["ssl_port"]), STAFF, ROOT_PASSWORD)
    return {one.owner for one in found.files if f"/{folder}/" in one.client_path}


def test_unclaimed_data_is_ordered_by_its_person_or_by_staff_and_by_nobody_else(
    site: LoopbackSite, agent: Agent
) -> None:
    notes = Notes()
    in_her_folder = written_while_nobody_is_there(site, agent, "alice/hers", notes)
    anywhere = written_while_nobody_is_there(site, agent, "loose/nobodys", notes)

    agent.sign_in("alice")  # the bridge knows her from now on
    agent.sign_in("bob")
    for card in (in_her_folder, anywhere):
        assert claim(agent, card) == "not_your_data", card.title
        assert agent.card(card.title, CardState.REFUSED).reason is not None

    # A refused claim stands in nobody's way: the folder is hers.
    agent.sign_in("alice")
    agent.card("hers", CardState.UNCLAIMED)
    assert claim(agent, in_her_folder) == ""
    assert claim(agent, anywhere) == "not_your_data"

    agent.sign_in(STAFF)
    hers = agent.engine.targets.person("alice").result(60)
    assert {group.name for group in hers.groups} >= {"Cytoskeleton"}
    assert agent.engine.targets.of(hers).containers(3, "dataset").result(60).items
    assert claim(agent, anywhere, owner="alice") == ""
    for title in ("hers", "nobodys"):
        shown = agent.card(title, CardState.SAFE_TO_DELETE)
        assert (shown.person, shown.whose) == ("alice", "alice")
    assert verdict(site, notes).problems == []
    assert owners_in_omero(site, "hers") == owners_in_omero(site, "nobodys") == {"alice"}

    agent.sign_in("alice")
    assert agent.card("nobodys", CardState.SAFE_TO_DELETE).whose == ""
