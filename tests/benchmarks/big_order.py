"""One order of very many files: seconds and memory of each stage, from the manifest to the receipts.

Everything is the product and real but OMERO, which is a stand-in that links the files (the sandbox's importer
makes about ten calls per file, as the real one does, and would take half an hour). Two shapes: one fileset
of all files, and one fileset per file.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
import uuid
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

from sqlalchemy import bindparam, update

from server_bridge.context import Context
from server_bridge.contract import AcquisitionKind, OrderIntent, ReceiptStatus, Stage, Target
from server_bridge.mover.room import Room
from server_bridge.omero.importer import ScannedUnit
from server_bridge.orders import file_rows, intake, manifest_reader, manifests, receipt_formats
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import ImportUnit, utcnow
from server_bridge.pipeline.attempt import Attempt, Finished
from server_bridge.pipeline.live import LiveAttempts
from server_bridge.pipeline.places import places_of
from server_bridge.pipeline.steps import baseline, proving, pulling, units, verifying
from server_bridge.processes.runner import ProcessRunner
from server_bridge.retention.release import recheck
from tests.benchmarks.measure import MIB, Figure, Report, Span, rss_bytes, span
from tests.benchmarks.stand_in import DATASET_ID, GROUP_ID, StandIn
from tests.bridge.bridge_site import make_site, make_store

NAME = "big-order"
TITLE = "one order of 100,000 files"
FILES, QUICK_FILES = 100_000, 5_000
FILE_BYTES = 1024
PER_FOLDER = 1000
MEMORY_TARGET_MIB = 150.0
SHARE, FOLDER = "conf", "alice/run1"
STAFF = Caller(username="staff", is_staff=True)


def run(top: Path, quick: bool) -> Report:
    count = QUICK_FILES if quick else FILES
    report = Report(NAME, TITLE if not quick else f"one order of {count:,} files")
    for shape in ("one fileset", "a fileset per file"):
        place = top / shape.replace(" ", "-")
        place.mkdir()
        # A process of its own: memory that an earlier shape left behind would hide what this one needs.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            report.figures += pool.submit(_measure, place, count, shape).result()
    report.notes.append(
        f"{count:,} files of {FILE_BYTES} bytes in folders of {PER_FOLDER}, rsync from a path on the same "
        "disk. Memory is the peak of the bridge's process during the stage over its memory when idle; "
        "rsync's own is not in it. OMERO is a stand-in: its own time and the importer's are not in here."
    )
    return report


def _measure(top: Path, count: int, shape: str) -> list[Figure]:
    report = Report(NAME, TITLE)
    BigOrder(top, count, shape, report).carry_out()
    return report.figures


class BigOrder:
    """One order of ``count`` files and everything that happens to it. Tests use it, too."""

    def __init__(self, top: Path, count: int, shape: str, report: Report) -> None:
        self._top, self._count, self._shape, self._report = top, count, shape, report
        self.site = make_site(top, limits={"keep_free_bytes": 0})
        managed = top / "managed"
        managed.mkdir()
        self._omero = StandIn(managed, "alice")
        self.context = Context(self.site, make_store(self.site), cast(Any, self._omero))
        self.store = self.context.store
        self.order_id = str(uuid.uuid4())
        self._number = 0
        self._live = LiveAttempts(self.store)
        self._runner = ProcessRunner()
        self._idle = 0

    def carry_out(self) -> None:
        self.carry_out_until_pulled()
        self._again()
        self.stage("verified: listed again, staging looked at", lambda: self._verify())
        self.stage("units written", self._units)
        self._import()
        self.stage("proven", lambda: self._step(proving.run))
        self._finish()
        self.stage("release re-checked", self._release)
        self.stage("receipts as CSV", self._receipts)

    def carry_out_until_pulled(self) -> None:
        """The order is verifying afterwards, and an attempt has it."""
        self._microscope()
        body = self._manifest()
        self._accept()
        self._idle = rss_bytes()
        self.stage("manifest taken", lambda: self._put(body))
        self._claim()
        self.stage("accepted: listed and compared", lambda: self._step(baseline.run))
        self.stage("pulled", lambda: self._step(pulling.run))
        self._claim()

    def stage(self, what: str, work: Any) -> None:
        with span(self._idle) as took:
            work()
        self._note(what, took)

    def _note(self, what: str, took: Span) -> None:
        add = self._report.add
        add(what, took.seconds, "s", of=f"{self._shape}: time")
        add(what, took.cpu, "s", of=f"{self._shape}: CPU")
        add(what, took.peak_over_bytes / MIB, "MiB", MEMORY_TARGET_MIB, of=f"{self._shape}: memory")
        print(f"{self._shape}: {what}: {took.seconds:.2f} s", file=sys.stderr, flush=True)

    # --- the world around it

    def _microscope(self) -> None:
        top = self._top / "buffer"
        (top / self.site.shares[0].marker).touch()
        content = os.urandom(FILE_BYTES - 8)
        for number in range(self._count):
            path = top / self.path(number)
            if number % PER_FOLDER == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(number.to_bytes(8, "big") + content)
            os.utime(path, (1_700_000_000, 1_700_000_000))

    @staticmethod
    def path(number: int) -> str:
        return f"{FOLDER}/{number // PER_FOLDER:04d}/plane_{number:06d}.tif"

    def _manifest(self) -> bytes:
        out = io.BytesIO()
        with gzip.open(out, "wb", compresslevel=1) as stream:
            for number in range(self._count):
                line = {
                    "path": self.path(number),
                    "size_bytes": FILE_BYTES,
                    "mtime_ns": 1_700_000_000 * 10**9,
                }
                stream.write(json.dumps(line).encode() + b"\n")
        return out.getvalue()

    def _accept(self) -> None:
        intent = OrderIntent(
            share=SHARE,
            path=FOLDER,
            kind=AcquisitionKind.FOLDER,
            target=Target(group_id=GROUP_ID, container_id=DATASET_ID),
            owner="alice",
        )
        intake.accept(self.store, self.site, uuid.UUID(self.order_id), intent, STAFF, utcnow())

    def _put(self, body: bytes) -> None:
        manifest = manifest_reader.read_manifest(
            io.BytesIO(body), gzipped=True, sealed=True, order_path=FOLDER, kind=AcquisitionKind.FOLDER
        )
        manifests.put(self.store, self.site, uuid.UUID(self.order_id), manifest, 1, STAFF)

    # --- the steps, as an attempt runs them

    def _claim(self) -> None:
        number = self.store.claim(self.order_id, utcnow())
        assert number is not None
        self._number = number

    def attempt(self) -> Attempt:
        return Attempt(
            self.context, self.order_id, self._number, threading.Event(), self._live, self._runner, Room()
        )

    def _step(self, step: Any) -> None:
        with suppress(Finished):
            step(self.attempt())

    def _again(self) -> None:
        """A pull of what is there already: nothing may be read or sent."""
        with self.store.attempt_write(self.order_id, self._number) as (_, order):
            order.stage = Stage.PULLING
        self.stage("pulled again, nothing new", lambda: self._step(pulling.run))
        self._claim()

    def _verify(self) -> None:
        attempt = self.attempt()
        verifying.resolve, kept = lambda _attempt: None, verifying.resolve  # the target is there
        try:
            verifying.run(attempt)
        finally:
            verifying.resolve = kept

    def _scanned(self) -> list[ScannedUnit]:
        places = places_of(self.site, SHARE, self.order_id)
        paths = [str(places.staged(self.path(number))) for number in range(self._count)]
        groups = [paths] if self._shape == "one fileset" else [[path] for path in paths]
        return [ScannedUnit(main=group[0], files=tuple(group), reader="TIFF", spw=False) for group in groups]

    def _units(self) -> None:
        known = {self.path(number) for number in range(self._count)}
        units.persist(self.attempt(), self._scanned(), known, {})

    def _import(self) -> None:
        """What the importer and OMERO do, not measured."""
        places = places_of(self.site, SHARE, self.order_id)
        files = sorted(self.store.files(self.order_id), key=lambda file: file.unit or 0)
        indexes = []
        for index, members in groupby(files, key=lambda file: file.unit or 0):
            indexes.append(index)
            self._omero.import_unit(
                index + 1, ((places.staged(file.path), file.sha1 or "") for file in members)
            )
        table = ImportUnit.__table__
        imported = {"state": "imported", "fileset_id": bindparam("fileset"), "image_ids": bindparam("images")}
        with self.store.attempt_write(self.order_id, self._number) as (session, order):
            # By statements: mapped objects of all units would leave more memory behind than any stage takes.
            for rows in file_rows.pieces(
                {"key": one, "fileset": one + 1, "images": [one]} for one in indexes
            ):
                session.connection().execute(
                    update(table)  # type: ignore[arg-type]
                    .where(table.c.order_id == order.id, table.c.index == bindparam("key"))
                    .values(imported),
                    rows,
                )
            order.stage = Stage.PROVING

    def _finish(self) -> None:
        files = self.store.files(self.order_id)
        assert {file.status for file in files} == {ReceiptStatus.PROVEN}, "not everything is proven"
        del files
        with self.store.attempt_write(self.order_id, self._number) as (_, order):
            order.stage, order.condition, order.proven_at = Stage.PROVEN, "queued", utcnow()

    def _release(self) -> None:
        found = recheck(self.context, self.order_id)
        assert found.reason is not None and found.reason.code == "hold", found.reason

    def _receipts(self) -> None:
        lines = receipt_formats.csv_lines(
            self.order_id, SHARE, receipt_formats.pages(self.store, self.order_id)
        )
        assert sum(piece.count("\n") for piece in lines) == self._count + 1
