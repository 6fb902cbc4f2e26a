"""Plays one microscope: everything at its moment, with the agent's and the bridge's own steps between."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from agent.core.outbox import EntryState
from agent.core.settle import Override
from server_bridge.contract import AcquisitionRule, WorkstationShare
from tests.agent.bridge_stub import BridgeStub
from tests.agent.conftest import MARKER
from tests.replay.agent import ReplayAgent, ReplayClock
from tests.replay.bridge import ReplayBridge
from tests.replay.disk import Disk
from tests.replay.scenario import Fault, Microscope, Moment, schedule
from tests.replay.verdict import Result

WAIT_AFTER_SECONDS = 2 * 3600.0
"""By then everything must have arrived, beside the longest quiet time that may be learned."""
DISK_STEPS = frozenset(
    {"write", "append", "preallocate", "fill", "rename", "delete", "touch", "copy-in", "open", "close"}
)


@dataclass(slots=True)
class Player:
    """One run in a folder of its own."""

    microscope: Microscope
    folder: Path
    stub: BridgeStub
    seed: int = 1
    clock: ReplayClock = field(default_factory=ReplayClock)
    _part_ends: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    _asleep_until: float = float("-inf")
    _off: bool = False
    _chance: random.Random = field(default_factory=random.Random)
    disk: Disk = field(init=False)
    agent: ReplayAgent = field(init=False)
    bridge: ReplayBridge = field(init=False)
    share: WorkstationShare = field(init=False)
    _seen_top: Path = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}:{self.microscope.name}:chance")
        storage = self.folder / "storage"
        storage.mkdir(parents=True)
        (storage / MARKER).touch()
        self._seen_top = self.folder / "seen"  # the workstation's connection to the storage
        self._seen_top.symlink_to(storage)
        rule = {"depth": 1, "quiet_seconds": self.microscope.quiet, **self.microscope.rule}
        self.share = WorkstationShare(
            id="scope1", title="Buffer", root=".", marker=MARKER, rule=AcquisitionRule.model_validate(rule)
        )
        self.stub.now = self.clock.world
        self.stub.session_seconds = 7 * 86_400.0
        self.disk = Disk(storage, self.microscope.storage, self.clock.world_seconds)
        self.bridge = ReplayBridge(self.stub, self.disk, self.clock, self.share.rule.ignore)
        self.agent = ReplayAgent(self.folder, self._seen_top, self.share, self.stub, self.clock)
        if self.microscope.person:
            self.agent.sign_in(self.microscope.person)

    def play(self) -> Result:
        """From the first step until all has arrived, or the patience ends."""
        events = self._events()
        try:
            for at, act in events:
                self._go_on(until=at)
                act()
            patience = self.clock.seconds + WAIT_AFTER_SECONDS + 4 * self.microscope.quiet
            while True:
                while self.clock.seconds < patience and not self._all_arrived():
                    self._go_on(until=min(patience, self.clock.seconds + 60.0))
                # What would still be sealed, un-sealed or shown as new has its time: what is un-sealed only
                # now ("not yet" as the last thing) has to rest once more.
                self._go_on(until=self.clock.seconds + 120.0)
                if self._all_arrived() or self.clock.seconds >= patience:
                    return self._result()
        finally:
            self.agent.close()
            self.disk.close()

    # --- time -----------------------------------------------------------------------------------------

    def _events(self) -> list[tuple[float, Callable[[], None]]]:
        events: list[tuple[float, Callable[[], None]]] = []
        moments, faults = schedule(self.microscope, self.seed)
        for moment in moments:
            events.append((moment.at, lambda moment=moment: self._step(moment)))  # type: ignore[misc]
        for fault in faults:
            events.append((fault.at, lambda fault=fault: self._begin(fault)))  # type: ignore[misc]
            if fault.lasts:
                events.append((fault.at + fault.lasts, lambda fault=fault: self._end(fault)))  # type: ignore[misc]
        last = max(at for at, _act in events)
        for end in self.microscope.parts or (last + 0.001,):
            events.append((end, self._note_part))
        return sorted(events, key=lambda event: event[0])

    def _go_on(self, *, until: float) -> None:
        """Let agent and bridge do what is due until then."""
        while self.clock.seconds < until:
            nap = min(until - self.clock.seconds, self.bridge.next_in())
            if self._agent_runs():
                nap = min(nap, self.agent.due_in())
            self.clock.seconds += max(nap, 0.01)
            if self._agent_runs():
                self.agent.step()
            self.bridge.tick()

    def _agent_runs(self) -> bool:
        return not self._off and self.clock.seconds >= self._asleep_until

    # --- what happens ---------------------------------------------------------------------------------

    def _step(self, moment: Moment) -> None:
        step = moment.step
        if step.do in DISK_STEPS:
            touched = self.disk.do(moment)
            if self.microscope.hints == "half" and self._agent_runs() and self._chance.random() < 0.5:
                self.agent.scanner.hint(touched)
            return
        match step.do:
            case "program-starts":
                self.agent.platform.programs = frozenset({*self._programs(), step.path.casefold()})
            case "program-ends":
                self.agent.platform.programs = self._programs() - {step.path.casefold()}
            case "sign-in":
                self.agent.sign_in(step.path)
            case "sign-out":
                self.agent.sign_out()
            case "order":
                self.agent.order(moment.path)
            case "done-now":
                self.agent.say(moment.path, Override.DONE_NOW)
            case "not-yet":
                self.agent.say(moment.path, Override.NOT_YET)

    def _programs(self) -> frozenset[str]:
        return self.agent.platform.programs or frozenset()

    def _begin(self, fault: Fault) -> None:
        match fault.what:
            case "share-away":
                self._seen_top.unlink()
            case "asleep":
                self._asleep_until = fault.at + fault.lasts
            case "agent-restarts":
                self.agent.restart()
            case "agent-off":
                self._off = True
            case "clock-set":
                self.clock.set_by += fault.by
            case "bridge-away":
                self.bridge.away(True)
            case "false-hints":
                for number in range(fault.count):
                    self.agent.scanner.hint(f"nowhere/{number:06}")
            case "times-rounded-later":
                self.disk.round_from_now_on(2_000_000_000)
            case "disk-full":
                pass  # the microscope's writes wait; everybody else goes on

    def _end(self, fault: Fault) -> None:
        match fault.what:
            case "share-away":
                self._seen_top.symlink_to(self.folder / "storage")
            case "agent-off":
                self._off = False
                self.agent.restart()
            case "bridge-away":
                self.bridge.away(False)

    # --- the truth ------------------------------------------------------------------------------------

    def _note_part(self) -> None:
        self._part_ends.append((self.clock.seconds, self.disk.everything()))

    def _final(self, place: str) -> dict[str, int]:
        return self.disk.versions(place, self.share.rule.ignore)

    def _wanted(self, place: str, sealed_at: float) -> dict[str, int]:
        """What a seal of this moment has to hold: the piece of work that the last writing belongs to."""
        written = self.disk.last_change(place, before=self._world(sealed_at)) - self._world(0.0)
        for end, everything in self._part_ends:
            if written <= end:
                return self.disk.versions(place, self.share.rule.ignore, everything)
        return self._final(place)

    def _world(self, seconds: float) -> float:
        return self.clock.START.timestamp() + seconds

    def _arrived(self, place: str) -> bool:
        final = self._final(place)
        return any(one.path == place and one.versions == final for one in self.bridge.imports)

    def _shown_anew(self, place: str) -> bool:
        return any(
            row.path == place and row.successor_of and row.finished_at is not None
            for row in self.agent.machine.acquisitions()
        )

    def _all_arrived(self) -> bool:
        return all(self._arrived(place) for place in self.microscope.expect) and all(
            self._shown_anew(place) for place in self.microscope.shown_anew
        )

    def _result(self) -> Result:
        bridge = self.bridge
        early = [
            f"{one.path} after {timedelta(seconds=round(one.at))}"
            for one in bridge.imports
            if one.versions != self._wanted(one.path, one.sealed_at)
        ]
        premature = sum(seal.versions != self._wanted(seal.path, seal.at) for seal in bridge.seals)
        missed = [place for place in self.microscope.expect if not self._arrived(place)]
        missed += [f"{place} (as new)" for place in self.microscope.shown_anew if not self._shown_anew(place)]
        places = [place for place in self.microscope.expect if self._arrived(place)]
        return Result(
            microscope=self.microscope,
            files=sum(len(self._final(place)) for place in {one.path for one in bridge.seals}),
            imports=len(bridge.imports),
            delays=tuple(self._delay(place) for place in places),
            premature_seals=premature,
            unsealed=len(bridge.agent_unseals) + len(bridge.doubts),
            doubts=len(bridge.doubts),
            too_early=tuple(early),
            missed=tuple(missed),
            needless=self._needless(),
            simulated_seconds=self.clock.seconds,
            passes=self.agent.passes,
        )

    def _needless(self) -> tuple[str, ...]:
        """Shown as new without a cause, or ordered so that the bridge said no."""
        wanted = {*self.microscope.shown_anew}
        anew = [row.path for row in self.agent.machine.acquisitions() if row.successor_of]
        refused = [
            entry.intent.path for entry in self.agent.outbox.entries() if entry.state is EntryState.REFUSED
        ]
        return (
            *(f"{path} (as new)" for path in anew if path not in wanted),
            *(f"{path} (refused)" for path in refused),
        )

    def _delay(self, place: str) -> float:
        final = self._final(place)
        sealed = min(seal.at for seal in self.bridge.seals if seal.path == place and seal.versions == final)
        written = self.disk.last_change(place, before=self._world(sealed)) - self._world(0.0)
        return max(0.0, sealed - written)
