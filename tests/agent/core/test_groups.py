"""A group through the agent's order path: ordered, listed, told and shown by its members alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from agent.core import heartbeat, manifests
from agent.core.acquisition import Acquisition
from agent.core.clerk import Clerk, Place
from agent.core.machine_store import MachineStore
from agent.core.outbox import Outbox
from agent.core.presenter import World, facts_of
from agent.core.sign_in import Session
from agent.core.snapshot import BridgeSnapshot
from server_bridge.contract import (
    AcquisitionKind,
    OrderState,
    Person,
    SubmissionGrant,
    Target,
)
from tests.agent.conftest import FakeClock, OwnPlatform, workstation_share

SLIDE = ("img.vsi", "_img_")
FILES = ("alice/_img_/frame.ets", "alice/img.vsi")
TARGET = Target(group_id=3, container_id=7)
SHARE = workstation_share()


def found_in(clock: FakeClock, path: str = "alice/img.vsi", members: tuple[str, ...] = SLIDE) -> Acquisition:
    return Acquisition(
        id=f"of {path}",
        share=SHARE.id,
        path=path,
        kind=AcquisitionKind.GROUP if members else AcquisitionKind.FILE,
        first_seen_at=clock.now(),
        person_then="alice",
        file_count=2,
        size_bytes=10,
        last_change_at=clock.now(),
        fingerprint=b"f",
        content=b"c",
        members=members,
    )


def state_of(clock: FakeClock, number: int, path: str, members: tuple[str, ...], **more: Any) -> OrderState:
    values = {
        "id": UUID(int=number),
        "revision": 1,
        "person": "bob",
        "share": SHARE.id,
        "path": path,
        "kind": "group" if members else "file",
        "members": members,
        "target": TARGET,
        "stage": "accepted",
        "condition": "waiting",
        "stage_since": clock.now(),
        "created_at": clock.now(),
        "updated_at": clock.now(),
    }
    return OrderState.model_validate(values | more)


class SignedIn:
    """Alice at this workstation, as the clerk asks for her."""

    def __init__(self, clock: FakeClock) -> None:
        later = clock.now() + timedelta(hours=1)
        grant = SubmissionGrant(session_id="s", key="00" * 32, expires_at=later)
        self._session = Session("token", later, Person(username="alice"), grant, clock.now())

    def current(self) -> Session:
        return self._session

    def require(self) -> Session:
        return self._session


class Scene:
    """A share with a slide among neighbours, and a clerk."""

    def __init__(self, top: Path, share_top: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.share_top = share_top
        self.platform = OwnPlatform(top)
        self.machine = MachineStore(top / "machine.sqlite3")
        self.outbox = Outbox(top / "outbox.sqlite3", self.platform)
        self.place = Place(SHARE, share_top)
        self.clerk = Clerk(
            machine=self.machine,
            outbox=self.outbox,
            desk=cast(Any, SignedIn(clock)),
            platform=self.platform,
            clock=clock,
            places=lambda: {SHARE.id: self.place},
            open_seconds=60,
            wake_sender=lambda: None,
            look_at=lambda _share, _path: None,
        )
        for path in (*FILES, "alice/other.vsi", "alice/_other_/frame.ets", "alice/_img_2/frame.ets"):
            (share_top / path).parent.mkdir(parents=True, exist_ok=True)
            (share_top / path).write_bytes(path.encode())

    def judged(self, found: Acquisition) -> Acquisition:
        """The acquisition as a scan that saw it rest records it."""
        built = manifests.build(self.share_top, SHARE, found.path, members=found.members, judged=True)
        finished = replace(found, content=built.content, finished_at=self.clock.now())
        self.machine.record([finished], [], self.clock.now())
        return finished


@pytest.fixture
def scene(tmp_path: Path, share_top: Path, clock: FakeClock) -> Iterator[Scene]:
    made = Scene(tmp_path, share_top, clock)
    yield made
    made.machine.close()
    made.outbox.close()


def test_a_group_is_ordered_and_sealed_with_its_own_files_alone(scene: Scene) -> None:
    found = scene.judged(found_in(scene.clock))
    order_id = scene.clerk.order(found, TARGET)
    # Read back from the disk: this is what is put again to a bridge that lost it.
    entry = scene.outbox.entry(order_id)
    assert entry is not None
    assert (entry.intent.kind, entry.intent.members) == (AcquisitionKind.GROUP, SLIDE)
    scene.clerk._serve(found, entry, scene.place)
    sent = scene.outbox.manifest(order_id)
    assert sent is not None and sent.sealed
    assert sorted(manifests.lines_of(sent.body)) == list(FILES)
    assert all(entry.intent.holds(path) for path in FILES)


def test_a_neighbour_that_comes_is_no_reason_to_judge_a_group_anew_and_a_member_is(scene: Scene) -> None:
    found = scene.judged(found_in(scene.clock))
    order_id = scene.clerk.order(found, TARGET)
    entry = scene.outbox.entry(order_id)
    assert entry is not None
    (scene.share_top / "alice/_img_/late.ets").write_bytes(b"x")
    scene.clerk._serve(found, entry, scene.place)
    assert scene.outbox.manifest(order_id) is None
    (scene.share_top / "alice/_img_/late.ets").unlink()
    (scene.share_top / "alice/late.vsi").write_bytes(b"x")
    scene.clerk._serve(found, entry, scene.place)
    sent = scene.outbox.manifest(order_id)
    assert sent is not None and sent.content == found.content


def test_an_order_without_members_says_nothing_that_an_older_bridge_refuses(scene: Scene) -> None:
    single = scene.judged(found_in(scene.clock, "alice/other.vsi", ()))
    entry = scene.outbox.entry(scene.clerk.order(single, TARGET))
    assert entry is not None and "members" not in entry.intent.model_dump_json()
    beat = heartbeat.beat("1", scene.clock.now(), [SHARE], {}, [single], (), ())
    assert "members" not in beat.model_dump_json()


def test_somebody_elses_order_is_this_groups_only_with_the_same_members(scene: Scene) -> None:
    found = scene.judged(found_in(scene.clock))
    for number, members in enumerate([(), ("img.vsi",), ("img.vsi", "_img_", "img.oex")]):
        scene.machine.keep_orders([state_of(scene.clock, number, found.path, members)])
    assert not scene.clerk._has_bridge_order(found)
    scene.machine.keep_orders([state_of(scene.clock, 9, found.path, SLIDE)])
    assert scene.clerk._has_bridge_order(found)


def test_the_heartbeat_names_a_group_and_hides_no_neighbour(clock: FakeClock) -> None:
    group = found_in(clock)
    lone, other = found_in(clock, "alice/other.vsi", ()), found_in(clock, "alice/r*", ("r*",))
    ordered = {(SHARE.id, "alice/img.vsi", ()), (SHARE.id, "alice/r*", ("r*",))}
    beat = heartbeat.beat("1", clock.now(), [SHARE], {}, [group, lone, other], (), ordered)
    assert [(one.path, one.members) for one in beat.unordered] == [
        ("alice/img.vsi", SLIDE),
        ("alice/other.vsi", ()),
    ]


def test_a_card_shows_the_order_of_its_own_members_alone(clock: FakeClock) -> None:
    group = found_in(clock)
    single = state_of(clock, 1, group.path, (), stage="proven")
    world = World(
        now=clock.now(),
        workstation_name="Confocal",
        workstation=None,
        bridge=BridgeSnapshot(True, clock.now()),
        statuses={},
        mounted=frozenset(),
        acquisitions=(group,),
        entries=(),
        orders=(single,),
        person=Person(username="alice"),
    )
    assert [facts.state for facts in facts_of(world) if facts.found] == [None]
    whole = state_of(clock, 2, group.path, SLIDE)
    with_it = replace(world, orders=(single, whole))
    assert [facts.state for facts in facts_of(with_it) if facts.found] == [whole]
