"""Random lives of a site against the promises of the design: losing, doubling and letting go without proof.

Persons order, agents seal, the microscope writes on, attempts die at any moment or lose their order at it,
OMERO finishes late or never, somebody deletes. The orders, the commands, the steps and the guards are the
product's; what needs other processes is `tests.bridge.promises.world`.

The examples are the same in every run. To go on from them, for as long as it takes:
``FERRY_MACHINE_EXAMPLES=2000 ./dev test tests/bridge/promises`` draws new ones.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from server_bridge.contract import AcquisitionKind, CommandKind, FreedReport, OrderIntent, Target
from server_bridge.errors import Conflict, Forbidden
from server_bridge.orders import intake, stages
from server_bridge.orders.models import utcnow
from server_bridge.retention.freed import record_freed
from server_bridge.retention.release import recheck
from tests.bridge.promises.hands import ALICE, STAFF, Hands
from tests.bridge.promises.world import GROUP, OUTCOMES, SHARE, sha1
from tests.databases import on_postgresql

FILES = ("alice/run/a.tif", "alice/run/b.tif", "alice/run/notes.xyz", "alice/solo.tif")
PLACES = ("alice/run", "alice/run/a.tif", "alice/solo.tif", "bob/theirs.tif")
GROUPS = {
    "alice/run/a.tif": ("a.tif", "notes.xyz"),
    "alice/run/*.tif": ("*.tif",),
    "alice/run/b*": ("b*", "never"),
    "alice/solo.tif": ("s*.tif",),
    "alice/all": ("solo.*", "run"),
}
"""Of a group: its path, and its members."""
NEW_EXAMPLES = int(os.environ.get("FERRY_MACHINE_EXAMPLES", "0"))
UNSHRUNK = "FERRY_MACHINE_UNSHRUNK" in os.environ
"""Whoever only asks whether a promise breaks does not wait for the shortest life that breaks it."""
EDGES = {(move.source.value, move.target.value) for move in stages.TRANSITIONS}

which = st.integers(0, 5)
files = st.sampled_from(FILES)
outcomes = st.lists(st.sampled_from(OUTCOMES), max_size=3)
interludes = st.sampled_from(
    ["cancel", "retarget", "seal", "write", "second", "taken-over", "server", "deleted"]
)


class Site(Hands):
    """One site's life."""

    @initialize()
    def something_is_there(self) -> None:
        for path in FILES:
            self.write(path)
        self.order("alice/run", False)
        self.put_manifest(self.orders[0], True)

    # --- the microscope -------------------------------------------------------------------------------

    @rule(path=files)
    def write(self, path: str) -> None:
        self.writes += 1
        file = self.world.buffer / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d:" % self.writes + b"x" * (self.writes % 7))
        at = 1_700_000_000 + 10 * self.writes
        os.utime(file, (at, at))
        self.now[path] = sha1(file)
        self.freed.pop(path, None)

    @rule(path=files)
    def somebody_deletes_without_asking(self, path: str) -> None:
        (self.world.buffer / path).unlink(missing_ok=True)
        self.now.pop(path, None)
        self.freed.pop(path, None)

    @rule(away=st.booleans())
    def share(self, away: bool) -> None:
        self.world.away = away

    # --- people and agents ----------------------------------------------------------------------------

    @rule(place=st.sampled_from(PLACES), again=st.booleans())
    def order(self, place: str, again: bool) -> None:
        self.order_place(place, (), again)

    @rule(place=st.sampled_from(sorted(GROUPS)), again=st.booleans())
    def order_group(self, place: str, again: bool) -> None:
        self.order_place(place, GROUPS[place], again)

    def order_place(self, place: str, members: tuple[str, ...], again: bool) -> None:
        if len(self.orders) >= 6:
            return
        order_id = uuid.uuid4()
        single = AcquisitionKind.FOLDER if place == "alice/run" else AcquisitionKind.FILE
        intent = OrderIntent(
            share=SHARE,
            path=place,
            kind=AcquisitionKind.GROUP if members else single,
            members=members,
            target=Target(group_id=GROUP, container_id=7),
            import_again=again,
        )
        live = [
            (path, tuple(json.loads(patterns)))
            for path, patterns, stage in self.asked("SELECT path, members, stage FROM orders")
            if stage in stages.WORKED
        ]
        taken = [path for path, _ in live]
        new = (place, members)
        overlap = any(_held(one) & _held(new) for one in live)
        # Two groups may come that could share a file: then their manifests may not both name it.
        decided = [one for one in live if one[0] == place or not (one[1] and members)]
        try:
            intake.accept(self.store, self.world.site, order_id, intent, ALICE, utcnow())
        except Forbidden:
            assert place.startswith("bob/"), "her own folder was refused"
        except Conflict as error:
            assert error.code == "place_taken"
            assert overlap, f"{place} was called taken, and {taken} are the live orders"
        else:
            clash = [one for one in decided if _held(one) & _held(new)]
            assert not clash, f"{new} was ordered while {clash} were on their way"
            assert not place.startswith("bob/"), "somebody else's data was ordered"
            self.orders.append(str(order_id))
            self.intents[str(order_id)] = intent

    @precondition(lambda self: self.orders)
    @rule(number=which, same=st.booleans())
    def repeat(self, number: int, same: bool) -> None:
        order_id = self.pick(number)
        intent = self.intents[order_id]
        if not same:
            intent = intent.model_copy(update={"label": "another"})
        before = self.store.order(order_id)
        try:
            made, is_new = intake.accept(
                self.store, self.world.site, uuid.UUID(order_id), intent, ALICE, utcnow()
            )
        except Conflict as error:
            assert (same, error.code) == (False, "order_differs")
        else:
            assert same, "an order was replaced by another of the same id"
            assert (made.id, is_new, made.revision) == (order_id, False, before.revision)

    @precondition(lambda self: self.orders)
    @rule(number=which, sealed=st.booleans())
    def seal(self, number: int, sealed: bool) -> None:
        self.put_manifest(self.pick(number), sealed)

    @precondition(lambda self: self.orders)
    @rule(number=which, kind=st.sampled_from(CommandKind), by_staff=st.booleans())
    def command(self, number: int, kind: CommandKind, by_staff: bool) -> None:
        self.give(self.pick(number), kind, STAFF if by_staff else ALICE)

    # --- attempts -------------------------------------------------------------------------------------

    @precondition(lambda self: self.orders)
    @rule(number=which, goes=outcomes, moment=st.integers(0, 14), interlude=st.none() | interludes)
    def attempt(self, number: int, goes: list[str], moment: int, interlude: str | None) -> None:
        """An attempt that dies at a moment, or meets something there that it did not expect."""
        order_id = self.pick(number)
        if not self.make_workable(order_id):
            return
        self.world.outcomes = list(goes)
        then: Callable[[], None] | None = None
        if interlude is not None:

            def then() -> None:
                self.meanwhile(order_id, interlude)

        self.work(order_id, moment, then)
        self.world.outcomes = []
        if self.taken_over is not None:
            order = self.store.order(order_id)
            now = (order.attempt, order.revision, order.condition)
            assert now == self.taken_over, f"an attempt that had lost its order wrote: {now}"
            self.taken_over = None

    @precondition(lambda self: self.orders)
    @rule(number=which)
    def see_it_through(self, number: int) -> None:
        """Nothing fails for a while, and people do what they are asked."""
        order_id = self.pick(number)
        self.world.away = False
        for _ in range(8):
            if not self.make_workable(order_id):
                return
            self.administrator_deletes_what_failed()
            self.world.server_goes_on()
            self.work(order_id, 0, None)

    @precondition(lambda self: self.orders)
    @rule(number=which, goes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=3))
    def imports_go(self, number: int, goes: list[str]) -> None:
        """Only OMERO and the importer fail: attempts, one after the other, meet what the last import left."""
        order_id = self.pick(number)
        self.world.away = False
        self.world.outcomes = list(goes)
        for _ in range(4):
            if not self.make_workable(order_id):
                break
            self.work(order_id, 0, None)
        self.world.outcomes = []

    @rule()
    def bridge_starts(self) -> None:
        """What was running when the last bridge died is queued again."""
        self.store.requeue_running("a new start")

    # --- OMERO ----------------------------------------------------------------------------------------

    @rule()
    def server_goes_on(self) -> None:
        self.world.server_goes_on()

    @rule()
    def server_restarts(self) -> None:
        self.world.server_restarts()

    @rule()
    def administrator_deletes_what_failed(self) -> None:
        """As the remedy asks: what has its files, no images, and nobody who works on it."""
        for fileset in list(self.world.filesets.values()):
            if fileset.finished and not fileset.working and not fileset.images:
                self.world.delete(fileset)

    @rule(number=which)
    def somebody_deletes_in_omero(self, number: int) -> None:
        complete = [one for one in self.world.filesets.values() if one.images]
        if complete:
            fileset = complete[number % len(complete)]
            self.deleted.add(fileset.id)
            self.deleted_bytes.add(fileset.sha1)
            self.world.delete(fileset)

    # --- letting go -----------------------------------------------------------------------------------

    @precondition(lambda self: self.orders)
    @rule(number=which, delete=st.booleans(), report=st.booleans())
    def let_go(self, number: int, delete: bool, report: bool) -> None:
        """Ask whether the buffer copy may go; then delete it, and perhaps say so."""
        order_id = self.pick(number)
        answer = recheck(self.world.context, order_id)
        assert bool(answer.files) <= answer.released
        gone = []
        for file in answer.files:
            source = self.world.buffer / file.path
            if not file.path.endswith(".xyz"):
                self.require_in_omero(order_id, file.path, "was released")
            if not source.exists():
                gone.append(file.path)
                continue
            status = source.stat()
            if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
                continue
            if not file.path.endswith(".xyz"):
                assert sha1(source) == self.held(order_id, file.path)[0].sha1, "other bytes were released"
            if delete:
                source.unlink()
                self.freed[file.path] = order_id
                gone.append(file.path)
        if report and gone:
            record_freed(self.world.context, order_id, FreedReport(paths=tuple(gone)), "alice")

    @precondition(lambda self: self.orders)
    @rule(number=which)
    def report_without_release(self, number: int) -> None:
        order = self.store.order(self.pick(number))
        if order.released_at is not None:
            return
        try:
            record_freed(self.world.context, order.id, FreedReport(paths=FILES), "alice")
        except Conflict as error:
            assert error.code == "not_released"
        else:
            raise AssertionError(f"deleted files of an order that is {order.stage} were noted as in order")

    @rule()
    def releaser_turns(self) -> None:
        """The periodic look: releases, takes back, drops staged links."""
        for _ in range(3):
            self.hours += 2
            self.releaser.tick(utcnow() + timedelta(hours=self.hours))

    # --- what is always true --------------------------------------------------------------------------

    @invariant()
    def promises(self) -> None:
        for promise in (
            self.nothing_is_lost,
            self.what_was_pulled_stays,
            self.omeros_bytes_never_change,
            self.nothing_is_imported_twice,
            self.no_file_is_two_live_orders,
            self.a_receipt_is_proof,
            self.stages_follow_their_table,
            self.we_delete_one_thing_only,
            self.every_answered_order_is_there,
        ):
            promise()

    def nothing_is_lost(self) -> None:
        copies = {sha1(one) for top in (self.world.staging, self.world.managed) for one in _files(top)}
        for path, digest in self.now.items():
            source = self.world.buffer / path
            if path in self.freed and not source.exists():
                assert digest in copies or digest in self.deleted_bytes, f"{path} was freed and has no copy"
            else:
                assert source.exists() and sha1(source) == digest, f"{path} is not what was written"

    def no_file_is_two_live_orders(self) -> None:
        # One that was proven and is looked at again brings nothing: its place was free meanwhile.
        owners: dict[str, set[str]] = {}
        for order_id, path, stage in self.asked(
            "SELECT f.order_id, f.path, o.stage FROM order_files f JOIN orders o ON o.id = f.order_id "
            "WHERE o.proven_at IS NULL"
        ):
            if stage in stages.WORKED:
                owners.setdefault(path, set()).add(order_id)
        shared = {path: ids for path, ids in owners.items() if len(ids) > 1}
        assert not shared, f"two live orders bring one file: {shared}"

    def what_was_pulled_stays(self) -> None:
        for order_id, path, digest in self.asked(
            "SELECT f.order_id, f.path, f.sha1 FROM order_files f JOIN orders o ON o.id = f.order_id "
            "WHERE f.staged_at IS NOT NULL AND f.freed_at IS NULL AND o.stage NOT IN ('accepted', 'pulling')"
        ):
            # (An order that was sent back pulls again what changed.)
            staged = self.world.staging / SHARE / order_id / path
            assert staged.exists() and sha1(staged) == digest, f"{path} of {order_id} left staging"

    def omeros_bytes_never_change(self) -> None:
        for fileset in self.world.filesets.values():
            if fileset.sha1:
                assert sha1(fileset.managed) == fileset.sha1

    def nothing_is_imported_twice(self) -> None:
        made = [one for one in self.world.filesets.values() if one.images or one.working]
        by_path = [one.client_path for one in made]
        assert len(by_path) == len(set(by_path)), f"a unit has two imports: {by_path}"
        plain = [
            (one.client_path.rpartition("/")[2], one.sha1)
            for one in made
            if not any(order in one.client_path for order in self.orders if self.intents[order].import_again)
        ]
        assert len(plain) == len(set(plain)), f"one file came by two orders: {plain}"

    def a_receipt_is_proof(self) -> None:
        for order_id, path, digest, fileset_id in self.asked(
            "SELECT order_id, path, sha1, fileset_id FROM order_files WHERE status = 'proven'"
        ):
            if fileset_id not in self.deleted:
                (fileset,) = self.held(order_id, path)
                assert (fileset.id, fileset.sha1) == (fileset_id, digest)

    def stages_follow_their_table(self) -> None:
        last: dict[str, str] = {}
        for order_id, stage in self.asked("SELECT order_id, stage FROM order_events ORDER BY id"):
            before = last.get(order_id, "accepted")
            assert before == stage or (before, stage) in EDGES, f"{before} became {stage}"
            last[order_id] = stage

    def we_delete_one_thing_only(self) -> None:
        for fileset in self.world.removed_as_debris:
            assert not fileset.images and not fileset.finished, f"{fileset} was removed"
            assert any(order in fileset.client_path for order in self.orders)
            assert fileset.owner == "alice"

    def every_answered_order_is_there(self) -> None:
        assert {order_id for (order_id,) in self.asked("SELECT id FROM orders")} == set(self.orders)

    def meanwhile(self, order_id: str, what: str) -> None:
        """Something happens to an order in the middle of an attempt at it."""
        match what:
            case "cancel":
                self.give(order_id, CommandKind.CANCEL, ALICE)
            case "retarget":
                self.give(order_id, CommandKind.RETARGET, ALICE)
            case "seal":
                self.write(FILES[0])
                self.put_manifest(order_id, True)
            case "write":
                self.write(FILES[0])
            case "second":
                # Another bridge was started and took the order over; this attempt does not know it yet.
                self.bridge_starts()
                number = self.store.claim(order_id, self.due())
                if number is not None:
                    self.run_attempt(order_id, number)
            case "taken-over":
                # The same, and the new attempt has not begun: the old one must leave the order as it is.
                self.bridge_starts()
                if self.store.claim(order_id, self.due()) is not None:
                    order = self.store.order(order_id)
                    self.taken_over = (order.attempt, order.revision, order.condition)
            case "server":
                self.world.server_goes_on()
            case "deleted":
                self.somebody_deletes_in_omero(0)


