"""Hints from the system that something changed, to look sooner. Never trusted, and never missed.

Over SMB the system's notices get lost, stop silently, or report an outage as a deletion (facts of the field);
so an event says only "look at this place now", and when the observer fails nothing is lost but speed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path, PurePath

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = logging.getLogger(__name__)


class _Handler(FileSystemEventHandler):
    def __init__(self, top: Path, tell: Callable[[str], None]) -> None:
        self._top = top
        self._tell = tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in ("created", "modified", "moved", "deleted"):
            return  # opened, closed without writing: our own looks would cause them
        for name in (event.src_path, event.dest_path):
            try:
                path = PurePath(str(name)).relative_to(self._top)
            except ValueError:
                continue
            self._tell(path.as_posix())


class Hints:
    """One observer for one root. Its failure is logged once and otherwise means nothing."""

    def __init__(self, top: Path, root: str, tell: Callable[[str], None]) -> None:
        self._top = top
        self._root = root
        self._tell = tell
        self._observer: BaseObserver | None = None
        self._lock = threading.Lock()

    def start(self) -> bool:
        """Try to watch; False where the system cannot."""
        with self._lock:
            if self._observer is not None:
                return True
            observer = Observer()
            try:
                observer.schedule(
                    _Handler(self._top, self._tell), str(self._top / self._root), recursive=True
                )
                observer.start()
            except Exception as error:  # noqa: BLE001 - watchdog raises what each system gives; speed alone is lost
                log.info("no hints for %s: %s", self._top, error)
                return False
            self._observer = observer
            return True

    def stop(self) -> None:
        """Stop watching."""
        with self._lock:
            observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(2)
