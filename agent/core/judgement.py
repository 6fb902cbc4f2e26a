"""What a look means for an acquisition: written to again, resting, finished, or asked about once more.

The verdict itself is pure (`agent.core.settle`); here it gets its facts: who was there at the first sight,
how long pauses of the past were, what the format says and what the probe finds, each asked as late and as
seldom as can be. One thread, the scanner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from agent.core import listing
from agent.core.acquisition import Acquisition
from agent.core.claims import person_at_first_sight
from agent.core.clock import Clock
from agent.core.fold import Looked
from agent.core.formats.grouping import Item
from agent.core.machine_store import PAUSES_KEPT, MachineStore
from agent.core.pauses import by_format, format_key, is_telling, learned_seconds
from agent.core.probe import probe
from agent.core.scan_plan import Tracked
from agent.core.settle import LOOKS, PERSON, Look, Override, Rest, Verdict, judge, observe, pause_seconds
from agent.core.testimony import ask, before_rest, with_question
from agent.core.witness import Witness, WitnessState, waiting
from agent.platform.base import Platform
from server_bridge.contract import AcquisitionKind, WorkstationShare

SAME_MOMENT = timedelta(seconds=2)
"""Two clocks that tell one moment differ by less."""


class Judgement:
    """Takes looks of one share's acquisitions."""

    def __init__(
        self,
        share: WorkstationShare,
        top: Path,
        store: MachineStore,
        platform: Platform,
        clock: Clock,
        beat: listing.Beat,
    ) -> None:
        self.share = share
        self._top = top
        self._store = store
        self._platform = platform
        self._clock = clock
        self._beat = beat
        self._programs: frozenset[str] | None = None
        self._pauses = dict(by_format(store.pauses(share.id, clock.now() - PAUSES_KEPT)))

    def begin(self) -> None:
        """A pass is judged now: see which programs run."""
        rule = self.share.rule
        self._programs = self._platform.running_programs() if rule.acquisition_programs else None

    def said_at(self, row: Acquisition, tracked: Tracked) -> float | None:
        """When it was said: since the last look at it, whatever the machine's clock was set to meanwhile."""
        if row.override_at is None:
            return None
        now = self._clock.monotonic()
        said = now - (self._clock.now() - row.override_at).total_seconds()
        return min(now, max(tracked.looked_at, said))

    def take(
        self,
        path: str,
        looked: Looked,
        seen: listing.Aggregate,
        before: Tracked | None,
        item: Item | None = None,
        parts: Sequence[Acquisition] = (),
    ) -> tuple[Tracked, Acquisition]:
        """What is known after a look.

        Args:
            seen: What the look gave.
            before: What was known; None at a first sight.
            item: What discovery saw of it in this pass, if it looked.
            parts: Acquisitions of before that are parts of this one.

        Returns:
            What to remember, and the row to record.

        Raises:
            ShareAway: where its format was asked and the share did not answer.
        """
        now, at, kind = self._clock.now(), looked.ended_at, looked.kind
        look = Look(at, now, seen.fingerprint)
        if before is None:
            before = Tracked(self._first_sight(path, kind, seen, parts))
        rest = observe(before.rest, look)
        if before.rest is None:
            # Old data that is seen for the first time need not be looked at every few seconds.
            before.changed_at = at - max(0.0, now.timestamp() - seen.newest_mtime_ns / 1e9)
        elif rest.fingerprint != before.rest.fingerprint:
            self._note_pause(before, look)
            before.changed_at, before.probed, before.asked = at, None, None
        before.rest, before.looked_at, before.missed = rest, at, 0
        row = before.found
        if item is not None:
            row = replace(row, kind=kind, members=item.members, format=item.format or row.format)
        rule = self.share.rule.for_format(row.format)
        said = Override(row.override) if row.override in set(Override) else Override.NONE
        learned = learned_seconds(rule.quiet_seconds, self._pauses.get(format_key(row), 0.0))

        # Two equal looks prove rest from the end of the first to the beginning of the second, no longer.
        proven = looked.began_at

        def judged(*facts: Witness) -> Verdict:
            return judge(
                rest,
                rule,
                proven,
                self._programs,
                said,
                before.said_at,
                learned_seconds=learned,
                facts=facts,
            )

        unchanged = row.finished_at is not None and rest.fingerprint == row.fingerprint
        reopened = row.finished_at is not None and not unchanged
        verdict = judged()
        # A person's word is enough, as long as it was said about what is there now.
        by_word = any(one.name == PERSON for one in verdict.witnesses)
        if not unchanged and not by_word:
            facts = before_rest(row, item)
            if verdict.finished:
                # Only now: nothing of a file that may still be written is opened.
                facts = self._testify(before, row, item, rest.fingerprint, at)
                row = replace(row, format=before.asked.testimony.format if before.asked else row.format)
                rule = self.share.rule.for_format(row.format)
                if rule.probe and judged(*facts).finished:
                    rest = self._probe(before, row, rest, at)
            if before.probed is not None:
                facts = (*facts, before.probed)
            verdict = judged(*with_question(facts, judged(*facts).quiet_seconds, rule))
        # Finished stays finished until something changes or a person says "not yet".
        finished_at = row.finished_at if unchanged else (now if verdict.finished else None)
        rests_since = now - timedelta(seconds=verdict.quiet_seconds)
        if row.rests_since is not None and abs(rests_since - row.rests_since) < SAME_MOMENT:
            rests_since = row.rests_since
        return before, replace(
            row,
            file_count=seen.file_count,
            size_bytes=seen.size_bytes,
            last_change_at=rest.changed_at_utc,
            fingerprint=rest.fingerprint,
            content=seen.content,
            finished_at=finished_at,
            rests_since=row.rests_since if unchanged else rests_since,
            quiet_needed_seconds=row.quiet_needed_seconds if unchanged else verdict.needed_seconds,
            reopened_at=now if reopened else row.reopened_at,
            witnesses=row.witnesses if unchanged else verdict.others,
            problem="",
        )

    def _note_pause(self, before: Tracked, look: Look) -> None:
        """It went on: so long a pause is waited for the next time, unless something else told of it."""
        told = before.found.override == Override.NOT_YET or any(
            one.name != LOOKS for one in waiting(before.found.witnesses)
        )
        if before.rest is None or told:
            return
        seconds = pause_seconds(before.rest, look)
        if is_telling(seconds, self.share.rule.quiet_for(before.found.format)):
            data_format = format_key(before.found)
            self._store.note_pause(self.share.id, data_format, before.found.id, seconds, self._clock.now())
            self._pauses[data_format] = max(seconds, self._pauses.get(data_format, 0.0))

    def _testify(
        self, tracked: Tracked, row: Acquisition, item: Item | None, fingerprint: bytes, at: float
    ) -> tuple[Witness, ...]:
        """Ask its format whether it is complete: once per rest, and later again where it was not."""
        if tracked.asked is None or not tracked.asked.holds_for(fingerprint, at):
            tracked.asked = ask(
                self._top, row, item, self.share.rule, fingerprint=fingerprint, at=at, beat=self._beat
            )
        return tracked.asked.testimony.witnesses

    def _probe(self, tracked: Tracked, row: Acquisition, rest: Rest, at: float) -> Rest:
        """Ask whether somebody has a file open for writing, which is as good as writing: it rests anew."""
        if tracked.probed is None or tracked.probed.state is WitnessState.WAITING:
            files = listing.walk(self._top, row.path, members=row.members, judged=False, beat=self._beat)
            tracked.probed = probe(self._platform, self._top, files)
        if tracked.probed.state is WitnessState.WAITING:
            tracked.rest = replace(rest, changed_at=at)
        return tracked.rest or rest

    def _first_sight(
        self, path: str, kind: AcquisitionKind, seen: listing.Aggregate, parts: Sequence[Acquisition]
    ) -> Acquisition:
        now = self._clock.now()
        # Windows knows no time before 1970.
        written = datetime.fromtimestamp(min(max(seen.newest_mtime_ns / 1e9, 0.0), 4e9), UTC)
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
        if parts:
            # Its file came after its parts: it is as old as they are, and whose they were.
            persons = {part.person_then for part in parts}
            row = replace(
                row,
                first_seen_at=min(part.first_seen_at for part in parts),
                person_then=persons.pop() if len(persons) == 1 else "",
            )
        return row