def _inside(inner: str, outer: str) -> bool:
    return inner.startswith(f"{outer}/")


def _held(place: tuple[str, tuple[str, ...]]) -> set[str]:
    """What of all that this site knows lies in a place; a group's own name counts as its."""
    path, members = place
    known = {*FILES, *PLACES, *GROUPS}
    if not members:
        return {one for one in known if one == path or _inside(one, path)}
    folder = path.rpartition("/")[0]
    near = {one: one[len(folder) + 1 :].partition("/")[0] for one in known if _inside(one, folder)}
    return {path} | {
        one for one, name in near.items() if any(fnmatchcase(name, pattern) for pattern in members)
    }


def _files(top: Path) -> list[Path]:
    return [one for one in top.rglob("*") if one.is_file()]


Site.TestCase.settings = settings(
    max_examples=NEW_EXAMPLES or 70,
    stateful_step_count=40,
    derandomize=not NEW_EXAMPLES,
    deadline=None,
    # Explaining traces every line, for minutes; the shrunk life says enough.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, *([] if UNSHRUNK else [Phase.shrink])],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
test_no_life_breaks_a_promise = pytest.mark.skipif(
    on_postgresql(), reason="forty thousand sites, each with a file of its own that the machine reads itself"
)(pytest.mark.slow(pytest.mark.timeout(900)(Site.TestCase)))
