"""A real agent process is killed at random moments while it deletes, and begins again."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agent.core import cleaning
from agent.core.cleaning_book import CleaningBook, JobState
from tests.agent.bridge_stub import Refusal, Seen
from tests.agent.conftest import Bench, until
from tests.agent.core.test_cleaner import released, reported
from tests.agent.core.test_engine import sign_in, started

REPOSITORY = Path(__file__).parents[3]
FILES = 240


@contextmanager
def agent(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    """The process; killed without a word at the end."""
    command = [sys.executable, "-m", "tests.agent.core.cleaning_process", str(bench.top), bench.stub.url]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_killed_at_any_moment_it_resumes_and_reports_exactly_what_is_gone(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    _card, order, paths = released(bench, "run1", FILES)
    state = bench.engine._machine.order(order)
    assert state is not None
    bench.engine.stop()
    # As asked for a moment before the machine went down.
    book = CleaningBook(bench.platform.machine_dir() / "cleaning.sqlite3")
    book.ask(cleaning.job_of(state, "alice", datetime.now(UTC)))
    assert all(path.exists() for path in paths)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wrong: list[str] = []
    came_back: set[str] = set()

    def watch(seen: Seen) -> Refusal | None:
        """The bridge strikes what is reported from the release; what is still there must not be reported."""
        if seen.path.endswith("/freed"):
            told = set(seen.json["paths"])
            wrong.extend(path for path in told if (bench.share_top / path).exists() and path not in came_back)
            files = bench.stub.release_files[order]
            bench.stub.release_files[order] = [one for one in files if one["path"] not in told]
        return None

    bench.stub.refuse = watch
    changed = f"alice/run1/{FILES - 1}.tif"
    (bench.share_top / changed).write_bytes(b"it was written to again")
    for _round in range(5):
        left = sum(path.exists() for path in paths)
        goal = chance.randrange(1, max(2, left // 3))
        with agent(bench):
            until(
                lambda left=left, goal=goal: (
                    left - sum(path.exists() for path in paths) >= min(goal, left - 1)
                ),  # type: ignore[misc]
                "some files go",
                60,
            )
            time.sleep(chance.random() * 0.02)
        gone = [path for path in paths if not path.exists()]
        if gone:
            # Somebody puts another file into the place of one that went: it is nobody's to delete.
            back = chance.choice(gone)
            back.write_bytes(b"something new")
            came_back.add(f"alice/run1/{back.name}")
    with agent(bench):
        until(lambda: (job := book.job(order)) and job.state is JobState.DONE, "the job ends", 60)
        expected = {f"alice/run1/{path.name}" for path in paths} - came_back - {changed}
        until(lambda: expected <= reported(bench), "all that went is reported", 60)
    book.close()
    assert not wrong
    assert changed not in reported(bench)
    assert (bench.share_top / changed).read_bytes() == b"it was written to again"
    assert all((bench.share_top / path).read_bytes() == b"something new" for path in came_back)
    assert {path.name for path in paths if path.exists()} == {Path(p).name for p in came_back | {changed}}
