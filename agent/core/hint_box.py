"""What was hinted at and not looked at yet: bounded, and an overflow is a hint at everything.

A hint is kept as the place that the scanner looks at (a child of the root, or what lies deeper up to the
acquisition), so a hundred thousand events inside one acquisition are one entry. More places than the box
holds, or a notice that events were lost, mean that nobody knows what changed: a look at everything is due.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.acquisition import root_of
from agent.core.discovery import DEEPEST
from server_bridge.contract import WorkstationShare

PLACES_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Hints:
    """What was taken out of the box: places, and every folder on the way to them."""

    places: frozenset[str] = frozenset()
    everything: bool = False
    asked: frozenset[str] = frozenset()
    """Places that a person or an order waits for: looked at now, whatever their own pace."""
    _on_the_way: frozenset[str] = field(default=frozenset())
    _names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, places: Iterable[str], *, everything: bool = False, asked: Iterable[str] = ()) -> Hints:
        """Hints at these share paths."""
        waited_for = frozenset(asked)
        found = waited_for.union(places)
        way = set(found)
        for place in found:
            while place:
                place = place.rpartition("/")[0]
                if place in way:
                    break
                way.add(place)
        names: dict[str, tuple[str, ...]] = {}
        for place in way - {""}:
            folder, _, name = place.rpartition("/")
            names[folder] = (*names.get(folder, ()), name)
        return cls(found, everything, waited_for, frozenset(way), names)

    def names_in(self, folder: str) -> tuple[str, ...]:
        """The names in this folder at which, or below which, something was hinted."""
        return self._names.get(folder, ())

    def below(self, path: str) -> bool:
        """Whether something was hinted at this path or below it."""
        return path in self._on_the_way


class HintBox:
    """Filled by any thread, emptied by the scanner's."""

    def __init__(self, levels: int, kept: int = PLACES_KEPT) -> None:
        """
        Args:
            levels: Parts of a share path down to the acquisition; what lies deeper is hinted at with it.
            kept: Places that are told apart.
        """
        self._levels = levels
        self._kept = kept
        self._places: set[str] = set()
        self._asked: set[str] = set()
        self._everything = False
        self._lock = threading.Lock()

    def _place(self, path: str) -> str:
        if path.count("/") < self._levels:
            return path
        return "/".join(path.split("/", self._levels)[: self._levels])

    def ask(self, path: str) -> None:
        """Somebody waits for a look at this share path."""
        with self._lock:
            self._asked.add(self._place(path))

    def add(self, path: str) -> None:
        """Something may have changed at this share path."""
        place = self._place(path)
        with self._lock:
            if self._everything or place in self._places:
                return
            if len(self._places) < self._kept:
                self._places.add(place)
            else:
                self._lost()

    def lost(self) -> None:
        """Events were lost, or nobody watched for a while."""
        with self._lock:
            self._lost()

    def _lost(self) -> None:
        self._everything = True
        self._places.clear()

    @property
    def has_places(self) -> bool:
        """Whether single places wait."""
        return bool(self._places)

    @property
    def has_asked(self) -> bool:
        """Whether somebody waits."""
        return bool(self._asked)

    @property
    def everything(self) -> bool:
        """Whether a look at everything is due."""
        return self._everything

    def take(self, *, full: bool) -> Hints:
        """Empty the box for one pass; only a full pass answers a hint at everything."""
        with self._lock:
            places, self._places = self._places, set()
            asked, self._asked = self._asked, set()
            everything = self._everything
            if full:
                self._everything = False
            return Hints.of(places, everything=everything, asked=asked)


def levels_of(share: WorkstationShare) -> int:
    """Parts of a share path down to an acquisition; where files may be one at any depth, all of them."""
    if share.rule.items == "files":
        return DEEPEST
    root = root_of(share)
    return (root.count("/") + 1 if root else 0) + share.rule.levels
