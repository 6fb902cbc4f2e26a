"""Who stands where in the queues, kept in memory and brought up to date by what changed.

Agents look at their places again and again while thousands of orders may wait. Reading the whole queue for
each look would cost tens of milliseconds; so one book per process holds the queues as sorted lists, and each
look reads only the orders that changed since the last one (the feed's counter says which). The book is a
copy: whatever it says comes from the orders table and is as new as the session that it is asked with.

Pulls queue per share, imports for the whole bridge, as the dispatcher starts them; in each queue come first
those that run, then those that were ordered earlier.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from server_bridge.contract import Condition, QueuePlace, Stage
from server_bridge.orders import stages
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import FeedCounter, Order, Workstation

NO_WORKSTATION = "the bridge"
"""How the queue names orders that staff made without a workstation."""
_MOVES_KEPT = 1000

Key = tuple[bool, datetime, str]
"""Sorts a queue: waiting after running, then by age; the last part is the order's id."""


@dataclass(frozen=True, slots=True)
class _Entry:
    lane: str
    key: Key
    queued: bool
    workstation_id: str
    owners: frozenset[str]


@dataclass(slots=True)
class _Lane:
    keys: list[Key] = field(default_factory=list)
    moves: deque[tuple[int, Key]] = field(default_factory=lambda: deque(maxlen=_MOVES_KEPT))
    """Change and key of what came or went: behind it everybody's place is another one."""
    unknown_until: int = 0
    """Moves up to this change are not kept any more."""

    def note(self, change: int, key: Key) -> None:
        if len(self.moves) == _MOVES_KEPT:
            self.unknown_until = self.moves[0][0]
        self.moves.append((change, key))

    def moved_before(self, key: Key, after: int) -> bool:
        """Whether the place of ``key`` may be another one than at change ``after``."""
        if after < self.unknown_until:
            return True
        for change, moved in reversed(self.moves):
            if change <= after:
                return False
            if moved < key:
                return True
        return False


