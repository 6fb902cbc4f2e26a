"""Whatever is written when, and whatever fails meanwhile: no seal stays on data that is not the final one.

Schedules of writes, outages, restarts, a person's words and clocks that are set, made by hypothesis, played
against the real parts. FERRY_SCHEDULES=200 plays more of them.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.agent.bridge_stub import BridgeStub
from tests.replay.player import Player
from tests.replay.scenario import Fault, Microscope, Step, Storage

QUIET_SECONDS = 120.0
EXAMPLES = int(os.environ.get("FERRY_SCHEDULES", "12"))
Kind = TypeVar("Kind", bound=Player)
FILES = ("run/a.dat", "run/b.dat", "run/deep/c.dat")

seconds = st.integers(min_value=1, max_value=1500).map(float)
# What is first seen while a clock is wrong may be nobody's; the schedules are about what was ordered.
once_seen = st.integers(min_value=30, max_value=1500).map(float)
writes = st.builds(
    lambda at, do, path, kib, age: Step(at=at, do=do, path=path, kib=kib, age=age),  # type: ignore[arg-type]
    seconds,
    st.sampled_from(["write", "append", "copy-in"]),
    st.sampled_from(FILES),
    st.sampled_from([1.0, 3.0]),
    st.sampled_from([0.0, 1e6, -1e6]),
)
said = st.builds(
    lambda at, do: Step(at=at, do=do, path="run"),  # type: ignore[arg-type]
    seconds,
    st.just("not-yet"),
)
outages = st.builds(
    lambda at, what, lasts: Fault(at=at, what=what, lasts=lasts),  # type: ignore[arg-type]
    once_seen,
    st.sampled_from(["share-away", "agent-off", "bridge-away", "asleep"]),
    st.integers(min_value=5, max_value=900).map(float),
)
jolts = st.builds(
    lambda at, what, by: Fault(at=at, what=what, by=by),  # type: ignore[arg-type]
    once_seen,
    st.sampled_from(["agent-restarts", "clock-set"]),
    st.sampled_from([-7200.0, -180.0, 180.0, 7200.0]),
)


def apart(outage_list: list[Fault]) -> tuple[Fault, ...]:
    """One outage of a kind at a time: one that begins in another of its kind is left out."""
    kept: list[Fault] = []
    for one in sorted(outage_list, key=lambda fault: fault.at):
        same = [other for other in kept if other.what == one.what]
        if not same or same[-1].at + same[-1].lasts + 1 < one.at:
            kept.append(one)
    return tuple(kept)


def microscope(steps: list[Step], faults: tuple[Fault, ...], round_ns: int) -> Microscope:
    """A scenario around them. The first file is there from the start."""
    first = Step(at=0.5, do="write", path="run/first.dat", kib=1.0)
    return Microscope(
        name="schedule",
        models="whatever",
        source="hypothesis",
        format="any",
        habit="any",
        quiet=QUIET_SECONDS,
        steps=(first, *steps),
        faults=faults,
        storage=Storage(round_ns=round_ns),
        expect=(),
    )


class _Held(Player):
    """The bridge's queue is long: it begins nothing while the schedule runs, so that all is about seals."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bridge.queue_seconds = 1e9

    def _all_arrived(self) -> bool:
        last = [manifests[-1] for manifests in self.stub.manifests.values()]
        sealed = bool(last) and all(one["sealed"] for one in last)
        return sealed and self.bridge.seals[-1].versions == self._final("run")


class _Fast(Player):
    """The bridge imports as soon as it may."""

    def anew(self) -> bool:
        """Whether a person is told that something changed after the import."""
        return any(row.successor_of for row in self.agent.machine.acquisitions())

    def _all_arrived(self) -> bool:
        return self._arrived("run") or self.anew()


schedules = given(
    steps=st.lists(writes, min_size=1, max_size=14),
    words=st.lists(said, max_size=2),
    outage_list=st.lists(outages, max_size=3),
    jolt_list=st.lists(jolts, max_size=2),
    round_ns=st.sampled_from([1, 2_000_000_000]),
    seed=st.integers(min_value=0, max_value=3),
)
few = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def played(kind: type[Kind], scenario: Microscope, seed: int, check: Callable[[Kind], None]) -> None:
    """Play it in a folder of its own, and check before that goes."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, BridgeStub() as stub:
        player = kind(scenario, Path(folder), stub, seed)
        player.play()
        check(player)


@few
@example(
    steps=[Step(at=1.0, do="write", path="run/a.dat", kib=1.0)],
    words=[Step(at=152.0, do="not-yet", path="run")],
    outage_list=[],
    jolt_list=[],
    round_ns=1,
    seed=0,
)
@schedules
def test_no_schedule_leaves_a_seal_on_data_that_is_not_the_final_one(
    steps: list[Step],
    words: list[Step],
    outage_list: list[Fault],
    jolt_list: list[Fault],
    round_ns: int,
    seed: int,
) -> None:
    def check(player: _Held) -> None:
        (order_id,) = player.stub.orders
        manifests = player.stub.manifests[order_id]
        last, final = manifests[-1], player.disk.listing("run")
        assert last["sealed"], "it rests, and is not sealed"
        assert {one["path"]: (one["size_bytes"], one["mtime_ns"]) for one in last["files"]} == final
        truth = player.disk.versions("run")
        assert player.bridge.seals[-1].versions == truth
        for before, after in itertools.pairwise(manifests):
            assert after["revision"] > before["revision"]

    played(_Held, microscope([*steps, *words], (*apart(outage_list), *jolt_list), round_ns), seed, check)


@few
@schedules
def test_no_schedule_brings_data_that_does_not_rest_and_what_comes_later_is_shown(
    steps: list[Step],
    words: list[Step],
    outage_list: list[Fault],
    jolt_list: list[Fault],
    round_ns: int,
    seed: int,
) -> None:
    def check(player: _Fast) -> None:
        assert player.bridge.imports, "it rests, and OMERO never got it"
        start = player.clock.START.timestamp()
        for one in player.bridge.imports:
            written = player.disk.last_change("run", before=start + one.at) - start
            assert one.at - written >= QUIET_SECONDS, "imported within the quiet time of a write"
        if not any(one.versions == player.disk.versions("run") for one in player.bridge.imports):
            assert player.anew(), "it changed after the import, and nobody is told"

    played(_Fast, microscope([*steps, *words], (*apart(outage_list), *jolt_list), round_ns), seed, check)
