"""The engine as the bridge uses it: real DBOS on SQLite."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from server_bridge.orders.models import utcnow
from server_bridge.pipeline.engine import Engine, engine_url


class Recorder:
    """Counts what runs, and how many at a time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.ran: list[tuple[str, str, int]] = []
        self.most = 0
        self._now = 0
        self._seconds = seconds
        self._guard = threading.Lock()

    def run(self, phase: str, order_id: str, number: int) -> str:
        with self._guard:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._guard:
            self._now -= 1
            self.ran.append((phase, order_id, number))
        return "done"

    def wait(self, count: int) -> None:
        until = time.monotonic() + 30
        while len(self.ran) < count:
            assert time.monotonic() < until, self.ran
            time.sleep(0.02)


def test_attempts_start_at_once_and_side_by_side(tmp_path: Path) -> None:
    recorder = Recorder(0.5)
    engine = Engine(engine_url("sqlite:///x", tmp_path), recorder.run)
    engine.start()
    try:
        for number in range(6):
            engine.submit("import", f"order-{number}", 1)
        recorder.wait(6)
    finally:
        engine.stop()
    assert recorder.most > 1  # how many run is the dispatcher's to say
    assert sorted(recorder.ran) == [("import", f"order-{number}", 1) for number in range(6)]


def test_a_repeated_attempt_runs_once(tmp_path: Path) -> None:
    recorder = Recorder()
    engine = Engine(engine_url("sqlite:///x", tmp_path), recorder.run)
    engine.start()
    try:
        engine.submit("import", "order", 1)
        recorder.wait(1)
        engine.submit("import", "order", 1)
        engine.submit("import", "order", 2)
        recorder.wait(2)
    finally:
        engine.stop()
    assert recorder.ran == [("import", "order", 1), ("import", "order", 2)]


def test_the_file_is_in_wal_mode_and_finished_rows_are_swept(tmp_path: Path) -> None:
    recorder = Recorder()
    engine = Engine(engine_url("", tmp_path), recorder.run)
    engine.start()
    try:
        engine.submit("import", "order", 1)
        recorder.wait(1)
        until = time.monotonic() + 20
        while engine.sweep(utcnow() + timedelta(hours=2)) == 0:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert engine.sweep(utcnow() + timedelta(hours=2)) == 0
    finally:
        engine.stop()
    with sqlite3.connect(tmp_path / "engine.sqlite3") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM workflow_status").fetchone() == (0,)


@pytest.mark.parametrize("damage", ["dropped table", "garbage", "deleted"])
def test_damaged_tables_are_replaced(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "engine.sqlite3"
    for start in (1, 2):
        recorder = Recorder()
        engine = Engine(engine_url("", tmp_path), recorder.run)
        engine.start()
        try:
            engine.submit("import", "order", start)
            recorder.wait(1)
        finally:
            engine.stop()
        if damage == "dropped table":
            with sqlite3.connect(path) as connection:
                connection.execute("DROP TABLE queues")
        elif damage == "garbage":
            path.write_bytes(b"this is no database" * 100)
        else:
            path.unlink()


def test_the_engine_is_quiet_and_heeds_no_vendor_variable(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from server_bridge.pipeline.engine import Engine, engine_url\n"
            "engine = Engine(engine_url('', Path(sys.argv[1])), lambda *_: 'done')\n"
            "engine.start(); engine.stop()",
            str(tmp_path),
        ],
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "DBOS__CLOUD": "true", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_postgresql_keeps_the_engine_in_the_same_database(tmp_path: Path) -> None:
    assert engine_url("postgresql+psycopg://ferry@db/ferry", tmp_path) == "postgresql://ferry@db/ferry"
    assert engine_url("", tmp_path) == f"sqlite:///{tmp_path}/engine.sqlite3"
