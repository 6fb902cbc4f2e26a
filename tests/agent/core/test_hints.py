"""Hints come from the real system's notices; without them nothing is lost but speed."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.core.clock import SystemClock
from agent.core.hints import BACKLOG_EVENTS, EventsLost, Hints, TellsOverflow
from agent.core.machine_store import MachineStore
from agent.core.scanner import ShareScanner, Tiers
from tests.agent.conftest import FakeClock, OwnPlatform, until, workstation_share


class Told:
    """What was told, as the scanner would take it."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.losses = 0

    def lost(self) -> None:
        self.losses += 1


@contextmanager
def watching(top: Path, root: str, told: Told, tell: Callable[[str], None] | None = None) -> Iterator[Hints]:
    hints = Hints(top, root, tell or told.paths.append, told.lost, SystemClock())
    hints.keep()
    until(lambda: hints.state().watching, "it watches")
    try:
        yield hints
    finally:
        hints.stop()


def emitters(hints: Hints) -> list[threading.Thread]:
    """watchdog's own threads that read the system's notices."""
    assert hints._observer is not None
    return list(hints._observer.emitters)


def test_a_write_is_told_with_its_share_path(share_top: Path) -> None:
    (share_top / "alice").mkdir()
    told = Told()
    with watching(share_top, "alice", told):
        (share_top / "alice" / "a.tif").write_bytes(b"x")
        until(lambda: "alice/a.tif" in told.paths, "the hint")
    assert told.losses == 0


def test_looking_is_no_hint(share_top: Path) -> None:
    (share_top / "a.tif").write_bytes(b"x")
    told = Told()
    with watching(share_top, ".", told):
        list(share_top.iterdir())
        (share_top / "a.tif").read_bytes()
        (share_top / "b.tif").write_bytes(b"x")
        until(lambda: "b.tif" in told.paths, "the hint of the write")
        assert "a.tif" not in told.paths


def test_a_root_that_cannot_be_watched_says_why_and_is_tried_again_later(share_top: Path) -> None:
    told, clock = Told(), FakeClock()
    hints = Hints(share_top, "not/there", told.paths.append, told.lost, clock)
    hints.keep()
    note = until(lambda: hints.state().note, "the reason")
    assert not hints.state().watching and ("No such file" in note or "WinError 3" in note)
    (share_top / "not" / "there").mkdir(parents=True)
    hints.keep()
    assert not hints.state().watching, "not at once"
    clock.pass_time(60)
    hints.keep()
    until(lambda: hints.state().watching, "it watches")
    hints.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that somebody watches")
def test_a_root_that_went_and_came_back_kills_the_emitter_alone_which_is_noticed_and_mended(
    share_top: Path,
) -> None:
    root = share_top / "alice"
    root.mkdir()
    told = Told()
    with watching(share_top, "alice", told) as hints:
        old = hints._observer
        assert old is not None
        shutil.rmtree(root)
        until(lambda: not any(one.is_alive() for one in emitters(hints)), "watchdog's reading thread ends")
        assert old.is_alive(), "the observer itself seems well: that is the trap"
        root.mkdir()
        until(lambda: hints.keep().watching and hints._observer is not old, "another observer")
        state = hints.state()
        assert state.restarts == 1 and "stopped" in state.note
        assert told.losses >= 1, "what happened meanwhile nobody knows: everything is looked at"
        (root / "b.tif").write_bytes(b"x")
        until(lambda: "alice/b.tif" in told.paths, "a hint from the new one")
        until(lambda: not old.is_alive(), "the old one ends")


def test_notices_that_the_system_dropped_are_told_through_the_same_queue(share_top: Path) -> None:
    told = Told()
    with watching(share_top, ".", told) as hints:
        emitter: Any = emitters(hints)[0]
        emitter.queue_event(EventsLost(str(share_top)))
        until(lambda: told.losses == 1, "the loss")


def test_an_empty_read_on_windows_is_an_overflow_unless_the_emitter_is_being_stopped() -> None:
    class Reads:
        """What watchdog's emitter for Windows gives."""

        def __init__(self) -> None:
            self.reads: list[list[str]] = [["one"], [], []]
            self.running = [True, True, False]
            self.told: list[object] = []
            self.watch = type("Watch", (), {"path": "Z:\\"})()

        def _read_events(self) -> list[str]:
            return self.reads.pop(0)

        def should_keep_running(self) -> bool:
            return self.running[2 - len(self.reads)]

        def queue_event(self, event: object) -> None:
            self.told.append(event)

    class Emitter(TellsOverflow, Reads):
        pass

    emitter = Emitter()
    assert emitter._read_events() == ["one"] and not emitter.told
    assert emitter._read_events() == [] and isinstance(emitter.told[0], EventsLost)
    assert emitter._read_events() == [] and len(emitter.told) == 1


def test_more_notices_than_can_be_read_mean_a_look_at_everything(share_top: Path) -> None:
    told, held = Told(), threading.Event()
    try:
        with watching(share_top, ".", told, tell=lambda _path: held.wait(60) and None) as hints:
            observer: Any = hints._observer
            (share_top / "a.tif").write_bytes(b"x")
            until(lambda: observer.event_queue.qsize() > 0, "the handler is held up")
            emitter: Any = emitters(hints)[0]
            for number in range(BACKLOG_EVENTS + 1):
                emitter.queue_event(EventsLost(f"{share_top}/{number}"))
            hints.keep()
            assert told.losses == 1 and hints.state().restarts == 1
            held.set()
    finally:
        held.set()


def test_a_storm_of_real_notices_is_survived_in_bounded_memory_and_ends_in_one_look_at_everything(
    tmp_path: Path, share_top: Path
) -> None:
    """Twenty thousand files at once: some hundred thousand notices from the real system."""
    (share_top / "before").mkdir()
    (share_top / "before" / "a.tif").write_bytes(b"x")
    store = MachineStore(tmp_path / "machine.sqlite3")
    clock = SystemClock()
    scanner = ShareScanner(workstation_share(), share_top, store, OwnPlatform(tmp_path), clock, Tiers())
    assert scanner.run_due()
    hints = Hints(share_top, "", scanner.hint, scanner.hints.lost, clock)
    hints.keep()
    until(lambda: hints.state().watching, "it watches")
    pytest.importorskip("resource", reason="Windows tells a process's memory in another way")
    from tests.benchmarks.measure import MIB, rss_bytes

    resident = rss_bytes()
    for number in range(20_000):
        (share_top / f"single{number}.tif").write_bytes(b"x")
        if number % 1_000 == 0:
            hints.keep()
    until(lambda: scanner.hints.everything, "too many places to be told apart")
    hints.keep()
    assert scanner.hints.take(full=False).places == frozenset(), "and none of them is kept"
    until(lambda: hints.keep().watching, "it still watches, or again")
    assert rss_bytes() - resident < 100 * MIB
    hints.stop()
    assert scanner.next_due_in() <= 60, "a look at everything is due, after a minute's pause"
    store.close()
