"""Looks at one share, in tiers, and writes what it found to the machine's file.

* hot: what changed lately, and what may be judged finished now, every few seconds;
* today: what changed today or is not judged finished, and every folder in which something new may appear,
  once a minute;
* full: the whole root, every quarter of an hour.

The marker file is checked before *and* after each pass, and a pass that ends in an error changes nothing: an
unmounted or half-answering share is an outage, never a deletion. A pass keeps to a budget, also inside one
huge acquisition; what it did not get to comes first in the next one. Looking opens nothing but folders; what
opens a file, after the quiet time, is asked by `agent.core.judgement`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from agent.core import listing
from agent.core.acquisition import Acquisition, ignored_names, root_of
from agent.core.clock import Clock
from agent.core.discovery import Found, absorbed, discover, is_missing
from agent.core.errors import ShareAway
from agent.core.fold import Fold, Looked, OpenLook, OpenLooks, PassResult, Target
from agent.core.hint_box import HintBox, Hints, levels_of
from agent.core.judgement import Judgement
from agent.core.machine_store import MachineStore
from agent.core.scan_budget import ScanBudget
from agent.core.scan_memory import SAVE_SECONDS, ScanMemory, recall, remember, rested_of
from agent.core.scan_plan import (
    RIPE_PAUSE_SECONDS,
    Tier,
    Tiers,
    Tracked,
    in_order,
    known_places,
    next_ripe_at,
    pressing_places,
)
from agent.core.settle import Rest
from agent.core.silence import Silence
from agent.platform.base import Platform
from server_bridge.contract import AcquisitionKind, WorkstationShare

log = logging.getLogger(__name__)
NAMES_ASKED = 64
"""A group of up to so many entries is looked at by their names; of a larger one the folder is listed anew."""
__all__ = ["ShareScanner", "Tier", "Tiers", "Tracked"]


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
        silence: Silence | None = None,
    ) -> None:
        self.share = share
        self._top = platform.long_path(top)
        self._store = store
        self._platform = platform
        self._clock = clock
        self._tiers = tiers
        self._silence = silence or Silence(clock)
        self._beat = self._silence.beat
        self._last = {tier: float("-inf") for tier in Tier}
        self.hints = HintBox(levels_of(share))
        self._budget = ScanBudget(
            clock, entries_per_second=tiers.entries_per_second, pass_seconds=tiers.budget_seconds
        )
        self._open = OpenLooks()
        self.volume: object = None
        """What the share lay on at the last complete pass."""
        memory = recall(store, share.id)
        self._saved_at = clock.monotonic()
        self._waited = set(memory.waiting)
        self._full_waits: dict[str, AcquisitionKind] = {}
        self._folders: set[str] = set()
        self._judgement = Judgement(share, self._top, store, platform, clock, self._beat)
        self._ripe_at = float("inf")
        self.changes = 0
        """How many passes changed what is known."""
        self._tracked = {row.path: self._restored(row, memory) for row in store.acquisitions(share.id)}

    # --- asked from other threads ---------------------------------------------------------------------

    def silent_seconds(self) -> float:
        """How long the call to the share that runs now has not answered; 0 where none runs."""
        return self._silence.seconds()

    def hint(self, path: str) -> None:
        """Something may have changed at this share path: look at it soon."""
        self.hints.add(path)

    def look_at(self, path: str) -> None:
        """Somebody waits for a look at this share path."""
        self.hints.ask(path)

    def look_now(self) -> None:
        """Make every tier due."""
        self._last = {tier: float("-inf") for tier in Tier}

    def waiting(self) -> int:
        """How many acquisitions the full pass that is under way has still to look at."""
        return len(self._full_waits)

    def next_due_in(self) -> float:
        """Seconds until the next pass; sooner when something was hinted at, or a pass is unfinished."""
        now = self._clock.monotonic()
        every = self._tiers.every
        due = [self._last[tier] + every[tier] - now for tier in every]
        due.append(self._rest_due_at() - now)
        if self._full_waits or self._open:
            due.append(min(self._budget.pause_seconds(), self._tiers.hot_seconds))
        if self.hints.has_asked:
            due.append(0.0)
        if self.hints.has_places:
            due.append(self._last[Tier.REST] + self._tiers.hint_pause_seconds - now)
        if self.hints.everything:
            due.append(self._last[Tier.FULL] + self._tiers.today_seconds - now)
        return max(0.05, min(due))

    # --- one thread -----------------------------------------------------------------------------------

    def _restored(self, found: Acquisition, memory: ScanMemory) -> Tracked:
        """Credit the rest that was watched before a restart; two new looks are asked for all the same."""
        now = self._clock.monotonic()
        rested_from = now - memory.rested_seconds(found.path, found.fingerprint)
        ago = max(0.0, (self._clock.now() - found.last_change_at).total_seconds())
        never = float("-inf")
        # What was said before this start covers what was there then, and no change that is noticed now.
        covers = found.override_at is not None and found.last_change_at <= found.override_at
        after = never if covers else now
        rest = Rest(found.fingerprint, rested_from, found.last_change_at, after, never, 0)
        return Tracked(found, rest, look_began_at=now, changed_at=now - ago, said_at=never)

    def _rest_due_at(self) -> float:
        """When a quiet time is over; not one pass after the other where the look cannot be made."""
        return max(self._ripe_at, self._last[Tier.REST] + min(RIPE_PAUSE_SECONDS, self._tiers.hot_seconds))

    def _due_tier(self, now: float) -> Tier | None:
        every = self._tiers.every
        if self.hints.everything and now - self._last[Tier.FULL] >= self._tiers.today_seconds:
            return Tier.FULL
        due = [tier for tier in every if now >= self._last[tier] + every[tier]]
        if due:
            return due[-1]
        hinted = self.hints.has_places and now - self._last[Tier.REST] >= self._tiers.hint_pause_seconds
        waits = hinted or self.hints.has_asked or self._full_waits or self._open or now >= self._rest_due_at()
        return Tier.REST if waits else None

    def run_due(self) -> bool:
        """Make the widest pass that is due. Returns whether there was one.

        Raises:
            ShareAway: where the share did not answer; nothing was changed then.
        """
        now = self._clock.monotonic()
        tier = self._due_tier(now)
        if tier is None:
            return False
        # Set before the pass: a share that is away is asked again at the tier's own pace.
        self._last |= dict.fromkeys(list(Tier)[: list(Tier).index(tier) + 1], now)
        try:
            self._pass(tier)
        except ShareAway:
            # What happened meanwhile nobody saw: everything is looked at as soon as it answers again.
            self._last[Tier.FULL] = now - self._tiers.full_seconds + self._tiers.hot_seconds
            self._open.forget()
            raise
        finally:
            self._silence.ended()
        return True

    def remember(self) -> None:
        """Keep what a restart would lose; by the scanning thread, now and then and at its end."""
        self._saved_at = self._clock.monotonic()
        rested = rested_of(self._tracked)
        remember(self._store, self.share.id, rested, self._waited or self._full_waits)

    def _marker(self) -> object:
        """Make sure that the share is there; returns what tells one mounted volume from another."""
        self._beat()
        return listing.marker_present(self._top, self.share.marker)

    def _pass(self, tier: Tier) -> None:
        for path, said_at in self._store.said(self.share.id).items():
            if path in self._tracked and self._tracked[path].found.override_at != said_at:
                self.hints.ask(path)  # by a person in another session, who waits for it
        hints = self.hints.take(full=tier is Tier.FULL)
        device = self._marker()
        self._budget.begin_pass()
        now, quiet = self._clock.monotonic(), self.share.rule.quiet_seconds
        pressing = pressing_places(tier, self._tracked, now, quiet)
        found = discover(
            self._top,
            self.share,
            known=known_places(self._tracked, self._store.ordered(self.share.id)),
            wanted=lambda folder: self._folder_due(folder, tier, hints, pressing),
            beat=self._beat,
        )
        self._budget.spend(len(found.acquisitions) + len(found.names))
        result = self._look_around(tier, found, hints)
        if self._marker() != device:
            raise ShareAway(
                "Another volume was connected in its place while it was looked at.",
                remedy="Nothing to do: it is looked at anew.",
            )
        self._folders = self._folders & found.names | found.folders
        self._commit(found, result)
        self._ripe_at = next_ripe_at(self._tracked, quiet)
        if not self._full_waits:
            self._waited.clear()
        if device != self.volume:
            if self.volume is not None:
                self.hints.lost()  # mounted anew between two passes: notices come from the old one
            self.volume = device
        if self._clock.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.remember()

    def _folder_due(self, folder: str, tier: Tier, hints: Hints, pressing: Hints) -> bool:
        """In the narrow tiers only folders are listed in which something moved lately, or new ones."""
        if tier in (Tier.TODAY, Tier.FULL) or folder not in self._folders:
            return True
        return hints.below(folder) or pressing.below(folder)

    def _is_due(self, path: str, tier: Tier, hints: Hints, now: float) -> bool:
        tracked = self._tracked.get(path)
        if tracked is None or path in self._full_waits or path in self._open:
            return True
        return tracked.is_due(path, tier, hints, now, self.share.rule.quiet_seconds)

    def _due_paths(self, tier: Tier, found: Found, hints: Hints) -> dict[str, AcquisitionKind]:
        """What is looked at in this pass and what it is, in the order in which it is."""
        now = self._clock.monotonic()
        root = root_of(self.share)
        if tier is Tier.FULL:
            self._full_waits = dict(found.acquisitions)
        for path in [path for path in self._full_waits if is_missing(path, found, root)]:
            del self._full_waits[path]
        # Folders that are not listed in this pass may hold what an earlier one did not get to.
        kinds = self._open.kinds() | self._full_waits | found.acquisitions
        due = [path for path in kinds if self._is_due(path, tier, hints, now)]
        # A look under way goes on first: it has half of the pass, so the others are not kept waiting.
        return {
            path: kinds[path]
            for path in [*self._open.kinds(), *in_order(due, self._tracked, self._waited, now)]
        }

    def _look_around(self, tier: Tier, found: Found, hints: Hints) -> PassResult:
        result = PassResult()
        ignore = ignored_names(self.share)
        for number, (path, kind) in enumerate(self._due_paths(tier, found, hints).items()):
            if number and self._budget.is_spent():
                break
            tracked = self._tracked.get(path)
            try:
                looked = self._look(path, self._item(path, kind, found), tracked, ignore)
            except listing.Gone:
                result.missing.add(path)
            except (listing.Unreadable, ShareAway) as error:
                now = self._clock.monotonic()
                result.looks[path] = Looked(kind, None, now, now, self._trouble(error))
            else:
                if looked is None:
                    continue  # its budget is used up; it goes on in the next pass
                result.looks[path] = looked
                if tracked is not None:
                    tracked.looked_at = looked.ended_at
            self._full_waits.pop(path, None)
            self._waited.discard(path)
        return result

    def _trouble(self, error: listing.Unreadable | ShareAway) -> str:
        """What is wrong with one acquisition: a file that gives an error must not keep all others waiting.

        Raises:
            ShareAway: where it is the share that does not answer.
        """
        if isinstance(error, listing.Unreadable):
            return str(error)
        self._marker()
        return f"part of it gives an error: {error.detail}"

    def _item(self, path: str, kind: AcquisitionKind, found: Found) -> Target:
        """What it is and a group's patterns: as discovery saw them now, else as they are known."""
        item, tracked = found.items.get(path), self._tracked.get(path)
        if item is not None:
            return Target(kind, item.members, item.names)
        return Target(kind, tracked.found.members if tracked else ())

    def _look(
        self, path: str, what: Target, tracked: Tracked | None, ignore: tuple[str, ...]
    ) -> Looked | None:
        """Look by the listing; ask each file where the listing says nothing about open files.

        Returns:
            The look, or None where it has to go on in the next pass.
        """
        look = self._open.take(path, what) or self._begin(path, what, ignore, judged=False)
        while True:
            seen = look.fold.go_on(self._budget.slice())
            if seen is None:
                self._open.put(path, look)
                return None
            now = self._clock.monotonic()
            if look.judged or self._platform.listing_is_truth:
                return Looked(what.kind, seen, look.began_at, now, listed=look.listed)
            settled = tracked is not None and tracked.found.finished_at is not None
            if tracked is not None and settled and tracked.listed == seen.content:
                return Looked(what.kind, None, look.began_at, now)
            look = self._begin(path, what, ignore, judged=True)
            look.listed = seen.content

    def _begin(self, path: str, what: Target, ignore: tuple[str, ...], *, judged: bool) -> OpenLook:
        if 0 < len(what.names) <= NAMES_ASKED:
            files = listing.walk_names(self._top, path, what.names, beat=self._beat)
        else:
            files = listing.walk(self._top, path, members=what.members, judged=judged, beat=self._beat)
        return OpenLook(Fold(files, ignore), what, judged, self._clock.monotonic())

    # --- what it means --------------------------------------------------------------------------------

    def _commit(self, found: Found, result: PassResult) -> None:
        self._judgement.begin()
        # Overrides are written by other threads and sessions, successors by the clerk: read them afresh.
        fresh = {row.path: row for row in self._store.acquisitions(self.share.id)}
        changed: list[Acquisition] = []
        taken: dict[str, tuple[Tracked, Acquisition]] = {}
        for path, looked in result.looks.items():
            before = self._known(path, fresh)
            if before is not None:
                before.look_began_at = looked.began_at
            if looked.seen is not None and looked.seen.counted == 0:
                result.missing.add(path)
                continue
            judged = self._judge(path, looked, before, found)
            if judged is not None:
                taken[path] = judged
                if before is None or judged[1] != before.found:
                    changed.append(judged[1])
        gone = self._gone(found, result, fresh)
        if changed or gone:
            self.changes += 1
            self._store.record(changed, gone, self._clock.now())
        # Only what is written down is known: a format that was asked may have found the share away.
        for path, (tracked, after) in taken.items():
            tracked.found = after
            if after.id not in gone:
                self._tracked[path] = tracked

    def _judge(
        self, path: str, looked: Looked, before: Tracked | None, found: Found
    ) -> tuple[Tracked, Acquisition] | None:
        """What a look means; None where it means nothing new."""
        item, problem = found.items.get(path), looked.problem
        parts = []
        if before is None and item is not None:
            parts = absorbed(path, item, (one.found for one in self._tracked.values()), found)
        if looked.seen is not None:
            try:
                tracked, after = self._judgement.take(path, looked, looked.seen, before, item, parts)
            except ShareAway as error:
                problem = self._trouble(error)
            else:
                tracked.listed, tracked.look_began_at = looked.listed, looked.began_at
                return tracked, after
        if not problem or before is None:
            return None
        return before, replace(before.found, problem=problem)

    def _known(self, path: str, fresh: dict[str, Acquisition]) -> Tracked | None:
        tracked, row = self._tracked.get(path), fresh.get(path)
        if row is None:
            self._tracked.pop(path, None)
            return None
        if tracked is None:
            tracked = self._tracked[path] = self._restored(row, ScanMemory())
        elif tracked.found.id != row.id or tracked.found.override_at != row.override_at:
            tracked.found = row
            tracked.said_at = self._judgement.said_at(row, tracked)
        return tracked

    def _gone(self, found: Found, result: PassResult, fresh: dict[str, Acquisition]) -> list[str]:
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
