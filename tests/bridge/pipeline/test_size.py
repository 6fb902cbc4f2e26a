"""What must not grow with the number of files: questions to the database, and the time until a cancel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from server_bridge.contract import ReceiptStatus, Stage
from server_bridge.errors import StaleAttempt
from server_bridge.omero.held import Held
from server_bridge.orders.stages import Cause
from server_bridge.pipeline import attempt as attempts
from server_bridge.pipeline.places import places_of
from server_bridge.pipeline.steps import proving, verifying
from tests.benchmarks.big_order import SHARE, BigOrder
from tests.benchmarks.measure import Report

FEW, MANY = 100, 1500


@contextmanager
def statements(big: BigOrder) -> Iterator[list[str]]:
    """The statements that are sent to the database meanwhile; many rows in one call are one."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        found.append(statement)

    event.listen(big.store.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(big.store.engine, "before_cursor_execute", note)


class Counted(BigOrder):
    """Counts the statements of each stage."""

    def __init__(self, top: Path, count: int, shape: str) -> None:
        top.mkdir()
        super().__init__(top, count, shape, Report("size", "size"))
        self.counts: Counter[str] = Counter()

    def stage(self, what: str, work: Any) -> None:
        with statements(self) as found:
            work()
        self.counts[what] = len(found)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["one fileset", "a fileset per file"])
def test_every_file_is_proven_and_no_stage_asks_for_each_file(tmp_path: Path, shape: str) -> None:
    few, many = Counted(tmp_path / "few", FEW, shape), Counted(tmp_path / "many", MANY, shape)
    for big in (few, many):
        big.carry_out()
    del many.counts["pulled"]  # it commits and reports by time
    for what, count in many.counts.items():
        # A page of 500 or 2,000 rows and a look at the stop signal now and then.
        assert count <= few.counts[what] + 12, f"{what}: {few.counts[what]} became {count}"
    files = many.store.files(many.order_id)
    assert len(files) == MANY
    places = places_of(many.site, SHARE, many.order_id)
    for file in files:
        assert file.status == ReceiptStatus.PROVEN
        assert file.sha1 == file.omero_sha1
        assert file.inode == places.staged(file.path).stat().st_ino
        assert places.staged(file.path).samefile(file.managed_path or "")
    filesets = {file.fileset_id for file in files}
    assert len(filesets) == (1 if shape == "one fileset" else MANY)


def test_a_long_loop_ends_soon_after_the_order_was_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LOOK_EVERY", 10)
    big = Counted(tmp_path / "order", FEW, "one fileset")
    big.carry_out_until_pulled()
    attempt = big.attempt()
    seen = 0
    with pytest.raises(StaleAttempt):
        for _ in attempt.each(range(FEW)):
            seen += 1
            if seen == 15:
                with big.store.write() as session:
                    order = big.store.get(session, big.order_id)
                    order.attempt += 1
                    big.store.set_stage(session, order, Stage.CANCELLED, Cause.PERSON, who="alice", text="")
    assert seen == 20


def test_looking_at_staging_and_proving_look_at_the_stop_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LOOK_EVERY", 10)
    big = Counted(tmp_path / "order", FEW, "one fileset")
    big.carry_out_until_pulled()
    attempt = big.attempt()
    looks: list[int] = []
    monkeypatch.setattr(type(attempt), "check", lambda _self: looks.append(1))
    files = big.store.files(big.order_id)
    for work in (
        lambda: verifying.require_staged(attempt, files),
        lambda: verifying.clear_strangers(attempt, files),
        lambda: verifying.require_distinct_names(attempt, files),
        lambda: proving.judge_files(attempt.order, attempt.each(files), Held({}), attempt.places),
    ):
        looks.clear()
        work()
        assert len(looks) >= FEW // 10
