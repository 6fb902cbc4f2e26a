"""Shared runs against an OMERO in memory that fails in every way it can: each unit is imported once.

No process runs here, so hundreds of stories are told: images that come late, refusals, imports that break
off, importers that die between two units, complaints after the images are there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server_bridge.contract import Condition, Stage
from server_bridge.errors import NeedsAttention, StepFailed, TransientFailure
from server_bridge.mover.room import Room
from server_bridge.omero.importer import ImportRun
from server_bridge.omero.importer_output import RunLog, parse_log_line
from server_bridge.omero.paths import client_path
from server_bridge.omero.receipts import FilesetInfo, ManagedFile, split_client_path
from server_bridge.orders.models import ImportUnit, Order, OrderFile, utcnow
from server_bridge.orders.store import Store
from server_bridge.pipeline import import_batches
from server_bridge.pipeline.attempt import Attempt
from server_bridge.pipeline.steps import importing, units_in_omero
from server_bridge.pipeline.steps.unit_book import UnitBook
from tests.bridge.bridge_site import make_site, make_store

INFO = "2026-11-23 15:58:57,010 1137 [main] INFO  s.importer.cli.LoggingImportMonitor - "
ERROR = "2026-11-23 15:58:57,010 1137 [main] ERROR  ome.formats.importer.ImportLibrary - "
GOES_ON = (
    "2026-11-23 15:58:57,010 1137 [main] INFO  ome.formats.importer.ImportLibrary - Continuing after error"
)

FINE, LATE, BREAKS, REFUSED, DIES, COMPLAINS, SILENT = (
    "fine",
    "its images come late",
    "breaks off",
    "refused",
    "the importer dies in it",
    "complains after the images",
    "nothing is said and nothing done",
)


@dataclass
class MemoryOmero:
    """What OMERO would hold, and an importer that obeys a script: a unit's file → its tries."""

    script: Mapping[str, Sequence[str]]
    filesets: dict[int, FilesetInfo] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    tries: dict[str, int] = field(default_factory=dict)
    runs: list[int] = field(default_factory=list)

    @contextmanager
    def service(self) -> Iterator[MemoryOmero]:
        yield self

    @contextmanager
    def as_person(self, _name: str, _group: int) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(key="k", username="alice")

    def look(self, _session: Any, paths: Sequence[str]) -> dict[str, tuple[FilesetInfo, ...]]:
        found = {
            path: tuple(one for one in self.filesets.values() if one.file(path) is not None) for path in paths
        }
        for number in self.late:
            self.filesets[number] = replace(self.filesets[number], image_ids=(number,))
        self.late.clear()
        return found

    def remove(
        self, _session: Any, ids: Sequence[int], ours: frozenset[str], _lock: Any
    ) -> list[FilesetInfo]:
        for number in ids:
            fileset = self.filesets[number]
            assert not fileset.complete and fileset.upload_finished is False
            assert {file.client_path for file in fileset.files} <= ours
        return [self.filesets.pop(number) for number in ids]

    def run(
        self, _config: Any, _key: str, _target: str, mains: Sequence[Path], *_: Any, **more: Any
    ) -> ImportRun:
        self.runs.append(len(mains))
        log = RunLog(more["main_of"])
        ended, code = "exited", 0
        for main in map(str, mains):
            what = self._next(main)
            if what == SILENT:
                continue
            lines = self._bring(main, what)
            for line in lines:
                log.take(line, parse_log_line(line))
            if what == DIES:
                code = -9
                break
            if 0 < more["most_failures"] <= log.failures_in_a_row:
                ended = "given up"
                break
        refused = any(unit.refused for unit in log.units.values())
        return ImportRun(code, ended, (), (), (), "", None, None, 1.0, "", refused, log.units)

    def _next(self, main: str) -> str:
        number = self.tries.get(main, 0)
        self.tries[main] = number + 1
        planned = self.script.get(Path(main).name, ())
        return planned[number] if number < len(planned) else FINE

    def _bring(self, main: str, what: str) -> list[str]:
        path = client_path(main)
        for other in self.filesets.values():
            if other.file(path) is not None:
                # This is what "once" means: nothing of it is there, and nothing is on its way.
                assert other.fileset_id in self.refused, f"{main} is imported beside {other}"
        number = max(self.filesets, default=0) + 1
        file = ManagedFile(number, "a/", "x", 1, "", "SHA1-160", *split_client_path(path), "/m")
        images = (number,) if what in (FINE, COMPLAINS) else ()
        self.filesets[number] = FilesetInfo(
            number, what not in (BREAKS, DIES), images, (), 3, "alice", (file,)
        )
        begun = [f"{INFO}FILESET_UPLOAD_PREPARATION", f"{INFO}FILE_UPLOAD_STARTED: {main}"]
        match what:
            case "fine":
                return [*begun, f"{INFO}IMPORT_DONE Imported file: {main}"]
            case "its images come late":
                self.late.add(number)
                return begun
            case "breaks off":
                return [*begun, f"{ERROR}Error on import: broken pipe", GOES_ON]
            case "the importer dies in it":
                return begun
        if what == REFUSED:
            self.refused.add(number)
        return [
            *begun,
            f"{ERROR}INTERNAL_EXCEPTION: {main}",
            "java.lang.RuntimeException: Failure response on import!",
            "Name: import-file-exception",
            f"{ERROR}Error on import",
            GOES_ON,
        ]


