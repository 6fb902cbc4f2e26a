"""Two pulls never start on the same room, and room that came back is given to the next."""

from __future__ import annotations

import threading
from pathlib import Path

from server_bridge.mover.room import Promise, Room
from server_bridge.mover.staging import Space

HERE = Path("/staging")


class Disk:
    """A disk with so much room."""

    def __init__(self, free_bytes: int, free_files: int | None = None) -> None:
        self.space = Space(free_bytes, free_files)

    def __call__(self, folder: Path) -> Space:
        return self.space


def promised(found: Promise | str) -> Promise:
    assert isinstance(found, Promise), found
    return found


def test_what_a_running_pull_still_needs_is_not_free() -> None:
    disk = Disk(1000)
    room = Room(disk)
    first = promised(room.ask(HERE, 600, 1, 0, 0.0))
    lacking = room.ask(HERE, 600, 1, 0, 0.0)
    assert lacking == (
        "600 bytes are to come and 1,000 are free, 600 of them for pulls that run already; with the reserve "
        "200 bytes are missing."
    )
    assert isinstance(room.ask(HERE, 400, 1, 0, 0.0), Promise), "what fits beside it starts"
    first.end()
    assert room.promised_bytes == 400


def test_what_has_arrived_is_on_the_disk_and_no_longer_promised() -> None:
    disk = Disk(1000)
    room = Room(disk)
    with promised(room.ask(HERE, 600, 3, 0, 0.0)) as first:
        disk.space = Space(500, None)
        first.left(100, 1)
        assert isinstance(room.ask(HERE, 400, 1, 0, 0.0), Promise)
        assert isinstance(room.ask(HERE, 1, 1, 0, 0.0), str), "to the last byte"
    assert room.promised_bytes == 400


def test_a_counter_that_ran_past_the_end_promises_nothing_negative() -> None:
    room = Room(Disk(1000))
    first = promised(room.ask(HERE, 600, 1, 0, 0.0))
    first.left(-50, -1)
    assert room.promised_bytes == 0
    first.end()
    first.left(600, 1)
    assert room.promised_bytes == 0, "a pull that ended needs nothing"


def test_names_on_disk_are_promised_as_bytes_are() -> None:
    room = Room(Disk(10**9, 10))
    promised(room.ask(HERE, 5, 6, 0, 0.0))
    lacking = room.ask(HERE, 5, 6, 0, 0.0)
    assert isinstance(lacking, str)
    assert "10 more names, 6 of them for pulls that run already" in lacking


def test_of_many_that_ask_at_once_only_as_many_start_as_fit() -> None:
    room = Room(Disk(1000))
    answers: list[Promise | str] = []
    gate = threading.Barrier(20)

    def ask() -> None:
        gate.wait()
        answers.append(room.ask(HERE, 300, 1, 0, 0.0))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(answer, Promise) for answer in answers) == 3
