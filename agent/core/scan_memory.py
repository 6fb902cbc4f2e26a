"""What the scanner knows beside the acquisitions themselves, kept over restarts: how long each has rested as
far as this machine saw it, and which ones the last full pass did not get to.

Rest is kept as seconds that somebody watched, never as a time of the wall clock: while the agent was off
nobody looked, and a clock that was set in between must not finish anything. The few seconds since the last
save are lost by a crash, which only makes an acquisition rest a little longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.machine_store import MachineStore
from agent.core.scan_plan import Tracked

SAVE_SECONDS = 30.0
PLACES_KEPT = 20_000
"""Of a full pass that was under way; with more than this it starts over."""


class Rested(BaseModel):
    """One acquisition that is not judged finished."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    fingerprint: str
    """Hex: the rest belongs to what was there then."""
    seconds: float = Field(ge=0)


class ScanMemory(BaseModel):
    """One share's, as kept in the machine's file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rested: dict[str, Rested] = Field(default_factory=dict)
    waiting: tuple[str, ...] = ()
    """Places that the last full pass did not get to: the next one begins with them."""

    def rested_seconds(self, path: str, fingerprint: bytes) -> float:
        """For how long this content was seen to rest; 0 where nobody knows."""
        found = self.rested.get(path)
        return found.seconds if found is not None and found.fingerprint == fingerprint.hex() else 0.0


def rested_of(tracked: Mapping[str, Tracked]) -> dict[str, Rested]:
    """How long each acquisition that is not judged finished has rested, as far as it was watched."""
    return {
        path: Rested(
            fingerprint=one.rest.fingerprint.hex(),
            seconds=max(0.0, one.look_began_at - one.rest.changed_at),
        )
        for path, one in tracked.items()
        if one.found.finished_at is None and one.rest is not None
        if one.rest.fingerprint == one.found.fingerprint
    }


def _fact(share: str) -> str:
    return f"scan:{share}"


def recall(store: MachineStore, share: str) -> ScanMemory:
    """What was kept; nothing where there is nothing that can be read."""
    kept = store.fact(_fact(share))
    if kept is None:
        return ScanMemory()
    try:
        return ScanMemory.model_validate_json(kept)
    except ValidationError:
        # Another version's: everything rests anew, which is safe.
        return ScanMemory()


def remember(store: MachineStore, share: str, rested: dict[str, Rested], waiting: Iterable[str]) -> None:
    """Keep it in place of what was kept before."""
    places = tuple(waiting)
    memory = ScanMemory(rested=rested, waiting=places if len(places) <= PLACES_KEPT else ())
    store.set_fact(_fact(share), memory.model_dump_json())
