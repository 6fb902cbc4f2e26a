"""Hints from the system that something changed, to look sooner. Never trusted, and never missed.

Over SMB the system's notices get lost, stop silently, or report an outage as a deletion (facts of the field);
so an event says only "look at this place now", and when the observer fails nothing is lost but speed. It is
watched itself: watchdog's observer goes on living when the thread that reads the notices has died, and on
Windows it passes over a full buffer without a word. Both make a look at everything due, the first also a new
observer. Starting and ending one touches the share, so it happens in a thread of its own, one at a time.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from agent.core.clock import Clock

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 0.1
"""watchdog delivers after so long a silence; its default of a second delays every hint by that."""
BACKLOG_EVENTS = 20_000
"""More than this waiting to be read is no hint any more."""
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 900.0
STEADY_SECONDS = 600.0
"""An observer that lived so long is replaced at once when it dies."""
_TOLD = frozenset({"created", "modified", "moved", "deleted"})
"""Not opened, not closed without writing: our own looks would cause them."""


class EventsLost(FileSystemEvent):
    """The system dropped events: its buffer was full."""

    event_type = "lost"


class TellsOverflow:
    """Before an emitter for Windows: a read that gives nothing means that the buffer overflowed (its content
    is discarded then); watchdog takes it for "nothing happened"."""

    def _read_events(self) -> list[Any]:
        emitter: Any = self
        found: list[Any] = super()._read_events()  # type: ignore[misc]
        # The read also ends with nothing when the emitter is being stopped.
        if not found and emitter.should_keep_running():
            emitter.queue_event(EventsLost(emitter.watch.path))
        return found


def make_observer() -> BaseObserver:
    """This system's observer, not started."""
    if sys.platform == "win32":
        from watchdog.observers.read_directory_changes import WindowsApiEmitter

        telling = type("TellingEmitter", (TellsOverflow, WindowsApiEmitter), {})
        return BaseObserver(telling, timeout=TIMEOUT_SECONDS)
    return Observer(timeout=TIMEOUT_SECONDS)


class _Handler(FileSystemEventHandler):
    def __init__(self, top: Path, tell: Callable[[str], None], lost: Callable[[], None]) -> None:
        self._prefix = str(top).rstrip(os.sep) + os.sep
        self._tell = tell
        self._lost = lost

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event; there may be very many."""
        if event.event_type in _TOLD:
            for name in (event.src_path, event.dest_path):
                text = name if isinstance(name, str) else os.fsdecode(name)
                if text.startswith(self._prefix):
                    self._tell(text[len(self._prefix) :].replace(os.sep, "/"))
        elif event.event_type == EventsLost.event_type:
            self._lost()


@dataclass(frozen=True, slots=True)
class HintState:
    """Whether the system's notices arrive, for details and diagnostics; none of it is an alarm."""

    watching: bool = False
    restarts: int = 0
    """How often the observer died and was replaced since the agent started."""
    note: str = ""
    """Why it does not watch, or why it was replaced last."""


class Hints:
    """One observer for one root, replaced when it fails."""

    def __init__(
        self, top: Path, root: str, tell: Callable[[str], None], lost: Callable[[], None], clock: Clock
    ) -> None:
        self._folder = top / root
        self._handler = _Handler(top, tell, lost)
        self._lost = lost
        self._clock = clock
        self._lock = threading.Lock()
        self._observer: BaseObserver | None = None
        self._helper: threading.Thread | None = None
        self._wanted = False
        self._watching_since = float("-inf")
        self._next_try = float("-inf")
        self._pause = FIRST_PAUSE_SECONDS
        self._restarts = 0
        self._note = ""

    def state(self) -> HintState:
        """How it stands."""
        with self._lock:
            return HintState(self._observer is not None, self._restarts, self._note)

    def keep(self) -> HintState:
        """Start, or replace an observer that has died; returns at once."""
        with self._lock:
            self._wanted = True
            now = self._clock.monotonic()
            busy = self._helper is not None and self._helper.is_alive()
            sick = self._sickness() if self._observer is not None and not busy else ""
            if sick:
                self._replace(sick, now)
            elif self._observer is None and not busy and now >= self._next_try:
                self._in_helper(self._begin)
        return self.state()

    def stop(self) -> None:
        """Stop watching; returns at once."""
        with self._lock:
            self._wanted = False
            observer, self._observer = self._observer, None
            if observer is not None:
                # Apart from the helper: it joins threads that may hang in a call to the share.
                threading.Thread(target=_end, args=(observer,), name="ferry-hints-end", daemon=True).start()

    def _sickness(self) -> str:
        observer = self._observer
        assert observer is not None  # asked where there is one
        emitters = list(observer.emitters)
        if not observer.is_alive() or not emitters or not all(one.is_alive() for one in emitters):
            return "the system's notices stopped"
        if observer.event_queue.qsize() > BACKLOG_EVENTS:
            return "more notices came than can be read"
        return ""

    def _replace(self, why: str, now: float) -> None:
        observer, self._observer = self._observer, None
        self._restarts += 1
        self._note = why
        steady = now - self._watching_since >= STEADY_SECONDS
        self._pause = FIRST_PAUSE_SECONDS if steady else min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        self._next_try = now if steady or self._restarts == 1 else now + self._pause
        log.warning("hints for %s: %s; the observer is replaced (%d)", self._folder, why, self._restarts)
        # What happened since it died, nobody knows.
        self._lost()
        if observer is not None:
            self._in_helper(lambda: _end(observer))

    def _in_helper(self, work: Callable[[], None]) -> None:
        self._helper = threading.Thread(target=work, name="ferry-hints", daemon=True)
        self._helper.start()

    def _begin(self) -> None:
        observer = make_observer()
        try:
            observer.schedule(self._handler, str(self._folder), recursive=True)
            observer.start()
        except Exception as error:  # noqa: BLE001 - watchdog raises what each system gives; speed alone is lost
            with self._lock:
                if self._note != str(error):
                    log.info("no hints for %s: %s", self._folder, error)
                self._note = str(error)
                self._next_try = self._clock.monotonic() + self._pause
                self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            return
        with self._lock:
            kept = self._wanted
            if kept:
                self._observer = observer
                self._watching_since = self._clock.monotonic()
                if not self._restarts:
                    self._note = ""
        if kept:
            # Between the pass before and this moment nobody watched.
            if self._restarts:
                self._lost()
        else:
            _end(observer)


def _end(observer: BaseObserver) -> None:
    """Stop it and wait for its threads; may hang with the share."""
    observer.stop()
    if observer.is_alive():
        observer.join()
