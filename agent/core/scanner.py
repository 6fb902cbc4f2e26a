"""Looks at one share, in tiers, and writes what it found to the machine's file.

* hot: what changed lately or is not judged finished yet, every few seconds;
* today: what changed today, and every folder in which something new may appear, once a minute;
* full: the whole root, every quarter of an hour.

The marker file is checked before *and* after each pass, and a pass that ends in an error changes nothing: an
unmounted or half-answering share is an outage, never a deletion. A pass keeps to a budget; what it did not
get to comes first in the next one. Nothing is ever opened.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

from agent.core import listing
from agent.core.acquisition import Acquisition, Found, discover, ignored_names, is_missing, root_of
from agent.core.claims import person_at_first_sight
from agent.core.clock import Clock
from agent.core.errors import ShareAway
from agent.core.machine_store import MachineStore
from agent.core.settle import Look, Override, Rest, judge, observe
from agent.platform.base import Platform
from server_bridge.contract import AcquisitionKind, WorkstationShare

log = logging.getLogger(__name__)
HOT_SECONDS = 600.0
"""A change makes an acquisition hot for this long."""
TODAY_SECONDS = 86_400.0
STAND_BACK = 0.25


class Tier(StrEnum):
    HOT = "hot"
    TODAY = "today"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Tiers:
    """Seconds between two passes of a tier, and how long one pass may take."""

    hot_seconds: float = 7.0
    today_seconds: float = 60.0
    full_seconds: float = 900.0
    budget_seconds: float = 20.0


@dataclass(slots=True)
class Tracked:
    """What the scanner remembers of one acquisition between looks."""

    found: Acquisition
    rest: Rest | None = None
    listed: bytes = b""
    looked_at: float = float("-inf")
    changed_at: float = float("-inf")
    missed: int = 0
    """Complete looks in a row that did not find it."""


@dataclass(slots=True)
class _Pass:
    """What a pass found; it counts only when the marker is there afterwards."""

    looks: dict[str, tuple[AcquisitionKind, listing.Aggregate | None, float, str]] = field(
        default_factory=dict
    )
    missing: set[str] = field(default_factory=set)
    complete: bool = True


class ShareScanner:
    """One share's state between passes. One thread calls :meth:`run_due`; the rest may be asked from any."""

    def __init__(
        self,
        share: WorkstationShare,
        top: Path,
        store: MachineStore,
        platform: Platform,
        clock: Clock,
        tiers: Tiers,
    ) -> None:
        self.share = share
        self._top = platform.long_path(top)
        self._store = store
        self._platform = platform
        self._clock = clock
        self._tiers = tiers
        self._last = {tier: float("-inf") for tier in Tier}
        self._hints: set[str] = set()
        self._lock = threading.Lock()
        self._busy_since: float | None = None
        self._full_waits: set[str] = set()
        self._folders: set[str] = set()
        self.entries_looked = 0
        """Files that all looks together went over."""
        self.stand_back = False
        """While the microscope acquires: passes keep to a quarter of their budget."""
        self._tracked = {found.path: self._restored(found) for found in store.acquisitions(share.id)}

    # --- asked from other threads ---------------------------------------------------------------------

    def silent_seconds(self) -> float:
        """How long the call to the share that runs now has not answered; 0 where none runs."""
        since = self._busy_since
        return 0.0 if since is None else max(0.0, self._clock.monotonic() - since)

    def hint(self, path: str) -> None:
        """Something may have changed at this share path: look at it in the next hot pass."""
        with self._lock:
            if len(self._hints) < 10_000:
                self._hints.add(path)

    def look_now(self) -> None:
        """Make every tier due."""
        self._last = {tier: float("-inf") for tier in Tier}

    def next_due_in(self) -> float:
        """Seconds until the next pass; half a second when something was hinted at."""
        if self._hints or self._full_waits:
            return min(0.5, self._tiers.hot_seconds)
        now = self._clock.monotonic()
        every = self._every()
        return max(0.05, min(self._last[tier] + every[tier] - now for tier in Tier))

    # --- one thread -----------------------------------------------------------------------------------

    def _every(self) -> dict[Tier, float]:
        return {
            Tier.HOT: self._tiers.hot_seconds,
            Tier.TODAY: self._tiers.today_seconds,
            Tier.FULL: self._tiers.full_seconds,
        }

    def _restored(self, found: Acquisition) -> Tracked:
        """Credit the rest it had before a restart; two new looks are asked for all the same."""
        now = self._clock.monotonic()
        ago = max(0.0, (self._clock.now() - found.last_change_at).total_seconds())
        rest = Rest(found.fingerprint, now - ago, found.last_change_at, now - ago, float("-inf"), 0)
        return Tracked(found, rest, changed_at=now - ago)

    def run_due(self) -> bool:
        """Make the widest pass that is due. Returns whether there was one.

        Raises:
            ShareAway: where the share did not answer; nothing was changed then.
        """
        now = self._clock.monotonic()
        every = self._every()
        due = [tier for tier in Tier if now >= self._last[tier] + every[tier]]
        if not due and not self._hints and not self._full_waits:
            return False
        tier = due[-1] if due else Tier.HOT
        # Set before the pass: a share that is away is asked again at the tier's own pace.
        self._last[Tier.HOT] = now
        if tier is not Tier.HOT:
            self._last[Tier.TODAY] = now
        if tier is Tier.FULL:
            self._last[Tier.FULL] = now
        try:
            self._pass(tier)
        except ShareAway:
            if tier is Tier.FULL:
                self._last[Tier.FULL] = now - self._tiers.full_seconds + self._tiers.hot_seconds
            raise
        finally:
            self._busy_since = None
        return True

    def _beat(self) -> None:
        self._busy_since = self._clock.monotonic()

    def _pass(self, tier: Tier) -> None:
        with self._lock:
            hints, self._hints = self._hints, set()
        self._beat()
        listing.marker_present(self._top, self.share.marker)
        found = discover(
            self._top,
            self.share,
            wanted=lambda folder: self._folder_due(folder, tier, hints),
            beat=self._beat,
        )
        result = self._look_around(tier, found, hints)
        self._beat()
        listing.marker_present(self._top, self.share.marker)
        self._folders = self._folders & found.names | found.folders
        self._commit(found, result)

    def _folder_due(self, folder: str, tier: Tier, hints: set[str]) -> bool:
        """In the hot tier only folders are listed in which something moved lately, or new ones."""
        if tier is not Tier.HOT or folder not in self._folders:
            return True
        if any(hint == folder or hint.startswith(folder + "/") for hint in hints):
            return True
        return any(
            self._is_hot(tracked) for path, tracked in self._tracked.items() if path.startswith(folder + "/")
        )

    def _is_hot(self, tracked: Tracked) -> bool:
        fresh = self._clock.monotonic() - tracked.changed_at < HOT_SECONDS
        return fresh or tracked.found.finished_at is None

    def _due_paths(self, tier: Tier, found: Found, hints: set[str]) -> list[str]:
        now = self._clock.monotonic()
        if tier is Tier.FULL:
            self._full_waits = set(found.acquisitions)
        self._full_waits &= set(found.acquisitions) | set(self._tracked)
        due = []
        for path in found.acquisitions.keys() | self._full_waits:
            tracked = self._tracked.get(path)
            if (
                tracked is None
                or path in self._full_waits
                or self._is_hot(tracked)
                or (tier is not Tier.HOT and now - tracked.changed_at < TODAY_SECONDS)
                or any(hint == path or hint.startswith(path + "/") for hint in hints)
            ):
                due.append(path)

        def order(path: str) -> tuple[bool, float]:
            """What is being written first, of that the least lately looked at; unknown ones are new."""
            tracked = self._tracked.get(path)
            if tracked is None:
                return (False, float("-inf"))
            return (not self._is_hot(tracked), tracked.looked_at)

        due.sort(key=order)
        # However much is hot, one of the others gets its look in every pass.
        cold = next((path for path in due if order(path)[0]), None)
        if cold is not None:
            due.remove(cold)
            due.insert(min(1, len(due)), cold)
        return due

    def _look_around(self, tier: Tier, found: Found, hints: set[str]) -> _Pass:
        result = _Pass()
        ignore = ignored_names(self.share)
        started = self._clock.monotonic()
        budget = self._tiers.budget_seconds * (STAND_BACK if self.stand_back else 1.0)
        due = self._due_paths(tier, found, hints)
        for number, path in enumerate(due):
            if number and self._clock.monotonic() - started > budget:
                result.complete = False
                break
            tracked = self._tracked.get(path)
            kind = found.acquisitions.get(path) or (tracked.found.kind if tracked else AcquisitionKind.FOLDER)
            try:
                seen, judged = self._look(path, tracked, ignore)
                result.looks[path] = (kind, seen if judged else None, self._clock.monotonic(), "")
                if tracked is not None and not judged:
                    tracked.looked_at = self._clock.monotonic()
            except listing.Gone:
                result.missing.add(path)
            except listing.Unreadable as error:
                result.looks[path] = (kind, None, self._clock.monotonic(), str(error))
            self._full_waits.discard(path)
        return result

    def _look(
        self, path: str, tracked: Tracked | None, ignore: tuple[str, ...]
    ) -> tuple[listing.Aggregate, bool]:
        """Look by the listing; ask each file where the listing says nothing about open files.

        Returns:
            The aggregate, and whether it is a look that may judge.
        """
        if self._platform.listing_is_truth:
            return self._fold(path, ignore, judged=False), True
        quick = self._fold(path, ignore, judged=False)
        settled = tracked is not None and tracked.found.finished_at is not None
        if tracked is not None and settled and tracked.listed == quick.content:
            return quick, False
        if tracked is not None:
            tracked.listed = quick.content
        return self._fold(path, ignore, judged=True), True

    def _fold(self, path: str, ignore: tuple[str, ...], *, judged: bool) -> listing.Aggregate:
        seen = listing.aggregate(listing.walk(self._top, path, judged=judged, beat=self._beat), ignore)
        self.entries_looked += seen.file_count
        return seen

    # --- what it means --------------------------------------------------------------------------------

    def _commit(self, found: Found, result: _Pass) -> None:
        now = self._clock.now()
        programs = self.share.rule.acquisition_programs
        running = self._platform.running_programs() if programs else None
        # Overrides are written by other threads and sessions, successors by the clerk: read them afresh.
        fresh = {row.path: row for row in self._store.acquisitions(self.share.id)}
        changed: list[Acquisition] = []
        for path, (kind, seen, at, problem) in result.looks.items():
            before = self._known(path, fresh)
            if problem:
                if before is not None and before.found.problem != problem:
                    before.found = replace(before.found, problem=problem)
                    changed.append(before.found)
                continue
            if seen is None:
                continue
            if seen.counted == 0:
                result.missing.add(path)
                continue
            after = self._take(path, kind, seen, at, before, running)
            if before is None or after != before.found:
                changed.append(after)
            self._tracked[path].found = after
        gone = self._gone(found, result, fresh)
        if changed or gone:
            self._store.record(changed, gone, now)

    def _known(self, path: str, fresh: dict[str, Acquisition]) -> Tracked | None:
        tracked, row = self._tracked.get(path), fresh.get(path)
        if row is None:
            self._tracked.pop(path, None)
            return None
        if tracked is None:
            tracked = self._tracked[path] = self._restored(row)
        elif tracked.found.id != row.id or tracked.found.override_at != row.override_at:
            tracked.found = row
        return tracked

    def _take(
        self,
        path: str,
        kind: AcquisitionKind,
        seen: listing.Aggregate,
        at: float,
        before: Tracked | None,
        running: frozenset[str] | None,
    ) -> Acquisition:
        now = self._clock.now()
        look = Look(at, now, seen.fingerprint)
        if before is None:
            written = datetime.fromtimestamp(min(seen.newest_mtime_ns / 1e9, 4e9), UTC)
            row = Acquisition(
                id=str(uuid4()),
                share=self.share.id,
                path=path,
                kind=kind,
                first_seen_at=now,
                person_then=person_at_first_sight(self._store.present(now), written),
                file_count=0,
                size_bytes=0,
                last_change_at=now,
                fingerprint=b"",
                content=b"",
            )
            before = self._tracked[path] = Tracked(row)
        rest = observe(before.rest, look)
        if before.rest is None or rest.fingerprint != before.rest.fingerprint:
            before.changed_at = at
        before.rest, before.looked_at, before.missed = rest, at, 0
        row = before.found
        said = Override(row.override) if row.override in set(Override) else Override.NONE
        said_at = at - max(0.0, (now - row.override_at).total_seconds()) if row.override_at else None
        verdict = judge(rest, self.share.rule, at, running, said, said_at)
        unchanged = row.finished_at is not None and rest.fingerprint == row.fingerprint
        # Finished stays finished until something changes or a person says "not yet".
        finished_at = row.finished_at if unchanged else (now if verdict.finished else None)
        return replace(
            row,
            kind=kind,
            file_count=seen.file_count,
            size_bytes=seen.size_bytes,
            last_change_at=rest.changed_at_utc,
            fingerprint=rest.fingerprint,
            content=seen.content,
            finished_at=finished_at,
            holds=() if finished_at else verdict.holds,
            problem="",
        )

    def _gone(self, found: Found, result: _Pass, fresh: dict[str, Acquisition]) -> list[str]:
        """Gone is what two complete looks in a row did not find where it was."""
        root = root_of(self.share)
        gone = []
        for path, row in fresh.items():
            tracked = self._known(path, fresh)
            if tracked is None:
                continue
            if path in result.missing or is_missing(path, found, root):
                tracked.missed += 1
            if tracked.missed >= 2:
                gone.append(row.id)
                self._tracked.pop(path, None)
        return gone