class Bridge:
    """The importing step on a real orders database, with this OMERO behind it."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = make_site(top)
        self.store: Store = make_store(self.site)
        self.patch = monkeypatch
        monkeypatch.setattr(units_in_omero, "_SETTLE_POLL", 0.0)
        monkeypatch.setattr(importing, "require_as_pulled", lambda *_: None)

    def order(self, count: int) -> str:
        order_id, now = str(uuid.uuid4()), utcnow()
        staged = self.site.staging_dir / "conf" / order_id
        with self.store.write() as session:
            session.add(
                Order(
                    id=order_id,
                    person="alice",
                    ordered_by="alice",
                    share="conf",
                    path=order_id,
                    kind="folder",
                    target={"group_id": 3, "container_id": 7, "kind": "dataset"},
                    request_digest="0" * 64,
                    stage=Stage.IMPORTING,
                    condition=Condition.RUNNING,
                    stage_since=now,
                    change=0,
                    attempt=1,
                    manifest_revision=1,
                    sealed=True,
                    file_count=count,
                    size_bytes=count,
                    created_at=now,
                    updated_at=now,
                )
            )
            session.flush()
            for index in range(count):
                path = f"{index:02d}.tif"
                main = client_path(str(staged / path))
                session.add(OrderFile(order_id=order_id, path=path, size_bytes=1, mtime_ns=0, unit=index))
                session.add(
                    ImportUnit(
                        order_id=order_id,
                        index=index,
                        main_path=path,
                        file_count=1,
                        client_path=main,
                        image_ids=[],
                        plate_ids=[],
                    )
                )
        return order_id

    def attempt(self, order_id: str, omero: MemoryOmero) -> StepFailed | None:
        """One try of the step; what it ended with."""
        self.patch.setattr(units_in_omero, "filesets_by_client_path", omero.look)
        self.patch.setattr(units_in_omero, "remove_debris", omero.remove)
        self.patch.setattr(importing, "run_import", omero.run)
        with self.store.write() as session:
            order = session.get_one(Order, order_id)
            order.attempt += 1
            order.condition = Condition.RUNNING
            number = order.attempt
        context: Any = SimpleNamespace(store=self.store, site=self.site, omero=omero)
        live: Any = SimpleNamespace(is_stopping=False)
        attempt = Attempt(context, order_id, number, Event(), live, runner=None, room=Room())  # type: ignore[arg-type]
        book = UnitBook(attempt, self.store.units(order_id), self.store.files(order_id))
        lock: Any = SimpleNamespace(fd=5)
        try:
            importing._Importing(attempt, lock, book).bring_all()
        except StepFailed as error:
            if isinstance(error, NeedsAttention):
                self.store.attention(order_id, number, error.reason())
            return error
        return None


@pytest.fixture
def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    return Bridge(tmp_path, monkeypatch)


def finished(bridge: Bridge, order_id: str, omero: MemoryOmero) -> None:
    units = bridge.store.units(order_id)
    assert [unit.state for unit in units] == ["imported"] * len(units)
    complete = [one for one in omero.filesets.values() if one.complete]
    assert sorted(unit.fileset_id or 0 for unit in units) == sorted(one.fileset_id for one in complete)
    # Of what is no image, only what OMERO refused is left: that is its people's.
    assert {one.fileset_id for one in omero.filesets.values() if not one.complete} <= omero.refused


WAYS = st.sampled_from([FINE, FINE, FINE, LATE, BREAKS, REFUSED, DIES, COMPLAINS, SILENT])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(WAYS, max_size=3), min_size=1, max_size=14),
    st.sampled_from([2, 5, 200]),
)
def test_each_unit_once_whatever_fails(bridge: Bridge, ways: list[list[str]], most_units: int) -> None:
    bridge.patch.setattr(import_batches, "MOST_UNITS", most_units)
    omero = MemoryOmero({f"{index:02d}.tif": tries for index, tries in enumerate(ways)})
    order_id = bridge.order(len(ways))
    for _ in range(3 * len(ways) + 3):
        refused_before = len(omero.refused)
        error = bridge.attempt(order_id, omero)
        if error is None:
            break
        if len(omero.refused) > refused_before:
            assert isinstance(error, NeedsAttention), "OMERO's refusal is a person's to decide about"
    finished(bridge, order_id, omero)


def test_good_units_never_wait_for_bad_ones(bridge: Bridge) -> None:
    omero = MemoryOmero({"01.tif": [REFUSED], "04.tif": [BREAKS, BREAKS], "05.tif": [BREAKS]})
    order_id = bridge.order(9)
    error = bridge.attempt(order_id, omero)
    assert isinstance(error, NeedsAttention)
    assert error.code == "file_unreadable_in_omero"
    assert "1 more unit failed" in error.detail
    states = {unit.main_path: (unit.state, unit.tries) for unit in bridge.store.units(order_id)}
    assert states["01.tif"] == ("pending", 1)
    assert states["04.tif"] == ("pending", 2)
    assert {state for path, (state, _) in states.items() if path not in ("01.tif", "04.tif")} == {"imported"}
    assert omero.runs == [9, 1, 1]
    assert bridge.attempt(order_id, omero) is None
    finished(bridge, order_id, omero)


def test_what_was_refused_before_a_crash_is_told_before_it_is_tried_again(bridge: Bridge) -> None:
    omero = MemoryOmero({"01.tif": [REFUSED]})
    order_id = bridge.order(3)
    real = bridge.store.attention
    bridge.patch.setattr(bridge.store, "attention", lambda *_: None)  # the bridge ends before it can say so
    assert bridge.attempt(order_id, omero) is not None
    bridge.patch.setattr(bridge.store, "attention", real)
    again = bridge.attempt(order_id, omero)
    assert isinstance(again, NeedsAttention)
    assert again.code == "file_unreadable_in_omero"
    assert omero.tries[next(path for path in omero.tries if path.endswith("01.tif"))] == 1
    assert bridge.attempt(order_id, omero) is None
    finished(bridge, order_id, omero)


def test_a_try_that_breaks_off_after_a_refusal_is_no_second_refusal(bridge: Bridge) -> None:
    omero = MemoryOmero({"00.tif": [REFUSED, BREAKS]})
    order_id = bridge.order(2)
    assert isinstance(bridge.attempt(order_id, omero), NeedsAttention)
    assert isinstance(bridge.attempt(order_id, omero), TransientFailure)
    assert bridge.attempt(order_id, omero) is None
    finished(bridge, order_id, omero)


def test_failures_of_everything_end_after_a_few(bridge: Bridge) -> None:
    omero = MemoryOmero({f"{index:02d}.tif": [BREAKS] * 9 for index in range(30)})
    order_id = bridge.order(30)
    assert bridge.attempt(order_id, omero) is not None
    assert omero.runs == [30, 27, 1, 1, 1]
    assert sum(omero.tries.values()) == 9


def test_complaints_about_every_unit_do_not_end_the_runs(bridge: Bridge) -> None:
    omero = MemoryOmero({f"{index:02d}.tif": [COMPLAINS] for index in range(30)})
    order_id = bridge.order(30)
    assert bridge.attempt(order_id, omero) is None
    # The first run ends after three; then it is known that the images are there all the same.
    assert omero.runs == [30, 27]
    finished(bridge, order_id, omero)