class QueueBook:
    """The queues of one database. Safe to share between threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known = -1
        self._entries: dict[str, _Entry] = {}
        self._lanes: dict[str, _Lane] = defaultdict(_Lane)
        self._of_owner: dict[str, set[str]] = defaultdict(set)
        self._names: dict[str, str] = {}

    def places(self, session: Session, wanted: Iterable[str]) -> dict[str, QueuePlace]:
        """How many orders come before each of ``wanted``: those that run and those that queued earlier."""
        with self._reading(session):
            by_lane: dict[str, list[Key]] = defaultdict(list)
            for order_id in wanted:
                if (entry := self._entries.get(order_id)) is not None:
                    by_lane[entry.lane].append(entry.key)
            return {
                order_id: place
                for lane, keys in by_lane.items()
                for order_id, place in self._places_in(self._lanes[lane].keys, sorted(keys))
            }

    def _places_in(self, lane: list[Key], wanted: list[Key]) -> Iterable[tuple[str, QueuePlace]]:
        ahead: Counter[str] = Counter()
        counted = 0
        for key in wanted:
            place = bisect_left(lane, key)
            ahead.update(
                self._names.get(self._entries[one[2]].workstation_id, NO_WORKSTATION)
                for one in lane[counted:place]
            )
            counted = place
            yield key[2], QueuePlace(ahead=place, ahead_by_workstation=dict(ahead))

    def moved(self, session: Session, caller: Caller, after: int, limit: int) -> list[str]:
        """The caller's queued orders whose place changed after that change, oldest first, at most
        ``limit``."""
        with self._reading(session):
            found = [
                entry
                for entry in self._visible(caller)
                if entry.queued and self._lanes[entry.lane].moved_before(entry.key, after)
            ]
        return [entry.key[2] for entry in sorted(found, key=lambda entry: entry.key)[:limit]]

    def refresh(self, session: Session) -> None:
        """Read what changed since the last look."""
        with self._reading(session):
            pass

    def may_have_moved(self, caller: Caller, after: int, *, if_busy: bool) -> bool:
        """A cheap first look at :meth:`moved`, as of the last refresh. It reads nothing and never waits, so
        that an event loop may ask; ``if_busy`` is the answer while another thread has the book."""
        if not self._guard.acquire(blocking=False):
            return if_busy
        try:
            lanes = {name for name, lane in self._lanes.items() if lane.moves and lane.moves[-1][0] > after}
            if not lanes or (caller.is_staff and caller.granted_order is None):
                return bool(lanes)
            return any(entry.queued and entry.lane in lanes for entry in self._visible(caller))
        finally:
            self._guard.release()

    def _visible(self, caller: Caller) -> Iterable[_Entry]:
        if caller.granted_order is not None:
            ids: Iterable[str] = [str(caller.granted_order)]
        elif caller.username and caller.is_staff:
            ids = list(self._entries)
        else:
            owners = [f"person {caller.username}"] if caller.username else []
            if caller.workstation is not None and caller.workstation.approved:
                owners.append(f"workstation {caller.workstation.id}")
            ids = set().union(*(self._of_owner.get(owner, set()) for owner in owners))
        return [entry for order_id in ids if (entry := self._entries.get(order_id)) is not None]

    # --- keeping up -----------------------------------------------------------------------------------

    @contextmanager
    def _reading(self, session: Session) -> Iterator[None]:
        """Holds the book, as new as ``session`` is."""
        # A session may have to wait for a connection until another thread gives one back, and that thread
        # may wait for this book: so the connection comes first.
        session.connection()
        with self._guard:
            self._refresh(session)
            yield

    def _refresh(self, session: Session) -> None:
        counter = session.scalar(select(FeedCounter.value).where(FeedCounter.id == 1)) or 0
        if counter <= self._known:
            return
        asked = select(
            Order.id,
            Order.change,
            Order.stage,
            Order.condition,
            Order.sealed,
            Order.share,
            Order.created_at,
            Order.workstation_id,
            Order.person,
            Order.ordered_by,
        ).where(Order.change > self._known, Order.change <= counter)
        if self._known < 0:
            # The first look: ended orders need not be read.
            asked = asked.where(Order.stage.in_(sorted(stages.WORKED)))
        stations: set[str] = set()
        for row in session.execute(asked.order_by(Order.change)):
            entry = None
            if row.sealed and row.stage in stages.WORKED and row.condition in _IN_QUEUE:
                queued = row.condition == Condition.QUEUED
                entry = _Entry(
                    lane=f"pull {row.share}" if Stage(row.stage) in stages.TRANSFER_STAGES else "import",
                    key=(queued, cast(datetime, row.created_at), row.id),
                    queued=queued,
                    workstation_id=row.workstation_id or "",
                    owners=frozenset(
                        {
                            f"person {row.person}",
                            f"person {row.ordered_by}",
                            *([f"workstation {row.workstation_id}"] if row.workstation_id else []),
                        }
                    ),
                )
                stations.add(entry.workstation_id)
            self._replace(row.id, entry, row.change)
        if self._known < 0:
            for lane in self._lanes.values():
                lane.moves.clear()
                lane.unknown_until = counter
        self._known = counter
        self._learn_names(session, stations)

    def _replace(self, order_id: str, entry: _Entry | None, change: int) -> None:
        before = self._entries.get(order_id)
        if before is not None and entry is not None and (before.lane, before.key) == (entry.lane, entry.key):
            return
        if before is not None:
            lane = self._lanes[before.lane]
            del lane.keys[bisect_left(lane.keys, before.key)]
            lane.note(change, before.key)
            del self._entries[order_id]
            for owner in before.owners:
                self._of_owner[owner].discard(order_id)
                if not self._of_owner[owner]:
                    del self._of_owner[owner]
        if entry is not None:
            lane = self._lanes[entry.lane]
            if lane.keys and entry.key < lane.keys[-1]:
                lane.note(change, entry.key)
            insort(lane.keys, entry.key)
            self._entries[order_id] = entry
            for owner in entry.owners:
                self._of_owner[owner].add(order_id)

    def _learn_names(self, session: Session, ids: set[str]) -> None:
        unknown = ids - self._names.keys() - {""}
        if unknown:
            rows = session.execute(
                select(Workstation.id, Workstation.name).where(Workstation.id.in_(sorted(unknown)))
            )
            self._names.update((row.id, row.name) for row in rows)


_IN_QUEUE = (Condition.QUEUED, Condition.RUNNING)


def book_of(session: Session) -> QueueBook:
    """The book that the session's store keeps; a new one for a session that somebody else made."""
    found = session.info.get("queues")
    return found if isinstance(found, QueueBook) else QueueBook()
