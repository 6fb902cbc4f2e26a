"""What the bridge does with a sealed order, on top of the stub that speaks the contract.

It looks at the source, compares with the manifest, pulls, looks again, imports (as its pipeline's steps do).
An empty queue and small data make it the hardest judge of a seal: half a minute after the seal it is too late
to take it back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.agent.bridge_stub import BridgeStub, Refusal, Seen
from tests.replay.agent import ReplayClock
from tests.replay.disk import Disk

LOOK_SECONDS, PULL_SECONDS, IMPORT_SECONDS, PROVEN_SECONDS = 5.0, 25.0, 30.0, 90.0
"""After the seal: the first look, the data is read, the second look and the import, the proof."""
TOLERANCE_NS = 2_000_000_000
DOUBT = {
    "code": "source_changed",
    "title": "The data is being written again",
    "detail": "It differs from the sealed list.",
    "remedy": "Nothing to do: it comes over when the workstation has seen it rest.",
}


@dataclass(slots=True)
class Attempt:
    """One sealed manifest on its way."""

    order_id: str
    path: str
    revision: int
    sealed_at: float
    manifest: dict[str, tuple[int, int]]
    baseline: dict[str, tuple[int, int]] | None = None
    pulled: dict[str, int] | None = None
    """The data that was read: file → version."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A sealed manifest that the bridge confirmed."""

    at: float
    order_id: str
    path: str
    versions: dict[str, int]
    """The data that was there at that moment."""


@dataclass(frozen=True, slots=True)
class Import:
    """An import that began; what OMERO got stays so."""

    at: float
    sealed_at: float
    order_id: str
    path: str
    versions: dict[str, int]


@dataclass(slots=True)
class ReplayBridge:
    """Call :meth:`tick` at each moment; everything it saw is public."""

    stub: BridgeStub
    disk: Disk
    clock: ReplayClock
    ignore: tuple[str, ...]
    seals: list[Seal] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    agent_unseals: list[tuple[float, str]] = field(default_factory=list)
    """When an open list took the place of a sealed one, and of which path."""
    doubts: list[tuple[float, str]] = field(default_factory=list)
    """When the bridge's own look differed, and at which path."""
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _importing: dict[str, float] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)

    def away(self, away: bool) -> None:
        """Whether it answers at all."""
        refusal = Refusal() if away else None

        def refuse(_seen: Seen) -> Refusal | None:
            return refusal

        self.stub.refuse = refuse

    def next_in(self) -> float:
        """Seconds until it does something; infinite where it waits."""
        now = self.clock.seconds
        due = [
            attempt.sealed_at + (LOOK_SECONDS, PULL_SECONDS, IMPORT_SECONDS)[_stations(attempt)]
            for attempt in self._attempts.values()
        ]
        due += list(self._importing.values())
        return max(0.0, min(due, default=float("inf")) - now)

    def tick(self) -> None:
        """Take up what arrived, and go on with what is due."""
        for order_id in self.stub.manifests:
            self._take_up(order_id)
        now = self.clock.seconds
        for attempt in list(self._attempts.values()):
            since = now - attempt.sealed_at
            if attempt.baseline is None and since >= LOOK_SECONDS:
                self._first_look(attempt)
            if attempt.baseline is not None and attempt.pulled is None and since >= PULL_SECONDS:
                attempt.pulled = self.disk.versions(attempt.path, self.ignore)
            if attempt.pulled is not None and since >= IMPORT_SECONDS:
                self._second_look(attempt)
        for order_id, at in list(self._importing.items()):
            if now >= at:
                del self._importing[order_id]
                self.stub.change(order_id, stage="proven", condition="running")

    def _take_up(self, order_id: str) -> None:
        manifests = self.stub.manifests[order_id]
        order = self.stub.orders[order_id]
        path = order["path"]
        for index in range(self._read.get(order_id, 0), len(manifests)):
            manifest = manifests[index]
            before = manifests[index - 1] if index else None
            self._attempts.pop(order_id, None)
            if not manifest["sealed"]:
                if before is not None and before["sealed"]:
                    self.agent_unseals.append((self.clock.seconds, path))
                continue
            lines = {one["path"]: (one["size_bytes"], one["mtime_ns"]) for one in manifest["files"]}
            versions = self.disk.versions(path, self.ignore)
            self.seals.append(Seal(self.clock.seconds, order_id, path, versions))
            self._attempts[order_id] = Attempt(
                order_id, path, manifest["revision"], self.clock.seconds, lines
            )
        self._read[order_id] = len(manifests)

    def _first_look(self, attempt: Attempt) -> None:
        seen = self.disk.listing(attempt.path)
        same = seen.keys() == attempt.manifest.keys() and all(
            size == attempt.manifest[path][0] and abs(mtime - attempt.manifest[path][1]) <= TOLERANCE_NS
            for path, (size, mtime) in seen.items()
        )
        if not same:
            self._doubt(attempt)
            return
        attempt.baseline = seen
        self.stub.change(attempt.order_id, stage="pulling", condition="running")

    def _second_look(self, attempt: Attempt) -> None:
        if self.disk.listing(attempt.path) != attempt.baseline:
            self._doubt(attempt)
            return
        del self._attempts[attempt.order_id]
        assert attempt.pulled is not None
        self.imports.append(
            Import(self.clock.seconds, attempt.sealed_at, attempt.order_id, attempt.path, attempt.pulled)
        )
        self._importing[attempt.order_id] = attempt.sealed_at + PROVEN_SECONDS
        self.stub.change(attempt.order_id, stage="importing", condition="running")

    def _doubt(self, attempt: Attempt) -> None:
        del self._attempts[attempt.order_id]
        self.doubts.append((self.clock.seconds, attempt.path))
        told: dict[str, Any] = {"stage": "accepted", "condition": "waiting", "sealed": False, "reason": DOUBT}
        self.stub.change(attempt.order_id, **told)


def _stations(attempt: Attempt) -> int:
    """How many of its stations an attempt has behind it."""
    return (attempt.baseline is not None) + (attempt.pulled is not None)
