"""Several Windows users on one machine: one outbox each, one scanner, and it is never nobody for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.workstation import QUIET_SECONDS, Session, Workstation, gone_ids

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workstation]:
    with Workstation(tmp_path) as made:
        yield made


@pytest.fixture
def both(place: Workstation) -> tuple[Session, Session]:
    """Two users; the first of them looks at the share."""
    first = place.session("alice")
    place.until(lambda: first.looks_at("scope1") and place.answers(), "the first one looks")
    second = place.session("bob")
    place.until(lambda: second.said.get("shares") == {"scope1": True}, "the second one shows the share")
    return first, second


class Microscope:
    """Writes into one acquisition all the time."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir()
        self._file = file
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.last_write_at = datetime.min.replace(tzinfo=UTC)

    def _write(self) -> None:
        while not self._ending.is_set():
            with self._file.open("ab") as stream:
                stream.write(b"frame")
            self.last_write_at = datetime.now(UTC)
            self._ending.wait(0.5)

    def __enter__(self) -> Microscope:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(10)


def test_two_users_have_one_outbox_each_and_one_of_them_looks(
    place: Workstation, both: tuple[Session, Session]
) -> None:
    (place.shares["scope1"] / "run1").mkdir()
    (place.shares["scope1"] / "run1" / "a.tif").write_bytes(b"x")
    for session in both:
        place.until(lambda session=session: "scope1:run1" in session.said.get("cards", {}), "its card")
        assert (session.user_dir / "outbox.sqlite3").is_file()
    assert [session.looks_at("scope1") for session in both] == [True, False]
    assert len(place.found()) == 1


@pytest.mark.parametrize("how", ["killed", "signs out of Windows"])
def test_when_the_one_that_looks_ends_the_other_goes_on_within_seconds(
    place: Workstation, both: tuple[Session, Session], how: str
) -> None:
    first, second = both
    share = place.shares["scope1"]
    (share / "done").mkdir()
    (share / "done" / "a.tif").write_bytes(b"x")
    place.until(lambda: "done" in place.found() and place.found()["done"].finished_at, "one is finished")
    before = place.found()["done"]
    with Microscope(share / "running" / "a.tif") as microscope:
        place.until(lambda: "running" in place.found(), "the other is being written")
        running = place.found()["running"].id
        if how == "killed":
            first.kill()
        else:
            first.program.stop()
        place.until(lambda: second.looks_at("scope1"), "the other takes over")
        (share / "new").mkdir()
        (share / "new" / "a.tif").write_bytes(b"x")
        place.until(lambda: "new" in place.found(), "it finds what is new")
        # Longer than the quiet time: whoever looks must see that it is being written.
        until = time.monotonic() + QUIET_SECONDS + 2
        while time.monotonic() < until:
            assert place.found()["running"].finished_at is None
            time.sleep(0.2)
    place.until(lambda: place.found()["running"].finished_at, "it is finished after it rested")
    after = place.found()
    assert after["running"].id == running
    finished = after["running"].finished_at
    assert finished is not None
    assert finished - microscope.last_write_at >= timedelta(seconds=QUIET_SECONDS)
    assert after["done"] == before, "nothing is judged twice"
    assert not gone_ids(place.store)


def test_when_both_were_away_the_next_one_finds_what_was_written_meanwhile(
    place: Workstation, both: tuple[Session, Session]
) -> None:
    share = place.shares["scope1"]
    (share / "run1").mkdir()
    (share / "run1" / "a.tif").write_bytes(b"x")
    place.until(lambda: "run1" in place.found() and place.found()["run1"].finished_at, "it is finished")
    before = place.found()["run1"]
    for session in both:
        session.kill()
    (share / "run1" / "b.tif").write_bytes(b"written while nobody looked")
    again = place.session("alice")
    place.until(lambda: again.looks_at("scope1"), "somebody looks again")
    place.until(lambda: place.found()["run1"].file_count == 2, "the new file is seen")
    place.until(lambda: place.found()["run1"].finished_at, "it is finished anew")
    after = place.found()["run1"]
    assert after.id == before.id and after.finished_at != before.finished_at
